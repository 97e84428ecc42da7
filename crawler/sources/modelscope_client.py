"""ModelScope's own client, made quiet, bounded in time, and raising our errors."""

import functools
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import modelscope_hub
import modelscope_hub._download as client_download
import requests
from modelscope_hub import HubApi, HubConfig
from modelscope_hub._download_control import _RecoveryBudget
from modelscope_hub.types import DownloadRetryPolicy
from tqdm.std import tqdm  # type: ignore[import-untyped]

from crawler.addresses import AddressGuard, is_loopback, shown
from crawler.download import disk_error
from crawler.errors import (
    GoneError,
    HashMismatchError,
    SourceError,
)
from crawler.http import Pace, polite_retries
from crawler.records import FileRecord

Answer = TypeVar("Answer")

_TIMEOUTS_SECONDS = (5.0, 15.0)  # to connect, to read
# Waits of 0 and 2 seconds. What was transferred is kept, so the next crawl goes on there.
_DOWNLOAD_RETRIES = DownloadRetryPolicy(max_retries=2, recovery_timeout=20)


class ModelScopeClient:
    """Asks one endpoint. The client's own settings (environment, files) play no part."""

    def __init__(
        self, endpoint: str, token: str | None, *, requests_per_second: float, attempts: int
    ) -> None:
        # A token of "" means none; None would let the client unpickle cookies from the home.
        self.config = HubConfig(endpoint=endpoint, token=token or "")
        self.endpoint = str(self.config.endpoint)
        if token and self.endpoint.startswith("http://") and not is_loopback(self.endpoint):
            raise SourceError(
                f"{shown(self.endpoint)} is plain http: the token would travel readable. Use "
                "https, or no token."
            )
        self._guard = AddressGuard([self.endpoint])
        self._pace = Pace(requests_per_second)
        self._attempts = attempts
        self._api = HubApi(self.config)
        self._sessions = (self._api.legacy._session, self._api.legacy._read_session)
        for session in self._sessions:
            session.hooks["response"].append(self._check_redirect)
            # A proxy that the environment names cannot reach our own loopback.
            session.trust_env = not is_loopback(self.endpoint)
        _silence()

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `Data` of an answer of the API.

        Raises:
            SourceError: no answer, or not one that we understand.
        """

        def request() -> requests.Response:
            response: requests.Response = self._api.legacy._request(
                method, path, json_body=body, timeout=_TIMEOUTS_SECONDS, single_attempt=True
            )
            return response

        answer = polite_retries(self._attempts)(self._call_once, request)
        try:
            decoded = answer.json()
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"ModelScope at {self.endpoint} answered {path} with something that is not JSON"
            ) from error
        return _data(decoded, path)

    def list_files(self, repo: str) -> list[dict[str, Any]]:
        """Return path, size and sha256 of every file of a repository."""
        # The client retries this one itself.
        files = self._call_once(lambda: self._api.list_repo_files(repo, "model"))
        return [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in files]

    def download(self, repo: str, file: FileRecord, folder: Path, lock_folder: Path) -> None:
        """Fetch a file into `folder`, under its own name: check the name first.

        The client resumes, and compares size and sha256 itself.

        Raises:
            DownloadError: the file is not what was announced, or cannot be written.
            SourceError: the hub does not give it.
        """
        self._pace.wait(self.endpoint)
        try:
            self._api.downloader.download_file(
                repo,
                "model",
                file.name,
                revision=file.revision,
                cache_dir=lock_folder,
                local_dir=folder,
                expected_sha256=file.sha256,
                file_size=file.size,
                # Only so can a download be told to give up within seconds.
                _recovery=_RecoveryBudget(_DOWNLOAD_RETRIES, 0, 0.0, lambda retries, seconds: None),
            )
        except modelscope_hub.FileIntegrityError as error:
            raise HashMismatchError(f"{repo}/{file.name}", error.message) from error
        except (modelscope_hub.HubError, requests.RequestException) as error:
            raise self._translated(error) from error
        except OSError as error:
            raise disk_error(folder / file.name, error) from error

    def _call_once(self, question: Callable[[], Answer]) -> Answer:
        self._pace.wait(self.endpoint)
        try:
            return question()
        except (modelscope_hub.HubError, requests.RequestException) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> SourceError:
        """Our error for the client's: what happened, and what to do."""
        where = f"ModelScope at {self.endpoint}"
        if isinstance(error.__cause__, SourceError):
            return error.__cause__
        if isinstance(error, modelscope_hub.NotExistError):
            return GoneError(f"{where} has no such thing: {error.message}")
        if isinstance(
            error, modelscope_hub.AuthenticationError | modelscope_hub.PermissionDeniedError
        ):
            return SourceError(
                f"{where} wants other credentials: {error.message}. Set "
                "REGISTRY_MODELSCOPE_TOKEN to a token of an account that may read this."
            )
        cause = _root_cause(error)
        wait = getattr(error, "retry_after", None)
        return SourceError(
            f"{where} does not answer ({cause}). Check the network and "
            "REGISTRY_MODELSCOPE_ENDPOINT, then run again: it goes on where it stopped.",
            retryable=bool(getattr(error, "retryable", False)),
            retry_after_seconds=wait
            if isinstance(wait, int | float) and math.isfinite(wait)
            else None,
        )

    def _check_redirect(self, response: requests.Response, **_: Any) -> None:
        """Refuse redirects into our own network; requests calls this before it follows one."""
        if response.is_redirect:
            try:
                self._guard.check(urljoin(response.url, response.headers["Location"]))
            except SourceError as error:
                # A kind of error that the client passes on without trying again.
                raise modelscope_hub.PermissionDeniedError(str(error)) from error


def _data(decoded: Any, path: str) -> dict[str, Any]:
    if not isinstance(decoded, dict):
        raise SourceError(f"ModelScope answered {path} with JSON that is no object")
    # Some errors come with HTTP 200.
    code = decoded.get("Code", 200)
    if code != 200:
        message = str(decoded.get("Message", "no message"))[:200]
        raise SourceError(f"ModelScope answered {path} with error {str(code)[:20]}: {message}")
    data = decoded.get("Data")
    if not isinstance(data, dict):
        raise SourceError(f"ModelScope answered {path} without Data")
    return data


def _root_cause(error: BaseException) -> str:
    """Return the innermost reason, in a few words: "Connection refused", "HTTP 503"."""
    while not (status := getattr(error, "status_code", None)):
        inner = error.__cause__ or error.__context__
        if inner is None:
            return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
        error = inner
    return f"HTTP {status}"


def _silence() -> None:
    """The client draws its own progress bars and logs what it also raises; we report both."""
    client_download.tqdm = functools.partial(tqdm, disable=True)
    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
