"""kohya's FLUX files, against what its own definition of each fused layer says."""

from pathlib import Path

import torch
from torch import Tensor

from encoder.lora_file import read
from tests.encoder.builders import write_tensors

HIDDEN, MLP = 128, 512


def kohya_layer(module: str, d_out: int, d_in: int, *, alpha: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(module))
    return {
        f"{module}.lora_down.weight": torch.randn(4, d_in, generator=generator),
        f"{module}.lora_up.weight": torch.randn(d_out, 4, generator=generator),
        f"{module}.alpha": torch.tensor(alpha),
    }


def delta(tensors: dict[str, Tensor], module: str) -> Tensor:
    """kohya's definition: alpha / rank · up · down."""
    down, up = tensors[f"{module}.lora_down.weight"], tensors[f"{module}.lora_up.weight"]
    return tensors[f"{module}.alpha"] / 4 * up @ down


DOUBLE = "lora_unet_double_blocks_1_"
SINGLE = "lora_unet_single_blocks_3_"


def test_kohya_files_of_the_tiny_base_give_the_same_changes(tmp_path: Path) -> None:
    """Every fused projection is split; alpha / rank stays exact for alphas of all sizes."""
    tensors = {
        **kohya_layer(f"{DOUBLE}img_attn_qkv", 3 * HIDDEN, HIDDEN, alpha=1.0),
        **kohya_layer(f"{DOUBLE}txt_attn_proj", HIDDEN, HIDDEN, alpha=3.0),
        **kohya_layer(f"{DOUBLE}img_mlp_0", MLP, HIDDEN, alpha=4.0),
        **kohya_layer(f"{DOUBLE}txt_mod_lin", 6 * HIDDEN, HIDDEN, alpha=16.0),
        **kohya_layer(f"{SINGLE}linear1", 3 * HIDDEN + MLP, HIDDEN, alpha=2.0),
        **kohya_layer(f"{SINGLE}linear2", HIDDEN, HIDDEN + MLP, alpha=4.0),
        **kohya_layer("lora_unet_img_in", HIDDEN, 64, alpha=0.5),
    }
    path = write_tensors(tmp_path / "a.safetensors", tensors, {"ss_network_module": "networks.x"})
    weights = read(path)

    block, single = "transformer_blocks.1", "single_transformer_blocks.3"
    attention = [f"{block}.attn.{name}" for name in ("to_q", "to_k", "to_v")]
    linear1 = [f"{single}.attn.{name}" for name in ("to_q", "to_k", "to_v")]
    expected = {
        f"{DOUBLE}img_attn_qkv": attention,
        f"{DOUBLE}txt_attn_proj": [f"{block}.attn.to_add_out"],
        f"{DOUBLE}img_mlp_0": [f"{block}.ff.net.0.proj"],
        f"{DOUBLE}txt_mod_lin": [f"{block}.norm1_context.linear"],
        f"{SINGLE}linear1": [*linear1, f"{single}.proj_mlp"],
        f"{SINGLE}linear2": [f"{single}.proj_out"],
        "lora_unet_img_in": ["x_embedder"],
    }
    assert set(weights.layers) == {name for names in expected.values() for name in names}
    for module, names in expected.items():
        found = torch.cat([weights.layers[name].delta() for name in names])
        torch.testing.assert_close(found, delta(tensors, module))
    assert (weights.base_model, weights.trainer) == ("demo-flux-tiny", "sd-scripts")
    assert (weights.verdict.format, weights.verdict.names) == ("kohya", "bfl")
