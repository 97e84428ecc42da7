"""Making images here with adapters of a registry elsewhere."""

from contextlib import ExitStack
from functools import cached_property

import httpx

from registry.client import RegistryClient, RemoteChoice
from registry.config import Settings
from registry.errors import NoBaseModelError
from registry.fusion.maker import Maker
from registry.fusion.studio import Studio
from registry.text.cached_encoder import load_cached_text_encoder


class RemoteRegistry(Maker):
    """Searches at REGISTRY_URL; base models and gates are this machine's.

    Close it, or use it as a context manager.
    """

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        assert settings.url is not None
        self.settings = settings
        token = settings.token.get_secret_value() if settings.token else None
        self._stack = ExitStack()
        self._client = self._stack.enter_context(
            RegistryClient(settings.url, settings.remote_files, token, transport)
        )

    def close(self) -> None:
        self._stack.close()

    @cached_property
    def studio(self) -> Studio:
        text_encoder = load_cached_text_encoder(self.settings.text_encoder)
        return Studio(self.settings, self._client.file, text_encoder)

    def choose(
        self, prompt: str, k: int = 3, *, base_model: str | None = None
    ) -> list[RemoteChoice]:
        return self._client.choose(prompt, k, base_model=base_model or self.default_base_model())

    def choices(self, prompt: str, adapter_ids: list[int]) -> list[RemoteChoice]:
        return self._client.choices(prompt, adapter_ids)

    def default_base_model(self) -> str:
        """Return the base model with most adapters there, of those that are here."""
        known = self._client.base_models()
        runnable = [name for name in known if name in self.settings.base_models]
        if not runnable:
            raise NoBaseModelError(next(iter(known), "flux.1-dev"))
        return runnable[0]
