"""Whatever a file says it holds: a typed error or a verdict, and little memory."""

import contextlib
import io
import json
import math
import struct
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from encoder.adapter.header_tensor import HeaderTensor
from encoder.adapter.layer_measure import is_quick
from encoder.adapter.layers import LokrLayer, RowsLayer
from encoder.adapter.lora_file import inspect, read, read_verdict
from encoder.adapter.safetensors_header import DTYPE_BYTES, Header, TensorInfo, parse_header
from encoder.adapter.verdict import Verdict
from encoder.errors import BadWeightsError, FingerprintError, LoraFileError
from encoder.sketches.fingerprint import fingerprint
from tests.encoder.builders import write_tensors

MAX_BYTES = 100_000_000
Entry = dict[str, Any]

PREFIXES = ("", "transformer.", "unet.", "diffusion_model.", "base_model.model.", "lora_unet_",
            "lora_transformer_", "lora_te1_", "text_encoder.", "lycoris_", "lora_unet__",
            "base_model.model.base_model.model.", "cloneofsimo.unet.")  # fmt: skip
MODULES = (
    "transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_out", "norm_out.linear",
    "double_blocks.0.img_attn.qkv", "double_blocks_0_img_attn_qkv", "single_blocks_0_linear1",
    "blocks.0.attn.a_to_qkv", "down_blocks_0_attentions_0_proj_in", "layers.0.attention.to_q",
    "text_model_encoder_layers_0_mlp_fc1", "x", "transformer.h.0.attn.c_attn",
    "layers.0.attention.qkv", "distilled_guidance_layer.in_proj",
)  # fmt: skip
SUFFIXES = (
    ".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_down.weight",
    ".lora_up.weight", ".lora_mid.weight", ".alpha", ".diff", ".diff_b", ".w_norm", ".dora_scale",
    ".lora_magnitude_vector", ".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".hada_t1",
    ".lokr_w1", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2", ".lokr_t2", ".oft_blocks", ".lora_B.bias",
)  # fmt: skip
METADATA = st.dictionaries(
    st.sampled_from(
        ("lora_adapter_metadata", "ss_base_model_version", "ss_tag_frequency", "ss_network_args")
    ),
    st.sampled_from(("flux1", "sdxl_", "{", "[[1]]", '{"transformer.lora_alpha": 1}'))
    | st.text(max_size=9),
    max_size=2,
)
NAMES = st.builds(
    str.__add__,
    st.builds(str.__add__, st.sampled_from(PREFIXES), st.sampled_from(MODULES)),
    st.sampled_from(SUFFIXES),
) | st.sampled_from(
    (
        "unet:0:up",
        "unet:0:down",
        "text_encoder:1:up",
        "<s1>",
        "clip_l",
        "320.0.linear.0.weight",
        "lora_strength",
        "w_a_000",
    )
)
SHAPES = st.lists(st.sampled_from((0, 1, 2, 3, 4, 16, 128, 384)), max_size=5).filter(
    lambda shape: math.prod(shape) < 50_000
)
TENSORS = st.dictionaries(
    NAMES, st.tuples(SHAPES, st.sampled_from(sorted(DTYPE_BYTES))), min_size=1, max_size=6
)


def frame(tensors: dict[str, tuple[list[int], str]], metadata: dict[str, str], fill: int) -> bytes:
    """A sound file of these tensors, every byte of their data `fill`."""
    header: Entry = {"__metadata__": metadata}
    position = 0
    for name, (shape, dtype) in tensors.items():
        end = position + math.prod(shape) * DTYPE_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes([fill]) * position


def look_at(data: bytes) -> None:
    """Do all that the registry does with a file before it is believed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(data)
        with contextlib.suppress(LoraFileError, FingerprintError):
            fingerprint(read(path))
        with contextlib.suppress(LoraFileError):
            check_json(read_verdict(path))
        with contextlib.suppress(LoraFileError):
            check_json(inspect(parse_header(path, io.BytesIO(data), len(data)), path))


def check_json(verdict: Verdict) -> None:
    """PostgreSQL's has neither NaN nor infinity."""
    json.dumps(verdict.to_json(), allow_nan=False)


EMPTY = {
    f"transformer.transformer_blocks.0.attn.to_q.lora_{side}.weight": (shape, "F32")
    for side, shape in (("A", [0, 128]), ("B", [128, 0]))
}


# 0xff makes NaN of every float, -1 of every integer.
@given(TENSORS, METADATA, st.sampled_from((0, 1, 0x3C, 0xFF)))
@example(EMPTY, {"lora_adapter_metadata": '{"transformer.lora_alpha": 1}'}, 0)
def test_names_shapes_and_types_of_any_kind_never_crash(
    tensors: dict[str, tuple[list[int], str]], metadata: dict[str, str], fill: int
) -> None:
    look_at(frame(tensors, metadata, fill))


@given(TENSORS, st.data())
def test_damage_anywhere_never_crashes(
    tensors: dict[str, tuple[list[int], str]], data: st.DataObject
) -> None:
    whole = frame(tensors, {}, 0)
    place = data.draw(st.integers(0, len(whole) - 1))
    rest = whole[place + data.draw(st.integers(0, 8)) :]
    look_at(whole[:place] + data.draw(st.binary(max_size=8)) + rest)


def memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(field)


def lokr(path: Path) -> Path:
    """Kronecker products of small matrices: FLUX.1's fused layers in 60 KB each."""
    tensors = {}
    for index in range(4):
        stem = f"lora_unet_single_blocks_{index}_linear1"
        tensors[f"{stem}.lokr_w1"] = torch.ones(168, 48)
        tensors[f"{stem}.lokr_w2"] = torch.ones(128, 64)
        tensors[f"{stem}.alpha"] = torch.tensor(1.0)
    return write_tensors(path, tensors, {"ss_base_model_version": "flux1"})


def tall(path: Path) -> Path:
    """A Kronecker factor of many rows and few columns, for a base that nobody knows."""
    stem = "base_model.model.transformer_blocks.0.attn.to_q"
    tensors = {f"{stem}.lokr_w1": torch.ones(8000, 4), f"{stem}.lokr_w2": torch.ones(8, 4)}
    return write_tensors(path, tensors)


def wide(path: Path) -> Path:
    """A Kronecker factor of many columns and few rows."""
    stem = "base_model.model.transformer_blocks.0.attn.to_q"
    tensors = {f"{stem}.lokr_w1": torch.ones(4, 4), f"{stem}.lokr_w2": torch.ones(4, 4097)}
    return write_tensors(path, tensors)


def halves(path: Path) -> Path:
    """A Kronecker factor of 400 million numbers, in 80 KB."""
    stem = "base_model.model.transformer_blocks.0.attn.to_q"
    parts = {"w1_a": (20_000, 1), "w1_b": (1, 20_000), "w2": (1, 1)}
    return write_tensors(
        path, {f"{stem}.lokr_{part}": torch.ones(shape).half() for part, shape in parts.items()}
    )


def loha(path: Path) -> Path:
    stem = "lora_unet_single_blocks_0_linear2"
    parts = {"w1_a": (3072, 40), "w1_b": (40, 15360), "w2_a": (3072, 40), "w2_b": (40, 15360)}
    return write_tensors(
        path,
        {f"{stem}.hada_{part}": torch.ones(shape).half() for part, shape in parts.items()},
        {"ss_base_model_version": "flux1"},
    )


def absurd(path: Path) -> Path:
    """A rank that no layer of this size has any use for."""
    tensors = {
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": ([8000, 3072], "F32"),
        "transformer.transformer_blocks.0.attn.to_q.lora_B.weight": ([3072, 8000], "F32"),
    }
    path.write_bytes(frame(tensors, {}, 0))
    return path


# Shapes by slot, of a few megabytes at most.
LARGE: dict[str, dict[str, tuple[int, ...]]] = {
    "LoKr": {"lokr_w1": (1000, 1000), "lokr_w2": (1000, 1000)},
    "LoKr of halves": {"lokr_w1_a": (10**6, 1), "lokr_w1_b": (1, 1000), "lokr_w2": (1, 1)},
    "LoKr with a core": {
        "lokr_w1": (1, 1),
        "lokr_w2_a": (1, 1),
        "lokr_w2_b": (1, 1000),
        "lokr_t2": (1, 1, 1000, 1000),
    },
    "LoHa": {
        "hada_w1_a": (30_000, 1),
        "hada_w1_b": (1, 30_000),
        "hada_w2_a": (30_000, 1),
        "hada_w2_b": (1, 30_000),
    },
    "LoHa with cores": {
        "hada_w1_a": (1, 1),
        "hada_w1_b": (1, 1000),
        "hada_w2_a": (1, 1),
        "hada_w2_b": (1, 1000),
        "hada_t1": (1, 1, 1000, 1000),
        "hada_t2": (1, 1, 1000, 1000),
    },
    "LoCon with a core": {
        "lora_down.weight": (1, 1000, 1, 1),
        "lora_mid.weight": (1, 1, 1000, 1000),
        "lora_up.weight": (1, 1, 1, 1),
    },
    "LoCon with a core of few outputs": {
        "lora_down.weight": (100, 100_000, 1, 1),
        "lora_mid.weight": (100, 100, 10, 10),
        "lora_up.weight": (1, 100, 1, 1),
    },
}


def judge_shapes(shapes: dict[str, tuple[int, ...]]) -> Verdict:
    """Judge a file of one layer by its header."""
    stem = "transformer.transformer_blocks.0.attn.to_q"
    tensors = {f"{stem}.{slot}": TensorInfo("F16", shape, 0, 0) for slot, shape in shapes.items()}
    return inspect(Header(tensors, {}, 0), "x")


@pytest.mark.parametrize("kind", LARGE)
def test_factors_that_stand_for_more_than_any_layer_are_refused(kind: str) -> None:
    with pytest.raises(BadWeightsError, match="would be formed as"):
        judge_shapes(LARGE[kind])


def test_factors_of_the_largest_layers_known_are_read() -> None:
    assert judge_shapes({"lokr_w1": (8, 8), "lokr_w2": (6912, 768)}).layers == 1
    assert judge_shapes({"lokr_w1": (8, 8), "lokr_w2": (18_992, 512)}).layers == 1


def test_telling_how_long_measuring_takes_forms_nothing() -> None:
    """Shapes are enough."""
    halves = HeaderTensor((8, 1)), HeaderTensor((1, 8))
    layer: Any = LokrLayer(halves, halves, 1.0)  # type: ignore[arg-type]

    assert is_quick(layer)
    assert is_quick(RowsLayer(layer, (slice(8),)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("write", [lokr, tall, wide, halves, loha, absurd])
def test_files_that_stand_for_large_matrices_take_little_memory(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "x.safetensors")
    with contextlib.suppress(LoraFileError):
        read_verdict(path)
    before = memory("VmRSS")
    # Lets the peak start anew.
    Path("/proc/self/clear_refs").write_text("5")

    with contextlib.suppress(LoraFileError, FingerprintError):
        weights = read(path)
        assert memory("VmHWM") - before < MAX_BYTES
        fingerprint(weights)
    # A layer of FLUX.1's largest, formed whole, would take 264 MB.
    assert memory("VmHWM") - before < 2 * MAX_BYTES


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ss_tag_frequency", "[" + "{}," * 3_000_000 + "{}]"),
        ("modelspec.trigger_phrase", ",".join(map(str, range(1_200_000)))),
    ],
)
def test_metadata_that_would_be_millions_of_words_takes_little_memory(
    key: str, value: str, tmp_path: Path
) -> None:
    tensors = {
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 128),
        "transformer.transformer_blocks.0.attn.to_q.lora_B.weight": torch.ones(128, 2),
    }
    path = write_tensors(tmp_path / "x.safetensors", tensors, {key: value})

    tracemalloc.start()
    weights = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert weights.trigger_words == ()
    assert peak < MAX_BYTES
