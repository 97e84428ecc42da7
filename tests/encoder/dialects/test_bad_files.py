"""Files that are not what they seem: refused by a typed error, or listed, never half read."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from encoder.adapter.lora_file import LoraWeights, inspect, read, read_verdict
from encoder.adapter.safetensors_header import read_header
from encoder.adapter.verdict import join_names
from encoder.base_models.families import FAMILIES
from encoder.errors import BadWeightsError, LoraFileError, UnsupportedLoraError
from encoder.sketches.fingerprint import fingerprint
from tests.encoder.builders import write_header, write_tensors
from tests.encoder.dialects.cases import ai_toolkit, kohya_flux
from tests.encoder.dialects.kinds import Pen
from tests.encoder.dialects.lycoris import lycoris_flux, lycoris_kohya
from tests.encoder.dialects.networks import families, linear_shapes
from tests.encoder.dialects.samples import Sample, flat, write_all

Tensors = dict[str, Tensor]
Result = TypeVar("Result")
ALL = (*FAMILIES, *families())
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
LINEAR1 = "lora_unet_single_blocks_0_linear1"


def save(folder: Path, tensors: Tensors) -> Path:
    return write_tensors(folder / "adapter.safetensors", tensors, {})


def read_tensors(folder: Path, tensors: Tensors) -> LoraWeights:
    return read(save(folder, tensors), ALL)


def change(tensors: Tensors, **changed: Tensor | None) -> Tensors:
    """Replace tensors by "module__suffix" with dots as dashes; None takes one away."""
    result = dict(tensors)
    for name, tensor in changed.items():
        key = name.replace("__", ".").replace("_dot_", ".")
        result.pop(key, None)
        if tensor is not None:
            result[key] = tensor
    return result


def full(**changed: Tensor | None) -> Tensors:
    return change(kohya_flux().tensors, **changed)


def only(stem: str, tensors: Tensors) -> Tensors:
    return {key: value for key, value in tensors.items() if key.startswith(f"{stem}.")}


LOHA, LOKR = lycoris_flux("LoHa").tensors, lycoris_flux("LoKr").tensors
BAD: dict[str, Tensors] = {
    "lacks its up": full(**{f"{QKV}__lora_up_dot_weight": None}),
    "lacks its down": full(**{f"{QKV}__lora_down_dot_weight": None}),
    "has only alpha": {**full(), "lora_unet_x.alpha": torch.tensor(1.0)},
    "does not multiply": full(**{f"{QKV}__lora_up_dot_weight": torch.ones(48, 3)}),
    "is a single number by 2x16": full(**{f"{QKV}__lora_up_dot_weight": torch.tensor(1.0)}),
    "is 48x2x1 by 2x16: no layer": full(**{f"{QKV}__lora_up_dot_weight": torch.ones(48, 2, 1)}),
    "empty shape": full(**{
        f"{QKV}__lora_up_dot_weight": torch.ones(48, 0),
        f"{QKV}__lora_down_dot_weight": torch.ones(0, 16),
    }),
    # A vector of a norm, and of a layer that no base has.
    "diff has the empty shape 0": {f"{QKV}.diff": torch.ones(0)},
    "magnitude has the empty shape 0": {"transformer.x.lora_magnitude_vector": torch.ones(0)},
    "absurd rank 5000": full(**{
        f"{QKV}__lora_up_dot_weight": torch.ones(48, 5000),
        f"{QKV}__lora_down_dot_weight": torch.ones(5000, 16),
    }),
    "not one number": full(**{f"{QKV}__alpha": torch.ones(2)}),
    "the scale nan": full(**{f"{QKV}__alpha": torch.tensor(torch.nan)}),
    "stored as I32": full(**{f"{QKV}__lora_up_dot_weight": torch.ones(48, 2).int()}),
    "at once": {**full(), **only(QKV, LOHA)},
    "lacks its hada_w2_b": change(LOHA, **{f"{QKV}__hada_w2_b": None}),
    "different shapes": change(LOHA, **{
        f"{QKV}__hada_w2_a": torch.ones(40, 2), f"{QKV}__hada_w2_b": torch.ones(2, 16)
    }),
    "one Tucker core": {**LOHA, f"{QKV}.hada_t1": torch.ones(2, 2, 3, 3)},
    "neither lokr_w1": change(LOKR, **{f"{QKV}__lokr_w1": None}),
    "magnitude is 7x1": {**full(), f"{QKV}.dora_scale": torch.ones(7, 1)},
    "no direction": {f"{QKV}.diff": torch.ones(48, 16), f"{QKV}.dora_scale": torch.ones(48, 1)},
    "no vector": {f"{QKV}.diff": torch.ones(48, 16), f"{QKV}.diff_b": torch.ones(48, 1)},
    "mixes the prefixes": {**full(), **ai_toolkit("qwen-image").tensors},
    "and they differ": {**full(), **ai_toolkit("flux.1").tensors},
    "are the same": {**ai_toolkit("flux.1").tensors,
        "transformer.x_embedder.lora_A.a.weight": torch.ones(2, 4),
        "transformer.x_embedder.lora_A.b.weight": torch.ones(2, 4)},
    "only text_encoder": {"lora_te1_x.lora_down.weight": torch.ones(2, 4)},
    # The same layer as one of fused ones, and by itself.
    "two sets of tensors": {**full(), **{
        "lora_unet_transformer_blocks_0_attn_to_q.lora_down.weight": torch.ones(2, 16),
        "lora_unet_transformer_blocks_0_attn_to_q.lora_up.weight": torch.ones(16, 2),
    }},
    "cannot be split": {**full(), f"{LINEAR1}.dora_scale": torch.ones(1, 16)},
    "layer fits no base model": only(QKV, full(**{
        f"{QKV}__lora_up_dot_weight": torch.ones(47, 2)
    })),
}  # fmt: skip


@pytest.mark.parametrize("cause", BAD)
def test_a_bad_file_is_refused_with_its_name_and_the_cause(tmp_path: Path, cause: str) -> None:
    with pytest.raises((BadWeightsError, UnsupportedLoraError), match=cause) as caught:
        read_tensors(tmp_path, BAD[cause])

    assert str(caught.value).startswith("adapter.safetensors: ")


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    path = write_header(tmp_path / "adapter.safetensors", {})
    with pytest.raises(UnsupportedLoraError, match="changes no layer"):
        read(path)


def test_a_stray_layer_is_named_beside_what_the_rest_is_for(tmp_path: Path) -> None:
    path = save(tmp_path, full(**{f"{QKV}__lora_up_dot_weight": torch.ones(47, 2)}))

    for verdict in (read_verdict(path, ALL), inspect(read_header(path), path, ALL)):
        assert verdict.unmatched == ("double_blocks_0_img_attn_qkv",)
        assert verdict.loadable
        assert not verdict.fusable
        assert (verdict.base_model, verdict.confidence) == ("tiny-flux.1", "likely")
        assert verdict.reasons[0] == (
            "without a place in tiny-flux.1, and left out: double_blocks_0_img_attn_qkv"
        )


def test_more_strays_than_fit_make_the_base_model_unknown(tmp_path: Path) -> None:
    """Another architecture shares some layers; the closest is the one that most fit by shape."""
    sound = full()
    stems = sorted({key.partition(".")[0] for key in sound if key.startswith("lora_unet")})
    tensors = {key: value for key, value in sound.items() if key.startswith(tuple(stems[:4]))}
    for stem in stems[:2]:
        up = tensors[f"{stem}.lora_up.weight"]
        tensors[f"{stem}.lora_up.weight"] = torch.ones(len(up) + 1, 2)

    verdict = read_verdict(save(tmp_path, tensors), ALL)

    assert verdict.base_model == "unknown"
    assert not verdict.loadable
    assert len(verdict.unmatched) == 2
    assert "2 of 4 layers do not fit tiny-flux.1, the closest" in verdict.evidence[0]
    assert len(verdict.reasons) == 1


def test_damaged_layers_are_all_named_in_the_verdict(tmp_path: Path) -> None:
    """What reading stops at, inspecting lists."""
    hurt = full(**{
        f"{QKV}__lora_up_dot_weight": torch.full((48, 2), torch.inf),
        f"{LINEAR1}__lora_down_dot_weight": torch.full((2, 16), torch.nan),
    })  # fmt: skip
    path = save(tmp_path, hurt)
    verdict = read_verdict(path, ALL)

    attention = [f"attn.{side}" for side in ("to_q", "to_k", "to_v")]
    expected = {f"transformer_blocks.0.{name}" for name in attention}
    expected |= {f"single_transformer_blocks.0.{name}" for name in (*attention, "proj_mlp")}
    assert set(verdict.damaged_layers) == expected
    assert not verdict.loadable
    with pytest.raises(BadWeightsError, match="holds NaN or infinity, and 6 layers more"):
        read(path, ALL)


def test_dora_that_needs_the_base_is_read_but_not_fused(tmp_path: Path) -> None:
    verdict = read_tensors(tmp_path, lycoris_kohya("DoRA by input").tensors).verdict

    assert verdict.loadable
    assert not verdict.fusable
    assert verdict.reasons[0].startswith("fusion would lose")


def test_float8_is_read_and_scaled_float8_is_not(tmp_path: Path) -> None:
    """With a scale beside it, float8 alone says nothing of the numbers."""
    sound = kohya_flux().tensors
    tensors = {key: value.to(torch.float8_e4m3fn) for key, value in sound.items()
               if not key.endswith("alpha")}  # fmt: skip
    weights = read_tensors(tmp_path, tensors)
    assert weights.verdict.dtype == "F8_E4M3"
    down, up = (tensors[f"{LINEAR1}.lora_{side}.weight"].float() for side in ("down", "up"))
    found = weights.layers["single_transformer_blocks.0.attn.to_q"].delta()
    torch.testing.assert_close(found, (up @ down)[:16])

    key = f"{LINEAR1}.lora_up.scale_weight"
    with pytest.raises(UnsupportedLoraError, match="scaled float8"):
        read_tensors(tmp_path, {**tensors, key: torch.ones(1)})


@pytest.mark.parametrize(
    "kind",
    [
        "LoCon",
        "LoCon with Tucker cores",
        "LoHa",
        "LoHa with Tucker cores",
        "LoKr",
        "LoKr with Tucker cores",
        "DoRA by output",
        "full differences, biases",
        "LoRA and norms",
    ],
)
def test_float8_of_any_kind_stays_in_the_file_and_reads_as_bfloat16(
    tmp_path: Path, kind: str
) -> None:
    """bfloat16 holds all of float8's values, and takes twice the memory."""
    sample = lycoris_kohya(kind).tensors
    quarter = {
        key: tensor if key.endswith("alpha") else (8 * tensor).to(torch.float8_e4m3fn)
        for key, tensor in sample.items()
    }
    half = {
        key: tensor.bfloat16() if tensor.itemsize == 1 else tensor
        for key, tensor in quarter.items()
    }
    ours, theirs = read_tensors(tmp_path, quarter), read_tensors(tmp_path, half)

    told = [weights.verdict.to_json() for weights in (ours, theirs)]
    assert {told[0].pop("dtype"), told[1].pop("dtype")} == {"F8_E4M3", "BF16"}
    assert told[0].pop("size") < told[1].pop("size")
    assert told[0] == told[1]
    assert fingerprint(ours).to_bytes() == fingerprint(theirs).to_bytes()
    for name, layer in ours.layers.items():
        base = torch.ones(layer.shape)
        torch.testing.assert_close(layer.delta(base), theirs.layers[name].delta(base))
        wide = [tensor for tensor in layer.tensors() if tensor.ndim > 1]
        assert {tensor.dtype for tensor in wide} == {torch.float8_e4m3fn}


def test_names_of_an_unknown_base_are_believed_only_if_they_are_diffusers_own(
    tmp_path: Path,
) -> None:
    def layer(stem: str) -> Tensors:
        down, up = torch.ones(2, 30), torch.ones(30, 2)
        return {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}

    weights = read_tensors(tmp_path, layer("transformer.blocks_of_tomorrow.0.attn.to_q"))
    assert list(weights.layers) == ["blocks_of_tomorrow.0.attn.to_q"]
    assert weights.base_model == "unknown"
    assert not weights.verdict.fusable
    for stem in ("lora_unet_tomorrow", "diffusion_model.tomorrow.0", "double_blocks.0.img_attn.k"):
        with pytest.raises(UnsupportedLoraError, match="fits no base model"):
            read_tensors(tmp_path, layer(stem))


def test_runs_of_blocks_are_one_name() -> None:
    names = [f"blocks.{i}.{side}" for i in (0, 1, 2, 5) for side in ("q", "k")] + ["x_embedder"]

    joined = ["blocks.0..2.q", "blocks.5.q", "blocks.0..2.k", "blocks.5.k", "x_embedder"]
    assert join_names(names) == joined
    deep = [f"up.{i}.attentions.{j}.blocks.{k}.q" for i in (1, 2) for j in (0, 1) for k in range(9)]
    assert join_names(deep) == ["up.1..2.attentions.0..1.blocks.0..8.q"]
    assert join_names(["net.0.proj", "net.2", "to_out.0"]) == ["net.0.proj", "net.2", "to_out.0"]
    assert join_names([]) == []


SOUND = [kohya_flux().tensors, ai_toolkit("flux.1").tensors, LOHA, LOKR]
FRAGMENTS = ("lora_unet_", "transformer.", ".lora_A.weight", ".lora_up.weight", ".alpha", ".0",
             "_0", ".diff", ".lokr_w1", ".dora_scale", "", "text_encoder.", "lora_te1_",
             "double_blocks", ".hada_w1_a", "to_q", "qkv")  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> Tensors:
    """A sound file with some of its tensors renamed, dropped, doubled or of another shape."""
    tensors = dict(draw(st.sampled_from(SOUND)))
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(sorted(tensors)))
        tensor = tensors[key]
        match draw(st.sampled_from(("drop", "rename", "double", "reshape", "retype"))):
            case "drop":
                del tensors[key]
            case "rename":
                del tensors[key]
                old, other = draw(st.sampled_from(FRAGMENTS)), draw(st.sampled_from(FRAGMENTS))
                tensors[key.replace(old, other, 1) if old else other + key] = tensor
            case "double":
                tensors[key + draw(st.sampled_from(FRAGMENTS))] = tensor.clone()
            case "reshape":
                sizes = st.lists(st.sampled_from((0, 1, 2, 16, 48)), max_size=4)
                tensors[key] = torch.ones(draw(sizes))
            case "retype":
                kinds = (torch.int64, torch.bool, torch.float64, torch.float8_e5m2)
                tensors[key] = tensor.to(draw(st.sampled_from(kinds)))
        if not tensors:
            break
    return tensors


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_a_changed_file_is_read_whole_or_refused_by_a_typed_error(tensors: Tensors) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder), tensors)
        told = attempt(lambda: inspect(read_header(path), path, ALL).loadable)
        weights = attempt(lambda: read(path, ALL))
        if isinstance(weights, LoraFileError):
            assert str(weights).startswith("adapter.safetensors: ")
            same = isinstance(told, LoraFileError) and str(told) == str(weights)
            # Alphas are no more than names and shapes to a header.
            # And so are layers that are there twice.
            assert (
                same
                or told is False
                or str(weights).endswith("they differ")
                or ("the scale" in str(weights))
            )
            return
        assert told is True
        verdict = weights.verdict
        assert not verdict.unmatched or not verdict.fusable
        family = next((f for f in ALL if f.name == verdict.family), None)
        for name, layer in weights.layers.items():
            assert family is None or family.shape_of(name) == layer.shape
            assert layer.delta(torch.ones(layer.shape)).shape == layer.shape


def attempt(act: Callable[[], Result]) -> Result | LoraFileError:
    try:
        return act()
    except LoraFileError as error:
        return error


def test_changes_as_large_as_their_layers_are_said_to_be(tmp_path: Path) -> None:
    """A full Kronecker product is small as a file, and not as the matrices that fusion needs."""
    pen = Pen()
    sample = write_all(
        Sample("qwen-image"),
        linear_shapes("qwen-image"),
        flat("lora_unet_"),
        lambda shape: pen.lokr(shape, form="full"),
    )
    assert "as much memory" in read_tensors(tmp_path, sample.tensors).verdict.reasons[-1]
    assert read_tensors(tmp_path, kohya_flux().tensors).verdict.reasons[-1].startswith("its 2")
