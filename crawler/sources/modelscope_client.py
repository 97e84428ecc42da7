"""ModelScope's routes that we need, asked by our own client.

Its library, modelscope-hub, is not used to crawl: it makes sessions and requests of its own
(to find a nearer region it fetches any address that the hub names), beyond every check of
addresses and sizes. tests/crawler/sources/test_modelscope_protocol.py holds our questions
against the library's.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from crawler.addresses import is_loopback, shown
from crawler.disk import DiskLimits
from crawler.download import fetch_file
from crawler.errors import AccessDeniedError, GoneError, NoAnswerError, SourceError
from crawler.foreign_text import quoted
from crawler.http import Body, PoliteClient
from crawler.peft_config import CONFIG_NAME, MAX_CONFIG_BYTES, decode_config
from crawler.records import AdapterRecord


class ModelScopeClient:
    """Asks one endpoint."""

    def __init__(
        self, endpoint: str, token: str | None, *, requests_per_second: float, attempts: int
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        if token and self.endpoint.startswith("http://") and not is_loopback(self.endpoint):
            raise SourceError(
                f"{shown(self.endpoint)} is plain http: the token would travel readable. Use "
                "https, or no token."
            )
        # Older routes know the cookie, others the header.
        self._headers = (
            {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"} if token else {}
        )
        self._http = PoliteClient(
            allowed_origins=[self.endpoint],
            requests_per_second=requests_per_second,
            attempts=attempts,
        )

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `Data` of an answer of the API.

        Raises:
            SourceError: no answer, or not one that we understand.
        """
        try:
            answer = self._http.ask_json(
                method, f"{self.endpoint}/api/v1/{path}", body=body, headers=self._headers
            )
        except (GoneError, AccessDeniedError, NoAnswerError) as error:
            raise self._translated(error) from error
        return _data(answer, path)

    def list_files(self, repo: str) -> list[dict[str, Any]]:
        """Return Path, Size and Sha256 of a repository's files, of which the hub lists 3000."""
        found = self.ask("GET", f"models/{repo}/repo/files?Revision=master&Recursive=True")
        files = found.get("Files")
        if not isinstance(files, list):
            raise SourceError(f"ModelScope answered the files of {repo} without Files")
        return [file for file in files if isinstance(file, dict)]

    def download(self, record: AdapterRecord, path: Path, limits: DiskLimits) -> None:
        """Fetch a record's file to `path`; raises as `fetch_file` does."""
        address = self._address(record.repo, record.file.name, record.file.revision)
        try:
            fetch_file(self._http, address, record, path, limits, self._headers)
        except (GoneError, AccessDeniedError, NoAnswerError) as error:
            raise self._translated(error) from error

    def read_config(self, repo: str, name: str) -> str:
        """Return PEFT's config, a file of a repository, as text.

        Raises:
            SourceError: no answer, or one that is too long or no text.
        """
        address = self._address(repo, name)
        try:
            data = self._http.retry(
                lambda: self._http.read_file(address, 0, _read_config, headers=self._headers)
            )
            return decode_config(data)
        except (GoneError, AccessDeniedError, NoAnswerError) as error:
            raise self._translated(error) from error
        except ValueError as error:
            raise SourceError(f"{repo}/{name}: {error}") from error

    def _address(self, repo: str, name: str, revision: str = "master") -> str:
        return (
            f"{self.endpoint}/api/v1/models/{repo}/repo"
            f"?Revision={quote_plus(revision)}&FilePath={quote_plus(name)}"
        )

    def fetch(self, url: str) -> bytes:
        """Return the bytes behind an address that the hub names. It is told no token."""
        return self._http.get(url)

    def _translated(self, error: GoneError | AccessDeniedError | NoAnswerError) -> SourceError:
        """Our error for the client's: who it was, and what to do."""
        where = f"ModelScope at {self.endpoint}"
        if isinstance(error, GoneError):
            return GoneError(f"{where} has no such thing: {error}")
        if isinstance(error, AccessDeniedError):
            return AccessDeniedError(
                f"{where} wants other credentials: {error}. Set REGISTRY_MODELSCOPE_TOKEN to a "
                "token of an account that may read this."
            )
        return SourceError(
            f"{where} does not answer ({error.cause}). Check the network and "
            "REGISTRY_MODELSCOPE_ENDPOINT, then run again: it goes on where it stopped.",
            retryable=error.retryable,
            retry_after_seconds=error.retry_after_seconds,
        )


def _read_config(body: Body) -> bytes:
    data = bytearray()
    for chunk in body.chunks:
        data += chunk
        if len(data) > MAX_CONFIG_BYTES:
            raise ValueError(f"{CONFIG_NAME} beside it is larger than 1 MB")
    return bytes(data)


def _data(answer: Any, path: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise SourceError(f"ModelScope answered {path} with JSON that is no object")
    # Some errors come with HTTP 200.
    code = answer.get("Code", 200)
    if code != 200:
        message = quoted(str(answer.get("Message", "no message")), 200)
        raise SourceError(f"ModelScope answered {path} with error {str(code)[:20]}: {message}")
    data = answer.get("Data")
    if not isinstance(data, dict):
        raise SourceError(f"ModelScope answered {path} without Data")
    return data
