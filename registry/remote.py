"""A registry elsewhere, over HTTP, and making images here with its adapters.

Importing this imports nothing heavy.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

import httpx

from registry.blobs import BlobStore
from registry.config import Settings
from registry.errors import BlobNotFoundError, NoBaseModelError, RegistryError
from registry.fusion.maker import Maker
from registry.fusion.studio import Studio

TIMEOUT_SECONDS = 60.0
CHUNK_BYTES = 1 << 20


class RemoteError(RegistryError):
    """A registry elsewhere did not do what it was asked for; the text is its own."""


class RemoteUnreachableError(RemoteError):
    """A registry elsewhere does not answer, or what answers is no registry."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"the registry at {url} does not answer ({cause}); see that it runs, and that "
            "REGISTRY_URL is its address."
        )


class RemoteRefusedError(RemoteError):
    """A registry elsewhere wants a token, or another one."""

    def __init__(self, url: str) -> None:
        super().__init__(f"the registry at {url} refuses access; set REGISTRY_TOKEN to its token.")


@dataclass(frozen=True)
class RemoteCard:
    """An adapter of a registry elsewhere."""

    id: int
    name: str
    base_model: str
    file_sha256: str | None
    trigger_words: tuple[str, ...]
    licence: str | None

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        return cls(
            id=facts["id"],
            name=facts["name"],
            base_model=facts["base_model"],
            file_sha256=facts["file_sha256"],
            trigger_words=tuple(facts["trigger_words"]),
            licence=facts["licence"],
        )


@dataclass(frozen=True)
class RemoteChoice:
    """An adapter chosen for a prompt."""

    card: RemoteCard
    # Cosines of the prompt and its parts with the adapter's weights; None where they are not known
    # there.
    similarities: tuple[float, ...] | None
    embedding: tuple[float, ...] | None  # of its weights, by the encoder there

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        card = RemoteCard.from_json(facts["adapter"])
        similarities, embedding = facts["similarities"], facts["embedding"]
        return cls(
            card,
            similarities and tuple(map(float, similarities)),
            embedding and tuple(map(float, embedding)),
        )


class RegistryClient:
    """Asks one registry, and keeps the adapters' files that it sent, by their hash."""

    def __init__(
        self,
        url: str,
        cache: Path,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Open a client of the registry at `url`; `transport` is httpx's default if not given."""
        self.url = url.rstrip("/")
        self._blobs = BlobStore(cache)
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def choose(
        self, prompt: str, k: int = 3, *, base_model: str | None = None
    ) -> list[RemoteChoice]:
        """Return up to `k` adapters to draw `prompt` with; RemoteError when there is none."""
        return self._ask_for_adapters({"prompt": prompt, "k": k} | _given("base_model", base_model))

    def named_adapters(self, prompt: str, adapter_ids: Sequence[int]) -> list[RemoteChoice]:
        """Return those adapters that exist, in their order."""
        if not adapter_ids:
            return []
        return self._ask_for_adapters({"prompt": prompt, "adapters": list(adapter_ids)})

    def base_models(self) -> dict[str, int]:
        """Return how many adapters are ready of every base model, most first."""
        return dict(self._get("/readyz", {})["base_models"])

    def file(self, sha256: str) -> Path:
        """Return an adapter's file, fetched and verified unless it is here already.

        Raises:
            BlobNotFoundError: the registry does not have it any more.
            BlobMismatchError: what came is not what was asked for. It is not kept.
        """
        if not self._blobs.exists(sha256):
            self._blobs.root.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._blobs.root) as partial:
                with self._stream(f"/v1/files/{sha256}") as answer:
                    if answer.status_code == httpx.codes.NOT_FOUND:
                        raise BlobNotFoundError(sha256)
                    self._check(answer)
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        partial.write(chunk)
                partial.flush()
                self._blobs.put_file(Path(partial.name), expected=sha256)
        return self._blobs.path(sha256)

    def peft_config(self, sha256: str) -> str:
        """Return PEFT's config that an adapter's file is read with there; "" if there is none."""
        return str(self._get(f"/v1/files/{sha256}/peft-config", {}))

    def _ask_for_adapters(self, asked: dict[str, Any]) -> list[RemoteChoice]:
        try:
            return [RemoteChoice.from_json(entry) for entry in self._get("/v1/choose", asked)]
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteUnreachableError(self.url, f"its answer lacks {error}") from error

    def _get(self, path: str, params: dict[str, Any]) -> Any:
        try:
            answer = self._http.get(path, params=params)
            self._check(answer)
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RemoteUnreachableError(self.url, str(error) or type(error).__name__) from error

    @contextmanager
    def _stream(self, path: str) -> Iterator[httpx.Response]:
        try:
            with self._http.stream("GET", path) as answer:
                yield answer
        except httpx.HTTPError as error:
            raise RemoteUnreachableError(self.url, str(error) or type(error).__name__) from error

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise RemoteRefusedError(self.url)
        answer.read()
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            cause = f"status {answer.status_code}"
            raise RemoteUnreachableError(self.url, cause) from None
        raise RemoteError(f"the registry at {self.url} says: {detail}")


class RemoteRegistry:
    """Searches at REGISTRY_URL; base models and gates are this machine's.

    Close it, or use it as a context manager.
    """

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        assert settings.url is not None
        self.settings = settings
        token = settings.token.get_secret_value() if settings.token else None
        self.client = RegistryClient(settings.url, settings.remote_files, token, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    def choose(
        self, prompt: str, k: int = 3, *, base_model: str | None = None
    ) -> list[RemoteChoice]:
        return self.client.choose(prompt, k, base_model=base_model or self.default_base_model())

    def named_adapters(self, prompt: str, adapter_ids: Sequence[int]) -> list[RemoteChoice]:
        return self.client.named_adapters(prompt, adapter_ids)

    def default_base_model(self) -> str:
        """Return the base model with most adapters there, of those that are here."""
        known = self.client.base_models()
        runnable = [name for name in known if name in self.settings.base_models]
        if not runnable:
            raise NoBaseModelError(next(iter(known), "flux.1-dev"))
        return runnable[0]

    @cached_property
    def maker(self) -> Maker:
        """What makes images; base models, gates and weights are loaded when first needed."""
        return Maker(self, Studio(self.settings, self.client.file, self.client.peft_config))


def _given(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}
