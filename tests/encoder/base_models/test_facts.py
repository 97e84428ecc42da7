"""The files of base models: one each, with all that is known of it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from encoder.base_models.facts import (
    Facts,
    Pipeline,
    bases_for,
    common_bases,
    find_pipeline,
    read_facts,
    related_base_models,
    variant_of,
)
from encoder.base_models.families import FAMILIES

FILES = read_facts().values()


def write(folder: Path, **facts: object) -> Path:
    (folder / "x-1.json").write_text(json.dumps({"variants": {"x-1": {}}, **facts}))
    return folder


def test_a_file_says_all_that_is_known_of_a_base_model(tmp_path: Path) -> None:
    variants = {"x-1": {"hub_words": ["X"]}, "x-1-turbo": {"licence": "MIT", "steps": 4}}
    pipeline = {"name": "x", "class": "XPipeline", "steps": 30, "guidance": 4.0}

    facts = read_facts(write(tmp_path, variants=variants, blocks=["layers"], pipeline=pipeline))

    assert facts["x-1"].blocks == ("layers",)
    assert facts["x-1"].variants["x-1"].hub_words == ("X",)
    assert facts["x-1"].variants["x-1-turbo"].steps == 4
    assert facts["x-1"].pipeline == Pipeline("x", "XPipeline", steps=30, guidance=4.0)


@pytest.mark.parametrize(
    "facts",
    [
        {"licence": "MIT"},
        {"variants": {"x-1": {"hub_word": "X"}}},
        {"pipeline": {"name": "x", "class": "XPipeline", "steps": 30}},
        {"pipeline": {"name": "x", "steps": 30, "guidance": 1.0}},
    ],
)
def test_a_misspelt_file_is_named(tmp_path: Path, facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"x-1\.json says too little or too much"):
        read_facts(write(tmp_path, **facts))


@pytest.mark.parametrize("facts", FILES, ids=lambda facts: facts.name)
def test_every_file_is_of_one_kind(facts: Facts) -> None:
    """Shapes and where they are from, or sizes that they leave open, or names alone."""
    shaped = [facts.source, facts.architecture, facts.config, facts.blocks]
    assert all(shaped) or not any(shaped)
    assert not (facts.sizes and facts.architecture)
    assert set(facts.sizes) <= {family.name for family in FAMILIES}
    assert next(iter(facts.variants)) == facts.name, "the family is its own most general variant"
    if facts.read and facts.architecture:
        assert all(v.hub_words or v.trainer_words for v in facts.variants.values())


def test_no_base_model_is_in_two_files() -> None:
    counts = Counter(name for facts in FILES for name in facts.variants)

    assert set(counts.values()) == {1}


def test_of_a_base_model_not_known_here_there_is_the_name_alone() -> None:
    assert (variant_of("x-1").name, variant_of("x-1").licence) == ("x-1", None)
    assert variant_of("flux.1-schnell").licence == "Apache-2.0"


def test_a_base_model_has_its_own_pipeline_where_several_share_a_class() -> None:
    def found(base_model: str, diffusers_class: str) -> int | None:
        pipeline = find_pipeline(base_model, lambda p: p.diffusers_class == diffusers_class)
        return pipeline.steps if pipeline else None

    own = find_pipeline("sd-2.0", lambda p: p.diffusers_class == "StableDiffusionPipeline")
    assert own == read_facts()["sd-2.1"].pipeline
    assert found("my-own", "StableDiffusionXLPipeline") == 30
    assert found("flux.1-schnell", "FluxPipeline") == 4
    assert found("flux.1-dev", "StableDiffusionXLPipeline") == 30
    assert found("flux.1-dev", "NoPipeline") is None


def test_the_base_that_can_run_is_taken_of_those_in_common() -> None:
    """Pony and Illustrious are SDXL trained on: what they changed loads there too."""
    assert common_bases(["pony", "illustrious"]) == ["sdxl-1.0"]
    assert common_bases(["pony"]) == ["pony", "sdxl-1.0"]
    assert common_bases(["pony"], runnable=["sdxl-1.0"]) == ["sdxl-1.0", "pony"]
    assert common_bases(["pony", "flux.1-dev"]) == []
    assert common_bases([]) == []


def test_a_base_that_draws_in_another_space_shares_no_adapter_with_its_family() -> None:
    """Zeta-Chroma is Z-Image trained on to draw pixels: the same layers, and noise elsewhere."""
    assert common_bases(["zeta-chroma"], runnable=["z-image"]) == ["zeta-chroma"]
    assert common_bases(["zeta-chroma", "z-image-turbo"]) == []
    assert common_bases(["z-image-turbo"]) == ["z-image-turbo", "z-image"]
    assert "zeta-chroma" not in related_base_models("z-image")


def test_so_does_chroma_that_was_trained_to_draw_pixels() -> None:
    assert common_bases(["chroma-radiance"], runnable=["chroma"]) == ["chroma-radiance"]
    assert common_bases(["chroma-radiance", "chroma"]) == []
    assert "chroma-radiance" not in related_base_models("chroma")
    assert "chroma-flash" in related_base_models("chroma")


def test_an_open_name_is_for_a_base_that_can_run_where_no_other_is() -> None:
    """What is called "flux.1" was most often trained on one of its bases, and loads into all."""
    assert bases_for(["pony", "flux.1"], ["flux.1-dev", "sdxl-1.0"]) == ["flux.1-dev"]
    assert bases_for(["flux.1", "sdxl-1.0"], ["flux.1-dev", "sdxl-1.0"]) == ["sdxl-1.0"]
    assert bases_for(["pony"], ["sdxl-1.0"]) == []
