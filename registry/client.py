"""A registry elsewhere, over HTTP: what fusing needs of it. Imports nothing heavy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

import httpx

from registry.blobs import BlobStore
from registry.errors import BlobNotFoundError, RegistryError

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


@dataclass(frozen=True)
class RemoteChoice:
    """An adapter chosen for a prompt."""

    card: RemoteCard
    # Of the prompt and its parts with the adapter's weights, -1..1; None where they are not known
    # there.
    similarities: tuple[float, ...] | None
    # Of its weights, by the encoder there.
    embedding: tuple[float, ...] | None


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
        return self._choices({"prompt": prompt, "k": k} | _given("base_model", base_model))

    def choices(self, prompt: str, adapter_ids: Sequence[int]) -> list[RemoteChoice]:
        """Return those adapters that exist, in their order."""
        if not adapter_ids:
            return []
        return self._choices({"prompt": prompt, "adapters": list(adapter_ids)})

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

    def _choices(self, asked: dict[str, Any]) -> list[RemoteChoice]:
        try:
            return [
                RemoteChoice(
                    RemoteCard(
                        id=one["adapter"]["id"],
                        name=one["adapter"]["name"],
                        base_model=one["adapter"]["base_model"],
                        file_sha256=one["adapter"]["file_sha256"],
                        trigger_words=tuple(one["adapter"]["trigger_words"]),
                        licence=one["adapter"]["licence"],
                    ),
                    one["similarities"] and tuple(map(float, one["similarities"])),
                    one["embedding"] and tuple(map(float, one["embedding"])),
                )
                for one in self._get("/v1/choose", asked)
            ]
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


def _given(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}
