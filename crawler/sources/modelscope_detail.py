"""ModelScope's detail of a repository -> records. Pure: no network, no client."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import quote

from crawler.errors import SourceError
from crawler.foreign_text import quoted
from crawler.hub_json import as_count, as_dict, as_list, read_json
from crawler.hub_text import (
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_PROMPT,
    clean_line,
    clean_text,
    clean_words,
)
from crawler.records import AdapterRecord, CoverRecord, FileRecord
from crawler.sources.hub_fields import (
    MAX_COVERS,
    MAX_FILES,
    check_repo,
    read_file,
    read_id,
    read_licence,
    read_sha256,
    read_url,
)
from crawler.sources.walking import ListedItem

HUB = "modelscope"


@dataclass(frozen=True, slots=True)
class ListedRepo(ListedItem):
    """An item of the listing; `facts` are all its fields, which are the detail's, or most."""

    facts: Mapping[str, Any] | None = None

    @property
    def detail(self) -> dict[str, Any] | None:
        """Return the detail where the listing says all that is needed of it."""
        facts = dict(self.facts or {})
        told = facts.get("MuseInfo") and facts.get("CreatedTime") and listed_files(facts)
        return facts if told else None


def read_listed(item: Any) -> ListedRepo:
    """Read one item of the listing.

    Raises:
        SourceError: it names no repository or no time.
    """
    if not isinstance(item, dict):
        raise SourceError("an item of the listing is not an object")
    parts = [item.get("Path"), item.get("Name")]
    repo = check_repo("/".join(part if isinstance(part, str) else "" for part in parts))
    return ListedRepo(repo, read_time(item.get("LastUpdatedTime"), repo), facts=item)


def is_lora(item: Any) -> bool:
    """Whether the listing calls an item a LoRA, or does not say what it is."""
    kind = item.get("AigcType", "LoRA") if isinstance(item, dict) else "LoRA"
    return isinstance(kind, str) and kind.lower() == "lora"


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


def named_files(detail: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name, size and sha256 of the files that the detail itself names."""
    groups = as_dict(detail.get("ModelInfos")).values()
    return [as_dict(item) for group in groups for item in as_list(as_dict(group).get("files"))]


def listed_files(detail: Mapping[str, Any]) -> list[FileRecord]:
    """Return those of them that are safetensors files with a hash."""
    return read_files(named_files(detail), "name", "size", "sha256")


def is_weights(name: Any) -> TypeGuard[str]:
    """Whether a file may be an adapter's, by its name."""
    return isinstance(name, str) and name.lower().endswith(".safetensors")


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
        if not is_weights(name):
            continue
        announced = read_sha256(sha256)
        if announced and len(files) < MAX_FILES:
            files.setdefault(name, read_file(name, size, announced))
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
    muse = as_dict(read_json(detail.get("MuseInfo")))
    matched = match_files(as_list(muse.get("versions")), files)
    for version, file in matched:
        yield _record(detail, muse, version, file, listed, endpoint, alone=len(matched) == 1)


def match_files(
    versions: Sequence[Any], files: Sequence[FileRecord]
) -> list[tuple[dict[str, Any], FileRecord]]:
    """Say which version each file belongs to: a repository may hold unrelated LoRAs.

    A single version owns all files when its own list is empty. Files that no version names
    are left out where versions do name files: they are leftovers of training. Where several
    versions name files of one base name, in folders that are not told, each has one of them.

    Raises:
        SourceError: several versions, none of which names a file that exists.
    """
    known = [version for version in versions if isinstance(version, dict)]
    if not known:
        return [({}, file) for file in files]
    if len(known) > 1:
        pairs = _share_out(known, files)
    else:
        pairs = [(known[0], file) for file in files if _is_named(known[0], file)]
    if pairs:
        return pairs
    if len(known) == 1:
        return [(known[0], file) for file in files]
    raise SourceError(f"none of its {len(known)} versions names a file that the repository has")


def _share_out(
    versions: Sequence[dict[str, Any]], files: Sequence[FileRecord]
) -> list[tuple[dict[str, Any], FileRecord]]:
    """Return for each file that a version names the one that it means."""
    pairs: list[tuple[dict[str, Any], FileRecord]] = []
    given: set[str] = set()
    for version in versions:
        for entry in _entries(version):
            meant = [file for file in files if _means(entry, file)]
            # A hash or a path is exact, and so is a size where names are alike.
            exact = [file for file in meant if entry.get("sha256") == file.sha256]
            exact = exact or [file for file in meant if entry.get("name") == file.name]
            sized = [file for file in meant if entry.get("size") == file.size]
            free = [file for file in meant if file.name not in given]
            for file in (exact or (sized if len(sized) == 1 else free))[:1]:
                given.add(file.name)
                pairs.append((version, file))
    return pairs


def _is_named(version: dict[str, Any], file: FileRecord) -> bool:
    return any(_means(entry, file) for entry in _entries(version))


def _means(entry: Mapping[str, Any], file: FileRecord) -> bool:
    """Whether a version's entry can be of a file: by its hash, or else by its base name."""
    if entry["sha256"] and entry["sha256"] == file.sha256:
        return True
    return bool(entry["name"]) and _base(entry["name"]) == _base(file.name)


def _entries(version: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield name, sha256 and size of the files that a version names, each where it is told."""
    stats = _stats(version)
    sizes = as_list(stats.get("fileSizes"))
    for place, entry in enumerate(as_list(stats.get("fileList"))[:MAX_FILES]):
        item = entry if isinstance(entry, dict) else {"name": entry}
        name = next((item[key] for key in ("name", "path", "fileName") if key in item), None)
        yield {
            "name": name if isinstance(name, str) else "",
            "sha256": read_sha256(item.get("sha256")),
            "size": sizes[place] if place < len(sizes) else item.get("size"),
        }


def _stats(version: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a version's files; some answers have it as a text beside its id only."""
    stats = as_dict(version.get("stats"))
    if isinstance(stats.get("fileList"), list):
        return stats
    return as_dict(read_json(as_dict(version.get("modelVersion")).get("stats")))


def _base(name: str) -> str:
    return PurePosixPath(name).name


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
    facts = as_dict(version.get("modelVersion"))
    muse_model = as_dict(muse.get("model"))
    trigger_words = clean_words(facts.get("triggerWords"))
    return AdapterRecord(
        hub=HUB,
        repo=listed.repo,
        version=read_id(facts.get("id")),
        name=_name(detail, muse_model, facts, listed, alone),
        author=listed.repo.split("/")[0],
        description=clean_text(facts.get("description"), MAX_DESCRIPTION)
        or clean_text(detail.get("Description"), MAX_DESCRIPTION),
        trigger_words=trigger_words or clean_words(detail.get("TriggerWords")),
        tags=_tags(detail, muse_model),
        base_model_words=base_model_words(detail, muse_model),
        licence=read_licence(detail.get("License")),
        mature=None,  # The hub publishes no such field.
        downloads=as_count(detail.get("Downloads")),
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


def base_model_words(detail: Mapping[str, Any], muse_model: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the hub says of the base model, most exact first."""
    attributes = as_dict(read_json(detail.get("AigcAttributes")))
    kinds = [
        holder.get(key)
        for holder in (detail, attributes)
        for key in ("SubVisionFoundation", "VisionFoundation")
    ]
    named = clean_words(detail.get("BaseModel"))
    return clean_words([*named, *kinds, muse_model.get("stableDiffusionVersion")])


def _tags(detail: dict[str, Any], muse_model: dict[str, Any]) -> tuple[str, ...]:
    official = [as_dict(tag).get("Tag") for tag in as_list(detail.get("OfficialTags"))]
    muse_tags = [
        tag.get("name") if isinstance(tag, dict) else tag for tag in as_list(muse_model.get("tags"))
    ]
    return clean_words([*as_list(read_json(detail.get("Tags"))), *official, *muse_tags])


def _covers(version: dict[str, Any], endpoint: str) -> Iterator[CoverRecord]:
    for image in as_list(version.get("coverImages"))[:MAX_COVERS]:
        url = read_url(f"{endpoint}/", as_dict(image).get("url"))
        if url:
            yield CoverRecord(url, clean_text(image.get("prompt"), MAX_PROMPT) or None)
