"""What Civitai says of a model -> records, one an adapter. Pure: no network, no client."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from crawler.errors import SourceError
from crawler.hub_json import as_count, as_dict, as_list
from crawler.hub_text import (
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_PROMPT,
    MAX_WORD,
    clean_line,
    clean_text,
    clean_words,
    plain_text,
    split_phrases,
)
from crawler.records import AdapterRecord, CoverRecord, FileRecord
from crawler.sources.hub_fields import (
    civitai_maturity,
    find_iso_time,
    read_file,
    read_id,
    read_sha256,
    read_url,
)
from crawler.sources.walking import ListedItem

HUB = "civitai"
TYPES = ("LORA", "LoCon", "DoRA")
# What a file of weights may be called there; besides, whatever is a version's primary one.
WEIGHTS = ("Model", "Pruned Model", "Enhancement LoRA", "Diffusion Model", "UNet")
SUFFIX = ".safetensors"
# What authors put into names of the same weights, written otherwise.
WRITTEN_AS = re.compile(r"(?<![a-z])(fp32|fp16|bf16|fp8\w*|full|pruned)(?![a-z])", re.IGNORECASE)
# Endings that are not safetensors', whatever the hub has noted of the format.
OTHERS = (".bin", ".ckpt", ".gguf", ".json", ".onnx", ".pt", ".pth", ".txt", ".yaml", ".zip")
MAX_VERSIONS = 500
MAX_COVERS = 10
# Of an image's nsfwLevel; some say it in words.
_BLOCKED_BIT = 32
# Originals reach 19 MB. Thumbnails here are smaller than this.
_COVER_SIZE = "width=450"
_MODES = {"Archived": "its author has archived it", "TakenDown": "Civitai has taken it down"}


@dataclass(frozen=True, slots=True)
class ListedModel(ListedItem):
    """A model to be read; `facts` are what the hub says of it, where that is here already.

    One that is read `again` has the time that its facts say.
    """

    facts: Mapping[str, Any] | None = None
    again: bool = False


def read_listed(item: Any, before: datetime) -> ListedModel:
    """Read one item of the listing; one that has no time yet stands where the item before does.

    Raises:
        SourceError: it has no id.
    """
    facts = as_dict(item)
    repo = read_model_id(facts)
    return ListedModel(repo, changed_at(facts) or before)


def read_model_id(facts: Mapping[str, Any]) -> str:
    """Return the number of a model as text, which goes into urls.

    Raises:
        SourceError: there is none.
    """
    number = facts.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**63:
        raise SourceError("an item of the listing has no id")
    return str(number)


def is_lora(item: Any) -> bool:
    """Whether an item is a LoRA, or does not say what it is."""
    return as_dict(item).get("type", TYPES[0]) in TYPES


def changed_at(facts: Mapping[str, Any]) -> datetime | None:
    """Return when a model's last version was published, by which the hub sorts."""
    times = [find_iso_time(version.get("publishedAt")) for version in versions_of(facts)]
    return max(filter(None, times), default=None)


def versions_of(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a model's versions, newest first as the hub lists them."""
    return [v for v in as_list(facts.get("modelVersions"))[:MAX_VERSIONS] if isinstance(v, dict)]


def why_incomplete(facts: Mapping[str, Any]) -> str:
    """Say how many of a model's versions are left out; "" where none is."""
    count = len(as_list(facts.get("modelVersions")))
    left_out = count - MAX_VERSIONS
    return f"it has {count} versions; the last {left_out} are not read" if left_out > 0 else ""


def tells_prompts(version: Mapping[str, Any]) -> bool:
    """Whether asking for a version alone would tell prompts of its images."""
    images = map(as_dict, as_list(version.get("images"))[:MAX_COVERS])
    return any(
        image.get("hasPositivePrompt", image.get("hasMeta", True)) is not False for image in images
    )


def find_files(version: Mapping[str, Any]) -> list[FileRecord]:
    """Return the files of a version that are adapters, its primary one first.

    Two networks of one base, as Wan 2.2's for high and for low noise, have an adapter each in
    one version. The same weights in another precision are left out, told by their names. The hub
    gives all files of a DoRA's version one name; there, what it notes of their precision tells.
    `revision` is the hub's number of the file, by which it is fetched.
    """
    files = [file for file in as_list(version.get("files")) if _is_adapter(file)]
    files.sort(key=lambda file: file.get("primary") is not True)
    known: dict[str, tuple[str, Any, Any]] = {}
    found: list[FileRecord] = []
    for file in files:
        name, facts = _file_name(file), as_dict(file.get("metadata"))
        weights = WRITTEN_AS.sub("", name.lower()).replace("_", "").replace("-", "")
        written = name, facts.get("fp"), facts.get("size")
        is_other = file.get("type", "Model") == "Model" and known.get(weights, written) == written
        if found and not is_other:
            continue
        if weights in known:
            name = f"{name.removesuffix(SUFFIX)}-{read_id(file.get('id'))}{SUFFIX}"
        known[weights] = written
        found.append(_read_file(file, name))
    return found


def has_no_adapter(facts: Mapping[str, Any]) -> bool:
    """Whether a model's versions tell their files, and none is an adapter."""
    versions = versions_of(facts)
    told = all(isinstance(version.get("files"), list) for version in versions)
    return bool(versions) and told and not any(map(find_files, versions))


def _read_file(file: Any, name: str) -> FileRecord:
    kilobytes, sha256 = file.get("sizeKB"), as_dict(file.get("hashes")).get("SHA256")
    known = type(kilobytes) in (int, float) and 0 < kilobytes < 2**40
    size = round(kilobytes * 1024) if known else None
    return read_file(name, size, read_sha256(sha256), read_id(file.get("id")))


def _is_adapter(file: Any) -> bool:
    facts = as_dict(file)
    weights = facts.get("type", "Model") in WEIGHTS or facts.get("primary") is True
    return weights and bool(_file_name(facts))


def _file_name(facts: Mapping[str, Any]) -> str:
    """Return the name of a file of safetensors, with that ending; "" for others.

    Authors may call a file what they like, and then its format tells.
    """
    name = facts.get("name")
    if not isinstance(name, str) or not name:
        return ""
    low = name.lower()
    if low.endswith(SUFFIX):
        return name
    told = as_dict(facts.get("metadata")).get("format") == "SafeTensor"
    return name.removesuffix(".sft") + SUFFIX if told and not low.endswith(OTHERS) else ""


def read_version(
    facts: Mapping[str, Any],
    version: Mapping[str, Any],
    listed: ListedItem,
    endpoint: str,
    *,
    now: datetime,
    has_token: bool,
) -> list[AdapterRecord]:
    """Return the records of one version: one for each file that is an adapter."""
    files = find_files(version)
    if not files:
        return []
    name, number = clean_line(facts.get("name"), MAX_NAME), read_id(version.get("id"))
    own_name = clean_line(version.get("name"), MAX_NAME)
    of_version = own_name if len(versions_of(facts)) > 1 else ""
    texts = [plain_text(facts.get("description")), plain_text(version.get("description"))]
    withheld, until = _withheld(facts, version, now=now, has_token=has_token)
    stats = as_dict(version.get("stats")) or as_dict(facts.get("stats"))
    published = find_iso_time(version.get("publishedAt"))
    record = AdapterRecord(
        hub=HUB,
        repo=listed.repo,
        version=number,
        name=f"{name} ({of_version})" if of_version else name or listed.repo,
        author=clean_line(as_dict(facts.get("creator")).get("username"), MAX_NAME),
        description=clean_text("\n".join(filter(None, texts)), MAX_DESCRIPTION),
        trigger_words=split_phrases(version.get("trainedWords")),
        tags=clean_words(as_list(facts.get("tags"))),
        base_model_words=clean_words([version.get("baseModel")]),
        licence=_licence(facts),
        mature=is_mature(facts, version),
        downloads=as_count(stats.get("downloadCount")),
        created_at=find_iso_time(version.get("createdAt")) or published or listed.updated_at,
        updated_at=listed.updated_at,
        file=files[0],
        covers=tuple(_covers(version, endpoint)),
        page_url=f"{endpoint}/models/{listed.repo}?modelVersionId={number}",
        withheld=withheld,
        withheld_until=until,
    )
    if len(files) == 1:
        return [record]
    return [replace(record, name=f"{record.name}: {_stem(file)}", file=file) for file in files]


def _stem(file: FileRecord) -> str:
    return clean_line(PurePosixPath(file.name).stem, MAX_NAME)


def _withheld(
    facts: Mapping[str, Any], version: Mapping[str, Any], *, now: datetime, has_token: bool
) -> tuple[str, datetime | None]:
    """Say why a version's file cannot be had, and until when."""
    reason, until = _reserved(facts, version, now)
    if has_token:
        return reason, until
    # Without one nothing changes when early access ends.
    return reason or (
        "Civitai gives files to accounts only: set REGISTRY_CIVITAI_TOKEN, and refresh with --full"
    ), None


def why_withdrawn(facts: Mapping[str, Any]) -> str:
    """Say why a whole model cannot be had: of an archived one, no file is listed either."""
    mode = facts.get("mode")
    if not mode:
        return ""
    return _MODES.get(str(mode), f"Civitai says it is {clean_line(mode, MAX_WORD)}")


def why_for_use_there(version: Mapping[str, Any]) -> str:
    """Say why a version's file is given to nobody, by what the answer about it alone tells."""
    usage = version.get("usageControl") or "Download"
    return "" if usage == "Download" else "its author lets it be used on Civitai only"


def _reserved(
    facts: Mapping[str, Any], version: Mapping[str, Any], now: datetime
) -> tuple[str, datetime | None]:
    """Say why a version's file is not for everybody with an account, and until when."""
    if withdrawn := why_withdrawn(facts):
        return withdrawn, None
    if for_use_there := why_for_use_there(version):
        return for_use_there, None
    paid = as_dict(version.get("paidAccess"))
    if paid.get("permanent") is True:
        return "its author sells it", None
    until = find_iso_time(paid.get("endsAt")) or find_iso_time(version.get("earlyAccessEndsAt"))
    if until is not None and until > now:
        return f"early access, for who pays, until {until:%Y-%m-%d}", until
    return "", None


def is_mature(facts: Mapping[str, Any], version: Mapping[str, Any]) -> bool | None:
    """Return whether a model's version is for adults only; None where it is not rated yet."""
    return civitai_maturity(facts.get("nsfw"), version.get("nsfwLevel"), facts.get("nsfwLevel"))


def _licence(facts: Mapping[str, Any]) -> str | None:
    """Return the permissions that an author gives on Civitai, in words as licences have them."""
    uses = facts.get("allowCommercialUse")
    if uses is None and facts.get("allowDerivatives") is None:
        return None
    if isinstance(uses, str):
        uses = uses.strip("{}").split(",")
    permitted = {
        "-by": facts.get("allowNoCredit"),
        "-non-commercial": "Image" in as_list(uses) or "Sell" in as_list(uses),
        "-no-derivatives": facts.get("allowDerivatives"),
        "-sa": facts.get("allowDifferentLicense"),
    }
    return "civitai-community" + "".join(word for word, free in permitted.items() if free is False)


def _covers(version: Mapping[str, Any], endpoint: str) -> Iterator[CoverRecord]:
    for image in map(as_dict, as_list(version.get("images"))[:MAX_COVERS]):
        url, level = read_url(f"{endpoint}/", image.get("url")), image.get("nsfwLevel")
        blocked = level == "Blocked" or (isinstance(level, int) and level & _BLOCKED_BIT)
        if url and image.get("type", "image") == "image" and not blocked:
            yield CoverRecord(_small(url), _prompt(image))


def _prompt(image: Mapping[str, Any]) -> str | None:
    # One that its author hides is sent all the same.
    if False in (image.get("hasMeta"), image.get("hasPositivePrompt")):
        return None
    # The hub has been seen to nest it twice.
    meta = as_dict(image.get("meta"))
    told = meta.get("prompt") or as_dict(meta.get("meta")).get("prompt")
    return clean_text(told, MAX_PROMPT) or None


def _small(url: str) -> str:
    """Ask for a smaller size: .../{account}/{uuid}/{parameters}/{name}."""
    parts = urlsplit(url)
    folder, _, name = parts.path.rpartition("/")
    before, _, parameters = folder.rpartition("/")
    if "=" not in parameters:
        return url
    return urlunsplit(parts._replace(path=f"{before}/{_COVER_SIZE}/{name}"))


def base_model_words(facts: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    """Return what each version of a model is for."""
    return [clean_words([version.get("baseModel")]) for version in versions_of(facts)]
