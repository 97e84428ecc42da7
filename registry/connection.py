"""Asking a registry elsewhere over HTTP: what it answers, and what is wrong where it does not.

Importing this imports nothing heavy.
"""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from numbers import Integral, Real
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from crawler.addresses import is_loopback, shown, without_login
from crawler.disk import DiskLimits
from crawler.errors import SourceError
from crawler.hub_json import MAX_JSON_BYTES, pieces, read_answer
from crawler.retry_after import retry_after_seconds
from registry.advice import for_terminal
from registry.blobs import is_disk_full
from registry.errors import DiskFullError, RegistryError, first_fault

Shape = TypeVar("Shape")
TIMEOUT_SECONDS = 60.0
# How long a server may take to say that it runs.
HEALTH_SECONDS = 5.0
CHUNK_BYTES = 1 << 20
MOST_ATTEMPTS = 3
AGAIN_SECONDS = 0.1
NETWORK_FAILURES = (httpx.NetworkError, httpx.RemoteProtocolError)
# The longest that is waited because a server asks for it.
MOST_WAIT_SECONDS = 30.0
# What a registry says of an address that it does not have, and of who may not ask it.
UNKNOWN = ("urn:autolora:problem:not-found", "urn:autolora:problem:method-not-allowed")
FORBIDDEN = "urn:autolora:problem:forbidden"
MISUNDERSTOOD = "urn:autolora:problem:invalid-request"


def own_version() -> str:
    """Return the version of this package; "0" in a checkout that is not installed."""
    try:
        return version("autolora-registry")
    except PackageNotFoundError:
        return "0"


class RemoteError(RegistryError):
    """A registry elsewhere did not do what it was asked for; the text is its own.

    `problem` is the `type` by which its answer tells programs why (docs/api.md); "" of the classes
    below, which tell it themselves.
    """

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem


class RemoteUnreachableError(RemoteError):
    """A registry elsewhere does not answer, or what answers is no registry."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"the registry at {url} does not answer ({cause}); see that it runs, and that "
            "REGISTRY_URL is its address, or answer here with REGISTRY_LOCAL=true."
        )


class RemoteBrokenOffError(RemoteUnreachableError):
    """A registry elsewhere began to answer, and the network failed amid it."""


class RemoteSenseError(RemoteError):
    """A registry elsewhere answers something that no registry of ours would."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"the registry at {url} makes no sense: it answered {cause}. See that REGISTRY_URL is "
            "the address of a registry, and that it is no newer than this one."
        )


class RemoteRefusedError(RemoteError):
    """A registry elsewhere wants a token, or another one."""

    def __init__(self, url: str, detail: str = "") -> None:
        said = f": {detail.rstrip('.')}" if detail else ""
        super().__init__(
            f"the registry at {url} refuses access{said}; set REGISTRY_TOKEN to its token."
        )


class RemoteLacksError(RemoteError):
    """A registry elsewhere does not do a thing for anybody."""

    def __init__(self, url: str, there: str) -> None:
        super().__init__(
            f"the registry at {url} does not offer this: it only lets others read, or it is of "
            f"another version ({there}; this is {own_version()}). `autolora --local` does it here."
        )


class RemoteFileError(RemoteError):
    """A registry elsewhere does not give a file; what it says is for whoever runs it."""

    def __init__(self, url: str, sha256: str, said: str) -> None:
        super().__init__(
            f"the registry at {url} does not give the file {sha256[:12]}…; it says: "
            f"{said.rstrip('.')}. That is for whoever runs it: take another adapter meanwhile."
        )


class Health(BaseModel):
    """What a server says of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str = "unknown"
    # Which running server it is; another one, started anew, is another instance.
    instance: str | None = None


def _is_to_be_repeated(state: RetryCallState) -> bool:
    """Whether the network failed, or the server said to come back in a moment.

    No timeout is repeated: a minute was enough to wait. Nothing that is asked changes anything
    there, so asking twice does no harm.
    """
    assert state.outcome is not None
    if state.outcome.failed:
        return isinstance(state.outcome.exception(), NETWORK_FAILURES)
    return _asked_to_wait(state.outcome.result()) is not None


def _asked_to_wait(answer: httpx.Response) -> float | None:
    """Return the seconds after which a server that is busy says to ask again."""
    busy = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
    seconds = retry_after_seconds(answer.headers.get("retry-after"))
    if answer.status_code not in busy or seconds is None:
        return None
    return min(seconds, MOST_WAIT_SECONDS)


def _wait_for(state: RetryCallState) -> float:
    assert state.outcome is not None
    if state.outcome.failed:
        return AGAIN_SECONDS * 2.0 ** (state.attempt_number - 1)
    return _asked_to_wait(state.outcome.result()) or 0.0


def _leave_answer(state: RetryCallState) -> None:
    assert state.outcome is not None
    if not state.outcome.failed:
        state.outcome.result().close()


_RETRYING = Retrying(
    retry=_is_to_be_repeated,
    stop=stop_after_attempt(MOST_ATTEMPTS),
    wait=_wait_for,
    before_sleep=_leave_answer,
    # The last answer, or the last exception.
    retry_error_callback=lambda state: state.outcome and state.outcome.result(),
)


# Asks again where an answer broke off.
_ASKING_AGAIN = Retrying(
    retry=retry_if_exception_type(RemoteBrokenOffError),
    stop=stop_after_attempt(MOST_ATTEMPTS),
    wait=_wait_for,
    reraise=True,
)


def _authorities(url: str) -> ssl.SSLContext | bool:
    """Return whose certificates are believed: those that are usual, or nobody's without TLS.

    To read the usual ones takes longer than a search.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.lower().startswith("http://") else True


class Connection:
    """Asks a registry elsewhere, and again where the network fails or it is busy.

    Close it, or use it as a context manager.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
        *,
        direct: bool = False,
    ) -> None:
        """Open a connection to `url`; `transport` is httpx's default if not given.

        The address of a registry's API, which ends in /v1, is taken for that of the registry. It is
        asked through the proxy that the environment names, unless it is on this machine, or
        `direct`: an address of this machine's need not look like one.

        Raises:
            RemoteUnreachableError: it is no address, or the proxy's is none, or asks for SOCKS.
            RemoteRefusedError: no token looks like that.
        """
        address = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
        self.url = without_login(address)
        try:
            self._http = httpx.Client(
                base_url=address,
                headers={"Accept-Encoding": "gzip"} | self._authorization(token),
                timeout=TIMEOUT_SECONDS,
                transport=transport,
                verify=_authorities(self.url),
                trust_env=not direct and not is_loopback(self.url),
            )
        # Of the address; of a proxy's; of a kind of proxy that httpx lacks a library for.
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            raise RemoteUnreachableError(self.url, str(error).rstrip(".")) from error

    def _authorization(self, token: str | None) -> dict[str, str]:
        """Return the header with a token, which files and shells end with a line's end."""
        token = (token or "").strip()
        if not token:
            return {}
        # httpx would say so with the token in its words.
        if not (token.isascii() and token.isprintable()):
            raise RemoteRefusedError(self.url, "what it was to be sent as a token can be none")
        return {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, Any], shape: TypeAdapter[Shape]) -> Shape:
        """Return what is answered, if it has the shape that our own registry gives it."""
        return self._ask("GET", path, shape, params=params)

    def post(
        self, path: str, params: Mapping[str, Any], body: bytes, shape: TypeAdapter[Shape]
    ) -> Shape:
        """Return what is answered to `body`, as `get` does."""
        return self._ask("POST", path, shape, params=params, content=body)

    def health(self) -> Health:
        """Return what the server says of itself; asked once, and not for long."""
        try:
            with self._http.stream("GET", "/healthz", timeout=HEALTH_SECONDS) as answer:
                said = self._read(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RemoteUnreachableError(self.url, str(error) or type(error).__name__) from error
        return self.understand(said, TypeAdapter(Health))

    def _ask(self, method: str, path: str, shape: TypeAdapter[Shape], **sent: Any) -> Shape:
        answered: Shape = _ASKING_AGAIN(self._ask_once, method, path, shape, **sent)
        return answered

    def _ask_once(self, method: str, path: str, shape: TypeAdapter[Shape], **sent: Any) -> Shape:
        with self.stream(method, path, **sent) as answer:
            self.check(answer)
            said = self._read(answer)
        return self.understand(said, shape)

    def understand(self, said: Any, shape: TypeAdapter[Shape]) -> Shape:
        """Return an answer as the shape that it should have."""
        try:
            return shape.validate_python(said)
        except ValidationError as error:
            raise RemoteSenseError(self.url, first_fault(error)) from error

    @contextmanager
    def stream(self, method: str, path: str, **sent: Any) -> Iterator[httpx.Response]:
        """Give what is answered while it comes; `check` tells what is wrong with it.

        Half a surrogate pair, which is no text, is sent as "?": search in this process takes it
        for that as well.

        Raises:
            RemoteBrokenOffError: the network failed amid the answer.
            RemoteUnreachableError: nothing answers.
        """
        kind = RemoteUnreachableError
        try:
            asked = self._http.build_request(method, path, **encodable(sent))
            with closing(_RETRYING(self._http.send, asked, stream=True)) as answer:
                kind = RemoteBrokenOffError
                yield answer
        except NETWORK_FAILURES as error:
            raise kind(self.url, str(error) or type(error).__name__) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RemoteUnreachableError(self.url, str(error) or type(error).__name__) from error

    def receive_file(
        self,
        path: str,
        name: str,
        partial: IO[bytes],
        limits: DiskLimits,
        check: Callable[[httpx.Response], None] | None = None,
    ) -> None:
        """Write a file that is there into `partial`, an empty file with a name.

        Where the network fails amid it, the rest is asked for. `check` raises what an answer other
        than success means, in place of `self.check`; other errors are those of `receive`.

        Raises:
            RemoteBrokenOffError: the network failed three times with little coming between.
        """
        left, headers = MOST_ATTEMPTS, {"Accept-Encoding": "identity"}
        while True:
            before = partial.tell()
            try:
                with self.stream("GET", path, headers=headers) as answer:
                    (check or self.check)(answer)
                    headers |= _of_the_rest(answer)
                    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                        before = partial.seek(0)
                        partial.truncate()
                    return receive(self.body(answer), name, partial, limits)
            except RemoteBrokenOffError:
                came = partial.tell() - before
                left = MOST_ATTEMPTS if came >= CHUNK_BYTES else left - 1
                if not left:
                    raise
                headers["Range"] = f"bytes={partial.tell()}-"
                time.sleep(AGAIN_SECONDS)

    def body(self, answer: httpx.Response) -> Iterator[bytes]:
        """Yield what is answered, in pieces that are small whatever it is compressed by."""
        try:
            yield from pieces(answer, "it")
        except SourceError as error:
            raise self._nonsense(error) from error

    def _read(self, answer: httpx.Response) -> Any:
        """Return the JSON of an answer, which is bounded while it comes."""
        data, deadline = bytearray(), time.monotonic() + TIMEOUT_SECONDS
        for chunk in self.body(answer):
            data += chunk
            if len(data) > MAX_JSON_BYTES or time.monotonic() > deadline:
                raise RemoteSenseError(self.url, "an answer that does not end")
        try:
            return read_answer(bytes(data), "it")
        except SourceError as error:
            raise self._nonsense(error) from error

    def _nonsense(self, error: SourceError) -> RemoteSenseError:
        # Both errors say who answered.
        return RemoteSenseError(self.url, str(error).removeprefix("it answered "))

    def check(self, answer: httpx.Response) -> None:
        """Raise what an answer other than success means; its text is the registry's own."""
        if answer.is_success:
            return
        if answer.has_redirect_location:
            where = shown(answer.headers["location"])
            raise RemoteUnreachableError(self.url, f"it leads on to {where}")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise RemoteRefusedError(self.url, self._reason(answer))
        self.refuse(*self.problem(answer))

    def problem(self, answer: httpx.Response) -> tuple[str, str]:
        """Return the kind of problem that a registry tells of, and its words.

        Raises:
            RemoteUnreachableError: what answers is no registry.
        """
        try:
            problem = self._read(answer)
            return str(problem.get("type", "")), str(problem["detail"])
        except (RemoteSenseError, KeyError, TypeError, AttributeError):
            cause = f"status {answer.status_code}"
            raise RemoteUnreachableError(self.url, cause) from None

    def _reason(self, answer: httpx.Response) -> str:
        """Return why a registry lets nobody in; "" where what answers 401 says nothing of it."""
        try:
            return self.problem(answer)[1]
        except RemoteUnreachableError:
            return ""

    def refuse(self, kind: str, detail: str) -> None:
        """Raise what a problem means that a registry tells of.

        Raises:
            RemoteRefusedError: the token does not open this.
            RemoteLacksError: nothing there does this, or it takes other words for it.
            RemoteError: all else, in the registry's own words.
        """
        if kind == FORBIDDEN:
            raise RemoteRefusedError(self.url, detail)
        if kind in UNKNOWN or kind == MISUNDERSTOOD:
            there = self.health().version
            if kind in UNKNOWN or there != own_version():
                raise RemoteLacksError(self.url, there)
        raise RemoteError(for_terminal(detail), kind)


def encodable(sent: Any) -> Any:
    """Return what is sent with "?" for each half of a surrogate pair in its texts.

    A shell hands on bytes that are no text so, and JSON can hold them. Numbers are Python's own,
    which NumPy's are not.
    """
    if isinstance(sent, str):
        return sent.encode("utf-8", "replace").decode()
    if isinstance(sent, Mapping):
        return {name: encodable(value) for name, value in sent.items()}
    if isinstance(sent, Real) and not isinstance(sent, int | float):
        return int(sent) if isinstance(sent, Integral) else float(sent)
    # Bytes and files are sent as they are.
    return [encodable(value) for value in sent] if isinstance(sent, list | tuple) else sent


def _of_the_rest(answer: httpx.Response) -> dict[str, str]:
    """Return the header that asks for the rest of this very file; a later one comes whole."""
    tag = answer.headers.get("etag", "")
    return {"If-Range": tag} if tag.startswith('"') else {}


def receive(chunks: Iterator[bytes], name: str, partial: IO[bytes], limits: DiskLimits) -> None:
    """Write what comes of a file behind what `partial` has of it, as long as it may be kept.

    `partial` is a file with a name.

    Raises:
        FileTooLargeError: it is larger than files may be.
        NoRoomError: there is not enough room for it.
        DiskFullError: the disk is full.
    """
    folder, size = Path(partial.name).parent, partial.tell()
    for chunk in chunks:
        size += len(chunk)
        limits.check_size(name, size)
        limits.check_room(name, folder, len(chunk))
        try:
            partial.write(chunk)
            partial.flush()
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError(folder) from error
            raise
