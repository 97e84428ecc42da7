"""Fields that several hubs have, each checked to be what it should."""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from crawler.errors import SourceError
from crawler.foreign_text import quoted
from crawler.hub_text import MAX_WORD, clean_line
from crawler.records import FileRecord

# How Hugging Face's cards say that an adapter is not for all.
MATURE = "not-for-all-audiences"
# Bits of Civitai's nsfwLevel: 1 PG, 2 PG-13, 4 R, 8 X, 16 XXX, 32 blocked.
MATURE_BITS = 4 | 8 | 16 | 32
MAX_COVERS = 32
MAX_FILES = 200
_MAX_URL = 2048
# What Linux takes for a path, and a PostgreSQL bigint for a size.
_MAX_PATH = 4096
_MAX_SIZE = 2**63 - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
# The name goes into urls of the API, so nothing that could mean another path.
_REPO = re.compile(r"[\w.\-]{1,100}/[\w.\-]{1,200}")


def check_repo(repo: str) -> str:
    """Return the name of a repository, "owner/name".

    Raises:
        SourceError: it is none.
    """
    if not _REPO.fullmatch(repo) or any(set(part) <= {"."} for part in repo.split("/")):
        raise SourceError(f"the listing names a repository {quoted(repo)}, which is no name")
    return repo


def civitai_maturity(flag: Any, *levels: Any) -> bool | None:
    """Return whether Civitai has something for adults only; None where it is not rated yet.

    `flag` is the author's word, `levels` are of its version and its model: what their images show.
    """
    if flag is True:
        return True
    told = [level for level in levels if isinstance(level, int) and not isinstance(level, bool)]
    rated = next((level for level in told if level > 0), None)
    if rated is not None:
        return bool(rated & MATURE_BITS)
    return flag if isinstance(flag, bool) and not told else None


def read_sha256(value: Any) -> str | None:
    """Return a sha256 in small letters, None where there is none."""
    found = value.lower() if isinstance(value, str) else ""
    return found if _SHA256.fullmatch(found) else None


def read_file(name: str, size: Any, sha256: str | None, revision: str = "master") -> FileRecord:
    """Return a file's record; a size that is none is left out.

    Raises:
        SourceError: the name is endless, or holds what is not to be shown.
    """
    if len(name) > _MAX_PATH or not name.isprintable():
        raise SourceError(f"it lists a file {quoted(name)}, which is no name")
    known_size = isinstance(size, int) and 0 < size <= _MAX_SIZE
    return FileRecord(name, size if known_size else None, sha256, revision)


def find_iso_time(value: Any) -> datetime | None:
    """Read a time as "2026-05-19T02:35:02.526Z", None where it is none; without a zone UTC."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def read_iso_time(value: Any, repo: str) -> datetime:
    """Read a time as `find_iso_time` does.

    Raises:
        SourceError: it is none.
    """
    time = find_iso_time(value)
    if time is None:
        raise SourceError(f"{repo}: {quoted(str(value), 40)} is not a time")
    return time


def read_url(base: str, url: Any) -> str | None:
    """Return an address that stands below `base` or on its own, None where it is none."""
    if not isinstance(url, str) or not 0 < len(url) <= _MAX_URL or not url.isprintable():
        return None
    try:
        absolute = urljoin(base, url)
        return absolute if urlsplit(absolute).scheme in ("http", "https") else None
    except ValueError:
        return None


def read_licence(value: Any) -> str | None:
    licence = clean_line(value, MAX_WORD)
    return licence if licence and licence.lower() not in ("none", "null", "unknown") else None


def read_id(value: Any) -> str:
    """Return a number or a word that a hub knows something by."""
    known = isinstance(value, int) and not isinstance(value, bool)
    return clean_line(str(value) if known else value, MAX_WORD)
