"""What is said of files and of errors, in Chinese."""

import ast
import re
from bisect import bisect_left
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import crawler
import encoder
import registry
from crawler.sources.folder.programs import read_own
from crawler.sources.folder.sidecars import MAX_BYTES, MAX_CARD_BYTES, read_card, read_sidecar
from registry.api.errors import SAID, STATUS
from registry.api.pages.sentences import SLOT, in_chinese
from registry.api.pages.texts import TEXTS
from registry.api.pages.words.said_in_answers import ANSWERS
from registry.api.pages.words.said_of_files import FILES
from registry.api.recipes import read_recipe
from registry.errors import (
    AdapterNotFoundError,
    EncoderUnreadableError,
    FileNotKeptError,
    NoFolderError,
)
from registry.fusion.departure import warn_of_departure
from registry.fusion.errors import (
    ComfyUIMissingFilesError,
    CorruptAdapterError,
    GatesMismatchError,
    MissingGateError,
    RecipeError,
)
from registry.fusion.licences import conflicts
from registry.fusion.recipe import PNG_KEY
from registry.refresh.pipeline import STEPS
from registry.retrieval.errors import PictureError, UnknownFilterValueError

DETAIL = re.compile(r'"detail":"([^"\\]*)"')


@cache
def literals() -> str:
    """All that stands between quotes in the code but for the tables themselves."""
    found = []
    for package in (crawler, encoder, registry):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            if path.parent.name != "words":
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found += [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(value for value in found if isinstance(value, str))


def is_put_together(words: str, pieces: int = 4) -> bool:
    """Whether literals of the code, a few one after the other, make these words."""
    if not words:
        return True
    longest = bisect_left(range(len(words)), True, key=lambda n: words[: n + 1] not in literals())
    return pieces > 0 and longest > 0 and is_put_together(words[longest:], pieces - 1)


@pytest.mark.parametrize("english", [english for english, _ in (*FILES, *ANSWERS)])
def test_every_sentence_is_one_of_the_code(english: str) -> None:
    """Whoever words one otherwise there is sent here."""
    assert all(map(is_put_together, SLOT.split(english)[::2])), english


# They name what a client of the API has sent, and no page sends that; or quote another program.
FOR_PROGRAMS = (
    "4096x4096 pixels", "ComfyUI refuses the workflow", "flux.1-dev draws sides", "limit is",
)  # fmt: skip


def test_what_the_api_says_it_answers_is_known_in_chinese(client: TestClient) -> None:
    """Pages answer the same."""
    details = set(DETAIL.findall(client.get("/v1/openapi.json").text))

    told = {detail for detail in details if not detail.startswith(FOR_PROGRAMS)}

    assert len(told) > 30
    assert [detail for detail in told if in_chinese(detail) is None] == []


def test_what_a_recipe_warns_of_is_known_in_chinese() -> None:
    """It stands below every image whose adapters' licences are not known."""
    licences = {"a": None, "b": "cc-by-nd-4.0", "c": "cc-by-nc-4.0", "d": "gpl-3.0"}
    warned = conflicts(licences) + conflicts({"d": "gpl-3.0", "e": "cc-by-sa-4.0"})
    warned += filter(None, map(warn_of_departure, (0.01, 100)))

    assert len(warned) == 6
    assert [warning for warning in warned if in_chinese(warning) is None] == []


@pytest.mark.parametrize(("english", "chinese"), [*FILES, *ANSWERS])
def test_chinese_keeps_what_changes(english: str, chinese: str) -> None:
    assert set(SLOT.findall(chinese)) <= set(SLOT.findall(english))


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (str(AdapterNotFoundError(7)), "没有编号为 7 的适配器。"),
        (
            str(FileNotKeptError("ab" * 32, None)),
            "文件 abababababab… 已读取但没有保留（REGISTRY_KEEP_FILES）。要保留它，请设置 "
            "REGISTRY_KEEP_FILES=all（或 =fusable 并在 REGISTRY_BASE_MODELS 中设置其基础模型），"
            "再运行 `autolora refresh`。",
        ),
        (
            "/x.st cannot be registered: x.st is no encoder's checkpoint: it is cut. Give a "
            "checkpoint of a weight encoder; REGISTRY_ENCODER_CHECKPOINT names those that a "
            "refresh registers.",
            "无法登记 /x.st：x.st is no encoder's checkpoint: it is cut。请提供权重编码器的检查点；"
            "REGISTRY_ENCODER_CHECKPOINT 指定刷新时登记的检查点。",
        ),
        (
            str(UnknownFilterValueError("tag", "x", ["cat", "dog"], more=True)),
            "没有适配器符合 tag = 'x'。可选的有：cat, dog 等。",
        ),
        (
            "the base model is not known for certain: all 8 layers exist in flux.1 and chroma "
            "with these shapes",
            "无法确定基础模型：全部 8 层都存在于 flux.1、chroma，形状一致",
        ),
        (
            str(PictureError("the picture is a broken image: it is cut")),
            "无法用它搜索：图片已损坏（it is cut）。请使用完整的 PNG、JPEG、WebP 或 GIF 图片，"
            "不超过 4000 万像素、32 MB。",
        ),
        ("cover 2: the picture is an HTML page", "第 2 张封面：是网页，不是图片"),
        (
            "cover 1: nas.test (10.0.0.7) is not on the public internet",
            "第 1 张封面：nas.test (10.0.0.7) 不在公共互联网上",
        ),
        ("refused: is a textual inversion, not a LoRA", "已拒绝：是文本反转嵌入，不是 LoRA"),
        (
            "header of 200 bytes in a file of 100: it was cut off; download or copy it again",
            "文件头应有 200 字节，而文件只有 100 字节：文件不完整，请重新下载或复制",
        ),
        (
            "refused: header describes 90 bytes of data, the file has 80: it was cut off; "
            "download or copy it again",
            "已拒绝：文件头描述了 90 字节的数据，而文件中有 80 字节：文件不完整，请重新下载或复制",
        ),
        (
            "ModelScope at http://127.0.0.1:1 does not answer ([Errno 111] Connection refused). "
            "Check the network and REGISTRY_MODELSCOPE_ENDPOINT, then run again: it goes on where "
            "it stopped.",
            "ModelScope at http://127.0.0.1:1 没有响应（[Errno 111] Connection refused）。"
            "请检查网络和 REGISTRY_MODELSCOPE_ENDPOINT，然后重新运行：会从中断处继续。",
        ),
        (
            "fox.json is not JSON: Extra data (line 2, column 7); nothing of it was taken",
            "fox.json 不是 JSON：请检查第 2 行第 7 列；其内容未被采用",
        ),
        (
            "fox.json is not JSON: a comma; nothing of it was taken",
            "fox.json 不是 JSON：a comma；其内容未被采用",
        ),
        (
            "fox.json holds a list, not a JSON object; nothing of it was taken",
            "fox.json 的内容是列表，不是 JSON 对象；其内容未被采用",
        ),
        (
            "all 52 layers exist in flux.1 with these shapes; adapters of chroma are rare",
            "全部 52 层都存在于 flux.1，形状一致；chroma 的适配器很少见",
        ),
        (
            "civitai lists it for 'sdxl-1.0', which its layers rule out",
            "civitai 将其列为 'sdxl-1.0'，但与层结构矛盾",
        ),
    ],
)
def test_sentences_are_known_with_what_changes_in_them(english: str, chinese: str) -> None:
    assert in_chinese(english) == chinese


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("fox.json", b"[]"),
        ("fox.json", b"'"),
        ("fox.json", b" "),
        ("fox.json", b"\xff\xfe\x00"),
        ("fox.json", b" " * (MAX_BYTES + 1)),
        ("README.md", b"---\n- a\n---\n"),
        ("README.md", b"---\na: b: c\n---\n"),
        ("README.md", b"---\na: !!bool maybe\n---\n"),
        ("README.md", b"---\n" + b"#" * (MAX_CARD_BYTES + 1) + b"\n---\n"),
    ],
)
def test_what_is_wrong_with_what_lies_beside_a_file_is_known(
    name: str, written: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(written)

    _, [said] = read_sidecar(tmp_path / name, read_card if "md" in name else read_own, "fox")

    assert in_chinese(said) is not None, said


COMFYUI = "http://127.0.0.1:8188"
GATES = [f"blocks.{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("error", "chinese"),
    [
        (
            ComfyUIMissingFilesError(COMFYUI, ["fox.safetensors", "ink.safetensors"]),
            f"ComfyUI（{COMFYUI}）缺少 fox.safetensors, ink.safetensors；请放入它的模型文件夹"
            "（`autolora export RECIPE --files FILE.zip` 会按这些名字打包适配器）。",
        ),
        (
            MissingGateError(GATES),
            "blocks.0, blocks.1, blocks.2 等层（另有 2 层）没有门控；"
            "请使用为该基础模型训练的门控，或选择融合方式“平均”（average）",
        ),
        (
            MissingGateError(GATES[:1]),
            "层 blocks.0 没有门控；请使用为该基础模型训练的门控，或选择融合方式“平均”（average）",
        ),
        (
            GatesMismatchError("flux.1-dev", "sdxl-1.0"),
            "门控适用于 'flux.1-dev'，而当前加载的是 'sdxl-1.0'",
        ),
        (
            CorruptAdapterError("Paper Fox", "blocks.0"),
            "适配器 'Paper Fox' 不能融合：层 'blocks.0' 含有 NaN 或无穷大的权重；请重新获取文件",
        ),
        (
            EncoderUnreadableError("ridge-3", "sdxl-1.0", "it is cut"),
            "无法读取编码器 ridge-3：它的检查点已损坏，或由其他版本写成（it is cut）。请用 "
            "`autolora encoders add FILE` 登记本版本能读取的检查点，"
            "或用 `autolora encoders rollback sdxl-1.0` 退回上一个。",
        ),
        (
            NoFolderError("/home/me/loras", "permission denied"),
            "无法添加 '/home/me/loras'：没有读取它的权限。",
        ),
        (
            RecipeError(
                "the recipe cannot be followed: adapter 'fox' (5f70bf18a086) is missing; "
                "the gates are others"
            ),
            "无法按配方生成：缺少适配器 'fox'（5f70bf18a086）；门控与配方中的不同",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_pages_show_of_errors_is_known(error: Exception, chinese: str) -> None:
    assert in_chinese(str(error)) == chinese


def png(recipe: str = "") -> bytes:
    """A picture of one pixel, which carries a recipe if one is given."""
    chunks, buffer = PngInfo(), BytesIO()
    if recipe:
        chunks.add_text(PNG_KEY, recipe)
    Image.new("RGB", (1, 1)).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("sent", "chinese"),
    [
        (b'{"a": 1}', "不是格式（schema）1 或 2 的配方：缺少 prompt"),
        (png("{}"), "图片中的不是格式（schema）1 或 2 的配方：缺少 prompt"),
        (png(), "发送的图片不含配方；它是否由其他程序另存过？"),
        (b"GIF89a", "无法读取发送的内容：不是可识别的图片"),
    ],
)
def test_what_is_no_recipe_is_refused_in_chinese(sent: bytes, chinese: str) -> None:
    """Anything may be dropped on a page."""
    with pytest.raises(RecipeError) as raised:
        read_recipe(sent)

    assert in_chinese(str(raised.value)) == chinese


@pytest.mark.parametrize("text", ["anything else", "no adapter has the " + "x" * 1000, ""])
def test_what_is_not_known_is_left_as_it_is(text: str) -> None:
    assert in_chinese(text) is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/v1/choose?prompt=%20", "请输入搜索内容：描述你想要的画面。"),
        ("/v1/search?q=a&limit=9999", "limit：不能大于 100"),
        ("/v1/search?q=a&limit=", "limit：应为整数"),
        (f"/v1/search?q={'a' * 3000}", "q：最多 2000 个字符"),
        ("/v1/adapters?sort=x", "sort：应为 'name', 'newest', 'updated', 'downloads', 'size', "),
        ("/v1/adapters/abc", "adapter_id：应为整数"),
        ("/v1/images/77", "没有编号为 77 的图片，可能已被删除。"),
    ],
)
def test_the_api_answers_wrong_requests_in_chinese(
    client: TestClient, address: str, said: str
) -> None:
    for language in ("zh-CN", "zh-TW", "zh-Hant"):
        answer = client.get(address, headers={"Accept-Language": language})

        assert answer.status_code in (404, 422)
        assert answer.json()["detail"].startswith(said)


def test_a_form_of_many_faults_is_told_of_in_chinese(client: TestClient) -> None:
    body = {"prompt": "", "k": 99, "steps": "x", "mode": "y", "seed": "z", "width": "w"}
    answer = client.post("/v1/fuse", json=body, headers={"Accept-Language": "zh-CN"})

    said = answer.json()["detail"].split("；")
    assert said[0] == "prompt：至少要有 1 个字符"
    assert said[-1] == "另有 1 处"
    assert len(said) == 6


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ("底模", "基础模型"),
        ("来源站", "模型站"),
        ("激活词", "触发词"),
        ("种子数", "随机种子"),
        ("目录", "文件夹"),
    ],
)
def test_one_thing_has_one_chinese_word(other: str, word: str) -> None:
    said = [chinese for _, chinese in (*TEXTS.values(), *FILES, *ANSWERS)]

    assert [chinese for chinese in said if other in chinese] == []
    assert any(word in chinese for chinese in said)


def test_what_the_api_says_itself_is_known() -> None:
    assert [said for said in SAID.values() if in_chinese(said) is None] == []
    assert {f"error.{int(status)}" for status in STATUS.values()} <= TEXTS.keys()


def test_steps_have_names() -> None:
    assert {f"status.step.{step.name}" for step in STEPS} <= TEXTS.keys()
