"""What people paste to point at an adapter: its address on a hub, a hash of it, its file's name.

Only read here, not looked up. One text may say several, one part of it in several ways: what is
told first is the most precise. Whatever is read is bounded: questions may be hostile.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from string import ascii_letters
from urllib.parse import parse_qsl, unquote

from crawler.file_names import is_generic
from encoder.chinese import HAN
from registry.text.word_segmentation import clean

# Of each kind, in one text.
MOST_POINTERS = 10
# Sites of hubs and mirrors of them, without "www.", by the hub's name in our records. Not taken
# from crawler.sources, which would bring its HTTP client into every search.
SITES = {
    "civitai.com": "civitai",
    "civitai.red": "civitai",
    "civitai.green": "civitai",
    "civarchive.com": "civitai",
    "civitaiarchive.com": "civitai",
    "huggingface.co": "huggingface",
    "hf.co": "huggingface",
    "hf-mirror.com": "huggingface",
    "modelscope.cn": "modelscope",
    "modelscope.ai": "modelscope",
}
CIVITAI = "civitai"
QUOTES = "\"'`“”‘’„‚«»「」『』"
# Longer ones are no addresses that a hub would give.
LONGEST_ADDRESS = 2000
LONGEST_NAME = 200
# So many words before its ending may belong to a file's name.
MOST_NAME_WORDS = 8

# Most questions have nothing of the kind.
_HINT = re.compile(r"[/\\.:]|[0-9a-f]{8}", re.IGNORECASE)
# Signs of addresses, but for commas and brackets, which stand around them.
_ADDRESS = re.compile(r"[A-Za-z0-9\-._~:/?#@!$&*+;=%]+")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]{0,99}/[A-Za-z0-9][\w.\-]{0,99}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}")
# `urn:air:sdxl:lora:civitai:50004@100004`, whose beginning Civitai's own pages leave out.
_AIR = re.compile(
    r"(?:urn:air:[a-z0-9_.\-]{0,40}:[a-z0-9_.\-]{0,40}:)?(?<![a-z0-9.])"
    r"civitai: ?([0-9]{1,18})(?: ?@ ?([0-9]{1,18}))?(?![0-9a-z])",
    re.IGNORECASE,
)
# What stands before a file's path in addresses of Hugging Face and ModelScope, and a revision.
_TO_FILE = ("resolve", "blob", "raw", "view")
_ENDING = re.compile(r"\.(?:safetensors|ckpt|pth?|bin)(?![A-Za-z0-9])", re.IGNORECASE)
# Civitai's AutoV2 is the first 10 digits of a file's sha256, AutoV3 the first 12 of its body's; our
# exports end names with the first 8.
_HASH = re.compile(r"(?<![0-9A-Za-z])(?:0x)?([0-9a-f]{8,64})(?![0-9A-Za-z])", re.IGNORECASE)
# Hubs and web UIs write what a hash is before it, people quote it, and programs write numbers as #…
# or 0x….
_LABEL = re.compile(
    rf"(?:(?<![a-z])(?:sha-?256|autov[123]|(?:model |lora )?hash)[\s:=：{QUOTES}]{{1,8}})?"
    rf"[{QUOTES}#＃]{{0,2}}\Z",
    re.IGNORECASE,
)
_LONGEST_LABEL = 30
# What A1111 writes into pictures, a name before each hash.
_LORA_HASHES = re.compile(r'\bLora hashes:\s*(?:"[^"\n]*"?|[^,\n]*)', re.IGNORECASE)
# Where a file's name begins, but for the spaces before it.
_BEFORE_NAME = re.compile(r'[/\\:*?<>|"“”«»「」『』`\n\r\t]')
_START = re.compile(rf"\s+|(?<=[{HAN}])(?=[^{HAN}])")
_ROOT = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:[\\/]|(?<!\S)(?:~|\.{1,2})?[\\/]")
_SEAMS = " ,，、;；"
_BRACKETS = {"(": ")", "[": "]", "{": "}", "（": "）", "【": "】"}


@dataclass(frozen=True, slots=True)
class HashPointer:
    """A hash of a file or of its tensors, or the beginning of one; `span` is where it is said."""

    span: tuple[int, int]
    digits: str


@dataclass(frozen=True, slots=True)
class PagePointer:
    """A repository of a hub, as its address names it, and what of it: all where nothing is said.

    `hub` is empty where none is named, `repo` where the version's number says it all.
    """

    span: tuple[int, int]
    hub: str
    repo: str
    version: str = ""
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class FilePointer:
    """The name of a file without its folders and ending, in lower case.

    Where a name with spaces begins among other words is not said: it is told with each beginning,
    the longest name first.
    """

    span: tuple[int, int]
    stem: str


Pointer = HashPointer | PagePointer | FilePointer


def read_pointers(text: str) -> list[Pointer]:
    """Return what a text may point to adapters with: of each part the most precise first."""
    if not _HINT.search(text):
        return []
    files = _files(text)
    wholes = [
        *(
            (start, start + len(written))
            for start, written in _addresses(text)
            if _is_whole(written)
        ),
        *(found.span() for found in _LORA_HASHES.finditer(text)),
    ][:MOST_POINTERS]
    # Of a file's names the shortest first: what stands before it may be other words.
    wholes += [file.span for file in reversed(files)]
    found: list[Pointer] = [*_pages(text), *_hashes(text), *files]
    return [
        replace(pointer, span=_with_quotes(text, _widened(pointer.span, wholes)))
        for pointer in found
    ]


def without_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return what a text says beside `spans` of it; "" where that is only signs."""
    kept, end = [], 0
    for start, after in sorted(spans):
        kept.append(text[end : max(start, end)])
        end = max(end, after)
    rest = " ".join(" ".join([*kept, text[end:]]).split())
    return rest.strip(_SEAMS) if re.search(r"\w", rest) else ""


def _widened(span: tuple[int, int], wholes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the whole that a span lies in, as a hash in an address: the rest of it is no words."""
    start, end = span
    return next((whole for whole in wholes if whole[0] <= start and end <= whole[1]), span)


def _with_quotes(text: str, span: tuple[int, int]) -> tuple[int, int]:
    start, end = span
    quoted = start > 0 and end < len(text) and text[start - 1] in QUOTES and text[end] in QUOTES
    return (start - 1, end + 1) if quoted else span


def _addresses(text: str) -> Iterator[tuple[int, str]]:
    """Yield where addresses may begin, with or without their scheme, and those."""
    for found in _ADDRESS.finditer(text):
        written = found[0].rstrip(".:;!?")
        if "/" not in written:
            continue
        scheme, separator, _ = written.partition("://")
        start = len(scheme.rstrip(ascii_letters)) if separator else 0
        if len(written) - start <= LONGEST_ADDRESS:
            yield found.start() + start, written[start:]


def _is_whole(written: str) -> bool:
    """Whether an address says where it is of: it has a scheme, or begins with a hub's site."""
    return "://" in written or _hub_of(written.partition("/")[0]) is not None


def _hub_of(host: str) -> str | None:
    return SITES.get(host.lower().removeprefix("www."))


def _pages(text: str) -> list[Pointer]:
    found: list[Pointer] = [
        PagePointer(air.span(), CIVITAI, air[1], air[2] or "")
        for air in islice(_AIR.finditer(text), MOST_POINTERS)
    ]
    for start, written in _addresses(text):
        if len(found) >= MOST_POINTERS:
            break
        span = (start, start + len(written))
        scheme, separator, rest = written.partition("://")
        host, _, behind = (rest if separator else scheme).partition("/")
        hub = _hub_of(host)
        if hub is not None:
            path, _, query = behind.partition("#")[0].partition("?")
            segments = [clean(unquote(segment)) for segment in path.split("/") if segment]
            asked = {name.lower(): clean(value) for name, value in parse_qsl(query)}
            read = _on_civitai if hub == CIVITAI else _in_repository
            found += read(span, hub, segments, asked)
        elif not separator:
            found += _in_bare_repository(span, written)
    return found[:MOST_POINTERS]


def _on_civitai(
    span: tuple[int, int], hub: str, segments: Sequence[str], asked: dict[str, str]
) -> Iterator[Pointer]:
    match [segment for segment in segments if segment not in ("api", "v1")]:
        case ["models", repo, *_] if _NUMBER.fullmatch(repo):
            yield PagePointer(span, hub, repo, _number(asked.get("modelversionid", "")))
        case ["model-versions", version, *_] | ["download", "models", version, *_] if (
            _NUMBER.fullmatch(version)
        ):
            yield PagePointer(span, hub, "", version)


def _in_repository(
    span: tuple[int, int], hub: str, segments: Sequence[str], asked: dict[str, str]
) -> Iterator[Pointer]:
    match [*segments]:
        case ["api", "v1", "models", owner, name, *behind]:
            pass
        case ["api", "models", owner, name, *behind] | ["models", owner, name, *behind]:
            pass
        case [owner, name, *behind]:
            pass
        case _:
            return
    repo = f"{owner}/{name}"
    place = next((place for place, part in enumerate(behind) if part in _TO_FILE), len(behind))
    file_name = asked.get("filepath") or "/".join(behind[place + 2 :])
    if _ENDING.search(file_name):
        yield PagePointer(span, hub, repo, file_name=file_name)
    yield PagePointer(span, hub, repo)


def _in_bare_repository(span: tuple[int, int], written: str) -> Iterator[Pointer]:
    """Read `owner/name`, and the path of a file in it."""
    owner, _, rest = written.partition("/")
    name, _, file_name = rest.partition("/")
    if not _REPOSITORY.fullmatch(repo := f"{owner}/{name}"):
        return
    if _ENDING.search(file_name):
        yield PagePointer(span, "", repo, file_name=file_name)
    elif not file_name and not _ENDING.search(name):
        yield PagePointer(span, "", repo)


def _number(text: str) -> str:
    return text if _NUMBER.fullmatch(text) else ""


def _hashes(text: str) -> list[Pointer]:
    found: list[Pointer] = []
    for hashed in _HASH.finditer(text):
        start, end = hashed.span()
        before = text[max(0, start - _LONGEST_LABEL) : start]
        label = _LABEL.search(before)
        labelled = bool(label and label[0]) or hashed[0][:2].lower() == "0x"
        digits = hashed[1].lower()
        plain = digits.isdigit() or digits.isalpha()
        # A number, or a word of the letters a to f, is a hash only where it is said to be one, or
        # nothing else is said, or at the end of an exported file's name.
        exported = before.endswith("-") and not _ENDING.sub("", text[end:].strip(QUOTES + " "))
        if plain and not labelled and not exported and text.strip() != hashed[0]:
            continue
        begin = start - len(label[0]) if label else start
        after = end + (text[end : end + 1] in QUOTES and end < len(text))
        found.append(HashPointer((begin, after), digits))
        if len(found) == MOST_POINTERS:
            break
    return found


def _files(text: str) -> list[Pointer]:
    found: list[Pointer] = []
    last = 0
    for ending in islice(_ENDING.finditer(text), MOST_POINTERS):
        first = max(last, ending.start() - LONGEST_NAME)
        before = text[first : ending.start()]
        last = ending.end()
        # Behind the last sign that no name has.
        begin = max((sign.end() for sign in _BEFORE_NAME.finditer(before)), default=0)
        name = before[begin:]
        starts = [0, *(space.end() for space in _START.finditer(name))]
        starts = [starts[0], *starts[1:][-MOST_NAME_WORDS:]]
        for bare in chain.from_iterable(_bare(name[start:]) for start in starts):
            if not bare.strip() or is_generic(bare):
                continue
            at = ending.start() - len(bare)
            if at == first + begin:
                at = first + _start_of_path(before, begin)
            found.append(FilePointer((at, last), bare.lower()))
    return found


def _bare(name: str) -> Iterable[str]:
    """Return a name without what may stand before it: with a bracket that closes in it, and not.

    `【国风】水墨` begins with its own; which one `(a) b` has, only an index knows.
    """
    openings = "".join(_BRACKETS)
    unclosed = "".join(sign for sign in openings if _BRACKETS[sign] not in name)
    return dict.fromkeys(name.lstrip(QUOTES + signs) for signs in (unclosed, openings))


def _start_of_path(before: str, begin: int) -> int:
    """Return where the path begins that ends at `begin`: at a root, or behind a space."""
    if before[begin - 1 : begin] not in ("/", "\\"):
        return begin
    roots = [root.start() for root in _ROOT.finditer(before[:begin])]
    spaces = [space.end() for space in re.finditer(r"\s", before[:begin])]
    return max(roots, default=max(spaces, default=0))
