"""ModelScope's detail of a repository -> records. Pure: no network, no client."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from crawler.errors import SourceError
from crawler.foreign_text import quoted
from crawler.hub_json import read_json
from crawler.hub_text import (
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_PROMPT,
    MAX_WORD,
    clean_line,
    clean_text,
    clean_words,
)
from crawler.records import AdapterRecord, CoverRecord, FileRecord

HUB = "modelscope"
MAX_COVERS = 32
MAX_FILES = 200
_MAX_URL = 2048
# What Linux takes for a path, and a PostgreSQL bigint for a size.
_MAX_PATH = 4096
_MAX_SIZE = 2**63 - 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
# The name goes into urls of the API, so nothing that could mean another path.
_REPO = re.compile(r"[\w.\-]{1,100}/[\w.\-]{1,200}")


@dataclass(frozen=True, slots=True)
class ListedRepo:
    """What the listing is needed for: whom to ask, and the cursor."""

    repo: str
    updated_at: datetime


def read_listed(item: Any) -> ListedRepo:
    """Read one item of the listing.

    Raises:
        SourceError: it names no repository or no time.
    """
    if not isinstance(item, dict):
        raise SourceError("an item of the listing is not an object")
    parts = [item.get("Path"), item.get("Name")]
    repo = "/".join(part if isinstance(part, str) else "" for part in parts)
    if not _REPO.fullmatch(repo) or any(set(part) <= {"."} for part in repo.split("/")):
        raise SourceError(f"the listing names a repository {quoted(repo)}, which is no name")
    return ListedRepo(repo, read_time(item.get("LastUpdatedTime"), repo))


def read_time(value: Any, repo: str) -> datetime:
    """Read the hub's seconds (or milliseconds) since 1970."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            # JSON knows numbers that no float holds, such as 10 ** 400.
            seconds = value / 1000 if value > 1e11 else value
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            pass
    raise SourceError(f"{repo}: {quoted(str(value), 40)} is not a time")


def listed_files(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """Return name, size and sha256 of the files that the detail itself names."""
    groups = _dict(detail.get("ModelInfos")).values()
    return [_dict(item) for group in groups for item in _list(_dict(group).get("files"))]


def read_files(
    items: Iterable[dict[str, Any]], name_key: str, size_key: str, sha256_key: str
) -> list[FileRecord]:
    """Return the safetensors files among `items`, each name once, with valid hashes only.

    Raises:
        SourceError: a name is endless, or holds what is not to be shown.
    """
    files: dict[str, FileRecord] = {}
    for item in items:
        name, size, sha256 = item.get(name_key), item.get(size_key), item.get(sha256_key)
        if not isinstance(name, str) or not name.lower().endswith(".safetensors"):
            continue
        sha256 = sha256.lower() if isinstance(sha256, str) else ""
        if _SHA256.fullmatch(sha256) and len(files) < MAX_FILES:
            if len(name) > _MAX_PATH or not name.isprintable():
                raise SourceError(f"it lists a file {quoted(name)}, which is no name")
            known_size = isinstance(size, int) and 0 < size <= _MAX_SIZE
            files.setdefault(name, FileRecord(name, size if known_size else None, sha256))
    return list(files.values())


def read_detail(
    detail: dict[str, Any],
    listed: ListedRepo,
    files: Sequence[FileRecord],
    endpoint: str,
) -> Iterator[AdapterRecord]:
    """Yield one record per version and safetensors file of a repository.

    Raises:
        SourceError: there is no such file, or a version names files that are not there.
    """
    if not files:
        raise SourceError("the repository lists no safetensors file with a sha256")
    muse = _dict(read_json(detail.get("MuseInfo")))
    matched = match_files(_list(muse.get("versions")), files)
    for version, file in matched:
        yield _record(detail, muse, version, file, listed, endpoint, alone=len(matched) == 1)


def match_files(
    versions: Sequence[Any], files: Sequence[FileRecord]
) -> list[tuple[dict[str, Any], FileRecord]]:
    """Say which version each file belongs to: a repository may hold unrelated LoRAs.

    A single version owns all files when its own list is empty. Files that no version names
    are left out where versions do name files: they are leftovers of training.

    Raises:
        SourceError: several versions, none of which names a file that exists.
    """
    known = [version for version in versions if isinstance(version, dict)]
    if not known:
        return [({}, file) for file in files]
    pairs = [(version, file) for version in known for file in files if _names(version, file)]
    if pairs:
        return pairs
    if len(known) == 1:
        return [(known[0], file) for file in files]
    raise SourceError(f"none of its {len(known)} versions names a file that the repository has")


def _names(version: dict[str, Any], file: FileRecord) -> bool:
    for entry in _list(_dict(version.get("stats")).get("fileList")):
        item = entry if isinstance(entry, dict) else {"name": entry}
        if file.sha256 and str(item.get("sha256", "")).lower() == file.sha256:
            return True
        name = next((item[key] for key in ("name", "path", "fileName") if key in item), None)
        if isinstance(name, str) and PurePosixPath(name).name == PurePosixPath(file.name).name:
            return True
    return False


def _record(
    detail: dict[str, Any],
    muse: dict[str, Any],
    version: dict[str, Any],
    file: FileRecord,
    listed: ListedRepo,
    endpoint: str,
    *,
    alone: bool,
) -> AdapterRecord:
    facts = _dict(version.get("modelVersion"))
    muse_model = _dict(muse.get("model"))
    trigger_words = clean_words(facts.get("triggerWords"))
    return AdapterRecord(
        hub=HUB,
        repo=listed.repo,
        version=_identifier(facts.get("id")),
        name=_name(detail, muse_model, facts, listed, alone),
        author=listed.repo.split("/")[0],
        description=clean_text(facts.get("description"), MAX_DESCRIPTION)
        or clean_text(detail.get("Description"), MAX_DESCRIPTION),
        trigger_words=trigger_words or clean_words(detail.get("TriggerWords")),
        tags=_tags(detail, muse_model),
        base_model_words=_base_model_words(detail, muse_model),
        licence=_licence(detail.get("License")),
        mature=None,  # The hub publishes no such field.
        downloads=_count(detail.get("Downloads")),
        created_at=read_time(detail.get("CreatedTime"), listed.repo),
        # The listing's time, even where the detail's is newer by now: the cursor must not
        # run ahead of what is still to come.
        updated_at=listed.updated_at,
        file=file,
        covers=tuple(_covers(version, endpoint)),
        page_url=f"{endpoint}/models/{quote(listed.repo)}",
    )


def _name(
    detail: dict[str, Any],
    muse_model: dict[str, Any],
    facts: dict[str, Any],
    listed: ListedRepo,
    alone: bool,
) -> str:
    spellings = (detail.get("ChineseName"), muse_model.get("modelName"), detail.get("Name"))
    names = (clean_line(spelling, MAX_NAME) for spelling in spellings)
    name = next(filter(None, names), listed.repo.split("/")[1])
    shown = clean_line(facts.get("showName") or facts.get("versionName"), MAX_NAME)
    return name if alone or not shown or shown == name else f"{name} ({shown})"[: 2 * MAX_NAME]


def _base_model_words(detail: dict[str, Any], muse_model: dict[str, Any]) -> tuple[str, ...]:
    """Return what the hub says of the base model, most exact first."""
    attributes = _dict(read_json(detail.get("AigcAttributes")))
    kinds = [
        holder.get(key)
        for holder in (detail, attributes)
        for key in ("SubVisionFoundation", "VisionFoundation")
    ]
    named = clean_words(detail.get("BaseModel"))
    return clean_words([*named, *kinds, muse_model.get("stableDiffusionVersion")])


def _tags(detail: dict[str, Any], muse_model: dict[str, Any]) -> tuple[str, ...]:
    official = [_dict(tag).get("Tag") for tag in _list(detail.get("OfficialTags"))]
    muse_tags = [
        tag.get("name") if isinstance(tag, dict) else tag for tag in _list(muse_model.get("tags"))
    ]
    return clean_words([*_list(read_json(detail.get("Tags"))), *official, *muse_tags])


def _covers(version: dict[str, Any], endpoint: str) -> Iterator[CoverRecord]:
    for image in _list(version.get("coverImages"))[:MAX_COVERS]:
        url = _dict(image).get("url")
        if isinstance(url, str) and 0 < len(url) <= _MAX_URL and url.isprintable():
            absolute = _join(endpoint, url)
            if absolute:
                yield CoverRecord(absolute, clean_text(image.get("prompt"), MAX_PROMPT) or None)


def _join(endpoint: str, url: str) -> str | None:
    try:
        absolute = urljoin(f"{endpoint}/", url)
        return absolute if urlsplit(absolute).scheme in ("http", "https") else None
    except ValueError:
        return None


def _licence(value: Any) -> str | None:
    licence = clean_line(value, MAX_WORD)
    return licence if licence and licence.lower() not in ("none", "null", "unknown") else None


def _identifier(value: Any) -> str:
    return clean_line(str(value) if isinstance(value, int) else value, MAX_WORD)


def _count(value: Any) -> int:
    # Within a PostgreSQL integer, whatever the hub says.
    return min(max(value, 0), 2**31 - 1) if isinstance(value, int) else 0


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
