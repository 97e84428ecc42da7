"""What all hubs' clients have in common: one endpoint, its token, errors that say what to do."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from crawler.addresses import is_loopback, origin, shown
from crawler.answers import Body
from crawler.disk import DiskLimits
from crawler.download import fetch_file, read_remote_header
from crawler.errors import AccessDeniedError, GoneError, NoAnswerError, SourceError
from crawler.hashed_file import HashedFile
from crawler.http import MAX_RETRY_AFTER_SECONDS, PoliteClient
from crawler.manners import FIRST_REST_SECONDS, Bandwidth, Breaker, Manners
from crawler.peft_config import CONFIG_NAME, MAX_CONFIG_BYTES, decode_config
from crawler.records import AdapterRecord, RemoteHeader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubNames:
    """What people call a hub, and what its settings begin with."""

    title: str
    setting: str


class HubClient:
    """Asks one endpoint. The token goes to its origin only, also where it redirects elsewhere."""

    def __init__(
        self,
        names: HubNames,
        endpoint: str,
        headers: Mapping[str, str],
        manners: Manners,
    ) -> None:
        """`headers` carry the token, if there is one."""
        self.endpoint = endpoint.rstrip("/")
        self._names, self._headers = names, dict(headers)
        if headers and self.endpoint.startswith("http://") and not is_loopback(self.endpoint):
            raise SourceError(
                f"{shown(self.endpoint)} is plain http: the token would travel readable. Use "
                "https, or no token."
            )
        # Nobody needs to be spared on our own machine.
        is_ours = is_loopback(endpoint)
        usual = math.inf if is_ours else 5.0
        self._http = PoliteClient(
            allowed_origins=[self.endpoint],
            requests_per_second=manners.requests_per_second or usual,
            attempts=manners.attempts,
            bandwidth=Bandwidth(manners.bytes_per_second),
        )
        self._downloads = threading.BoundedSemaphore(manners.downloads)
        rest = 0.1 if is_ours else FIRST_REST_SECONDS
        self._breaker = Breaker(names.title, first_rest_seconds=rest)

    def close(self) -> None:
        self._http.close()

    @property
    def has_token(self) -> bool:
        return bool(self._headers)

    def ask_json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that answers a question; `path` is below the endpoint.

        Raises:
            SourceError: no answer, or none that is JSON within bounds.
        """
        url = f"{self.endpoint}/{path}"
        return self._translating(
            lambda: self._http.ask_json(method, url, body=body, headers=self._headers)
        )

    def ask_page(self, path: str) -> tuple[Any, str | None]:
        """Return JSON as `ask_json` does, and what its Link header calls the next page."""
        url = f"{self.endpoint}/{path}"
        return self._translating(lambda: self._http.ask_page(url, self._headers))

    def download(
        self, path: str, record: AdapterRecord, target: Path, limits: DiskLimits
    ) -> HashedFile:
        """Fetch a record's file to `target`; raises as `fetch_file` does."""
        url = f"{self.endpoint}/{path}"
        with self._downloads:
            return self._translating(
                lambda: fetch_file(self._http, url, record, target, limits, self._headers)
            )

    def read_header(self, path: str) -> RemoteHeader:
        """Return the start of a file; raises as `read_remote_header` does."""
        url = f"{self.endpoint}/{path}"
        return self._translating(lambda: read_remote_header(self._http, url, self._headers))

    def download_elsewhere(
        self, url: str, record: AdapterRecord, target: Path, limits: DiskLimits
    ) -> HashedFile:
        """Fetch a record's file from an address that the hub names, which is told no token."""
        with self._downloads:
            return fetch_file(self._http, url, record, target, limits)

    def read_header_elsewhere(self, url: str) -> RemoteHeader:
        """Return the start of a file at an address that the hub names, which is told no token."""
        return read_remote_header(self._http, url)

    def read_config(self, path: str) -> str:
        """Return PEFT's config, as it is written.

        Raises:
            SourceError: no answer, or one that is too long or no text.
        """
        url = f"{self.endpoint}/{path}"

        def ask() -> bytes:
            return self._http.read_file(url, 0, _read_config, headers=self._headers)

        try:
            return decode_config(self._translating(lambda: self._http.retry(ask)))
        except ValueError as error:
            raise SourceError(f"{shown(url)}: {error}") from error

    def fetch(self, url: str) -> bytes:
        """Return the bytes behind an address that the hub names. It is told no token."""
        if origin(url) != origin(self.endpoint):
            return self._http.get(url)
        return self._translating(lambda: self._http.get(url))

    def _translating(self, ask: Callable[[], T]) -> T:
        """Say who did not answer, and what to do.

        Raises:
            HubRestingError: it failed so often that it is not asked just now.
        """
        where = f"{self._names.title} at {self.endpoint}"
        self._breaker.admit()
        answered, rest_seconds = True, 0.0
        try:
            return ask()
        except GoneError as error:
            raise GoneError(
                f"{where} has no such thing: {error}", withdrawn=error.withdrawn
            ) from error
        except AccessDeniedError as error:
            raise AccessDeniedError(
                f"{where} wants other credentials: {error}. Set "
                f"REGISTRY_{self._names.setting}_TOKEN to a token of an account that may read this."
            ) from error
        except NoAnswerError as error:
            answered = not error.retryable
            if (error.retry_after_seconds or 0.0) > MAX_RETRY_AFTER_SECONDS:
                rest_seconds = error.retry_after_seconds or 0.0
            raise SourceError(
                f"{where} does not answer ({error.cause}). Check the network and "
                f"REGISTRY_{self._names.setting}_ENDPOINT, then run again: it goes on where it "
                "stopped.",
                retryable=error.retryable,
                retry_after_seconds=error.retry_after_seconds,
            ) from error
        finally:
            self._breaker.note(answered=answered, rest_seconds=rest_seconds)


def _read_config(body: Body) -> bytes:
    data = bytearray()
    for chunk in body.chunks:
        data += chunk
        if len(data) > MAX_CONFIG_BYTES:
            raise ValueError(f"{CONFIG_NAME} beside it is larger than 1 MB")
    return bytes(data)
