"""What points to an adapter in a text: read only, bounded, whatever the text is."""

import time

import pytest

from crawler.sources.civitai import CivitaiSource
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.modelscope import ModelScopeSource
from registry.text.pointers import (
    SITES,
    FilePointer,
    HashPointer,
    PagePointer,
    Pointer,
    read_pointers,
    without_spans,
)

AUTOV2 = "68bbf6e368"


def told(text: str) -> list[tuple[str, ...]]:
    return [parts(pointer) for pointer in read_pointers(text)]


def parts(pointer: Pointer) -> tuple[str, ...]:
    match pointer:
        case HashPointer(digits=digits):
            return ("hash", digits)
        case FilePointer(stem=stem):
            return ("file", stem)
        case PagePointer(hub=hub, repo=repo, version=version, file_name=file_name):
            return (hub, repo, version, file_name)


def test_every_site_of_a_source_is_known() -> None:
    for source in (CivitaiSource, HuggingFaceSource, ModelScopeSource):
        assert {SITES[site] for site in source.sites} == {source.hub}


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("https://civitai.com/models/50004?modelVersionId=17", ("50004", "17")),
        ("https://www.civitai.com/models/50004/red-fox#gallery", ("50004", "")),
        ("http://civitai.red/models/50004", ("50004", "")),
        ("civitai.green/models/50004", ("50004", "")),
        ("https://civitai.com/api/v1/models/50004", ("50004", "")),
        ("https://civarchive.com/models/50004?modelVersionId=17", ("50004", "17")),
        ("https://civitai.com/api/download/models/17?type=Model&format=SafeTensor", ("", "17")),
        ("https://civitai.com/api/v1/model-versions/17", ("", "17")),
        ("urn:air:flux1:lora:civitai:50004@17", ("50004", "17")),
        ("urn:air:sdxl:lora:civitai:50004", ("50004", "")),
        ("civitai: 50004 @ 17", ("50004", "17")),
    ],
)
def test_civitais_addresses(address: str, page: tuple[str, str]) -> None:
    assert told(address) == [("civitai", *page, "")]
    assert told(f"neon ({address}), please") == [("civitai", *page, "")]


@pytest.mark.parametrize(
    ("address", "hub", "file_name"),
    [
        ("https://huggingface.co/ann/fox-v2", "huggingface", ""),
        ("hf.co/ann/fox-v2", "huggingface", ""),
        ("https://huggingface.co/ann/fox-v2/tree/main", "huggingface", ""),
        ("https://huggingface.co/ann/fox-v2/blob/main/README.md", "huggingface", ""),
        ("https://hf-mirror.com/api/models/ann/fox-v2", "huggingface", ""),
        (
            "https://huggingface.co/ann/fox-v2/resolve/main/a%20b/fox.safetensors?download=true",
            "huggingface",
            "a b/fox.safetensors",
        ),
        ("https://www.modelscope.cn/models/ann/fox-v2/files", "modelscope", ""),
        ("https://modelscope.ai/models/ann/fox-v2/summary", "modelscope", ""),
        (
            "https://modelscope.cn/models/ann/fox-v2/resolve/master/fox.safetensors",
            "modelscope",
            "fox.safetensors",
        ),
        (
            "https://modelscope.cn/models/ann/fox-v2/file/view/master/fox.safetensors?status=2",
            "modelscope",
            "fox.safetensors",
        ),
        (
            "https://modelscope.cn/api/v1/models/ann/fox-v2/repo?FilePath=fox.safetensors",
            "modelscope",
            "fox.safetensors",
        ),
        ("ann/fox-v2", "", ""),
    ],
)
def test_addresses_of_repositories(address: str, hub: str, file_name: str) -> None:
    """A file of one comes first; where that is not here, the repository may be."""
    whole = (hub, "ann/fox-v2", "", "")
    named = (hub, "ann/fox-v2", "", file_name)
    assert [page for page in told(address) if page[0] != "file"] == [
        *([named] if file_name else []),
        whole,
    ]


def test_a_path_in_an_address_is_text_that_a_database_can_hold() -> None:
    [first, *_] = told("https://hf.co/ann/fox/resolve/main/%00%ff.safetensors")

    assert "\0" not in first[3]


@pytest.mark.parametrize(
    "text",
    [
        f"neon {AUTOV2}",
        f"{AUTOV2.upper()} neon",
        f'Lora hashes: "fox: {AUTOV2}", Version: v1',
        f"AutoV2:0x{AUTOV2}",
        f"https://civarchive.com/sha256/{AUTOV2}",
        f"霓虹{AUTOV2}",
    ],
)
def test_hashes_among_words(text: str) -> None:
    assert told(text) == [("hash", AUTOV2)]


@pytest.mark.parametrize("digits", ["deadbeef", "20250101", "1234567890"])
def test_a_number_or_a_word_is_a_hash_only_where_it_is_said_to_be(digits: str) -> None:
    for text in (f"neon {digits}", f"{digits} neon", f"neon-{digits}x", f"x{digits}"):
        assert told(text) == []
    for text in (digits, f"AutoV2: {digits}", f'neon "{digits}"', f"neon #{digits}", f"0x{digits}"):
        assert told(text) == [("hash", digits)]
    assert told(f"Red-Fox-{digits}.safetensors")[0] == ("hash", digits)


@pytest.mark.parametrize("text", ["neon fox", "12 foxes", f"{AUTOV2[:7]} neon", "café: a fox."])
def test_most_questions_point_nowhere(text: str) -> None:
    assert read_pointers(text) == []


@pytest.mark.parametrize(
    "path",
    [
        "0446.safetensors",
        "models/Lora/0446.safetensors",
        "/home/ann/my loras/0446.safetensors",
        "~/loras/0446.safetensors",
        "C:\\loras\\0446.safetensors",
        "C:\\my loras\\0446.safetensors",
        "Lora\\0446.CKPT",
        "https://example.org/files/0446.safetensors?download=true",
        '"C:\\loras\\0446.safetensors"',
        "“0446.safetensors”",
    ],
)
def test_names_of_files_among_words(path: str) -> None:
    """The whole path is no words of the question."""
    text = f"neon {path} fox"

    found = [one for one in read_pointers(text) if parts(one) == ("file", "0446")]

    assert [without_spans(text, [one.span]) for one in found] == ["neon fox"]


def test_the_longest_name_of_a_file_comes_first() -> None:
    """Names have spaces, and words stand before them."""
    assert told("a Red Fox.safetensors") == [
        ("file", "a red fox"),
        ("file", "red fox"),
        ("file", "fox"),
    ]
    assert told("帮我找fox.safetensors")[-1] == ("file", "fox")


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("D:\\loras\\【国风】水墨.safetensors", "【国风】水墨"),
        ("/data/[style]ink.safetensors", "[style]ink"),
        ("[style] ink.safetensors", "[style] ink"),
        ("(old) ink.safetensors", "(old) ink"),
        ("(/data/(old)ink.safetensors)", "(old)ink"),
        ("([style]ink.safetensors)", "[style]ink"),
        ("有没有【国风】水墨.safetensors", "【国风】水墨"),
    ],
)
def test_a_name_may_begin_with_a_bracket_of_its_own(path: str, stem: str) -> None:
    """Chinese authors put the kind of an adapter in front of its name so."""
    assert stem in [parts(pointer)[1] for pointer in read_pointers(path)]


def test_of_a_name_in_brackets_they_are_no_part() -> None:
    assert told("(ink.safetensors)") == told("【ink.safetensors】") == [("file", "ink")]
    # Where a bracket closes in the name, whose it is, is not known.
    assert told("(a) ink.safetensors") == [
        ("file", "(a) ink"), ("file", "a) ink"), ("file", "ink"),
    ]  # fmt: skip


def test_a_name_that_libraries_give_every_file_points_nowhere() -> None:
    assert told("pytorch_lora_weights.safetensors") == []


def test_what_is_left_of_a_text() -> None:
    assert without_spans("a  fox, b", [(3, 6)]) == "a , b"
    assert without_spans("fox, a cat", [(0, 3)]) == "a cat"
    assert without_spans('"fox"!', [(1, 4)]) == ""
    assert without_spans("abcdef", [(0, 3), (2, 5)]) == "f"


@pytest.mark.parametrize(
    "pattern",
    [
        "/", "a/", "\\", "a", "a1", ":", "hash:", "hash: ", "Lora hashes:", 'Lora hashes: "', " ",
        ".pt", " /x.pt", "https://", "https://a/b,", "://", "a://", "civitai.com/models/1?a=1&",
        "https://hf.co/a/b/resolve/", "%00", "urn:air:", "civitai:1 ", f"{AUTOV2} ", f"{AUTOV2},",
        '"', "猫", "猫a", "~/", "a.", "(", "0x", "a:\\", "x y.safetensors ", "\n",
    ],
)  # fmt: skip
def test_a_hostile_text_is_read_in_time_that_grows_with_it(pattern: str) -> None:
    """Ten times what may be asked, of whatever repeats: squared, that would take minutes."""
    text = (pattern * 100_000)[:100_000]
    began = time.process_time()

    found = read_pointers(text)

    assert time.process_time() - began < 1
    assert len(found) <= 120
