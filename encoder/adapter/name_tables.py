"""What trainers and authors call modules, as templates of diffusers' names.

A template is (alias, parent, modules): the modules, in the order of the alias' outputs, each
below `parent`. "{i}" stands for every block of the parent, "{last}" for the last one. Where two
templates have one alias, that counts whose modules the family has, the later of two.

The tables say what diffusers' own converters do (a test runs those on every name), ahead of
time, since importing diffusers takes longer than reading a file. Where the converters have
gaps, another test shows each gap.
"""

from collections.abc import Iterable, Mapping, Sequence

Template = tuple[str, str, tuple[str, ...]]

# Before a module whose halves are the other way round in diffusers: (shift, scale) of modulations.
SWAPPED = "~"


def below(alias: str, parent: str, names: Mapping[str, str | tuple[str, ...]]) -> list[Template]:
    """Return the templates of one block: `names` are below `alias`, their modules in `parent`."""
    return [
        (f"{alias}{name}", parent, (modules,) if isinstance(modules, str) else modules)
        for name, modules in names.items()
    ]


def part_by_part(templates: Iterable[Template]) -> list[Template]:
    """Return a template for each part of the fused layers, named by its number."""
    return [
        (f"{alias}.{number}", parent, (module,))
        for alias, parent, modules in templates
        if len(modules) > 1
        for number, module in enumerate(modules)
    ]


Q, K, V = "attn.to_q", "attn.to_k", "attn.to_v"
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
DOUBLE, SINGLE = "transformer_blocks.{i}.", "single_transformer_blocks.{i}."
# Two layers with an activation between them.
TWO_LAYERS = {"0": "linear_1", "2": "linear_2"}

# Black Forest Labs' own names, of FLUX.1 and FLUX.2. Where two lines have one name, that counts
# whose modules the family has.
BFL = (
    ("double_blocks.{i}.img_attn.qkv", DOUBLE, (Q, K, V)),
    ("double_blocks.{i}.txt_attn.qkv", DOUBLE, ADDED),
    ("double_blocks.{i}.img_attn.proj", DOUBLE, ("attn.to_out.0",)),
    ("double_blocks.{i}.txt_attn.proj", DOUBLE, ("attn.to_add_out",)),
    ("double_blocks.{i}.img_mlp.0", DOUBLE, ("ff.net.0.proj",)),
    ("double_blocks.{i}.img_mlp.2", DOUBLE, ("ff.net.2",)),
    ("double_blocks.{i}.txt_mlp.0", DOUBLE, ("ff_context.net.0.proj",)),
    ("double_blocks.{i}.txt_mlp.2", DOUBLE, ("ff_context.net.2",)),
    ("double_blocks.{i}.img_mlp.0", DOUBLE, ("ff.linear_in",)),
    ("double_blocks.{i}.img_mlp.2", DOUBLE, ("ff.linear_out",)),
    ("double_blocks.{i}.txt_mlp.0", DOUBLE, ("ff_context.linear_in",)),
    ("double_blocks.{i}.txt_mlp.2", DOUBLE, ("ff_context.linear_out",)),
    *(
        (f"{blocks}norm.{theirs}_norm", parent, (f"attn.norm_{added}{ours}",))
        for blocks, parent, added in (
            ("double_blocks.{i}.img_attn.", DOUBLE, ""),
            ("double_blocks.{i}.txt_attn.", DOUBLE, "added_"),
            ("single_blocks.{i}.", SINGLE, ""),
        )
        for theirs, ours in (("query", "q"), ("key", "k"))
    ),
    ("double_blocks.{i}.img_mod.lin", DOUBLE, ("norm1.linear",)),
    ("double_blocks.{i}.txt_mod.lin", DOUBLE, ("norm1_context.linear",)),
    ("single_blocks.{i}.linear1", SINGLE, (Q, K, V, "proj_mlp")),
    ("single_blocks.{i}.linear2", SINGLE, ("proj_out",)),
    ("single_blocks.{i}.modulation.lin", SINGLE, ("norm.linear",)),
    ("single_blocks.{i}.linear1", SINGLE, ("attn.to_qkv_mlp_proj",)),
    ("single_blocks.{i}.linear2", SINGLE, ("attn.to_out",)),
    ("img_in", "", ("x_embedder",)),
    ("txt_in", "", ("context_embedder",)),
    ("time_in.in_layer", "time_text_embed.timestep_embedder.", ("linear_1",)),
    ("time_in.out_layer", "time_text_embed.timestep_embedder.", ("linear_2",)),
    ("guidance_in.in_layer", "time_text_embed.guidance_embedder.", ("linear_1",)),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder.", ("linear_2",)),
    ("vector_in.in_layer", "time_text_embed.text_embedder.", ("linear_1",)),
    ("vector_in.out_layer", "time_text_embed.text_embedder.", ("linear_2",)),
    ("time_in.in_layer", "time_guidance_embed.timestep_embedder.", ("linear_1",)),
    ("time_in.out_layer", "time_guidance_embed.timestep_embedder.", ("linear_2",)),
    ("guidance_in.in_layer", "time_guidance_embed.guidance_embedder.", ("linear_1",)),
    ("guidance_in.out_layer", "time_guidance_embed.guidance_embedder.", ("linear_2",)),
    ("double_stream_modulation_img.lin", "double_stream_modulation_img.", ("linear",)),
    ("double_stream_modulation_txt.lin", "double_stream_modulation_txt.", ("linear",)),
    ("single_stream_modulation.lin", "single_stream_modulation.", ("linear",)),
    ("final_layer.linear", "", ("proj_out",)),
    ("final_layer.adaLN_modulation.1", "", ("~norm_out.linear",)),
)
# FLUX.2's blocks as some exports have them, which cut the beginning of "transformer_blocks" off.
SFORMER = [
    (f"sformer_blocks.{{i}}.{module}", DOUBLE, (module,))
    for module in (
        Q, K, V, *ADDED, "attn.to_out.0", "attn.to_add_out",
        *(f"{feed}.linear_{side}" for feed in ("ff", "ff_context") for side in ("in", "out")),
    )
]  # fmt: skip
XLABS = (
    ("double_blocks.{i}.processor.qkv_lora1", DOUBLE, (Q, K, V)),
    ("double_blocks.{i}.processor.qkv_lora2", DOUBLE, ADDED),
    ("double_blocks.{i}.processor.proj_lora1", DOUBLE, ("attn.to_out.0",)),
    ("double_blocks.{i}.processor.proj_lora2", DOUBLE, ("attn.to_add_out",)),
    # The rows of the mlp are left out, though it changes a layer that is fused with it.
    ("single_blocks.{i}.processor.qkv_lora", SINGLE, (Q, K, V)),
    ("single_blocks.{i}.processor.proj_lora", SINGLE, ("proj_out",)),
)
DIFFSYNTH = (
    ("blocks.{i}.attn.a_to_qkv", DOUBLE, (Q, K, V)),
    ("blocks.{i}.attn.b_to_qkv", DOUBLE, ADDED),
    *((f"blocks.{{i}}.attn.a_to_{side}", DOUBLE, (f"attn.to_{side}",)) for side in "qkv"),
    *((f"blocks.{{i}}.attn.b_to_{side}", DOUBLE, (f"attn.add_{side}_proj",)) for side in "qkv"),
    ("blocks.{i}.attn.a_to_out", DOUBLE, ("attn.to_out.0",)),
    ("blocks.{i}.attn.b_to_out", DOUBLE, ("attn.to_add_out",)),
    ("blocks.{i}.ff_a.0", DOUBLE, ("ff.net.0.proj",)),
    ("blocks.{i}.ff_a.2", DOUBLE, ("ff.net.2",)),
    ("blocks.{i}.ff_b.0", DOUBLE, ("ff_context.net.0.proj",)),
    ("blocks.{i}.ff_b.2", DOUBLE, ("ff_context.net.2",)),
    ("blocks.{i}.norm1_a.linear", DOUBLE, ("norm1.linear",)),
    ("blocks.{i}.norm1_b.linear", DOUBLE, ("norm1_context.linear",)),
    ("single_blocks.{i}.to_qkv_mlp", SINGLE, (Q, K, V, "proj_mlp")),
    *((f"single_blocks.{{i}}.a_to_{side}", SINGLE, (f"attn.to_{side}",)) for side in "qkv"),
    ("single_blocks.{i}.proj_in_besides_attn", SINGLE, ("proj_mlp",)),
    ("single_blocks.{i}.proj_out", SINGLE, ("proj_out",)),
    ("single_blocks.{i}.norm.linear", SINGLE, ("norm.linear",)),
)
# Projections fused: by diffusers' and SimpleTuner's `fuse_qkv_projections`, and by OneTrainer.
FUSED = (
    *(
        (f"{blocks}.{{i}}.attn.to_qkv", f"{blocks}.{{i}}.", (Q, K, V))
        for blocks in ("text_fusion.layerwise_blocks", "text_fusion.refiner_blocks")
    ),
    ("transformer_blocks.{i}.attn.to_qkv", DOUBLE, (Q, K, V)),
    ("transformer_blocks.{i}.attn.to_added_qkv", DOUBLE, ADDED),
    ("transformer_blocks.{i}.attn.qkv", DOUBLE, (Q, K, V)),
    ("transformer_blocks.{i}.attn.added_qkv", DOUBLE, ADDED),
    ("single_transformer_blocks.{i}.attn.to_qkv", SINGLE, (Q, K, V)),
    ("single_transformer_blocks.{i}.qkv_mlp", SINGLE, (Q, K, V, "proj_mlp")),
)
# Z-Image as its authors publish it, and as ComfyUI loads it.
Z_IMAGE = (
    *(
        (f"{blocks}.{{i}}.attention.{name}", f"{blocks}.{{i}}.attention.", targets)
        for blocks in ("layers", "noise_refiner", "context_refiner")
        for name, targets in (
            ("qkv", ("to_q", "to_k", "to_v")),
            ("out", ("to_out.0",)),
            ("q_norm", ("norm_q",)),
            ("k_norm", ("norm_k",)),
        )
    ),
    ("x_embedder", "all_x_embedder.", ("2-1",)),
    ("final_layer.linear", "all_final_layer.2-1.", ("linear",)),
    ("final_layer.adaLN_modulation.1", "all_final_layer.2-1.", ("adaLN_modulation.1",)),
)
# Chroma has FLUX.1's blocks, and this in place of their modulations.
CHROMA = (
    *below("distilled_guidance_layer.layers.{i}.", "distilled_guidance_layer.layers.{i}.",
           {"in_layer": "linear_1", "out_layer": "linear_2"}),
    ("img_in", "", ("x_embedder",)),
    ("txt_in", "", ("context_embedder",)),
    ("final_layer.linear", "", ("proj_out",)),
)  # fmt: skip
KREA_BLOCK = {
    "attn.wq": Q, "attn.wk": K, "attn.wv": V, "attn.wo": "attn.to_out.0",
    "attn.qknorm.qnorm": "attn.norm_q", "attn.qknorm.knorm": "attn.norm_k",
    "attn.gate": "attn.to_gate", "mlp.gate": "ff.gate", "mlp.up": "ff.up", "mlp.down": "ff.down",
}  # fmt: skip
KREA = (
    *below("blocks.{i}.", DOUBLE, KREA_BLOCK),
    *(
        template
        for blocks in ("layerwise_blocks.{i}.", "refiner_blocks.{i}.")
        for template in below(f"txtfusion.{blocks}", f"text_fusion.{blocks}", KREA_BLOCK)
    ),
    *below("", "", {
        "txtfusion.projector": "text_fusion.projector", "first": "img_in",
        "last.linear": "final_layer.linear", "tmlp.0": "time_embed.linear_1",
        "tmlp.2": "time_embed.linear_2", "tproj.1": "time_mod_proj",
        "txtmlp.1": "txt_in.linear_1", "txtmlp.3": "txt_in.linear_2",
    }),
)  # fmt: skip
# HiDream-O1 as ai-toolkit has it, without the "model" that holds all of it.
QWEN_LAYER = (
    *(f"self_attn.{side}_proj" for side in "qkvo"),
    *(f"mlp.{side}_proj" for side in ("gate", "up", "down")),
)
VISUAL_BLOCK = ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
HIDREAM_O1 = (
    *below("language_model.layers.{i}.", "model.language_model.layers.{i}.",
           {name: name for name in QWEN_LAYER}),
    *below("visual.blocks.{i}.", "model.visual.blocks.{i}.", {name: name for name in VISUAL_BLOCK}),
    *below("visual.deepstack_merger_list.{i}.", "model.visual.deepstack_merger_list.{i}.",
           {name: name for name in ("linear_fc1", "linear_fc2")}),
    *below("", "model.", {
        name: name
        for name in ("visual.merger.linear_fc1", "visual.merger.linear_fc2",
                     "t_embedder1.mlp.0", "t_embedder1.mlp.2", "x_embedder.proj1",
                     "x_embedder.proj2", "final_layer2.linear")
    }),
)  # fmt: skip
# Stable Diffusion 3 and 3.5.
SD3 = (
    *below("joint_blocks.{i}.x_block.", DOUBLE, {
        "attn.qkv": (Q, K, V), "attn.proj": "attn.to_out.0",
        "attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"), "attn2.proj": "attn2.to_out.0",
        "mlp.fc1": "ff.net.0.proj", "mlp.fc2": "ff.net.2", "adaLN_modulation.1": "norm1.linear",
        **{f"{attention}.ln_{side}": f"{attention}.norm_{side}"
           for attention in ("attn", "attn2") for side in "qk"},
    }),
    *below("joint_blocks.{i}.context_block.", DOUBLE, {
        "attn.qkv": ADDED, "attn.proj": "attn.to_add_out", "mlp.fc1": "ff_context.net.0.proj",
        "mlp.fc2": "ff_context.net.2", "adaLN_modulation.1": "norm1_context.linear",
        **{f"attn.ln_{side}": f"attn.norm_added_{side}" for side in "qk"},
    }),
    # The last block makes nothing of the text, and its modulation is one of an output.
    ("joint_blocks.{last}.context_block.adaLN_modulation.1", "transformer_blocks.{last}.",
     ("~norm1_context.linear",)),
    *below("", "", {
        "x_embedder.proj": "pos_embed.proj", "final_layer.linear": "proj_out",
        "final_layer.adaLN_modulation.1": "~norm_out.linear",
    }),
    *below("t_embedder.mlp.", "time_text_embed.timestep_embedder.", TWO_LAYERS),
    *below("y_embedder.mlp.", "time_text_embed.text_embedder.", TWO_LAYERS),
    # OneTrainer's, in its backups.
    (f"{DOUBLE}attn2.qkv", DOUBLE, ("attn2.to_q", "attn2.to_k", "attn2.to_v")),
)  # fmt: skip
# Cosmos-Predict2, of which Anima is made, with the adapter between text and it.
ANIMA = (
    *below("blocks.{i}.", DOUBLE, {
        **{f"{theirs}.{side}_proj": f"{ours}.to_{side}"
           for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2")) for side in "qkv"},
        **{f"{theirs}.{side}_norm": f"{ours}.norm_{side}"
           for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2")) for side in "qk"},
        "self_attn.output_proj": "attn1.to_out.0", "cross_attn.output_proj": "attn2.to_out.0",
        "mlp.layer1": "ff.net.0.proj", "mlp.layer2": "ff.net.2",
        **{f"adaln_modulation_{part}.{i}": f"norm{number}.linear_{i}"
           for number, part in enumerate(("self_attn", "cross_attn", "mlp"), 1) for i in (1, 2)},
    }),
    *below("", "", {
        "x_embedder.proj.1": "patch_embed.proj", "final_layer.linear": "proj_out",
        "t_embedder.1.linear_1": "time_embed.t_embedder.linear_1",
        "t_embedder.1.linear_2": "time_embed.t_embedder.linear_2",
        "t_embedding_norm": "time_embed.norm",
        "final_layer.adaln_modulation.1": "norm_out.linear_1",
        "final_layer.adaln_modulation.2": "norm_out.linear_2",
    }),
    *below("llm_adapter.blocks.{i}.", "text_conditioner.blocks.{i}.", {
        **{f"{part}.{side}_proj": f"{part}.{side}_proj"
           for part in ("self_attn", "cross_attn") for side in "qkvo"},
        **{f"{part}.{side}_norm": f"{part}.{side}_norm"
           for part in ("self_attn", "cross_attn") for side in "qk"},
        **{name: name for name in ("norm_self_attn", "norm_cross_attn", "norm_mlp",
                                   "mlp.0", "mlp.2")},
    }),
    *below("llm_adapter.", "text_conditioner.", {"out_proj": "out_proj", "norm": "norm"}),
)  # fmt: skip
# SimpleTuner's Anima holds diffusers' network beside the adapter between text and it.
SIMPLE_TUNER = [
    (f"core.{parent}{modules[0]}", parent, modules)
    for _, parent, modules in ANIMA
    if not parent.startswith("text_conditioner.")
]
WAN = (
    *below("blocks.{i}.", "blocks.{i}.", {
        **{f"{theirs}.{side}": f"{ours}.to_{side}"
           for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2")) for side in "qkv"},
        "self_attn.o": "attn1.to_out.0", "cross_attn.o": "attn2.to_out.0",
        "cross_attn.k_img": "attn2.add_k_proj", "cross_attn.v_img": "attn2.add_v_proj",
        # As musubi-tuner's converter had them for a while.
        "cross_attn.k.img": "attn2.add_k_proj", "cross_attn.v.img": "attn2.add_v_proj",
        "ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2", "norm3": "norm2",
        **{f"{theirs}.norm_{side}": f"{ours}.norm_{side}"
           for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2")) for side in "qk"},
        "cross_attn.norm_k_img": "attn2.norm_added_k",
    }),
    *below("", "condition_embedder.", {
        "time_embedding.0": "time_embedder.linear_1", "time_embedding.2": "time_embedder.linear_2",
        "time_projection.1": "time_proj",
        "text_embedding.0": "text_embedder.linear_1", "text_embedding.2": "text_embedder.linear_2",
        "img_emb.proj.0": "image_embedder.norm1", "img_emb.proj.1": "image_embedder.ff.net.0.proj",
        "img_emb.proj.3": "image_embedder.ff.net.2", "img_emb.proj.4": "image_embedder.norm2",
    }),
    ("head.head", "", ("proj_out",)),
)  # fmt: skip
# HunyuanVideo 1.0 and HunyuanImage, which fuse q, k and v, and HunyuanVideo 1.5, which does not.
HUNYUAN = (
    *(
        template
        for side, feed, norm, added, qkv, out in (
            ("img", "ff", "norm1", "", (Q, K, V), "attn.to_out.0"),
            ("txt", "ff_context", "norm1_context", "added_", ADDED, "attn.to_add_out"),
        )
        for template in below(f"double_blocks.{{i}}.{side}_", DOUBLE, {
            "attn_qkv": qkv, "attn_q": qkv[0], "attn_k": qkv[1], "attn_v": qkv[2],
            "attn_proj": out, "mlp.fc1": f"{feed}.net.0.proj", "mlp.fc2": f"{feed}.net.2",
            "mod.linear": f"{norm}.linear",
            "attn_q_norm": f"attn.norm_{added}q", "attn_k_norm": f"attn.norm_{added}k",
            # As ComfyUI has them, and FLUX.1.
            "attn.qkv": qkv, "attn.proj": out, "mlp.0": f"{feed}.net.0.proj",
            "mlp.2": f"{feed}.net.2", "mod.lin": f"{norm}.linear",
            "attn.norm.query_norm": f"attn.norm_{added}q",
            "attn.norm.key_norm": f"attn.norm_{added}k",
        })
    ),
    ("single_blocks.{i}.modulation.linear", SINGLE, ("norm.linear",)),
    *((f"single_blocks.{{i}}.{side}_norm", SINGLE, (f"attn.norm_{side}",)) for side in "qk"),
    *below("txt_in.individual_token_refiner.blocks.{i}.",
           "context_embedder.token_refiner.refiner_blocks.{i}.", {
        "self_attn_qkv": (Q, K, V), "self_attn_q": Q, "self_attn_k": K, "self_attn_v": V,
        "self_attn_proj": "attn.to_out.0", "mlp.fc1": "ff.net.0.proj", "mlp.fc2": "ff.net.2",
        "adaLN_modulation.1": "norm_out.linear", "norm1": "norm1", "norm2": "norm2",
        # As ComfyUI has them.
        "self_attn.qkv": (Q, K, V), "self_attn.proj": "attn.to_out.0", "mlp.0": "ff.net.0.proj",
        "mlp.2": "ff.net.2",
    }),
    # OneTrainer's, in its backups.
    *below("context_embedder.token_refiner.refiner_blocks.{i}.",
           "context_embedder.token_refiner.refiner_blocks.{i}.", {"attn.qkv": (Q, K, V)}),
    *below("txt_in.", "context_embedder.", {
        "input_embedder": "proj_in",
        "c_embedder.linear_1": "time_text_embed.text_embedder.linear_1",
        "c_embedder.linear_2": "time_text_embed.text_embedder.linear_2",
        # As ComfyUI has them.
        **{f"{theirs}_embedder.{end}": f"time_text_embed.{ours}_embedder.linear_{number}"
           for theirs, ours in (("c", "text"), ("t", "timestep"))
           for number, end in enumerate(("in_layer", "out_layer"), 1)},
    }),
    *below("txt_in.t_embedder.mlp.", "context_embedder.time_text_embed.timestep_embedder.",
           TWO_LAYERS),
    *below("time_in.mlp.", "time_text_embed.timestep_embedder.", TWO_LAYERS),
    *below("guidance_in.mlp.", "time_text_embed.guidance_embedder.", TWO_LAYERS),
    *below("time_in.mlp.", "time_guidance_embed.timestep_embedder.", TWO_LAYERS),
    *below("guidance_in.mlp.", "time_guidance_embed.guidance_embedder.", TWO_LAYERS),
    *below("time_in.mlp.", "time_embed.timestep_embedder.", TWO_LAYERS),
    *below("time_in.", "time_embed.timestep_embedder.",
           {"in_layer": "linear_1", "out_layer": "linear_2"}),
    *below("byt5_in.", "context_embedder_2.", {
        **{f"fc{i}": f"linear_{i}" for i in (1, 2, 3)}, "layernorm": "norm",
    }),
    *below("vision_in.proj.", "image_embedder.",
           {"0": "norm_in", "1": "linear_1", "3": "linear_2", "4": "norm_out"}),
    ("final_layer.linear", "", ("proj_out",)),
    ("final_layer.adaLN_modulation.1", "", ("~norm_out.linear",)),
)  # fmt: skip
# LTX-Video and LTX-2: blocks are named as in diffusers, but for norms.
LTX = (
    *(
        (f"{DOUBLE}{attention}.{side}_norm", DOUBLE, (f"{attention}.norm_{side}",))
        for attention in ("attn1", "attn2", "audio_attn1", "audio_attn2",
                          "audio_to_video_attn", "video_to_audio_attn")
        for side in "qk"
    ),
    *(
        (f"{theirs}{end}", f"{ours}.", (end.removeprefix("."),))
        for theirs, ours in (
            ("adaln_single", "time_embed"),
            ("audio_adaln_single", "audio_time_embed"),
            ("prompt_adaln_single", "prompt_adaln"),
            ("audio_prompt_adaln_single", "audio_prompt_adaln"),
            ("av_ca_video_scale_shift_adaln_single", "av_cross_attn_video_scale_shift"),
            ("av_ca_audio_scale_shift_adaln_single", "av_cross_attn_audio_scale_shift"),
            ("av_ca_a2v_gate_adaln_single", "av_cross_attn_video_a2v_gate"),
            ("av_ca_v2a_gate_adaln_single", "av_cross_attn_audio_v2a_gate"),
        )
        for end in (
            ".linear", ".emb.timestep_embedder.linear_1", ".emb.timestep_embedder.linear_2",
        )
    ),
    ("patchify_proj", "", ("proj_in",)),
    ("audio_patchify_proj", "", ("audio_proj_in",)),
)  # fmt: skip
LUMINA_BLOCK: dict[str, str | tuple[str, ...]] = {
    "attention.qkv": (Q, K, V), "attention.out": "attn.to_out.0",
    "adaLN_modulation.1": "norm1.linear", "attention.q_norm": "attn.norm_q",
    "attention.k_norm": "attn.norm_k", "attention_norm2": "norm2",
    **{f"feed_forward.w{i}": f"feed_forward.linear_{i}" for i in (1, 2, 3)},
}  # fmt: skip
LUMINA = (
    *(
        template
        for blocks in ("layers", "noise_refiner", "context_refiner")
        for template in below(f"{blocks}.{{i}}.", f"{blocks}.{{i}}.", LUMINA_BLOCK)
    ),
    *((f"{blocks}.{{i}}.attention_norm1", f"{blocks}.{{i}}.", (norm,))
      for blocks, norm in (("layers", "norm1.norm"), ("noise_refiner", "norm1.norm"),
                           ("context_refiner", "norm1"))),
    *below("", "", {
        "final_layer.linear": "norm_out.linear_2",
        "final_layer.adaLN_modulation.1": "norm_out.linear_1",
        "cap_embedder.0": "time_caption_embed.caption_embedder.0",
        "cap_embedder.1": "time_caption_embed.caption_embedder.1",
    }),
    *below("t_embedder.mlp.", "time_caption_embed.timestep_embedder.", TWO_LAYERS),
)  # fmt: skip
IDEOGRAM = below(
    "layers.{i}.attention.", "layers.{i}.attention.",
    {"qkv": ("to_q", "to_k", "to_v"), "o": "to_out.0"},
)  # fmt: skip
PIXART = (
    *below("blocks.{i}.", DOUBLE, {
        "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"), "attn.proj": "attn1.to_out.0",
        "cross_attn.q_linear": "attn2.to_q", "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
        "cross_attn.proj": "attn2.to_out.0", "mlp.fc1": "ff.net.0.proj", "mlp.fc2": "ff.net.2",
    }),
    *(
        (f"{theirs}.mlp.{place}", f"adaln_single.emb.{ours}.", (f"linear_{number}",))
        for theirs, ours in (
            ("t_embedder", "timestep_embedder"), ("csize_embedder", "resolution_embedder"),
            ("ar_embedder", "aspect_ratio_embedder"),
        )
        for number, place in ((1, 0), (2, 2))
    ),
    *below("", "", {
        "x_embedder.proj": "pos_embed.proj", "t_block.1": "adaln_single.linear",
        "y_embedder.y_proj.fc1": "caption_projection.linear_1",
        "y_embedder.y_proj.fc2": "caption_projection.linear_2", "final_layer.linear": "proj_out",
    }),
    # OneTrainer's, in its backups.
    (f"{DOUBLE}attn1.qkv", DOUBLE, ("attn1.to_q", "attn1.to_k", "attn1.to_v")),
    (f"{DOUBLE}attn2.kv", DOUBLE, ("attn2.to_k", "attn2.to_v")),
)  # fmt: skip
AURAFLOW_MLP = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}
JOINT = "joint_transformer_blocks.{i}."
AURAFLOW = (
    *below("double_layers.{i}.", JOINT, {
        **{f"attn.w2{side}": f"attn.to_{side}" for side in "qkv"}, "attn.w2o": "attn.to_out.0",
        **{f"attn.w1{side}": f"attn.add_{side}_proj" for side in "qkv"},
        "attn.w1o": "attn.to_add_out", "modX.1": "norm1.linear", "modC.1": "norm1_context.linear",
    }),
    *below("double_layers.{i}.mlpX.", f"{JOINT}ff.", AURAFLOW_MLP),
    *below("double_layers.{i}.mlpC.", f"{JOINT}ff_context.", AURAFLOW_MLP),
    *below("single_layers.{i}.", SINGLE, {
        **{f"attn.w1{side}": f"attn.to_{side}" for side in "qkv"}, "attn.w1o": "attn.to_out.0",
        "modCX.1": "norm1.linear",
    }),
    *below("single_layers.{i}.mlp.", f"{SINGLE}ff.", AURAFLOW_MLP),
    *below("", "", {
        "cond_seq_linear": "context_embedder", "init_x_linear": "pos_embed.proj",
        "final_linear": "proj_out", "modF.1": "~norm_out.linear",
    }),
    *below("t_embedder.mlp.", "time_step_proj.", TWO_LAYERS),
)  # fmt: skip
MOCHI = (
    *below("blocks.{i}.", DOUBLE, {
        **{f"attn.qkv_{side}": tuple(f"attn1.{name}" for name in names)
           for side, names in (("x", ("to_q", "to_k", "to_v")),
                               ("y", ("add_q_proj", "add_k_proj", "add_v_proj")))},
        "attn.proj_x": "attn1.to_out.0", "attn.proj_y": "attn1.to_add_out",
        "mod_x": "norm1.linear", "mod_y": "norm1_context.linear",
        # What is gated and the gate, the other way round in diffusers.
        "mlp_x.w1": "~ff.net.0.proj", "mlp_x.w2": "ff.net.2",
        "mlp_y.w1": "~ff_context.net.0.proj", "mlp_y.w2": "ff_context.net.2",
    }),
    ("blocks.{last}.mod_y", "transformer_blocks.{last}.", ("norm1_context.linear_1",)),
)  # fmt: skip
H3_BLOCK: dict[str, str | tuple[str, ...]] = {
    "attn.qkv_proj": (Q, K, V), "attn.out_proj": "attn.to_out.0",
    "attn.q_norm": "attn.norm_q", "attn.k_norm": "attn.norm_k",
    # What is gated and the gate, the other way round in diffusers.
    "mlp.fc1": "~ff.net.0.proj", "mlp.fc2": "ff.net.2",
}  # fmt: skip
MINIMAX_H3 = (
    *below("blocks.{i}.", DOUBLE, H3_BLOCK),
    *below("token_refiner.blocks.{i}.", "token_refiner.refiner_blocks.{i}.", H3_BLOCK),
    *below("", "", {
        "video_patch_proj": "proj_in", "audio_patch_proj": "audio_proj_in",
        "condition_proj": "context_embedder", "time_embedder.proj_in": "time_embedder.linear_1",
        "time_embedder.proj_out": "time_embedder.linear_2",
        "final_layer.adaln_proj.linear": "norm_out.linear", "final_layer.video_out": "proj_out",
        "final_layer.audio_out": "audio_proj_out",
    }),
    ("blocks.{i}.adaln_proj.linear", DOUBLE, ("adaln_proj.linear",)),
)  # fmt: skip
# OneTrainer's own before it wrote other programs' ("OMI"), and its backups' of that time: the
# authors' names, with the layers that they fuse as it trains them.
OMI = (*part_by_part((*BFL, *SD3, *PIXART)), ("img_in.proj", "", ("x_embedder",)))
# Convention -> modules that a family of it must have, by how they begin, and the templates.
CONVENTIONS: dict[str, tuple[tuple[str, ...], Sequence[Template]]] = {
    "bfl": (("single_transformer_blocks.",), BFL),
    "sformer": (("double_stream_modulation_img.",), SFORMER),
    "xlabs": (("single_transformer_blocks.",), XLABS),
    "diffsynth": (("single_transformer_blocks.0.proj_mlp",), DIFFSYNTH),
    "fused": (("transformer_blocks.",), FUSED),
    "z-image": (("noise_refiner.",), Z_IMAGE),
    "chroma": (("distilled_guidance_layer.",), CHROMA),
    "krea": (("text_fusion.",), KREA),
    "hidream-o1": (("model.language_model.",), HIDREAM_O1),
    "sd3": (("pos_embed.proj", "time_text_embed."), SD3),
    "anima": (("time_embed.t_embedder.",), ANIMA),
    "simpletuner": (("time_embed.t_embedder.",), SIMPLE_TUNER),
    "wan": (("condition_embedder.",), WAN),
    "hunyuan": (("context_embedder.token_refiner.",), HUNYUAN),
    "ltx": (("time_embed.emb.", "proj_in"), LTX),
    "lumina": (("time_caption_embed.",), LUMINA),
    "ideogram": (("llm_cond_proj",), IDEOGRAM),
    "pixart": (("adaln_single.",), PIXART),
    "auraflow": (("joint_transformer_blocks.",), AURAFLOW),
    "mochi": (("time_embed.pooler.",), MOCHI),
    "minimax-h3": (("token_refiner.refiner_blocks.",), MINIMAX_H3),
    "omi": (("transformer_blocks.",), OMI),
}
