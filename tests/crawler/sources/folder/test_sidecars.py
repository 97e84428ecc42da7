"""What people and their programs keep beside a file, whole and broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from crawler.records import AdapterRecord, Refusal
from crawler.sources.folder import FolderSource
from crawler.sources.folder.names import display_name
from encoder.base_models.names import name_listed
from tests.crawler.builders import image_bytes, write_adapter
from tests.crawler.sources.folder.builders import list_records

WEBUI = {
    "description": "Draws ink.",
    "sd version": "SDXL",
    "activation text": "zqx, blu, saber \\(fate\\) <lora:ink:1>",
    "preferred weight": 0.7,
    "negative text": "blurry",
    "notes": "Use with care.",
}
CIVITAI = {
    "id": 2,
    "modelId": 1,
    "name": "v1.0",
    "baseModel": "Pony",
    "trainedWords": ["zqx, blu", "red hat"],
    "description": "<p>Second version.</p>",
    "model": {"name": "Ink &amp; Wash", "type": "LORA", "nsfw": True, "tags": ["style"]},
    "creator": {"username": "alice"},
    "images": [{"url": "https://x.invalid/1.png", "meta": {"prompt": "zqx, a fox <lora:a:1>"}}],
}
MANAGER = {
    "file_name": "a",
    "model_name": "Ink",
    "base_model": "SDXL 1.0",
    "notes": "mine",
    "tags": ["style", "ink"],
    "modelDescription": "<p>Draws<br>ink.</p>",
    "usage_tips": '{"strength": 0.85}',
    "civitai": CIVITAI,
}
# As Civitai answers about a model, and programs keep it.
MODEL = {
    "id": 1,
    "name": "Ink",
    "description": "<p>Draws &amp; inks.</p>",
    "nsfw": True,
    "tags": ["style"],
    "creator": {"username": "alice", "image": None},
    "modelVersions": [
        {"name": "v2", "baseModel": "Flux.1 D", "trainedWords": ["other"],
         "files": [{"name": "ink_v2.safetensors"}]},
        {"name": "v1", "baseModel": "Pony", "trainedWords": ["zqx"],
         "files": [{"name": "A.safetensors"}], "images": [{"meta": None}]},
    ],
}  # fmt: skip
MATRIX = {
    "ModelId": 1, "ModelName": "Ink", "ModelDescription": "<p>Draws ink.</p>", "Nsfw": False,
    "Tags": ["style"], "ModelType": "LORA", "VersionName": "v1", "VersionDescription": None,
    "AuthorUsername": "alice", "BaseModel": "Illustrious", "TrainedWords": ["zqx, blu"],
    "UserTitle": None, "Source": "Civitai",
}  # fmt: skip
SWARM = {
    "modelspec.title": "Ink", "modelspec.author": "alice", "modelspec.description": "Draws ink.",
    "modelspec.trigger_phrase": "zqx, blu", "modelspec.tags": "style, ink",
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora", "modelspec.license": "MIT",
    "modelspec.thumbnail": "data:image/jpeg;base64,AAAA",
}  # fmt: skip
RGTHREE = {
    "file": "a.safetensors", "name": "Ink - v1.0", "type": "LORA", "baseModel": "Pony",
    "trainedWords": [
        {"word": "zqx", "civitai": True}, {"word": "mine", "user": True},
        {"word": "1girl", "count": 30, "metadata": True},
    ],
    "images": [{"url": "/rgthree/api/loras/img?file=a"}, {"url": "x", "positive": "zqx, a fox"}],
    "raw": {"civitai": CIVITAI, "metadata": {}},
}  # fmt: skip
CARD = """---
base_model: stabilityai/stable-diffusion-xl-base-1.0
instance_prompt: zqx style
license: openrail++
tags: [text-to-image, lora, "template:sd-lora"]
widget:
- text: a fox in zqx style
  output:
    url: images/fox.png
- text: '-'
  output:
    url: ../outside.png
---
# Ink

<Gallery /> Draws <!-- hidden --> ink.
"""


def read(folder: Path, **sidecars: Any) -> tuple[AdapterRecord, list[str]]:
    """Describe `a.safetensors` with sidecars by name, `_` for a dot; return it and problems."""
    write_adapter(folder / "a.safetensors")
    for name, content in sidecars.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return described(folder)


def described(folder: Path) -> tuple[AdapterRecord, list[str]]:
    record, *problems = FolderSource(folder).list_adapters()
    assert isinstance(record, AdapterRecord)
    return record, [problem.reason for problem in problems if isinstance(problem, Refusal)]


def test_a_web_uis_json_is_read(tmp_path: Path) -> None:
    record, problems = read(tmp_path, a_json=WEBUI)

    assert problems == []
    assert record.trigger_words == ("zqx", "blu", "saber (fate)")
    assert record.strength == 0.7
    assert record.negative_prompt == "blurry"
    assert record.description == "Draws ink.\nUse with care."
    assert record.base_model_words == ("SDXL 1.0",)


@pytest.mark.parametrize(
    ("preset", "base_model"),
    [
        ("xl", "sdxl-1.0"), ("klein", "flux.2"), ("zit", "z-image"),
        ("qwen", "qwen-image"), ("wan", "wan"), ("krea", "krea-2"), ("Krea", "krea-2"),
    ],
)  # fmt: skip
def test_forges_names_of_bases_are_known(tmp_path: Path, preset: str, base_model: str) -> None:
    """Forge's own kinds, and the presets that Forge Neo writes in their place."""
    record, problems = read(tmp_path, a_json=WEBUI | {"sd version": preset})

    assert problems == []
    assert name_listed(record.base_model_words) == base_model


def test_a_weight_of_0_says_nothing(tmp_path: Path) -> None:
    record, problems = read(tmp_path, a_json=WEBUI | {"preferred weight": 0})

    assert (record.strength, problems) == (None, [])


def test_civitais_answer_is_read(tmp_path: Path) -> None:
    record, problems = read(tmp_path, a_civitai_info=CIVITAI, a_png=image_bytes(kind="PNG"))

    assert problems == []
    assert (record.name, record.author, record.mature) == ("Ink &amp; Wash (v1.0)", "alice", True)
    assert record.trigger_words == ("zqx", "blu", "red hat")
    assert record.tags == ("style",)
    assert record.description == "Second version."
    assert record.base_model_words == ("Pony",)
    assert [cover.prompt for cover in record.covers] == ["zqx, a fox"]


def test_lora_managers_json_is_read_with_civitais_inside(tmp_path: Path) -> None:
    record, problems = read(tmp_path, a_metadata_json=MANAGER)

    assert problems == []
    assert (record.name, record.author, record.strength) == ("Ink (v1.0)", "alice", 0.85)
    assert record.description == "Draws\nink.\nmine"
    assert record.tags == ("style", "ink")
    assert record.trigger_words == ("zqx", "blu", "red hat")
    assert record.base_model_words == ("SDXL 1.0", "Pony")


def test_lora_managers_own_trigger_words_count_before_civitais(tmp_path: Path) -> None:
    """What it found on Hugging Face or ModelScope, or somebody wrote there, is outside."""
    record, _ = read(tmp_path, a_metadata_json=MANAGER | {"trainedWords": ["inkwash"]})
    other, _ = read(tmp_path, a_metadata_json=MANAGER | {"trainedWords": [], "civitai": None})

    assert record.trigger_words == ("inkwash",)
    assert other.trigger_words == ()


@pytest.mark.parametrize("name", ["a_json", "a_api__info_json"])
def test_of_civitais_answer_about_a_model_the_files_own_version_counts(
    tmp_path: Path, name: str
) -> None:
    """SD.Next keeps it as `.json`, CivitAI Browser+ as `.api_info.json`."""
    write_adapter(tmp_path / "a.safetensors")
    (tmp_path / name.replace("__", "-").replace("_", ".").replace("-", "_")).write_text(
        json.dumps(MODEL)
    )
    record, problems = described(tmp_path)

    assert problems == []
    assert (record.name, record.author, record.mature) == ("Ink (v1)", "alice", True)
    assert (record.trigger_words, record.base_model_words) == (("zqx",), ("Pony",))
    assert (record.description, record.tags) == ("Draws & inks.", ("style",))


def test_the_only_version_of_a_model_is_called_by_the_model(tmp_path: Path) -> None:
    record, _ = read(tmp_path, a_json=MODEL | {"modelVersions": MODEL["modelVersions"][1:]})  # type: ignore[index]

    assert record.name == "Ink"


def test_files_of_one_version_have_names_of_their_own(tmp_path: Path) -> None:
    """As they have on the hub; whoever chooses among them has nothing else to go by."""
    answer = CIVITAI | {"files": [{"name": f"{stem}.safetensors"} for stem in "ab"]}
    read(tmp_path, a_civitai_info=answer)
    write_adapter(tmp_path / "b.safetensors")
    (tmp_path / "b.civitai.info").write_text(json.dumps(answer))

    names = {record.name for record in list_records(tmp_path)}

    assert names == {"Ink &amp; Wash (v1.0): a", "Ink &amp; Wash (v1.0): b"}


def test_of_a_model_with_other_files_no_version_is_believed(tmp_path: Path) -> None:
    versions = [MODEL["modelVersions"][0], MODEL["modelVersions"][0]]  # type: ignore[index]
    record, problems = read(tmp_path, a_json=MODEL | {"modelVersions": versions})

    assert (record.trigger_words, record.base_model_words, problems) == ((), (), [])
    assert (record.name, record.tags) == ("Ink", ("style",))


def test_stability_matrixs_json_is_read(tmp_path: Path) -> None:
    record, problems = read(tmp_path, **{"a_cm-info_json": MATRIX})

    assert problems == []
    assert (record.name, record.author, record.mature) == ("Ink (v1)", "alice", False)
    assert record.trigger_words == ("zqx", "blu")
    assert (record.description, record.tags) == ("Draws ink.", ("style",))
    assert record.base_model_words == ("Illustrious",)


@pytest.mark.parametrize("name", ["a_swarm_json", "a_json"])
def test_swarms_json_is_read(tmp_path: Path, name: str) -> None:
    record, problems = read(tmp_path, **{name: SWARM})

    assert problems == []
    assert (record.name, record.author, record.licence) == ("Ink", "alice", "MIT")
    assert (record.trigger_words, record.tags) == (("zqx", "blu"), ("style", "ink"))
    assert record.description == "Draws ink."
    assert record.base_model_words == ("stable-diffusion-xl-v1-base/lora",)


def test_rgthrees_json_is_read_but_for_words_that_it_counted(tmp_path: Path) -> None:
    record, problems = read(
        tmp_path, **{"a_safetensors_rgthree-info_json": RGTHREE}, a_png=image_bytes(kind="PNG")
    )

    assert problems == []
    assert (record.name, record.author, record.mature) == ("Ink - v1.0", "alice", True)
    assert record.trigger_words == ("zqx", "mine")
    assert record.base_model_words == ("Pony",)
    assert [cover.prompt for cover in record.covers] == ["zqx, a fox"]


def test_notes_are_the_description(tmp_path: Path) -> None:
    record, _ = read(tmp_path, a_txt="Trained on 20 drawings.\n")

    assert record.description == "Trained on 20 drawings."


def test_a_model_card_is_read_with_the_pictures_that_it_names(tmp_path: Path) -> None:
    record, problems = read(
        tmp_path, README_md=CARD, images__fox_png=image_bytes(kind="PNG"), a_txt="Mine."
    )

    assert problems == []
    assert record.trigger_words == ("zqx style",)
    assert record.licence == "openrail++"
    assert record.tags == ("text-to-image", "lora")
    assert record.base_model_words == ("stabilityai/stable-diffusion-xl-base-1.0",)
    assert record.description == "Mine.", "a file's own notes come before its folder's"
    [cover] = record.covers
    assert cover.prompt == "a fox in zqx style"
    assert FolderSource(tmp_path).fetch_cover(cover) == image_bytes(kind="PNG")


def test_a_stage_of_a_run_has_its_runs_card(tmp_path: Path) -> None:
    stage = tmp_path / "run" / "checkpoint-500"
    write_adapter(stage / "pytorch_lora_weights.safetensors")
    (stage.parent / "README.md").write_text(CARD)
    write_adapter(tmp_path / "run" / "sub" / "b.safetensors")

    records = {record.file.name: record for record in list_records(tmp_path)}

    assert records["run/checkpoint-500/pytorch_lora_weights.safetensors"].trigger_words
    assert not records["run/sub/b.safetensors"].trigger_words


def test_a_card_and_a_config_beside_several_files_are_nobodys(tmp_path: Path) -> None:
    """`hf download` into a folder of many leaves one adapter's there; PEFT's file has its own."""
    for name in ("a", "b", "checkpoint-500/c"):
        write_adapter(tmp_path / f"{name}.safetensors")
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "SDXL 1.0"}')

    for record in list_records(tmp_path):
        told = (record.trigger_words, record.base_model_words, record.description, record.covers)
        assert not any(told), record.file.name

    write_adapter(tmp_path / "adapter_model.safetensors")
    words = {record.name: record.trigger_words for record in list_records(tmp_path)}
    assert words.pop(tmp_path.name) == ("zqx style",)
    assert not any(words.values())


def test_pefts_config_says_the_base(tmp_path: Path) -> None:
    config = {"base_model_name_or_path": "black-forest-labs/FLUX.1-dev", "r": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))

    record, problems = read(tmp_path)

    assert (record.base_model_words, problems) == (("black-forest-labs/FLUX.1-dev",), [])


def test_a_readme_without_front_matter_is_somebodys_notes_on_the_folder(tmp_path: Path) -> None:
    record, problems = read(tmp_path, README_md="# All my files\n---\nhello\n---\n")

    assert (record.description, problems) == ("", [])


def test_the_files_own_sidecar_comes_before_what_programs_fetched(tmp_path: Path) -> None:
    record, _ = read(
        tmp_path, a_json={"name": "Mine"}, a_metadata_json=MANAGER, a_civitai_info=CIVITAI
    )

    assert record.name == "Mine"
    assert record.tags == ("style", "ink")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_of_the_encoding_is_believed(tmp_path: Path, encoding: str) -> None:
    """Editors on Windows write them."""
    text = json.dumps({"name": "墨"}, ensure_ascii=False)

    record, problems = read(tmp_path, a_json=text.encode(encoding))

    assert (record.name, problems) == ("墨", [])


DEEP = "[" * 100_000
BROKEN_JSON = {
    "truncated": (
        b'{"name": "In',
        "is not JSON: Unterminated string starting at (line 1, column 10)",
    ),
    "empty": (b" \n", "is empty"),
    "a list": (b'[{"name": "Ink"}]', "holds a list, not a JSON object"),
    "null": (b"null", "holds null, not a JSON object"),
    "nested": (DEEP.encode(), "is not JSON: it is nested too deeply"),
    "large": (b'{"name": "' + b"x" * 2**20 + b'"}', "is larger than 1 MB"),
    "Latin-1": ('{"name": "caf\xe9"}'.encode("latin-1"), "is not written in UTF-8: save it so"),
    "UTF-16 without a mark": ("{}".encode("utf-16-le"), "is not written in UTF-8: save it so"),
    "half UTF-16": (b"\xff\xfe{\x00x", "is not written in UTF-8: save it so"),
}


@pytest.mark.parametrize("name", ["a_json", "a_metadata_json", "a_civitai_info"])
@pytest.mark.parametrize("case", BROKEN_JSON)
def test_a_broken_sidecar_costs_itself_only(tmp_path: Path, name: str, case: str) -> None:
    content, said = BROKEN_JSON[case]

    record, problems = read(tmp_path, **{name: content}, a_txt="Still read.")

    assert record.description == "Still read."
    [problem] = problems
    assert problem.startswith(f"{name.replace('_', '.')} {said}")
    assert problem.endswith("nothing of it was taken")
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"---\nbase_model: [a\n---\n", "front matter that is not YAML"),
        (b"---\n- a\n---\n", "front matter that holds a list"),
        (b"---\nx: &a [*a, *b]\n---\n", "front matter that is not YAML"),
        (b"---\nx: 2020-99-99\n---\n", "front matter that is not YAML"),
        (b"---\nx: !!bool maybe\n---\n", "front matter that is not YAML"),
        (b"---\nx: !!timestamp foo\n---\n", "front matter that is not YAML"),
        (b"---\nx: !!int ''\n---\n", "front matter that is not YAML"),
        # Lists of merges of lists of merges multiply with each line.
        (b"---\na: &a {k: 1}\nb: &b {<<: [*a, *a]}\n---\n", "merges (<<) are not read (line 3)"),
        (b"---\na: &a {k: 1}\nb: {!!merge x: *a}\n---\n", "merges (<<) are not read (line 3)"),
        (b"---\n" + b"x: " + b"[" * 20_000 + b"\n---\n", "front matter that is not YAML"),
        (b"---\n" + b"# x\n" * 30_000 + b"---\n", "front matter of over 64 KB"),
        (b"---\nname: caf\xe9\n---\n", "not written in UTF-8"),
    ],
)
def test_a_broken_card_costs_itself_only(tmp_path: Path, content: bytes, said: str) -> None:
    record, [problem] = read(tmp_path, README_md=content, a_json={"name": "Ink"})

    assert record.name == "Ink"
    assert problem.startswith("README.md ")
    assert said in problem


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"activation text": 5}, "'activation text' is no text"),
        ({"preferred weight": "much"}, "'preferred weight' is no strength from -4 to 4"),
        ({"preferred weight": True}, "'preferred weight' is no strength from -4 to 4"),
        ({"preferred weight": [1]}, "'preferred weight' is no number"),
        ({"preferred weight": 1e999}, "'preferred weight' is no strength from -4 to 4"),
        ({"mature": "yes", "tags": 3}, "'tags' is neither text nor a list, 'mature' is neither"),
    ],
)
def test_a_field_of_the_wrong_type_costs_itself_only(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    record, [problem] = read(tmp_path, a_json={"name": "Ink", **fields})

    assert record.name == "Ink"
    assert record.strength is None
    assert said in problem


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": [1], "images": {"a": 1}, "creator": "alice"},
        {"trainedWords": {"a": 1}, "images": [1, {"meta": 3}, {"meta": {"prompt": 4}}]},
    ],
)
def test_civitais_answer_in_other_forms_is_told_in_one_line(tmp_path: Path, wrong: Any) -> None:
    record, problems = read(tmp_path, a_civitai_info=CIVITAI | wrong)

    assert record.base_model_words == ("Pony",)
    assert len(problems) == 1


def test_what_is_wrong_is_told_until_it_is_mended(tmp_path: Path) -> None:
    record, [problem] = read(tmp_path, a_json=b"[]")

    assert record.stamp is not None
    assert record.stamp.beside == ""
    assert described(tmp_path)[1] == [problem]
    (tmp_path / "a.json").write_text("{}")
    mended, problems = described(tmp_path)
    assert mended.stamp is not None
    assert mended.stamp.beside
    assert problems == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"r": "caf\xe9"}'.encode("latin-1"), "is not text in UTF-8"),
        (b" " * (2**20 + 1), "is larger than 1 MB"),
    ],
)
def test_without_the_config_that_says_how_strong_it_is_a_file_is_refused_by_itself(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Taken without it, it would draw something else."""
    write_adapter(tmp_path / "a" / "adapter_model.safetensors", 1)
    (tmp_path / "a" / "adapter_config.json").write_bytes(content)
    write_adapter(tmp_path / "b.safetensors", 2)

    refused, taken = sorted(FolderSource(tmp_path).list_adapters(), key=lambda one: str(type(one)))[
        ::-1
    ]

    assert isinstance(refused, Refusal)
    assert said in refused.reason
    assert isinstance(taken, AdapterRecord)


def test_a_config_that_leads_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text('{"lora_alpha": 3}')
    folder = tmp_path / "in"
    write_adapter(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").symlink_to(tmp_path / "secret")

    record, [problem] = described(folder)

    assert record.file.peft_config == ""
    assert problem.startswith("adapter_config.json is a link that leads elsewhere")


def test_a_config_that_leads_to_itself_costs_itself_only(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter_model.safetensors")
    config = tmp_path / "adapter_config.json"
    config.symlink_to(config)

    listed = list(FolderSource(tmp_path).list_adapters())

    assert [type(one) for one in listed] == [Refusal, AdapterRecord]


def test_what_programs_write_down_of_a_file_is_no_name(tmp_path: Path) -> None:
    """Lora Manager makes a sidecar of every file, and calls it as the file is."""
    record, _ = read(
        tmp_path, a_metadata_json={"model_name": "a", "modelDescription": "Draws ink."}
    )
    (tmp_path / "own").mkdir()
    own, _ = read(tmp_path / "own", a_json={"name": "a"})

    assert record.name == display_name((tmp_path.name, "a"), "")
    assert record.description == "Draws ink."
    assert own.name == "a"


def test_a_skeleton_says_nothing(tmp_path: Path) -> None:
    """Civitai Helper makes one of the header of a file that Civitai does not know."""
    skeleton = {
        "skeleton_file": True,
        "model": {"name": "a.safetensors", "nsfw": "", "tags": ["1girl"]},
        "trainedWords": ["img"],
    }

    record, problems = read(tmp_path, a_civitai_info=skeleton)

    assert problems == []
    assert (record.trigger_words, record.tags, record.mature) == ((), (), None)


def test_html_and_prompts_in_the_own_sidecar_are_plain(tmp_path: Path) -> None:
    own = {
        "description": "<p>Draws&nbsp;<b>ink</b></p>",
        "activation text": "1girl, zqx || 1boy, blu",
    }

    record, _ = read(tmp_path, a_json=own)

    assert record.description == "Draws ink"
    assert record.trigger_words == ("1girl", "zqx", "1boy", "blu")


@pytest.mark.parametrize(
    ("facts", "mature"),
    [
        ({"model": {"nsfw": False}, "nsfwLevel": 28}, True),
        ({"model": {"nsfw": False, "nsfwLevel": 28}}, True),
        ({"model": {"nsfw": False}, "nsfwLevel": 1}, False),
        ({"model": {"nsfw": False}, "nsfwLevel": 0}, None),
        ({"model": {"nsfw": True}, "nsfwLevel": 1}, True),
        ({"model": {"nsfw": False}}, False),
    ],
)
def test_what_its_images_show_counts_before_the_authors_word(
    tmp_path: Path, facts: dict[str, Any], mature: bool | None
) -> None:
    record, _ = read(tmp_path, a_civitai_info={"trainedWords": [], **facts})

    assert record.mature == mature


def test_a_card_beside_a_file_says_what_it_says_on_the_hub(tmp_path: Path) -> None:
    card = """---
instance_prompt: [zqx, blu]
license: other
license_name: flux-1-dev-non-commercial-license
tags: [lora, not-for-all-audiences]
---
<style>p { color: red }</style>Draws ink."""

    record, problems = read(tmp_path, README_md=card.encode())

    assert problems == []
    assert record.trigger_words == ("zqx", "blu")
    assert record.licence == "flux-1-dev-non-commercial-license"
    assert record.mature is True
    assert record.description == "Draws ink."
