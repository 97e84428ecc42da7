"""A registry as its API has it: adapters for a text, and their files. Standard library alone.

Workflows are passed on, and their addresses with them: nothing is sent to a registry but the text,
and what comes is bounded, checked, and written under a plain name.
"""

import hashlib
import http.client
import ipaddress
import json
import os
import re
import shutil
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

TIMEOUT_SECONDS = 60
MOST_ANSWER_BYTES = 4_000_000
# No LoRA is larger, and so much stays free on the disk.
MOST_FILE_BYTES = 8 * 2**30
RESERVED_BYTES = 2**30
CHUNK_BYTES = 1 << 20
SHA256 = re.compile(r"[0-9a-f]{64}")
# A safetensors file begins with the length of its header, and the header with a brace.
HEADER_AT = 8
MOST_STRENGTH = 100.0
# File systems take 255 bytes, encrypted ones 143; people read the beginning.
MOST_NAME_BYTES = 80
# A registry that is busy says after how many seconds to ask again: so often, and no longer.
BUSY = (429, 503)
MOST_ATTEMPTS = 3
MOST_WAIT_SECONDS = 30

# Called with bytes that are there, and all bytes.
Progress = Callable[[int, int], None]
# Hashes that were compared already, each with a file's place, size and time of change.
_checked: set[tuple[str, int, int, int, int]] = set()


class RegistryError(RuntimeError):
    """A registry does not do what it was asked for; the text says what to do."""


@dataclass(frozen=True)
class Chosen:
    """An adapter that was chosen for a text."""

    name: str
    sha256: str
    strength: float
    trigger_words: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """The name that the registry's exports use: letters and digits, and the hash's start."""
        name = unicodedata.normalize("NFKC", self.name)
        letters = "".join(sign if _is_plain(sign) else "-" for sign in name)
        joined = re.sub("-+", "-", letters).encode()[:MOST_NAME_BYTES].decode(errors="ignore")
        return f"{joined.strip('-') or 'adapter'}-{self.sha256[:8]}.safetensors"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """An address leads nowhere else: what it leads to may be this machine's own."""


class Registry:
    """The registry at an address."""

    def __init__(self, url: str) -> None:
        """Name a registry; REGISTRY_TOKEN goes to the address of REGISTRY_URL alone."""
        self.url = _bare(url)
        host = _host_of(self.url)
        token = os.environ.get("REGISTRY_TOKEN", "").strip()
        if self.url != _bare(os.environ.get("REGISTRY_URL", "")):
            token = ""
        # The library would say so with the token in its words.
        if not (token.isascii() and token.isprintable()):
            raise RegistryError("what REGISTRY_TOKEN holds can be no token of a registry.")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A proxy for the world does not know this machine, and would learn its token.
        direct = [urllib.request.ProxyHandler({})] if _is_this_machine(host) else []
        self._opener = urllib.request.build_opener(_NoRedirects, *direct)

    def choose(self, text: str, count: int, base_model: str = "") -> list[Chosen]:
        """Return up to `count` adapters to draw `text` with.

        Raises:
            RegistryError: there is none, or nothing answers.
        """
        asked = {"prompt": text, "k": count} | ({"base_model": base_model} if base_model else {})
        words = urllib.parse.urlencode(asked, errors="replace")
        with self._open(f"/v1/choose?{words}") as answer, self._answering():
            data = answer.read(MOST_ANSWER_BYTES + 1)
        try:
            chosen = [_read_choice(one["adapter"]) for one in json.loads(data)]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise RegistryError(f"{self.url} is no registry: its answer makes no sense.") from error
        return chosen[:count]

    def fetch(self, adapter: Chosen, folder: str | Path, progress: Progress) -> Path:
        """Return an adapter's file in `folder`, fetched and checked unless it is there.

        Raises:
            RegistryError: the registry does not have it, another file has its name, or nothing can
                be written there.
        """
        target = Path(folder, adapter.file_name)
        with _writing_to(target.parent):
            return self._fetch(adapter, target, progress)

    def _fetch(self, adapter: Chosen, target: Path, progress: Progress) -> Path:
        if target.exists():
            if not _is_file_of(target, adapter.sha256):
                raise RegistryError(f"{target} is another file; move it away.")
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=target.parent, prefix=".autolora-", delete=False) as partial:
            try:
                with self._open(f"/v1/files/{adapter.sha256}") as answer:
                    self._receive(answer, partial, progress)
                partial.close()
                if not _is_file_of(Path(partial.name), adapter.sha256):
                    raise RegistryError(f"what {self.url} sent for {adapter.name} is another file.")
                Path(partial.name).replace(target)
            finally:
                partial.close()
                Path(partial.name).unlink(missing_ok=True)
        return target

    def _open(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers=self._headers)  # noqa: S310
        for left in reversed(range(MOST_ATTEMPTS)):
            try:
                with self._answering():
                    return self._opener.open(request, timeout=TIMEOUT_SECONDS)
            except urllib.error.HTTPError as error:
                with error:
                    seconds = _asked_to_wait(error)
                    if seconds is None or not left:
                        said = f"the registry at {self.url} says: {_detail(error)}"
                        raise RegistryError(said) from error
                time.sleep(seconds)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say in one line what the network does to an answer."""
        try:
            yield
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise RegistryError(
                f"the registry at {self.url} does not answer ({error}); `autolora serve` starts "
                "one."
            ) from error

    def _receive(self, answer: Any, partial: Any, progress: Progress) -> None:
        """Write what comes, as long as it looks like an adapter's file and there is room."""
        announced = answer.headers.get("Content-Length") or ""
        total, done = int(announced) if announced.isdecimal() else 0, 0
        room = shutil.disk_usage(Path(partial.name).parent).free - RESERVED_BYTES
        if total > min(room, MOST_FILE_BYTES):
            raise RegistryError(
                f"a file of {total} bytes is too large, or for the room on the disk."
            )
        while chunk := self._chunk(answer):
            if not done and chunk[HEADER_AT : HEADER_AT + 1] != b"{":
                raise RegistryError("what came is no safetensors file.")
            done += len(chunk)
            if done > min(room, MOST_FILE_BYTES):
                raise RegistryError("the file is too large, or for the room on the disk.")
            partial.write(chunk)
            progress(done, max(total, done))
        if done < total:
            raise RegistryError(
                f"the registry at {self.url} broke off after {done} of {total} bytes; try again."
            )

    def _chunk(self, answer: Any) -> bytes:
        with self._answering():
            return bytes(answer.read(CHUNK_BYTES))


def missing_words(text: str, chosen: Iterable[Chosen]) -> list[str]:
    """Return each adapter's first trigger word that a text lacks, escaped as ComfyUI wants it."""
    known, words = _plain(text).lower(), []
    for adapter in chosen:
        for word in map(_plain, adapter.trigger_words[:1]):
            if word and word.lower() not in known:
                known += f", {word.lower()}"
                words.append(re.sub(r"([()])", r"\\\1", word))
    return words


def _bare(url: str) -> str:
    """Return the address of a registry; that of its API ends in /v1."""
    return url.strip().rstrip("/").removesuffix("/v1").rstrip("/")


def _host_of(url: str) -> str:
    """Return an address's host.

    Raises:
        RegistryError: it is no address that can be asked.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise RegistryError(f"{url!r} is no address of a registry, as http://127.0.0.1:8000 is.")
    return host


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_plain(sign: str) -> bool:
    """Whether a sign is a letter, a digit, or a vowel that is written as a mark on a letter."""
    # Those that choose between forms of the sign before, as of emoji, are marks too.
    is_selector = unicodedata.name(sign, "").startswith("VARIATION SELECTOR")
    return sign.isalnum() or (unicodedata.category(sign) in ("Mn", "Mc") and not is_selector)


def _plain(words: str) -> str:
    """Return words on one line, without the escapes of programs that weigh by parentheses."""
    return re.sub(r"\\([()\[\]])", r"\1", " ".join(words.split()))


def _read_choice(card: dict[str, Any]) -> Chosen:
    strength = 1.0 if card.get("strength") is None else float(card["strength"])
    sha256 = card["file_sha256"]
    if not SHA256.fullmatch(sha256) or not abs(strength) <= MOST_STRENGTH:
        raise ValueError(sha256)
    return Chosen(str(card["name"]), sha256, strength, tuple(map(str, card["trigger_words"])))


def _detail(error: urllib.error.HTTPError) -> str:
    """Return what a problem document (RFC 9457) says."""
    try:
        return str(json.loads(error.read(MOST_ANSWER_BYTES))["detail"])[:500]
    except (ValueError, TypeError, KeyError, OSError, RecursionError):
        return f"status {error.code}"


def _asked_to_wait(error: urllib.error.HTTPError) -> float | None:
    """Return the seconds after which a registry that is busy says to ask again."""
    seconds = error.headers.get("Retry-After", "")
    if error.code not in BUSY or not seconds.isdecimal():
        return None
    return min(float(seconds), MOST_WAIT_SECONDS)


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Say in one line what the disk does not do."""
    try:
        yield
    except OSError as error:
        raise RegistryError(
            f"nothing can be written to {folder}: {error.strerror or error}. It is the first "
            "folder that ComfyUI has for LoRAs: give ComfyUI the right to write there, and room."
        ) from error


def _is_file_of(path: Path, sha256: str) -> bool:
    """Compare a file with its hash; one that was compared and has not changed is not read again."""
    about = path.stat()
    key = (sha256, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    if key in _checked:
        return True
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            return False
    _checked.add(key)
    return True
