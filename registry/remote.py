"""Making images here with the adapters of a registry elsewhere.

Importing this imports nothing heavy.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from crawler.disk import DiskLimits
from encoder.base_models.facts import bases_for
from registry.blobs import BlobStore
from registry.config import Settings
from registry.connection import Connection, RemoteFileError, RemoteSenseError
from registry.errors import NoBaseModelError
from registry.fusion.maker import Maker
from registry.fusion.recipe import Name, Ratio, Sha256
from registry.fusion.studio import Studio
from registry.local_copies import mark_used
from registry.retrieval.terms import Maturity


class _Answer(BaseModel):
    """What another registry says; a later version of it may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class RemoteCard(_Answer):
    """An adapter of a registry elsewhere."""

    id: int
    name: Name
    base_model: Name
    file_sha256: Sha256 | None
    trigger_words: Annotated[tuple[Name, ...], Field(max_length=100)]
    licence: Name | None
    # A registry that does not tell has no preference.
    strength: Ratio | None = None


class RemoteChoice(_Answer):
    """An adapter chosen for a prompt."""

    card: RemoteCard = Field(alias="adapter")
    # Cosines of the prompt and its parts with the adapter's weights; None where they are not known
    # there.
    similarities: Annotated[tuple[float, ...], Field(min_length=1, max_length=100)] | None
    # Of its weights, by the encoder there.
    embedding: Annotated[tuple[float, ...], Field(min_length=1, max_length=10_000)] | None


class RemoteReadiness(_Answer):
    """How many adapters of each base model a registry elsewhere has."""

    base_models: Annotated[dict[Name, int], Field(max_length=1000)]


_CHOICES = TypeAdapter(list[RemoteChoice])
_READINESS = TypeAdapter(RemoteReadiness)
_CONFIG = TypeAdapter(str)


class RegistryClient(Connection):
    """Asks one registry, and keeps the adapters' files that it sent, by their hash."""

    def __init__(
        self,
        url: str,
        cache: Path,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
        limits: DiskLimits | None = None,
    ) -> None:
        super().__init__(url, token, transport)
        self._limits = limits or DiskLimits()
        self._blobs = BlobStore(cache, self._limits)

    def choose(
        self,
        prompt: str,
        k: int = 3,
        *,
        base_model: str | None = None,
        mature: Maturity = "any",
    ) -> list[RemoteChoice]:
        """Return up to `k` adapters to draw `prompt` with.

        Raises:
            RemoteError: there is none, or the answer makes no sense.
        """
        asked = {"prompt": prompt, "k": k} | _given("base_model", base_model)
        asked |= _given("mature", None if mature == "any" else mature)
        chosen = self.get("/v1/choose", asked, _CHOICES)
        if not 0 < len(chosen) <= k:
            raise RemoteSenseError(self.url, f"{len(chosen)} adapters, of {k} at most")
        return chosen

    def named_adapters(self, prompt: str, adapter_ids: Sequence[int]) -> list[RemoteChoice]:
        """Return those adapters that exist, in their order."""
        if not adapter_ids:
            return []
        asked = {"prompt": prompt, "adapters": list(adapter_ids)}
        named = self.get("/v1/choose", asked, _CHOICES)
        ids = [choice.card.id for choice in named]
        if not set(ids) <= set(adapter_ids) or len(set(ids)) < len(ids):
            raise RemoteSenseError(self.url, "other adapters than those it was asked for")
        return named

    def base_models(self) -> dict[str, int]:
        """Return how many adapters are ready of every base model, most first."""
        return self.get("/readyz", {}, _READINESS).base_models

    def file(self, sha256: str) -> Path:
        """Return an adapter's file, fetched and verified unless it is here already.

        Raises:
            RemoteFileError: the registry does not have it any more, or does not hand it out.
            BlobMismatchError: what came is not what was asked for. It is not kept.
        """
        path = self._blobs.path(sha256)
        if not mark_used(path):
            # What killed processes left may be as large as what is to come.
            self._blobs.clean()
            with self._blobs.partial_file() as partial:
                self.receive_file(
                    f"/v1/files/{sha256}", sha256, partial, self._limits, check=self._check_file
                )
                self._blobs.put_file(Path(partial.name), expected=sha256, move=True)
        return path

    def _check_file(self, answer: httpx.Response) -> None:
        if answer.status_code == httpx.codes.NOT_FOUND:
            sha256 = answer.url.path.rpartition("/")[2]
            raise RemoteFileError(self.url, sha256, self.problem(answer)[1])
        self.check(answer)

    def peft_config(self, sha256: str) -> str:
        """Return PEFT's config that an adapter's file is read with there; "" if there is none."""
        return self.get(f"/v1/files/{sha256}/peft-config", {}, _CONFIG)


class RemoteRegistry:
    """Searches at REGISTRY_URL; base models and gates are this machine's.

    Close it, or use it as a context manager.
    """

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        assert settings.url is not None
        self.settings = settings
        token = settings.token.get_secret_value() if settings.token else None
        self.client = RegistryClient(
            settings.url, settings.remote_files, token, transport, settings.disk_limits
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    def choose(
        self,
        prompt: str,
        k: int = 3,
        *,
        base_model: str | None = None,
        mature: Maturity = "any",
    ) -> list[RemoteChoice]:
        base_model = base_model or self.default_base_model()
        return self.client.choose(prompt, k, base_model=base_model, mature=mature)

    def named_adapters(self, prompt: str, adapter_ids: Sequence[int]) -> list[RemoteChoice]:
        return self.client.named_adapters(prompt, adapter_ids)

    def default_base_model(self) -> str:
        """Return the base model with most adapters there, of those that are here."""
        known = list(self.client.base_models())
        runnable = bases_for(known, self.settings.base_models)
        if not runnable:
            raise NoBaseModelError(next(iter(known), "flux.1-dev"))
        return runnable[0]

    @cached_property
    def maker(self) -> Maker:
        """What makes images; base models, gates and weights are loaded when first needed."""
        return Maker(self, Studio(self.settings, self.client.file, self.client.peft_config))


def _given(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}
