"""What Hugging Face says of a repository -> records. Pure: no network, no client."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from crawler.errors import SourceError
from crawler.filters import EVERYTHING, UNKNOWN, Filters
from crawler.hub_json import as_count, as_dict, as_list
from crawler.hub_text import (
    MAX_NAME,
    MAX_PROMPT,
    MAX_WORD,
    clean_line,
    clean_text,
    clean_words,
    split_phrases,
)
from crawler.peft_config import find_configs
from crawler.records import AdapterRecord, CoverRecord, FileRecord
from crawler.sources.hub_fields import (
    MATURE,
    MAX_COVERS,
    MAX_FILES,
    check_repo,
    find_iso_time,
    read_file,
    read_iso_time,
    read_licence,
    read_sha256,
    read_url,
)
from crawler.sources.walking import ListedItem

HUB = "huggingface"
REVISION = "main"
# Which of the many LoRAs there change what draws; most others are for language models.
_DRAWING_TAGS = {
    "diffusers", "text-to-image", "image-to-image", "text-to-video", "image-to-video",
    "image-text-to-image", "video-to-video", "image-text-to-video", "stable-diffusion",
    "stable-diffusion-xl", "flux", "comfyui",
}  # fmt: skip
_TEMPLATE, _BASE = "template:", "base_model:"
# What diffusers and transformers call the weights of whole models, in parts too.
_WHOLE_MODEL = re.compile(r"(diffusion_pytorch_model|model)([.-].*)?\.safetensors", re.IGNORECASE)
_VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".avi")


def read_listed(item: Any, filters: Filters = EVERYTHING) -> ListedItem:
    """Read one item of the listing.

    Raises:
        SourceError: it names no repository or no time.
    """
    facts = as_dict(item)
    name = facts.get("id")
    repo = check_repo(name if isinstance(name, str) else "")
    enough = as_count(facts.get("downloads")) >= filters.min_downloads
    # All of them: a base may stand behind more than are kept.
    tags = [tag.lower() for tag in as_list(facts.get("tags")) if isinstance(tag, str)]
    wanted = enough and _draws(tags, filters) and not is_private(facts)
    return ListedItem(repo, read_iso_time(facts.get("lastModified"), repo), wanted)


def is_private(facts: Mapping[str, Any]) -> bool:
    """Whether only the token's account may see a repository, and not all who search here."""
    return facts.get("private") is True


def _draws(tags: Sequence[str], filters: Filters) -> bool:
    """Whether tags say so, or name a base that is known to."""
    bases = [tag.rpartition(":")[2] for tag in tags if tag.startswith(_BASE)]
    return (
        any(tag in _DRAWING_TAGS or tag.startswith(_TEMPLATE) for tag in tags)
        or filters.name_base(bases) != UNKNOWN
    )


def listed_files(detail: Mapping[str, Any]) -> list[FileRecord]:
    """Return the files of adapters with a hash that the detail names.

    One that is called as whole models are, where there is no other: the header tells.
    """
    siblings = as_list(detail.get("siblings"))
    files = _read_files(siblings, "rfilename", "sha256", _may_be_adapter)
    is_pipeline = any(as_dict(item).get("rfilename") == "model_index.json" for item in siblings)
    if files or is_pipeline:
        return files
    return _read_files(siblings, "rfilename", "sha256", _may_be_lone_adapter)


def has_no_adapter(detail: Mapping[str, Any]) -> bool:
    """Whether a repository's files are told, and none may be an adapter's by its name."""
    told = [as_dict(item).get("rfilename") for item in as_list(detail.get("siblings"))]
    names = [name for name in told if isinstance(name, str)]
    may_be = (_may_be_adapter(name) or _may_be_lone_adapter(name) for name in names)
    return bool(names) and not any(may_be)


def tree_files(tree: Any) -> list[FileRecord]:
    """Return the same of the answer about a repository's tree."""
    return _read_files(as_list(tree), "path", "oid", _may_be_adapter)


def _read_files(
    items: Sequence[Any], name_key: str, sha256_key: str, is_wanted: Callable[[str], bool]
) -> list[FileRecord]:
    files: dict[str, FileRecord] = {}
    for item in map(as_dict, items):
        name, lfs = item.get(name_key), as_dict(item.get("lfs"))
        sha256 = read_sha256(lfs.get(sha256_key))
        if not isinstance(name, str) or not sha256 or not is_wanted(name):
            continue
        if len(files) < MAX_FILES:
            files.setdefault(name, read_file(name, lfs.get("size"), sha256, REVISION))
    return list(files.values())


def _may_be_adapter(name: str) -> bool:
    base = PurePosixPath(name).name
    return base.lower().endswith(".safetensors") and not _WHOLE_MODEL.fullmatch(base)


def _may_be_lone_adapter(name: str) -> bool:
    """Whether a file in a repository's root is one file, whatever it is called."""
    in_parts = re.search(r"-\d+-of-\d+\.", name)
    return name.lower().endswith(".safetensors") and "/" not in name and not in_parts


def config_beside(detail: Mapping[str, Any], file: FileRecord) -> str:
    """Return the path of PEFT's config that belongs to a file, "" where there is none."""
    names = [as_dict(item).get("rfilename") for item in as_list(detail.get("siblings"))]
    return find_configs({name for name in names if isinstance(name, str)}).get(file.name, "")


def read_detail(
    detail: Mapping[str, Any],
    listed: ListedItem,
    files: Sequence[FileRecord],
    endpoint: str,
    *,
    has_token: bool,
) -> Iterator[AdapterRecord]:
    """Yield one record per file of a repository that may be an adapter.

    Raises:
        SourceError: there is no such file.
    """
    if not files:
        raise SourceError("the repository lists no safetensors file of an adapter with a sha256")
    card = as_dict(detail.get("cardData"))
    raw_tags = as_list(detail.get("tags"))
    hub_tags = clean_words(raw_tags)
    author, name = listed.repo.split("/")
    stems = Counter(PurePosixPath(file.name).stem for file in files)
    for file in files:
        path = PurePosixPath(file.name)
        # Files of one name in several folders, as of epochs, are told apart by the folders.
        said = path.stem if stems[path.stem] == 1 else str(path.with_suffix(""))
        own_name = f"{name} ({clean_line(said, MAX_NAME)})"
        yield AdapterRecord(
            hub=HUB,
            repo=listed.repo,
            version="",
            name=name if len(files) == 1 else own_name,
            author=author,
            description="",
            trigger_words=split_phrases(card.get("instance_prompt")),
            tags=_tags(card, hub_tags),
            base_model_words=_base_model_words(card, hub_tags),
            licence=_licence(card),
            mature=True if MATURE in raw_tags else None,
            downloads=as_count(detail.get("downloads")),
            created_at=find_iso_time(detail.get("createdAt")) or listed.updated_at,
            # The listing's time, as the cursor must not run ahead of what is still to come.
            updated_at=listed.updated_at,
            file=file,
            covers=tuple(_covers(detail, listed.repo, endpoint)),
            page_url=f"{endpoint}/{quote(listed.repo)}",
            withheld=_withheld(detail, has_token),
        )


def _tags(card: Mapping[str, Any], hub_tags: Sequence[str]) -> tuple[str, ...]:
    own = clean_words(card.get("tags"))
    # The hub's own say base, licence and region again: "license:mit".
    return clean_words([tag for tag in own or hub_tags if ":" not in tag])


def _base_model_words(card: Mapping[str, Any], hub_tags: Sequence[str]) -> tuple[str, ...]:
    tagged = [tag.rpartition(":")[2] for tag in hub_tags if tag.startswith(_BASE)]
    return clean_words([*clean_words(card.get("base_model")), *tagged])


def _licence(card: Mapping[str, Any]) -> str | None:
    named = clean_words(card.get("license"))
    if named[:1] == ("other",):
        return read_licence(card.get("license_name")) or "other"
    return read_licence(", ".join(named)[:MAX_WORD])


def _covers(detail: Mapping[str, Any], repo: str, endpoint: str) -> Iterator[CoverRecord]:
    if detail.get("gated"):
        return  # Who is not let in to the file is not let in to the pictures.
    widgets = as_list(as_dict(detail.get("cardData")).get("widget"))
    for widget in map(as_dict, widgets[:MAX_COVERS]):
        place = f"{endpoint}/{quote(repo)}/resolve/{REVISION}/"
        url = read_url(place, as_dict(widget.get("output")).get("url"))
        if url and not urlsplit(url).path.lower().endswith(_VIDEOS):
            prompt = clean_text(widget.get("text"), MAX_PROMPT)
            yield CoverRecord(url, prompt if prompt.strip("-") else None)


def _withheld(detail: Mapping[str, Any], has_token: bool) -> str:
    if detail.get("disabled") is True:
        return "Hugging Face has disabled the repository"
    gated = detail.get("gated")
    if gated and not has_token:
        return (
            f"its author lets in accounts that ask ({clean_line(gated, MAX_WORD) or 'gated'}). "
            "Ask on its page, set REGISTRY_HUGGING_FACE_TOKEN, and refresh with --full"
        )
    return ""
