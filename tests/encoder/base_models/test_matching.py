"""Which family a file's layers belong to, and what claims add to that."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.base_models.families import FAMILIES, LOOKALIKES, Family, find_family
from encoder.base_models.matching import (
    Authority,
    Claim,
    Confidence,
    decide_base_model,
    match_family,
)

Shapes = dict[str, tuple[int, ...]]
ALL = {family.name: family for family in (*FAMILIES, *LOOKALIKES)}
FLUX_BLOCKS = r"^(single_)?transformer_blocks\."


def layers_of(name: str, pattern: str = "") -> Shapes:
    """Layers of a family whose names contain the pattern, with their shapes."""
    family = ALL[name]
    layers: Mapping[str, tuple[int, ...]] = {**family.layers, **family.convolutions}
    return {layer: shape for layer, shape in layers.items() if re.search(pattern, layer)}


# Families that have no layer which no other has.
WITHIN = {"wan-2.1-14b": "wan-2.1-i2v-14b", "pixart-sigma": "pixart-alpha"}
# Families whose blocks are the first of another's.
SHORTER = {"sana-1.6b": "sana-1.5-4.8b"}


@pytest.mark.parametrize(
    "family",
    [f for f in FAMILIES if f.name not in WITHIN | SHORTER],
    ids=lambda family: family.name,
)
def test_all_layers_tell_the_family_with_certainty(family: Family) -> None:
    match = match_family({**family.layers, **family.convolutions})

    assert match.family is family
    assert match.confidence is Confidence.CERTAIN
    assert match.evidence.endswith(f"layers exist in {family.name} with these shapes")


@pytest.mark.parametrize("name", SHORTER)
def test_all_blocks_of_the_shorter_leave_little_doubt(name: str) -> None:
    match = match_family(layers_of(name, r""))

    assert match.family is find_family(name)
    assert match.confidence is Confidence.LIKELY
    assert {family.name for family in match.candidates} == {name, SHORTER[name]}


@pytest.mark.parametrize("lookalike", LOOKALIKES, ids=lambda family: family.name)
def test_all_layers_of_a_lookalike_are_never_taken_for_ours(lookalike: Family) -> None:
    match = match_family({**lookalike.layers, **lookalike.convolutions})

    assert match.family is None
    assert lookalike in match.candidates
    assert lookalike.name in match.evidence


@pytest.mark.parametrize(
    ("name", "pattern", "family"),
    [
        # What trainers change by default.
        ("flux.1", FLUX_BLOCKS, "flux.1"),
        ("flux.2-klein-4b", r"attn", "flux.2-klein-4b"),
        ("flux.2-klein-9b", r"attn", "flux.2-klein-9b"),
        ("qwen-image", r"attn|img_mlp", "qwen-image"),
        ("z-image", r"^layers\.\d+\.attention", "z-image"),
        ("sdxl-1.0", r"attn", "sdxl-1.0"),
        ("sd-1.5", r"attn", "sd-1.5"),
        ("sd-2.1", r"attn", "sd-2.1"),
        # Text enters SD1.5, SD2 and SDXL with other widths.
        ("sd-1.5", r"attn2\.to_k", "sd-1.5"),
        ("sd-2.1", r"attn2\.to_v", "sd-2.1"),
        ("sdxl-1.0", r"attn2\.to_k", "sdxl-1.0"),
        # Convolutions are evidence too: SDXL has other numbers of channels.
        ("sdxl-1.0", r"resnets.*conv", "sdxl-1.0"),
    ],
)
def test_layers_that_one_family_has_tell_it(name: str, pattern: str, family: str) -> None:
    match = match_family(layers_of(name, pattern))

    assert match.family is not None
    assert match.family.name == family
    assert match.confidence >= Confidence.LIKELY


@pytest.mark.parametrize(
    ("name", "pattern", "candidates"),
    [
        # Qwen-Image's first blocks have the attention of FLUX.1's double blocks.
        ("flux.1", r"^transformer_blocks\.\d+\.attn", {"flux.1", "qwen-image"}),
        ("qwen-image", r"^transformer_blocks\.\d\.attn", {"flux.1", "qwen-image"}),
        ("flux.2-klein-4b", r"^transformer_blocks\.0\.attn", {"flux.1", "flux.2-klein-4b"}),
        # Chroma drops FLUX.1's modulation and keeps all else.
        ("flux.1", r"attn|ff|proj", {"flux.1", "chroma"}),
        ("chroma", r"attn", {"flux.1", "chroma", "hunyuan-video"}),
        ("ltx-video-13b", r"attn1", {"ltx-video-13b", "ltx-2.0", "ltx-2.3"}),
        ("hidream-o1", r"self_attn", {"hidream-o1", "qwen3-vl-8b"}),
        *((part, r"", {part, whole}) for part, whole in WITHIN.items()),
        # A few blocks may be anybody's who has at least so many.
        ("flux.1", r"^single_transformer_blocks\.(7|20)\.", {"flux.1", "hunyuan-video"}),
        ("flux.1-lite", FLUX_BLOCKS, {"flux.1", "flux.1-lite"}),
        # SDXL with fewer layers, distilled.
        ("ssd-1b", r"attn", {"sdxl-1.0", "ssd-1b"}),
        # SD1.5 and SD2 differ only where text enters.
        ("sd-1.5", r"attn1", {"sd-1.5", "sd-2.1"}),
        ("sd-2.1", r"resnets.*conv", {"sd-1.5", "sd-2.1"}),
        ("sd-1.5", r"proj_(in|out)$", {"sd-1.5", "sd-2.1"}),
    ],
)
def test_layers_that_several_have_need_a_claim(
    name: str, pattern: str, candidates: set[str]
) -> None:
    match = match_family(layers_of(name, pattern))

    assert match.family is None
    assert match.confidence is Confidence.CLAIM_NEEDED
    assert candidates <= {family.name for family in match.candidates}
    assert all(candidate in match.evidence for candidate in candidates)


def test_kolors_leaves_sdxl_likely_but_not_certain() -> None:
    match = match_family(layers_of("kolors", r"attn"))

    assert match.family is find_family("sdxl-1.0")
    assert match.confidence is Confidence.LIKELY
    assert "kolors" in match.evidence


def test_text_encoders_tell_families_of_the_same_layers_apart() -> None:
    shared = layers_of("sd-1.5", r"attn1")

    assert match_family(shared, text_widths=[768]).family is find_family("sd-1.5")
    assert match_family(shared, text_widths=[1024]).family is find_family("sd-2.1")
    sdxl = match_family(layers_of("sdxl-1.0", r"attn"), text_widths=[768, 1280])
    assert sdxl.confidence is Confidence.CERTAIN, "Kolors has no CLIP-G"


def test_text_encoders_of_another_family_contradict_the_layers() -> None:
    match = match_family(layers_of("sd-1.5"), text_widths=[1280])

    assert match.family is None
    assert match.confidence is Confidence.NONE
    assert "text encoders 1280 wide" in match.evidence


def test_one_block_too_many_is_no_family() -> None:
    shapes = layers_of("flux.1", FLUX_BLOCKS)
    shapes["transformer_blocks.60.attn.to_q"] = (3072, 3072)

    match = match_family(shapes)

    assert match.family is None
    assert not match.candidates
    assert "494 of 495 layers exist in flux.1" in match.evidence
    assert "transformer_blocks.60.attn.to_q (3072x3072) does not" in match.evidence


def test_a_kernel_of_one_pixel_counts_as_the_matrix_that_it_is() -> None:
    """sd-scripts trains SD2's projections as kernels; diffusers has them as matrices."""
    shapes = layers_of("sd-2.1", r"attn|proj")
    shapes.update({n: (*shape, 1, 1) for n, shape in shapes.items() if "proj_" in n})

    assert match_family(shapes).family is find_family("sd-2.1")
    wrong = {
        name: (*shape[:2], 3, 3) if len(shape) == 4 else shape for name, shape in shapes.items()
    }
    assert match_family(wrong).family is None


def test_vectors_count_as_evidence() -> None:
    shapes: Shapes = {"img_in.bias": (3072,), "txt_norm.weight": (3584,)}

    assert match_family(shapes).family is find_family("qwen-image")
    assert match_family({**shapes, "txt_norm.weight": (3585,)}).family is None


def test_no_layers_are_no_evidence() -> None:
    match = match_family({})

    assert match.family is None
    assert match.confidence is Confidence.NONE


@st.composite
def some_layers(draw: st.DrawFn) -> tuple[Family, Shapes]:
    """A family or a lookalike, and any of its layers."""
    name = draw(st.sampled_from(sorted(ALL)))
    layers = layers_of(name)
    chosen = draw(st.lists(st.sampled_from(sorted(layers)), min_size=1, max_size=60, unique=True))
    return ALL[name], {layer: layers[layer] for layer in chosen}


@settings(max_examples=300, deadline=None)
@given(some_layers())
def test_any_layers_of_a_family_never_tell_another_one_with_certainty(
    drawn: tuple[Family, Shapes],
) -> None:
    """And without a claim, they are at most taken for another's that is nearly never meant."""
    family, shapes = drawn

    match = match_family(shapes)

    assert family in match.candidates
    if match.family is not family:
        assert match.confidence <= Confidence.LIKELY
        assert match.family is None or family.rare


@settings(max_examples=200, deadline=None)
@given(some_layers(), st.data())
def test_one_wrong_layer_is_never_overlooked(
    drawn: tuple[Family, Shapes], data: st.DataObject
) -> None:
    family, shapes = drawn
    name = data.draw(st.sampled_from(sorted(shapes)))
    if data.draw(st.booleans()):
        shapes[name] = (shapes[name][0] + 1, *shapes[name][1:])
    else:
        shapes[f"{name}_extra"] = shapes[name]

    match = match_family(shapes)

    assert family not in match.candidates
    assert match.family is not family


def claims(*base_models: str | None) -> list[Claim]:
    return [Claim(name, f"somebody says {name!r}") for name in base_models]


@pytest.mark.parametrize(
    ("name", "pattern", "said", "base_model"),
    [
        # Layers alone.
        ("flux.1", FLUX_BLOCKS, [], "flux.1"),
        ("flux.1", r"attn", [], "unknown"),
        ("chroma", r"", [], "chroma"),
        ("chroma", r"^transformer_blocks", [], "unknown"),
        # The claim tells the variant, or which of several families it is.
        ("flux.1", FLUX_BLOCKS, ["flux.1-schnell"], "flux.1-schnell"),
        ("flux.1", r"^transformer_blocks.*attn", ["qwen-image-edit"], "qwen-image-edit"),
        ("flux.1", r"attn|ff", ["chroma"], "chroma"),
        ("sdxl-1.0", r"attn", ["pony"], "pony"),
        ("sdxl-1.0", r"attn", ["kolors"], "kolors"),
        ("sd-1.5", r"attn1", ["sd-2.1"], "sd-2.1"),
        # The most special of those that agree; words not known here do not matter beside it.
        ("sdxl-1.0", r"attn", ["sdxl-1.0", "illustrious"], "illustrious"),
        ("sdxl-1.0", r"attn", ["illustrious", "sdxl-1.0"], "illustrious"),
        ("flux.1", r"", ["flux.1-dev", "flux.1-kontext-dev"], "flux.1-kontext-dev"),
        ("flux.1", r"", [None, "flux.1-dev"], "flux.1-dev"),
        # A name that leaves the size open.
        ("flux.2-klein-4b", r"", ["flux.2"], "flux.2-klein-4b"),
        ("flux.2-klein-4b", r"", ["flux.2", "flux.2-klein-base-4b"], "flux.2-klein-base-4b"),
        # It is true of all that fit, where several do.
        ("wan-2.1-14b", r"attn1", ["wan"], "wan"),
        ("wan-2.1-14b", r"attn1", [], "wan"),
        ("wan-2.1-14b", r"attn1", [None], "unknown"),
        ("ltx-video-13b", r"attn1", [], "unknown"),
        ("wan-2.1-14b", r"attn1", ["wan", "wan-2.2-t2v-a14b"], "wan-2.2-t2v-a14b"),
        ("wan-2.1-i2v-14b", r"attn2", ["wan"], "wan-2.1-i2v-14b"),
        ("ltx-video-13b", r"attn1", ["ltx-2"], "ltx-2"),
        ("ltx-video-13b", r"attn1", ["ltx-video"], "ltx-video-13b"),
        ("ltx-2.0", r"audio_attn", ["ltx-2"], "ltx-2"),
        ("ltx-2.3", r"gate_logits", ["ltx-2"], "ltx-2.3"),
        ("pixart-sigma", r"", ["pixart"], "pixart"),
        ("sana-1.6b", r"attn", ["sana"], "sana-1.6b"),
        ("kandinsky-5-image", r"attention", [], "kandinsky-5-image"),
        ("cogvideox-5b", r"attn", ["cogvideox"], "cogvideox-5b"),
        # LongCat-Image has the first of FLUX.1's blocks.
        ("longcat-image", r"attn", ["longcat-image-edit"], "longcat-image-edit"),
        ("longcat-image", r"attn", [], "unknown"),
        ("longcat-image", r"", [], "longcat-image"),
        ("pixart-sigma", r"", ["pixart-sigma"], "pixart-sigma"),
        ("hidream-o1", r"language_model", ["hidream-o1"], "hidream-o1"),
        ("hidream-o1", r"language_model", [], "unknown"),
        ("hidream-o1", r"language_model|x_embedder", [], "hidream-o1"),
        # What layers exclude stops nothing: ai-toolkit writes "sd_1.5" unless told otherwise.
        ("wan-2.1-14b", r"attn1", ["wan", "flux.1"], "wan"),
        ("flux.1", r"", ["sdxl-1.0"], "flux.1"),
        ("flux.1", FLUX_BLOCKS, ["sd-1.5"], "flux.1"),
        ("flux.1", r"", ["flux.2"], "flux.1"),
        ("sdxl-1.0", r"", ["pony", "sd-1.5"], "pony"),
        ("flux.1", r"^transformer_blocks.*attn", ["sd-1.5"], "unknown"),
        # Flex.1 has the blocks of FLUX.1 lite, and ai-toolkit writes "flux.1" for it.
        ("flux.1-lite", FLUX_BLOCKS, ["flux.1"], "unknown"),
        ("flux.1-lite", r"attn|ff|proj", ["flux.1"], "unknown"),
        ("flux.1-lite", FLUX_BLOCKS, ["flux.1-dev"], "flux.1-dev"),
        ("flux.1-lite", FLUX_BLOCKS, ["flux.1", "flex.2-preview"], "flex.2-preview"),
        ("flux.1-lite", FLUX_BLOCKS, ["flux.1-lite"], "flux.1-lite"),
        ("flux.1", FLUX_BLOCKS, ["flux.1"], "flux.1"),
        ("flux.1", FLUX_BLOCKS, ["flex.1-alpha"], "flux.1"),
        ("flux.1", r"attn", ["flux.1"], "flux.1"),
        # Some blocks of FLUX.1, as authors choose them.
        ("flux.1", r"^single_transformer_blocks\.\d+\.", ["flux.1"], "flux.1"),
        ("flux.1", r"^transformer_blocks\.[0-7]\.", ["flux.1"], "flux.1"),
        ("flux.1", r"^single_transformer_blocks\.(7|20)\.", ["flux.1"], "flux.1"),
        # Claims that layers allow, and that contradict each other.
        ("sdxl-1.0", r"attn", ["kolors", "sdxl-1.0"], "unknown"),
        # Words not known here: of an architecture that looks the same, where that may be.
        ("flux.1", r"", [None], "flux.1"),
        ("flux.1", FLUX_BLOCKS, [None], "unknown"),
        # The others that look like SDXL are rare, and what they are called is known.
        ("sdxl-1.0", r"attn", [None], "sdxl-1.0"),
        ("sdxl-1.0", r"attn", [None, "kolors"], "kolors"),
        ("ssd-1b", r"attn", [None], "unknown"),
    ],
)
def test_layers_tell_the_family_and_claims_the_variant(
    name: str, pattern: str, said: list[str | None], base_model: str
) -> None:
    match = match_family(layers_of(name, pattern))

    decided = decide_base_model(match, claims(*said))

    assert decided.base_model == base_model
    assert decided.evidence[0] == match.evidence
    for claim, evidence in zip(claims(*said), decided.evidence[1:], strict=True):
        assert evidence in (claim.text, f"{claim.text}, which its layers rule out")


PERSON, HUB, FILE = Authority.PERSON, Authority.HUB, Authority.FILE
FEW = r"^transformer_blocks.*attn"


@pytest.mark.parametrize(
    ("name", "pattern", "said", "base_model"),
    [
        ("sdxl-1.0", r"attn", {FILE: "sdxl-1.0", HUB: "pony"}, "pony"),
        ("sdxl-1.0", r"attn", {FILE: "pony", HUB: "sdxl-1.0"}, "sdxl-1.0"),
        ("sdxl-1.0", r"attn", {HUB: "pony", PERSON: "illustrious"}, "illustrious"),
        ("flux.1", FEW, {HUB: "flux.1-dev", FILE: "chroma"}, "flux.1-dev"),
        ("flux.1", FEW, {HUB: "chroma", PERSON: "flux.1-dev"}, "flux.1-dev"),
        ("flux.1-lite", FLUX_BLOCKS, {FILE: "flux.1", HUB: "flex.1-alpha"}, "flex.1-alpha"),
        ("flux.1-lite", FLUX_BLOCKS, {FILE: "flux.1", HUB: "flux.1-dev"}, "flux.1-dev"),
        ("flux.1-lite", FLUX_BLOCKS, {PERSON: "flux.1"}, "flux.1"),
        # Whoever says what layers exclude is not heard.
        ("flux.1", r"attn", {PERSON: "sdxl-1.0", HUB: "flux.1-dev", FILE: "sd-1.5"}, "flux.1-dev"),
        ("sd-1.5", r"attn", {HUB: "instruct-pix2pix"}, "instruct-pix2pix"),
    ],
)  # fmt: skip
def test_a_person_is_believed_before_a_hub_and_a_hub_before_the_file(
    name: str, pattern: str, said: dict[Authority, str], base_model: str
) -> None:
    match = match_family(layers_of(name, pattern))
    heard = [Claim(who, f"{authority.name} says so", authority) for authority, who in said.items()]

    decided = decide_base_model(match, heard)

    assert decided.base_model == base_model
    [speaker] = [authority for authority, who in said.items() if who == base_model]
    assert decided.said_by == f"{speaker.name} says so"
    excluded = sum("rule out" in line for line in decided.evidence)
    assert excluded == sum(who in ("sd-1.5", "sdxl-1.0") and name == "flux.1"
                           for who in said.values())  # fmt: skip
