"""Recipes in the words of other programs: they run there, or are what is opened there."""

import json
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import save_file

from crawler.hashed_file import hash_file
from encoder.adapter.lora_file import LoraWeights
from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from registry.fusion.errors import ExportError
from registry.fusion.exports.adapters import NOTE, export_name, exported
from registry.fusion.exports.comfyui import PORTS
from registry.fusion.exports.escaping import for_a1111, for_comfyui, for_comfyui_editor
from registry.fusion.exports.export import export
from registry.fusion.fused_image import FusedImage
from registry.fusion.generate import generate
from registry.fusion.loaded_adapter import LoadedAdapter
from registry.fusion.options import Drawing
from registry.fusion.png import png_bytes
from registry.fusion.recipe import PNG_KEY, Recipe, recipe_in_png
from tests.registry.fusion.builders import block_layers, make_weights, save_tiny_flux


def save_peft(weights: LoraWeights, path: Path) -> str:
    tensors = {
        f"transformer.{layer}.lora_{side}.weight": tensor.contiguous()
        for layer, change in weights.layers.items()
        for side, tensor in zip(
            "AB", (change.factors()[0], change.factors()[1] * change.scale), strict=True
        )
    }
    save_file(tensors, path)
    return hash_file(path)


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PipelineBackend]:
    folder = tmp_path_factory.mktemp("flux")
    save_tiny_flux(folder, torch.float32)
    return folder, load_backend(folder, "flux.1-dev")


@pytest.fixture(scope="module")
def fused(
    flux: tuple[Path, PipelineBackend], tmp_path_factory: pytest.TempPathFactory
) -> tuple[FusedImage, Path]:
    """An image by plain addition, and the folder of its adapters under the expected names."""
    folder, backend = tmp_path_factory.mktemp("adapters"), flux[1]
    adapters = []
    for k, name in enumerate(("Red fox!", "水彩")):
        layers = block_layers(backend.transformer)
        weights = make_weights(backend.transformer, layers, seed=k, base_model="flux.1-dev")
        sha256 = save_peft(weights, folder / "new")
        adapters.append(LoadedAdapter(name, sha256, weights, strength=0.5 + k / 4, id=k))
        (folder / "new").rename(folder / f"{sha256}.safetensors")
    drawn = generate(
        "red apple", adapters, backend, None, Drawing(mode="sum", steps=2, seed=3, size=(16, 16))
    )
    for each in exported(drawn.recipe):
        (folder / f"{each.used.sha256}.safetensors").rename(folder / each.file)
    return drawn, folder


def test_the_diffusers_script_draws_the_same_image(
    flux: tuple[Path, PipelineBackend], fused: tuple[FusedImage, Path], tmp_path: Path
) -> None:
    """Where the recipe adds up plainly; PEFT does the rest."""
    drawn, folder = fused
    script = tmp_path / "draw.py"
    script.write_text(export(drawn.recipe, "diffusers"))
    out = tmp_path / "out.png"
    words = ["--base", str(flux[0]), "--adapters", str(folder), "--output", str(out)]

    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    with Image.open(out) as image:
        difference = ImageChops.difference(image, drawn.image).getextrema()
    assert max(high for _, high in difference) <= 2  # type: ignore[misc]
    assert NOTE in script.read_text()


def test_the_prompt_of_a1111_names_files_and_strengths(fused: tuple[FusedImage, Path]) -> None:
    recipe = fused[0].recipe
    lines = export(recipe, "a1111").splitlines()
    found = re.findall(r"<lora:([^:>]+):([^:>]+)>", lines[0])
    assert lines[0].startswith("red apple <lora:Red-fox-")
    assert [strength for _, strength in found] == ["0.5", "0.75"]
    assert [name for name, _ in found] == [each.name for each in exported(recipe)]
    assert lines[-1] == (
        "Steps: 2, Sampler: Euler, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 3, Size: 16x16"
    )


def test_an_average_divides_the_strengths(fused: tuple[FusedImage, Path]) -> None:
    recipe = fused[0].recipe.model_copy(update={"mode": "average", "negative_prompt": "blue"})
    text = export(recipe, "a1111")
    assert re.findall(r":([\d.]+)>", text) == ["0.25", "0.375"]
    assert "Negative prompt: blue" in text


def check_workflow(flow: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Every link joins an output with an input of its type, and every input is linked."""
    nodes = {node["id"]: node for node in flow["nodes"]}
    assert len(nodes) == len(flow["nodes"])
    assert flow["last_node_id"] == max(nodes)
    ends = set()
    for id_, source, slot, target, place, type_ in flow["links"]:
        output, input_ = nodes[source]["outputs"][slot], nodes[target]["inputs"][place]
        assert output["type"] == input_["type"] == type_
        assert id_ in output["links"]
        assert input_["link"] == id_
        assert nodes[source]["order"] < nodes[target]["order"]
        ends.add((target, place))
    by_type: dict[str, list[dict[str, Any]]] = {}
    for node in flow["nodes"]:
        assert all((node["id"], place) in ends for place in range(len(node["inputs"])))
        wanted = PORTS[node["type"]][0] if node["type"] != "Note" else {}
        assert [port["name"] for port in node["inputs"]] == list(wanted)
        by_type.setdefault(node["type"], []).append(node)
    return by_type


@pytest.mark.parametrize(
    ("name", "backend", "loader"),
    [
        ("flux.1-dev", "flux", "DualCLIPLoader"),
        ("flux.1-schnell", "flux", "DualCLIPLoader"),
        ("sdxl-1.0", "sdxl", "CheckpointLoaderSimple"),
        ("sd-1.5", "sd", "CheckpointLoaderSimple"),
        ("qwen-image", "qwen-image", "CLIPLoader"),
    ],
)
def test_the_workflow_of_comfyui_chains_the_adapters(
    fused: tuple[FusedImage, Path], name: str, backend: str, loader: str
) -> None:
    recipe = based_on(fused[0].recipe, name, backend)
    nodes = check_workflow(json.loads(export(recipe, "comfyui")))
    first, second = nodes["LoraLoaderModelOnly"]
    files = [each.file for each in exported(recipe)]
    assert first["widgets_values"] == [files[0], 0.5]
    assert second["widgets_values"] == [files[1], 0.75]
    assert second["inputs"][0]["link"] in first["outputs"][0]["links"]
    assert loader in nodes
    assert nodes["KSampler"][0]["widgets_values"][:3] == [3, "fixed", 2]
    assert nodes["Note"][0]["widgets_values"] == [NOTE]
    assert ("FluxGuidance" in nodes) == (name == "flux.1-dev")


def test_bases_without_text_encoders_are_drawn_nowhere_else(
    fused: tuple[FusedImage, Path],
) -> None:
    recipe = fused[0].recipe
    base = recipe.base.model_copy(update={"name": "demo-flux-tiny", "files": {}})
    with pytest.raises(ExportError, match="no text encoders"):
        export(recipe.model_copy(update={"base": base}), "diffusers")
    with pytest.raises(ExportError, match="none of diffusers, a1111, comfyui"):
        export(recipe, "photoshop")  # type: ignore[arg-type]


def test_both_forms_of_a_workflow_are_of_one_graph(fused: tuple[FusedImage, Path]) -> None:
    """What the editor shows is what is run: the same nodes, values and links."""
    recipe = fused[0].recipe
    flow = json.loads(export(recipe, "comfyui"))
    graph = json.loads(export(recipe, "comfyui-api"))
    check_workflow(flow)
    links = {link[0]: [str(link[1]), link[2]] for link in flow["links"]}
    for node in flow["nodes"][:-1]:
        run = graph[str(node["id"])]
        assert run["class_type"] == node["type"]
        linked = {port["name"]: links[port["link"]] for port in node["inputs"]}
        assert linked.items() <= run["inputs"].items()
        values = [value for name, value in run["inputs"].items() if name not in linked]
        assert values == [value for value in node["widgets_values"] if value != "fixed"]
    assert len(graph) == len(flow["nodes"]) - 1  # without the note


@pytest.mark.parametrize(
    ("name", "backend", "file"),
    [
        ("sdxl-1.0", "sdxl", "sd_xl_base_1.0.safetensors"),
        ("pony", "sdxl", "pony.safetensors"),
        ("sd-1.5", "sd", "v1-5-pruned-emaonly.safetensors"),
        ("qwen-image", "qwen-image", "qwen_image_bf16.safetensors"),
        ("qwen-image-2512", "qwen-image", "qwen-image-2512.safetensors"),
        ("flux.1-krea-dev", "flux", "flux1-krea-dev.safetensors"),
    ],
)
def test_comfyui_loads_no_other_variant_of_the_base(
    fused: tuple[FusedImage, Path], name: str, backend: str, file: str
) -> None:
    """It would draw with what is there, and not say so."""
    recipe = based_on(fused[0].recipe, name, backend)
    loader = next(iter(json.loads(export(recipe, "comfyui-api")).values()))
    assert file in loader["inputs"].values()


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
def test_no_guidance_is_none_elsewhere(fused: tuple[FusedImage, Path], guidance: float) -> None:
    """A factor below 1 draws the negative prompt in other programs."""
    recipe = fused[0].recipe.model_copy(update={"guidance": guidance})
    plain = based_on(recipe, "sdxl-turbo", "sdxl")
    [sampler] = [
        node["inputs"]
        for node in json.loads(export(plain, "comfyui-api")).values()
        if node["class_type"] == "KSampler"
    ]
    assert sampler["cfg"] == 1.0
    assert "CFG scale: 1," in export(plain, "a1111")
    # An input of the network is given as it is: the class has another by default.
    assert f"guidance_scale={guidance}," in export(recipe, "diffusers")


def test_a_distilled_base_is_guided_by_a_factor_where_it_was_here(
    fused: tuple[FusedImage, Path],
) -> None:
    recipe = based_on(fused[0].recipe, "flux.1-schnell", "flux").model_copy(
        update={"guidance": 4.0, "negative_prompt": "blue"}
    )
    script = export(recipe, "diffusers")
    assert "true_cfg_scale=4.0" in script
    assert "negative_prompt='blue'" in script


def test_what_pefts_config_multiplies_by_goes_into_strengths(
    fused: tuple[FusedImage, Path],
) -> None:
    """Programs that do not read it take 1; diffusers reads it in a file, and nobody beside one."""
    beside = with_adapters(fused[0].recipe, config_scale=2.0)
    inside = with_adapters(fused[0].recipe, config_scale=2.0, config_in_file=True)

    for recipe in (beside, inside):
        assert re.findall(r"<lora:[^:>]+:([^:>]+)>", export(recipe, "a1111")) == ["1", "1.5"]
        assert '"strength_model": 1.5' in export(recipe, "comfyui-api")
    assert "safetensors', 1.5, '" in export(beside, "diffusers")
    assert "safetensors', 0.75, '" in export(inside, "diffusers")


def based_on(recipe: Recipe, name: str, backend: str) -> Recipe:
    base = recipe.base.model_copy(update={"name": name, "backend": f"diffusers-{backend}"})
    return recipe.model_copy(update={"base": base})


def with_adapters(recipe: Recipe, **facts: Any) -> Recipe:
    adapters = tuple(used.model_copy(update=facts) for used in recipe.adapters)
    return recipe.model_copy(update={"adapters": adapters})


def test_text_encoders_are_left_alone_by_every_export(fused: tuple[FusedImage, Path]) -> None:
    """As they are here: only where a file holds a part for one does that need saying."""
    recipe = with_adapters(fused[0].recipe, text_encoders=("text_encoder",))
    assert re.findall(r":(te=[^>]+)>", export(recipe, "a1111")) == [
        "te=0:unet=0.5",
        "te=0:unet=0.75",
    ]
    assert "{'transformer': 0.5, 'text_encoder': 0.0}" in export(recipe, "diffusers")
    graph = json.loads(export(recipe, "comfyui-api"))
    kinds = [node["class_type"] for node in graph.values()]
    assert kinds.count("LoraLoaderModelOnly") == 2
    assert "LoraLoader" not in kinds


def test_a1111_reads_back_what_was_written(fused: tuple[FusedImage, Path]) -> None:
    """By its own rules, with a prompt that is full of what means something to it."""
    prompt = r"saber (fate), [night] a\b 1:2 R AND D <lora:x:1> #1, {a|b} // end"
    update = {"full_prompt": prompt + "\nSteps: 3", "negative_prompt": "bad (hands)"}
    recipe = with_adapters(fused[0].recipe, autov3="0123456789ab").model_copy(update=update)
    written, networks = read_a1111(export(recipe, "a1111"))
    names = [each.name for each in exported(recipe)]
    assert written == {
        "prompt": r"saber (fate), [night] a\b 1:2 R and D < lora:x:1> 1, {a|b} // end Steps: 3,",
        "negative": "bad (hands)",
        "Steps": "2",
        "Sampler": "Euler",
        "CFG scale": "1",
        "Distilled CFG Scale": "3.5",
        "Seed": "3",
        "Size": "16x16",
        "Lora hashes": ", ".join(f"{name}: 0123456789ab" for name in names),
    }
    assert networks == [[names[0], "0.5"], [names[1], "0.75"]]


def read_a1111(text: str) -> tuple[dict[str, str], list[list[str]]]:
    """Read a text as A1111 does: the settings and the networks that it would load.

    As modules/infotext_utils.py, extra_networks.py and prompt_parser.py of
    https://github.com/AUTOMATIC1111/stable-diffusion-webui do.
    """
    *lines, last = text.strip().split("\n")
    setting = r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)'
    read = {name: value.strip('"') for name, value in re.findall(setting, last)}
    negative = [line.removeprefix("Negative prompt: ") for line in lines if "Negative" in line]
    networks: list[list[str]] = []

    def take(call: re.Match[str]) -> str:
        networks.append(call[2].split(":"))
        return ""

    prompt = re.sub(r"<(\w+):([^>]+)>", take, lines[0]).split("#")[0]
    words = {"prompt": prompt.rstrip(), "negative": negative[0]}
    return {name: unweighed(value) for name, value in words.items()} | read, networks


def unweighed(prompt: str, escaped: str = r"\()[]") -> str:
    """Return what is left of a prompt in which a program found no brackets to weigh by."""
    plain, rest = "", iter(prompt)
    for letter in rest:
        if letter == "\\":
            letter = next(rest)
            assert letter in escaped, "a backslash that escapes nothing is lost"
        else:
            assert letter not in escaped, f"{letter} is no plain letter"
        plain += letter
    return plain


def test_prompts_stay_plain_words() -> None:
    """Parentheses give weight in both programs; brackets only in A1111."""
    assert for_a1111("saber (fate)") == for_comfyui("saber (fate)") == r"saber \(fate\)"
    assert for_a1111("[x] BREAK") == r"\[x\] break"
    assert for_comfyui("[x] a\\b") == "[x] a\\b"
    # Comfy's word for a file of vectors, which it leaves out with its name where it lacks the file.
    assert for_comfyui("embedding:x (embedding:y), embedding:z") == (
        r"embedding :x \(embedding:y\), embedding :z"
    )
    assert for_comfyui("(a) embedding:x", weighs_words=False) == "(a) embedding :x"
    assert for_comfyui_editor("{a|b} http://c /* d */") == r"\{a|b\} http:/ /c / * d */"


@pytest.mark.parametrize(
    "prompt", ["a clock that shows 10:30", "a poster, 16:9 ", "level: 5.", "Psalm (23:1)", "1:2, a"]
)
def test_a_number_at_the_end_of_a_prompt_is_no_weight_of_it(prompt: str) -> None:
    # As modules/prompt_parser.py of A1111 has it.
    weight = re.compile(r"^(\s*.*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")

    read = weight.fullmatch(f"{for_a1111(prompt)} ")

    assert read is not None
    assert read[2] is None
    assert unweighed(read[1]).rstrip(",") == prompt.strip()


def test_a_name_that_no_file_system_takes_is_shortened(fused: tuple[FusedImage, Path]) -> None:
    recipe = with_adapters(fused[0].recipe, name="a/" * 400)
    names = [each.name for each in exported(recipe)]
    assert all(re.fullmatch(r"(a-){39}a-[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("水彩 风格（v2）", "水彩-风格-v2"),
        ("Café_Été", "Café-Été"),
        ("Cafe\u0301", "Café"),
        ("ไทย หนังสือ", "ไทย-หนังสือ"),
        ("＜ｌｏｒａ：墨＞", "lora-墨"),
        ("❤️‍🔥 火焰", "火焰"),
        ("abc\u202egnp.exe", "abc-gnp-exe"),
        ("水" * 100, "水" * 26),
        ("❤️", "adapter"),
    ],
)
def test_a_name_keeps_the_letters_of_every_script(name: str, plain: str) -> None:
    """And nothing that a file system or a call of `<lora:…>` takes for something else."""
    named = export_name(name, "0123456789" * 6)
    assert named == f"{plain}-01234567"
    assert len(f"{named}.safetensors".encode()) < 143
    assert re.fullmatch(r"<lora:([^<>:]+):1>", f"<lora:{named}:1>")


def test_a_png_tells_a1111_and_comfyui_too(fused: tuple[FusedImage, Path]) -> None:
    """ComfyUI reads tEXt alone: in iTXt it takes what stands before the text for it."""
    update = {"full_prompt": "a fox, 水彩"}
    recipe = fused[0].recipe.model_copy(update=update)
    data = png_bytes(fused[0].image, recipe)
    with Image.open(BytesIO(data)) as image:
        told = dict(image.info)
    assert told["parameters"] + "\n" == export(recipe, "a1111")
    assert json.loads(told["workflow"]) == json.loads(export(recipe, "comfyui"))
    assert json.loads(told["prompt"]) == json.loads(export(recipe, "comfyui-api"))
    assert recipe_in_png(data, "it") == recipe
    assert b"tEXtworkflow\0" in data
    assert b"tEXtprompt\0" in data


def test_a_png_of_a_base_of_our_own_tells_only_us(fused: tuple[FusedImage, Path]) -> None:
    base = fused[0].recipe.base.model_copy(update={"name": "demo-flux-tiny", "files": {}})
    recipe = fused[0].recipe.model_copy(update={"base": base})
    with Image.open(BytesIO(png_bytes(fused[0].image, recipe))) as image:
        assert list(image.info) == [PNG_KEY]
