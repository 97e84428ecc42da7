"""What a verdict says of each base model, by headers of the true sizes."""

import pytest

from encoder.adapter.lora_file import inspect
from encoder.adapter.safetensors_header import Header, TensorInfo
from encoder.adapter.verdict import Verdict

Shapes = dict[str, tuple[int, int]]
CHROMA: Shapes = {
    "transformer.distilled_guidance_layer.layers.0.linear_1": (5120, 5120),
    "transformer.single_transformer_blocks.37.proj_out": (3072, 15360),
}
HIDREAM: Shapes = {
    "lycoris_double_stream_blocks_14_block_attn1_to_v_t": (2560, 2560),
    "lycoris_double_stream_blocks_14_block_ff_i_experts_0_w1": (6912, 2560),
}
KLEIN: Shapes = {
    "diffusion_model.double_blocks.7.img_attn.proj": (4096, 4096),
    "diffusion_model.single_blocks.23.linear2": (4096, 16384),
}
Z_IMAGE: Shapes = {"lora_unet_layers_29_attention_qkv": (11520, 3840)}
KREA: Shapes = {"diffusion_model.blocks.27.attn.wk": (1536, 6144)}
SD3: Shapes = {
    "lora_unet_joint_blocks_0_x_block_attn_qkv": (4608, 1536),
    "lora_unet_joint_blocks_0_x_block_attn2_qkv": (4608, 1536),
}
ANIMA: Shapes = {"lora_unet_blocks_27_cross_attn_k_proj": (2048, 1024)}
LUMINA: Shapes = {"diffusion_model.layers.25.attention.qkv": (3840, 2304)}
WAN: Shapes = {"diffusion_model.blocks.39.self_attn.q": (5120, 5120)}
WAN_PICTURE: Shapes = {**WAN, "diffusion_model.blocks.39.cross_attn.k_img": (5120, 5120)}
HUNYUAN: Shapes = {"lora_unet_double_blocks_19_img_attn_qkv": (9216, 3072)}
LTX: Shapes = {"diffusion_model.transformer_blocks.47.attn1.to_q": (4096, 4096)}
LTX2: Shapes = {
    **LTX,
    "diffusion_model.transformer_blocks.47.audio_attn1.to_gate_logits": (32, 2048),
}
O1: Shapes = {"diffusion_model.language_model.layers.35.mlp.down_proj": (4096, 12288)}
O1_EMBEDDER: Shapes = {**O1, "diffusion_model.x_embedder.proj2": (4096, 1024)}
IDEOGRAM: Shapes = {"conditional_transformer.layers.33.attention.qkv": (13824, 4608)}
H3_REF: Shapes = {"transformer_ref.transformer_blocks.49.attn.to_q": (7168, 5376)}
PIXART: Shapes = {"transformer.transformer_blocks.27.attn2.to_q": (1152, 1152)}


def judge(shapes: Shapes, **metadata: str) -> Verdict:
    tensors = {}
    for stem, (outputs, inputs) in shapes.items():
        tensors[f"{stem}.lora_down.weight"] = TensorInfo("BF16", (4, inputs), 0, 0)
        tensors[f"{stem}.lora_up.weight"] = TensorInfo("BF16", (outputs, 4), 0, 0)
    return inspect(Header(tensors, metadata, 8), "adapter.safetensors")


@pytest.mark.parametrize(
    ("shapes", "said", "base_model", "confidence"),
    [
        (CHROMA, "", "chroma", "certain"),
        (CHROMA, "Chroma1/lora", "chroma", "certain"),
        (HIDREAM, "", "hidream-i1", "certain"),
        (KLEIN, "flux2_klein_9b", "flux.2-klein-9b", "certain"),
        (Z_IMAGE, "Z-Image/lora", "z-image", "certain"),
        (Z_IMAGE, "zeta_chroma", "zeta-chroma", "certain"),
        (KREA, "Krea-2/lora", "krea-2", "certain"),
        (SD3, "stable-diffusion-v3.5/lora", "sd-3.5-medium", "certain"),
        (ANIMA, "anima-preview/lora", "anima", "certain"),
        (LUMINA, "lumina-2/lora", "lumina-2", "certain"),
        (O1_EMBEDDER, "", "hidream-o1", "certain"),
        # Shapes that several have: a claim decides, or leaves them open.
        (O1, "hidream_o1", "hidream-o1", "claim needed"),
        (O1, "", "unknown", "claim needed"),
        (PIXART, "pixart-sigma/lora", "pixart-sigma", "claim needed"),
        (PIXART, "", "pixart", "claim needed"),
        # Sana 0.6B has attention of the same sizes.
        (PIXART, "sana/lora", "sana-0.6b", "claim needed"),
        (WAN, "wan2.1/lora", "wan", "claim needed"),
        (WAN, "wan_2.2_14b", "wan-2.2-a14b", "claim needed"),
        (WAN, "", "wan", "claim needed"),
        (WAN_PICTURE, "", "wan-2.1-i2v-14b", "certain"),
        (HUNYUAN, "hunyuan-video/lora", "hunyuan-video", "claim needed"),
        (LTX, "ltx2", "ltx-2", "claim needed"),
        (LTX2, "ltx2", "ltx-2.3", "certain"),
        (IDEOGRAM, "", "ideogram-4", "certain"),
        # Two networks of the same layers, of which diffusers says the name.
        (H3_REF, "", "minimax-h3-ref2va", "certain"),
        (H3_REF, "minimax_h3", "minimax-h3-ref2va", "certain"),
    ],
)
def test_layers_and_claims_name_the_base(
    shapes: Shapes, said: str, base_model: str, confidence: str
) -> None:
    verdict = judge(shapes, **{"modelspec.architecture": said})

    assert verdict.unmatched == ()
    assert (verdict.base_model, verdict.confidence) == (base_model, confidence)


@pytest.mark.parametrize(
    ("shapes", "several"),
    [
        (O1, ("hidream-o1", "qwen3-vl-8b")),
        (PIXART, ("pixart-alpha", "pixart-sigma")),
        (WAN, ("wan-2.1-14b", "wan-2.1-i2v-14b")),
        (LTX, ("ltx-video-13b", "ltx-2.0", "ltx-2.3")),
        (HUNYUAN, ("hunyuan-video",)),
    ],
)
def test_where_several_bases_fit_all_are_named(shapes: Shapes, several: tuple[str, ...]) -> None:
    verdict = judge(shapes)

    assert verdict.loadable
    assert not verdict.fusable
    assert all(name in verdict.evidence[0] for name in several)
    if verdict.base_model == "unknown":
        why = f"the base model is not known for certain: {verdict.evidence[0]}"
        assert verdict.reasons[0] == why


@pytest.mark.parametrize(
    ("shapes", "said", "name"),
    [
        (WAN_PICTURE, "", "wan-2.1-i2v-14b"),
        (WAN, "", "wan"),
        (HUNYUAN, "hunyuan-video/lora", "hunyuan-video"),
        (LTX2, "", "ltx-2.3"),
    ],
)
def test_what_makes_videos_is_read_and_not_fused(shapes: Shapes, said: str, name: str) -> None:
    verdict = judge(shapes, **{"modelspec.architecture": said})

    assert verdict.loadable
    assert not verdict.fusable
    assert verdict.reasons == (f"{name} makes videos, and only images are fused here",)


def test_where_the_size_is_open_a_claim_decides() -> None:
    reason = "it may be for pixart-alpha or pixart-sigma: a claim says which"
    assert judge(PIXART).reasons == (reason,)


def test_layers_that_read_the_text_for_the_network_are_not_fused() -> None:
    """Anima has a small network between its text encoder and itself, which trainers change too."""
    verdict = judge({**ANIMA, "lora_unet_llm_adapter_blocks_5_mlp_0": (4096, 1024)})

    assert (verdict.base_model, verdict.layers) == ("anima", 2)
    assert verdict.reasons == ("fusion would lose 1 layer of a network beside the one that draws",)
