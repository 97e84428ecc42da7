"""From adapters to an image with a recipe, and from the recipe to the same image."""

import dataclasses
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin

from encoder.adapter.alpha import IN_METADATA
from encoder.threads import thread_count, threads
from registry.fusion.backends.pipeline import PipelineBackend
from registry.fusion.errors import (
    AdapterRefusedError,
    CorruptAdapterError,
    DeviceMemoryError,
    FamilyMismatchError,
    GatesMismatchError,
    GenerationCancelledError,
    ImageNameError,
    NotFusableError,
    RecipeError,
    SamplingError,
)
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.file import load_gates, save_gates
from registry.fusion.gates.interface import Gates
from registry.fusion.gates.rivals import RivalGates
from registry.fusion.generate import generate, reproduce
from registry.fusion.loaded_adapter import LoadedAdapter
from registry.fusion.options import Drawing, Mode
from registry.fusion.recipe import PNG_KEY, Recipe, read_recipe
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_adapter, make_weights


@pytest.fixture
def adapters(backend: PipelineBackend) -> list[LoadedAdapter]:
    layers = block_layers(backend.transformer)
    return [
        LoadedAdapter(
            "cactus",
            "a" * 64,
            make_weights(backend.transformer, layers, seed=1, scale=0.1),
            trigger_words=("cactus icon", "kaktus"),
            licence="CC-BY-4.0",
            id=7,
        ),
        LoadedAdapter(
            "剪影",
            "b" * 64,
            make_weights(backend.transformer, layers, seed=2, rank=2, scale=0.1),
            strength=0.5,
            trigger_words=("剪影",),
        ),
    ]


@pytest.fixture
def gates(backend: PipelineBackend, tmp_path: Path) -> Gates:
    torch.manual_seed(0)
    gates = AutoLoraGates.for_transformer(backend.transformer, BASE_MODEL, "paper")
    save_gates(gates, tmp_path / "g")
    return load_gates(tmp_path / "g", BASE_MODEL)


def hooks(backend: PipelineBackend) -> int:
    return sum(len(part._forward_hooks) for part in backend.transformer.modules())


def test_image_tells_how_it_was_made(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    fused = generate("a cactus ICON at night", adapters, backend, gates, Drawing(seed=4, steps=2))
    recipe = fused.recipe
    assert fused.image.size == (recipe.width, recipe.height) == (64, 64)
    assert (recipe.prompt, recipe.seed, recipe.steps) == ("a cactus ICON at night", 4, 2)
    # The first has its word in the prompt already.
    assert recipe.full_prompt == "a cactus ICON at night, 剪影"
    assert [part.trigger_words for part in recipe.adapters] == [(), ("剪影",)]
    assert [part.strength for part in recipe.adapters] == [1.0, 0.5]
    assert (recipe.adapters[0].id, recipe.adapters[0].licence) == (7, "CC-BY-4.0")
    assert recipe.gates_sha256 == gates.sha256
    assert recipe.base.name == BASE_MODEL
    assert recipe.base.files == backend.file_hashes()
    assert recipe.versions.keys() >= {"autolora-registry", "torch", "diffusers"}
    assert fused.activity.keys() == {"a" * 64, "b" * 64}
    for layers in fused.activity.values():
        assert len(layers) == 52
        assert all(0 < value < 1 for value in layers.values())
    assert (recipe.licence, recipe.base.licence) == ("not stated", "CC-BY-4.0")
    assert any("not stated or not known: 剪影" in said for said in recipe.warnings)


def test_of_two_adapters_of_one_name_the_stricter_licence_counts(
    backend: PipelineBackend, adapters: list[LoadedAdapter]
) -> None:
    strict = dataclasses.replace(adapters[0], name="style", licence="cc-by-nd-4.0")
    free = dataclasses.replace(adapters[1], name="style", licence="mit")

    recipe = generate(
        "a cactus", [strict, free], backend, None, Drawing(steps=1, mode="sum")
    ).recipe

    assert recipe.licence == "cc-by-nd-4.0"
    assert f"style ({strict.sha256[:8]})" in recipe.warnings[0]


def test_activity_is_mapped_over_layers_and_steps(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    fused = generate("cat", adapters, backend, gates, Drawing(steps=3))
    for sha256, layers in fused.activity.items():
        drawn = fused.maps[sha256]
        assert drawn.layers == tuple(layers)
        assert drawn.values.shape == (52, 3)
        assert drawn.values.mean(1) == pytest.approx(list(layers.values()), abs=1e-5)
        assert drawn.draw(cell=2).size == (6, 104)
    closed = dataclasses.replace(drawn, values=drawn.values * 0)
    assert closed.draw(1).getpixel((0, 0)) != drawn.draw(1).getpixel((0, 0))
    assert not generate("cat", adapters, backend, None, Drawing(mode="sum", steps=1)).maps


def test_relevance_is_kept_for_the_next_time(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    """It may open or close gates, so the recipe needs it."""
    known = [dataclasses.replace(adapters[0], similarities=(0.25, 0.5)), adapters[1]]
    recipe = generate("cat", known, backend, gates, Drawing(steps=1)).recipe
    # Nobody else is known, so it leads by all that it has.
    assert [part.relevance for part in recipe.adapters] == [0.5, None]
    assert reproduce(recipe, adapters, backend, gates).recipe == recipe


def test_leanings_are_kept_and_embeddings_are_not(
    backend: PipelineBackend, adapters: list[LoadedAdapter], tmp_path: Path
) -> None:
    """A recipe needs the few numbers that gates go by; who knows no embedding has none."""
    gates = RivalGates.for_transformer(backend.transformer, BASE_MODEL, torch.eye(2, 3))
    save_gates(gates, tmp_path / "rivals")
    known = [dataclasses.replace(adapters[0], embedding=(0.5, -0.25, 1.0)), adapters[1]]
    fused = generate("cat", known, backend, gates, Drawing(steps=1))
    assert [part.leanings for part in fused.recipe.adapters] == [(0.5, -0.25), ()]
    again = reproduce(fused.recipe, adapters, backend, gates)
    assert again.recipe == fused.recipe
    assert again.image.tobytes() == fused.image.tobytes()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([(0.5,), ()], "'cactus' has 1 leanings, and the gates ask for 2"),
        ([(0.5, 0.5), (0.5,)], "'剪影' has 1 leanings, and the gates ask for 2"),
        ([(0.5,) * 7] * 2, "'剪影' has 7 leanings, and the gates ask for 2"),
    ],
)
def test_leanings_that_a_stranger_made_up_are_refused(
    backend: PipelineBackend,
    adapters: list[LoadedAdapter],
    tmp_path: Path,
    told: list[tuple[float, ...]],
    said: str,
) -> None:
    gates = RivalGates.for_transformer(backend.transformer, BASE_MODEL, torch.eye(2, 3))
    save_gates(gates, tmp_path / "rivals")
    recipe = generate("cat", adapters, backend, gates, Drawing(steps=1)).recipe
    made_up = tuple(
        used.model_copy(update={"leanings": leanings})
        for used, leanings in zip(recipe.adapters, told, strict=True)
    )

    with pytest.raises(RecipeError, match=said):
        reproduce(recipe.model_copy(update={"adapters": made_up}), adapters, backend, gates)


def test_embeddings_of_another_space_are_refused(
    backend: PipelineBackend, adapters: list[LoadedAdapter]
) -> None:
    gates = RivalGates.for_transformer(backend.transformer, BASE_MODEL, torch.eye(2, 3))
    other = dataclasses.replace(adapters[0], embedding=(1.0, 0.0))
    with pytest.raises(GatesMismatchError, match="embeddings of 3 numbers"):
        generate("cat", [other], backend, gates, Drawing(steps=1))


def test_recipe_in_the_png_gives_the_same_pixels(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates, tmp_path: Path
) -> None:
    fused = generate(
        "夜里的仙人掌", adapters, backend, gates, Drawing(seed=9, steps=3, negative="day")
    )
    fused.save(tmp_path / "fused.png")
    # A PNG under such a name would be taken for something else by whoever opens it.
    with pytest.raises(ImageNameError, match=r"fused\.JPG: images are PNGs"):
        fused.save(tmp_path / "fused.JPG")

    recipe = read_recipe(tmp_path / "fused.png")
    # The order of loading, and strengths given now, do not matter.
    found = [dataclasses.replace(adapter, strength=0.1) for adapter in reversed(adapters)]
    again = reproduce(recipe, found, backend, gates)

    assert recipe == fused.recipe
    assert again.recipe == recipe
    assert again.activity == fused.activity
    with Image.open(tmp_path / "fused.png") as saved:
        assert again.image.tobytes() == saved.tobytes() == fused.image.tobytes()


@pytest.mark.parametrize("mode", ["sum", "average", "base"])
def test_ungated_modes_need_no_gates(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates, mode: Mode
) -> None:
    plain = generate("cat", adapters, backend, None, Drawing(mode=mode, steps=2))
    assert plain.recipe.gates_sha256 is None
    assert set(map(len, plain.activity.values())) == {0}
    gated = generate("cat", adapters, backend, gates, Drawing(steps=2))
    assert plain.image.tobytes() != gated.image.tobytes()


def test_adapters_that_must_not_be_fused_are_named(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    good, layers = adapters[0], ["transformer_blocks.0.attn.to_q"]

    def bad(**changes: object) -> LoadedAdapter:
        weights = make_weights(backend.transformer, layers, seed=3, **changes)  # type: ignore[arg-type]
        return make_adapter("bad one", weights)

    corrupt = bad()
    corrupt.weights.layers[layers[0]].factors()[1][0, 0] = math.nan
    cases: list[tuple[LoadedAdapter, type[AdapterRefusedError], str]] = [
        (bad(base_model="sdxl-1.0"), FamilyMismatchError, "'sdxl-1.0'"),
        (bad(fusable=False), NotFusableError, "text encoder"),
        (corrupt, CorruptAdapterError, "to_q"),
    ]
    for adapter, error, says in cases:
        with pytest.raises(error, match=rf"'bad one'.*{says}"):
            generate("cat", [good, adapter], backend, gates, Drawing(steps=1))
    with pytest.raises(AdapterRefusedError, match="strength is nan"):
        generate("cat", [dataclasses.replace(good, strength=math.nan)], backend, gates, Drawing())
    with pytest.raises(AdapterRefusedError, match="given twice"):
        generate("cat", [good, good], backend, gates, Drawing(steps=1))
    assert hooks(backend) == 0


def test_gates_of_another_base_are_refused(
    backend: PipelineBackend, adapters: list[LoadedAdapter]
) -> None:
    gates = AutoLoraGates.for_transformer(backend.transformer, "flux.1-dev")
    with pytest.raises(GatesMismatchError, match=r"flux\.1-dev"):
        generate("cat", adapters, backend, gates, Drawing(steps=1))


def test_cancelling_leaves_the_base_clean(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    before = generate("cat", [], backend, gates, Drawing(steps=2))

    def cancel(done: int, steps: int) -> None:
        raise GenerationCancelledError

    with pytest.raises(GenerationCancelledError):
        generate("cat", adapters, backend, gates, Drawing(steps=2), cancel)
    assert hooks(backend) == 0
    assert not backend.lock.locked()
    after = generate("cat", [], backend, gates, Drawing(steps=2))
    assert after.image.tobytes() == before.image.tobytes()


def test_a_full_device_is_said_with_what_to_do(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    def fill(done: int, steps: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DeviceMemoryError, match=r"64x64 pixels with 2 adapters; .*OFFLOAD"):
        generate("cat", adapters, backend, gates, Drawing(steps=2), fill)
    assert hooks(backend) == 0
    assert not backend.lock.locked()


def test_ctrl_c_leaves_the_base_clean(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    def interrupt(done: int, steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate("cat", adapters, backend, gates, Drawing(steps=2), interrupt)
    assert hooks(backend) == 0
    assert not backend.lock.locked()


def test_recipes_with_other_ingredients_are_refused(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    recipe = generate("cat", adapters, backend, gates, Drawing(steps=1)).recipe
    with pytest.raises(RecipeError, match=r"adapter '剪影' .* is missing"):
        reproduce(recipe, adapters[:1], backend, gates)
    with pytest.raises(RecipeError, match="the gates are others"):
        reproduce(
            recipe,
            adapters,
            backend,
            AutoLoraGates.for_transformer(backend.transformer, BASE_MODEL),
        )
    other = recipe.base.model_copy(update={"files": {"vae/config.json": "0" * 64}})
    with pytest.raises(RecipeError, match="other files"):
        reproduce(recipe.model_copy(update={"base": other}), adapters, backend, gates)


def test_other_programs_files_in_a_recipe_do_not_count(backend: PipelineBackend) -> None:
    recipe = generate("cat", [], backend, None, Drawing(steps=1)).recipe
    files = recipe.base.files | {".git/index": "0" * 64, "vae/.DS_Store": "0" * 64}
    base = recipe.base.model_copy(update={"files": files})

    reproduce(recipe.model_copy(update={"base": base}), [], backend)


def test_a_recipe_is_refused_where_its_adapter_is_scaled_otherwise(
    backend: PipelineBackend, adapters: list[LoadedAdapter]
) -> None:
    """The file is the same to the byte; how strong it is stands in PEFT's config beside it."""

    def scaled(scale: float, config: str = "adapter_config.json") -> LoadedAdapter:
        layers = block_layers(backend.transformer)
        weights = make_weights(backend.transformer, layers, seed=1, scale=scale)
        return dataclasses.replace(adapters[0], weights=dataclasses.replace(weights, config=config))

    drawing = Drawing(mode="sum", steps=1)
    recipe = generate("cat", [scaled(4.0)], backend, None, drawing).recipe
    reproduce(recipe, [scaled(4.0)], backend)
    with pytest.raises(RecipeError, match=r"'cactus' is scaled by 2 here, by 4 there"):
        reproduce(recipe, [scaled(2.0)], backend)
    with pytest.raises(RecipeError, match=r"'cactus' is scaled by what its file says here, by 4"):
        reproduce(recipe, [scaled(1.0, config="")], backend)
    # A recipe may not tell it, and it is in the file.
    untold = recipe.adapters[0].model_copy(update={"config_scale": None})
    recipe = recipe.model_copy(update={"adapters": (untold,)})
    reproduce(recipe, [scaled(4.0, config=IN_METADATA)], backend)
    with pytest.raises(RecipeError, match=r"by 4 here, by what its file says there"):
        reproduce(recipe, [scaled(4.0)], backend)


def test_a_thread_that_begins_while_an_adapter_is_read_draws_with_all_threads(
    backend: PipelineBackend,
) -> None:
    with ThreadPoolExecutor(1) as drawing:
        usual = drawing.submit(thread_count).result()
    with ThreadPoolExecutor(1) as drawing:
        with threads(usual + 1):
            drawing.submit(torch.get_num_threads).result()
        drawn = drawing.submit(generate, "cat", [], backend, None, Drawing(steps=1))

        assert drawn.result().recipe.threads == usual


def test_a_recipe_of_a_larger_machine_does_not_get_its_threads(
    backend: PipelineBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Far more threads than cores take many times as long, for one image as for a server."""
    recipe = generate("cat", [], backend, None, Drawing(steps=1)).recipe
    counts = []

    def count(done: int, steps: int) -> None:
        counts.append(torch.get_num_threads())

    again = reproduce(recipe, [], backend, progress=count)
    assert not caplog.messages
    larger = recipe.model_copy(update={"threads": 1024})
    assert reproduce(larger, [], backend, progress=count).recipe == larger

    most = os.cpu_count() or 1
    assert again.recipe == recipe
    assert counts == [recipe.threads, most]
    assert f"made with 1024 threads, now {most}: pixels may differ" in caplog.messages


def test_an_image_of_no_adapter_needs_no_gates(backend: PipelineBackend) -> None:
    """What search finds may be nothing; the base alone answers then."""
    alone = generate("cat", [], backend, None, Drawing(steps=1))
    again = reproduce(alone.recipe, [], backend)
    assert again.image.tobytes() == alone.image.tobytes()


def test_recipes_are_read_from_json_too(
    backend: PipelineBackend, adapters: list[LoadedAdapter], tmp_path: Path
) -> None:
    recipe = generate("cat", adapters, backend, None, Drawing(mode="sum", steps=1)).recipe
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert read_recipe(tmp_path / "recipe.json") == recipe
    assert '"schema": 2' in recipe.to_json()


def test_recipes_that_say_nothing_of_guidance_are_followed_as_they_were_drawn(
    backend: PipelineBackend, adapters: list[LoadedAdapter], gates: Gates
) -> None:
    """Schema 1: adapters were at work in the passes without the prompt, too."""
    fused = generate("cat", adapters, backend, gates, Drawing(steps=2, guidance=4.0))
    facts = json.loads(fused.recipe.to_json())
    assert facts.pop("guide_from") == "base"
    facts["schema"] = 1

    older = reproduce(Recipe.from_json(json.dumps(facts)), adapters, backend, gates)
    again = reproduce(fused.recipe, adapters, backend, gates)

    assert again.image.tobytes() == fused.image.tobytes() != older.image.tobytes()
    assert older.recipe.guide_from == "fused"
    assert (
        generate("cat", adapters, backend, None, Drawing(mode="sum", steps=1)).recipe.guide_from
        == "fused"
    )


def test_files_without_a_readable_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "text.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(RecipeError, match="carries no recipe"):
        read_recipe(tmp_path / "plain.png")
    info = PngImagePlugin.PngInfo()
    info.add_itxt(PNG_KEY, '{"schema": 3}')
    Image.new("RGB", (4, 4)).save(tmp_path / "newer.png", pnginfo=info)
    with pytest.raises(RecipeError, match="not a recipe of schema 1 or 2: schema"):
        read_recipe(tmp_path / "newer.png")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"other\.json is not a recipe"):
        read_recipe(tmp_path / "other.json")
    with pytest.raises(RecipeError, match="not a recipe"):
        Recipe.from_json("{")


@pytest.mark.parametrize(
    "drawing", [Drawing(steps=10**6), Drawing(size=(10**6, 32)), Drawing(seed=-1)], ids=repr
)
def test_what_no_recipe_could_hold_is_refused_before_it_is_drawn(
    backend: PipelineBackend, drawing: Drawing
) -> None:
    with pytest.raises(SamplingError, match="Input should be"):
        generate("cat", [], backend, None, dataclasses.replace(drawing, mode="base"))
