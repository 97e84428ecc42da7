"""Every program's way of writing files, by its own source, on tiny networks.

Sources (repository: files): kohya-ss/sd-scripts: networks/lora.py, lora_flux.py; kohya-ss/
musubi-tuner: src/musubi_tuner/networks/lora.py, lora_qwen_image.py, lora_zimage.py, lokr.py;
ostris/ai-toolkit: toolkit/network_mixins.py, lora_special.py; Nerogar/OneTrainer: modules/
modelSaver/mixin/LoRASaverMixin.py, modules/util/convert_lora_util.py, modules/model/FluxModel.py;
XLabs-AI/x-flux: src/flux/modules/layers.py; modelscope/DiffSynth-Studio: diffsynth/models/
flux_dit.py, diffsynth/utils/state_dict_converters/flux_dit.py, diffsynth/diffusion/
training_module.py; bghira/SimpleTuner and KohakuBlueleaf/LyCORIS: lycoris/wrapper.py, kohya.py.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import torch

from tests.encoder.dialects.kinds import Pen, Written
from tests.encoder.dialects.later_cases import WAYS, write_sample
from tests.encoder.dialects.libraries import (
    PIPELINES,
    save_network_with_diffusers,
    save_with_diffusers,
    save_with_peft,
)
from tests.encoder.dialects.lycoris import lycoris_flux, lycoris_kohya, lycoris_wrapper
from tests.encoder.dialects.networks import (
    Changes,
    Shapes,
    family_of,
    flux2_original,
    flux2_to_diffusers,
    flux_original,
    flux_to_diffusers,
    linear_shapes,
    unet_original,
    unet_to_diffusers,
    z_image_original,
    z_image_to_diffusers,
)
from tests.encoder.dialects.omi import one_trainer_omi
from tests.encoder.dialects.samples import (
    Sample,
    dotted,
    flat,
    only,
    text_encoder,
    write_all,
)

CLIP = ("text_model_encoder_layers_0_self_attn_q_proj", "text_model_encoder_layers_0_mlp_fc1")
UNETS = ("sd-1.5", "sd-2.1", "sdxl-1.0")

# Writes a file into a folder; the file, and the change that it stands for.
Save = Callable[[Path], tuple[Path, Changes]]
Write = Callable[[tuple[int, ...]], Written]


@dataclass(frozen=True)
class Case:
    """One row of docs/formats.md: a program, what it writes, and a file of it."""

    writer: str
    form: str
    architecture: str
    save: Save

    def __str__(self) -> str:
        return f"{self.writer}, {self.form}, {self.architecture}"


def built(make: Callable[..., Sample], *args: object, **more: object) -> Save:
    def save(folder: Path) -> tuple[Path, Changes]:
        sample = make(*args, **more)
        return sample.save(folder), sample.changes

    return save


def kohya_flux() -> Sample:
    """`lora_unet` and the module's name, dots to underscores; CLIP and T5 may come along."""
    sample = Sample("flux.1", metadata={"ss_network_module": "networks.lora_flux"})
    text_encoder(sample, "lora_te1_", CLIP, 20)
    return write_all(sample, flux_original(), flat("lora_unet_"), Pen().lora, flux_to_diffusers)


def kohya_unet(architecture: str, *, compvis: bool, convolutions: bool = True) -> Sample:
    """sd-scripts has its own SDXL in CompVis' names, and diffusers' UNet for SD 1 and 2.

    Without `conv_dim`, it trains blocks of attention only, their ends of one pixel included.
    """
    sample = Sample(architecture, metadata={"ss_network_module": "networks.lora"})
    text_encoder(sample, "lora_te1_" if architecture == "sdxl-1.0" else "lora_te_", CLIP, 24)
    if compvis:
        return write_all(
            sample, unet_original(architecture), flat("lora_unet_"), Pen().lora,
            lambda changes: unet_to_diffusers(architecture, changes),
        )  # fmt: skip
    family = family_of(architecture)
    modules: Shapes = {**family.block_layers, **family.convolutions}
    if not convolutions:
        modules = {name: shape for name, shape in modules.items() if ".attentions." in name}
    return write_all(sample, modules, flat("lora_unet_"), Pen().lora)


def musubi(architecture: str) -> Sample:
    """Qwen-Image and Z-Image have diffusers' names there; FLUX.2 has its authors'."""
    sample = Sample(architecture, metadata={"ss_network_module": "networks.lora_" + architecture})
    if architecture == "flux.2":
        return write_all(
            sample, flux2_original(), flat("lora_unet_"), Pen().lora, flux2_to_diffusers
        )
    return write_all(sample, linear_shapes(architecture), flat("lora_unet_"), Pen().lora)


def musubi_lokr() -> Sample:
    """A full w2 where the rank asks for it, a factored one elsewhere."""
    pen, forms = Pen(), cycle(("full", "w2", "w2"))
    return write_all(
        Sample("qwen-image"), linear_shapes("qwen-image"), flat("lora_unet_"),
        lambda shape: pen.lokr(shape, form=next(forms)),
    )  # fmt: skip


def comfy_z_image() -> Sample:
    """musubi-tuner's convert_z_image_lora_to_comfy: the authors' names, q, k, v fused."""
    return write_all(
        Sample("z-image"), z_image_original(), flat("lora_unet_"), Pen().lora, z_image_to_diffusers
    )


def ai_toolkit(architecture: str) -> Sample:
    """PEFT's suffixes without alpha; FLUX.1 below `transformer.`, others as ComfyUI has it."""
    prefix = "transformer." if architecture == "flux.1" else "diffusion_model."
    info = {"software": json.dumps({"name": "ai-toolkit"})}
    pen = Pen()
    if architecture == "flux.2":
        return write_all(
            Sample("flux.2", metadata=info), flux2_original(), dotted(prefix),
            lambda shape: pen.lora(shape, names="peft", alpha=False), flux2_to_diffusers,
        )  # fmt: skip
    return write_all(
        Sample(architecture, metadata=info), linear_shapes(architecture), dotted(prefix),
        lambda shape: pen.lora(shape, names="peft", alpha=False),
    )  # fmt: skip


def ai_toolkit_lokr(*, old: bool) -> Sample:
    pen = Pen()
    stem = flat("lycoris_") if old else dotted("transformer.")
    return write_all(
        Sample("flux.1"), linear_shapes("flux.1"), stem, lambda shape: pen.lokr(shape, form="full")
    )


def ai_toolkit_dora() -> Sample:
    """PEFT's DoRA by PEFT's names, but for that of the magnitude (toolkit/models/DoRA.py)."""
    pen = Pen()
    return write_all(
        Sample("flux.1"), linear_shapes("flux.1"), dotted("transformer."),
        lambda shape: pen.dora(shape, by_output=True, names="peft", vector="magnitude"),
    )  # fmt: skip


def simple_tuner_fused(kind: str) -> Sample:
    """`fuse_qkv_projections` of its Krea 2, whose keys and values are fewer than its queries.

    It keeps the layers that it fuses, and LyCORIS wraps them as well: nothing trains those.
    """
    pen, shapes = Pen(), dict(linear_shapes("krea-2", blocks_only=False))
    write: Write = pen.lokr if kind == "LoKr" else pen.lora
    attentions = [name.removesuffix(".to_q") for name in shapes if name.endswith(".to_q")]
    parts = {f"{name}.to_qkv": [f"{name}.to_{side}" for side in "qkv"] for name in attentions}
    fused = {
        name: (sum(shapes[part][0] for part in split), shapes[split[0]][1])
        for name, split in parts.items()
    }

    sample = Sample("krea-2")
    for part in (part for split in parts.values() for part in split):
        for suffix, tensor in write(shapes[part]).tensors.items():
            untrained = suffix in ("lokr_w2_b", "lora_up.weight")
            stored = torch.zeros_like(tensor) if untrained else tensor
            sample.tensors[f"{flat('lycoris_')(part)}.{suffix}"] = stored

    def to_diffusers(changes: Changes) -> Changes:
        return {
            f"{part}.weight": rows
            for name, split in parts.items()
            for part, rows in zip(
                split,
                changes[f"{name}.weight"].split([shapes[part][0] for part in split]),
                strict=True,
            )
        }

    return write_all(sample, fused, flat("lycoris_"), write, to_diffusers)


def one_trainer(mode: str) -> Sample:
    """Its output formats of FLUX.1; that of diffusers has alpha in its up."""
    pen, sample = Pen(), Sample("flux.1", metadata={"ot_revision": "1"})
    if mode == "legacy":
        text_encoder(sample, "lora_te1_", CLIP, 20)
        sample.tensors["bundle_emb.<word>.clip_l"] = torch.ones(2, 20)
        return write_all(sample, linear_shapes("flux.1"), flat("lora_transformer_"), pen.lora)
    if mode == "diffusers":
        return write_all(
            sample, linear_shapes("flux.1"), dotted("transformer."),
            lambda shape: pen.lora(shape, names="peft", alpha=False),
        )  # fmt: skip
    stem = {
        "kohya": flat("lora_unet_"),
        "original": dotted(""),
        "comfy": dotted("diffusion_model."),
    }[mode]
    names = "kohya" if mode == "kohya" else "peft"
    if mode == "comfy":
        text_encoder(sample, "text_encoders.clip_l.transformer.", CLIP, 20)
    return write_all(
        sample, flux_original(), stem, lambda shape: pen.lora(shape, names=names), flux_to_diffusers
    )


def one_trainer_sdxl() -> Sample:
    """COMFY, with both text encoders as ComfyUI names them."""
    pen, sample = Pen(), Sample("sdxl-1.0", metadata={"ot_revision": "1"})
    for encoder in ("clip_l", "clip_g"):
        text_encoder(sample, f"text_encoders.{encoder}.transformer.", CLIP, 24)
    return write_all(
        sample, unet_original("sdxl-1.0"), dotted("diffusion_model."),
        lambda shape: pen.lora(shape, names="peft"),
        lambda changes: unet_to_diffusers("sdxl-1.0", changes),
    )  # fmt: skip


def one_trainer_fused() -> Sample:
    """Its own names, which backups of a training with fused projections have."""
    pen, sample = Pen(), Sample("flux.1", metadata={"ot_revision": "1"})
    original = flux_original()
    modules = {
        "transformer_blocks.0.attn.qkv": "double_blocks.0.img_attn.qkv",
        "transformer_blocks.0.attn.added_qkv": "double_blocks.0.txt_attn.qkv",
        "single_transformer_blocks.1.qkv_mlp": "single_blocks.1.linear1",
    }
    names = {original: own for own, original in modules.items()}
    return write_all(
        sample, {name: original[name] for name in names},
        lambda name: f"transformer.{names[name]}", pen.lora, flux_to_diffusers,
    )  # fmt: skip


def one_trainer_dora(architecture: str) -> Sample:
    """Norms over outputs are its default, unlike LyCORIS'."""
    pen = Pen()
    prefix = "lora_unet_" if architecture in UNETS else "lora_transformer_"
    return write_all(
        Sample(architecture), linear_shapes(architecture), flat(prefix),
        lambda shape: pen.dora(shape, by_output=False),
    )  # fmt: skip


def one_trainer_loha(architecture: str) -> Sample:
    """Convolutions as the weights of two convolutions."""
    pen, family = Pen(), family_of(architecture)
    shapes: Shapes = {**family.block_layers, **family.convolutions}
    sample = Sample(architecture, metadata={"ot_revision": "1"})
    return write_all(
        sample, shapes, flat("lora_unet_"), lambda shape: pen.loha(shape, convolved=True)
    )


def xlabs() -> Sample:
    """LoRAs of attention processors; in single blocks without the rows of the mlp."""
    pen, sample = Pen(), Sample("flux.1")
    shapes = flux_original()
    hidden = shapes["img_in"][0]
    modules = {
        "double_blocks.0.processor.qkv_lora1": "double_blocks.0.img_attn.qkv",
        "double_blocks.0.processor.qkv_lora2": "double_blocks.0.txt_attn.qkv",
        "double_blocks.0.processor.proj_lora1": "double_blocks.0.img_attn.proj",
        "double_blocks.0.processor.proj_lora2": "double_blocks.0.txt_attn.proj",
        "single_blocks.1.processor.qkv_lora": "single_blocks.1.linear1",
        "single_blocks.1.processor.proj_lora": "single_blocks.1.linear2",
    }
    changes: Changes = {}
    for name, module in modules.items():
        rows, inputs = shapes[module]
        own = 3 * hidden if "qkv" in name else rows
        written = pen.lora((own, inputs), names="processor", alpha=False)
        assert written.change is not None
        sample.tensors |= {f"{name}.{suffix}": part for suffix, part in written.tensors.items()}
        zeros = torch.zeros(rows - own, inputs, dtype=torch.float64)
        changes[f"{module}.weight"] = torch.cat([written.change, zeros])
    sample.changes = flux_to_diffusers(changes)
    return sample


def bfl(prefix: str, writer: str) -> Sample:
    """Black Forest Labs' names with PEFT's suffixes."""
    pen = Pen()
    return write_all(
        Sample("flux.1"), flux_original(), dotted(prefix),
        lambda shape: pen.lora(shape, names="peft", alpha=writer == "alpha"), flux_to_diffusers,
    )  # fmt: skip


# diffsynth/utils/state_dict_converters/flux_dit.py: how its network renames BFL's.
DIFFSYNTH = {
    "img_attn.proj": "attn.a_to_out", "img_attn.qkv": "attn.a_to_qkv", "img_mlp": "ff_a",
    "img_mod.lin": "norm1_a.linear", "txt_attn.proj": "attn.b_to_out",
    "txt_attn.qkv": "attn.b_to_qkv", "txt_mlp": "ff_b", "txt_mod.lin": "norm1_b.linear",
    "linear1": "to_qkv_mlp", "linear2": "proj_out", "modulation.lin": "norm.linear",
    "double_blocks": "blocks",
}  # fmt: skip


def diffsynth(architecture: str) -> Sample:
    """PEFT's suffixes with the adapter's name in them, and no alpha: it is the rank."""
    pen = Pen()
    sample = Sample(architecture)
    if architecture != "flux.1":
        return write_all(
            sample, linear_shapes(architecture), dotted(""),
            lambda shape: pen.lora(shape, names="default", alpha=False),
        )  # fmt: skip
    blocks = {n: s for n, s in flux_original().items() if "_blocks." in n}
    pattern = re.compile("|".join(map(re.escape, DIFFSYNTH)))
    return write_all(
        sample, blocks, lambda name: pattern.sub(lambda found: DIFFSYNTH[found[0]], name),
        lambda shape: pen.lora(shape, names="default", alpha=False), flux_to_diffusers,
    )  # fmt: skip


def old_diffusers() -> Sample:
    """Attention processors' own LoRAs: "….attn1.processor.to_q_lora.down.weight"."""
    pen, sample = Pen(), Sample("sd-1.5")
    shapes = only(linear_shapes("sd-1.5"), ".to_q", ".to_k", ".to_v", ".to_out.0")

    def stem(name: str) -> str:
        attention, side = name.rsplit(".to_", 1)
        return f"unet.{attention}.processor.to_{side.removesuffix('.0')}_lora"

    return write_all(
        sample, shapes, stem, lambda shape: pen.lora(shape, names="processor", alpha=False)
    )


def diffusers_before_peft() -> Sample:
    """ "….to_q.lora.down.weight", which diffusers' oldest training scripts wrote."""
    pen, sample = Pen(), Sample("sdxl-1.0")
    shapes = only(linear_shapes("sdxl-1.0"), ".to_q", ".to_k", ".to_v", ".to_out.0")
    return write_all(
        sample, shapes, dotted("unet."),
        lambda shape: pen.lora(shape, names="old-diffusers", alpha=False),
    )  # fmt: skip


CASES = [
    Case("kohya sd-scripts", "LoRA", "flux.1", built(kohya_flux)),
    *(
        Case("kohya sd-scripts", "LoRA", a,
             built(kohya_unet, a, compvis=False, convolutions=False))
        for a in UNETS
    ),
    *(
        Case("kohya sd-scripts", "LoRA and LoCon", a,
             built(kohya_unet, a, compvis=False))
        for a in UNETS
    ),
    *(
        Case("kohya sd-scripts", "LoRA and LoCon, sgm names", a,
             built(kohya_unet, a, compvis=True))
        for a in UNETS
    ),
    *(
        Case("musubi-tuner", "LoRA", a, built(musubi, a))
        for a in ("flux.2", "qwen-image", "z-image")
    ),
    Case("musubi-tuner", "LoKr", "qwen-image", built(musubi_lokr)),
    Case("musubi-tuner", "LoRA, made for ComfyUI", "z-image", built(comfy_z_image)),
    *(
        Case("diffusers", "LoRA with alpha in the metadata", a,
             partial(save_with_diffusers, architecture=a))
        for a in ("flux.1", "flux.2", "sdxl-1.0", "sd-1.5", "qwen-image", "z-image")
    ),
    Case("diffusers", "patterns of ranks and alphas, rslora", "flux.1",
         partial(save_with_diffusers, architecture="flux.1", patterns=True)),
    *(
        Case("diffusers", "LoRA of a network alone", a,
             partial(save_network_with_diffusers, architecture=a))
        for a in ("sd-1.5", "flux.1")
    ),
    Case("diffusers", "attention processors", "sd-1.5", built(old_diffusers)),
    Case("diffusers", "LoRA before PEFT", "sdxl-1.0", built(diffusers_before_peft)),
    *(
        Case("PEFT", kind, "flux.1", partial(save_with_peft, kind=kind))
        for kind in ("LoRA", "LoRA with bias", "DoRA", "LoHa", "LoKr")
    ),
    *(
        Case("ai-toolkit", "LoRA", a, built(ai_toolkit, a))
        for a in ("flux.1", "flux.2", "qwen-image", "z-image")
    ),
    Case("ai-toolkit", "LoKr", "flux.1", built(ai_toolkit_lokr, old=False)),
    Case("ai-toolkit", "LoKr, old names", "flux.1", built(ai_toolkit_lokr, old=True)),
    Case("ai-toolkit", "DoRA", "flux.1", built(ai_toolkit_dora)),
    Case("SimpleTuner", "LoRA (by diffusers)", "flux.1",
         partial(save_with_diffusers, architecture="flux.1")),
    *(
        Case("SimpleTuner", f"LyCORIS: {kind}", a, built(lycoris_wrapper, a, kind))
        for a, kind in (
            ("flux.1", "LoKr"), ("flux.1", "LoHa"), ("flux.1", "LoCon"), ("flux.1", "full"),
            ("flux.1", "DoRA"), ("sdxl-1.0", "LoKr"), ("qwen-image", "LoKr"), ("z-image", "LoKr"),
        )
    ),
    *(
        Case("OneTrainer", f"LoRA, {mode}", "flux.1", built(one_trainer, mode))
        for mode in ("legacy", "kohya", "diffusers", "original", "comfy")
    ),
    Case("OneTrainer", "LoRA, comfy", "sdxl-1.0", built(one_trainer_sdxl)),
    *(
        Case("OneTrainer", "LoRA, OMI", a, built(one_trainer_omi, a))
        for a in ("flux.1", "sdxl-1.0", "chroma", "sd-3.5", "pixart")
    ),
    Case("OneTrainer", "LoRA, internal, fused", "flux.1", built(one_trainer_fused)),
    *(
        Case("OneTrainer", "DoRA", a, built(one_trainer_dora, a))
        for a in ("flux.1", "sdxl-1.0")
    ),
    Case("OneTrainer", "LoHa", "sd-1.5", built(one_trainer_loha, "sd-1.5")),
    Case("XLabs", "LoRA", "flux.1", built(xlabs)),
    Case("ComfyUI", "LoRA, BFL names", "flux.1", built(bfl, "diffusion_model.", "")),
    Case("BFL names", "LoRA with alpha", "flux.1", built(bfl, "", "alpha")),
    Case("fal", "LoRA", "flux.1", built(bfl, "base_model.model.", "")),
    *(
        Case("DiffSynth-Studio", "LoRA", a, built(diffsynth, a))
        for a in ("flux.1", "qwen-image", "z-image")
    ),
    *(
        Case("LyCORIS in sd-scripts", kind, "sd-1.5", built(lycoris_kohya, kind))
        for kind in (
            "LoCon", "LoCon with Tucker cores", "LoHa", "LoHa with Tucker cores", "LoKr",
            "LoKr with Tucker cores", "DoRA by output", "DoRA by input",
            "full differences, biases", "LoRA and norms",
        )
    ),
    *(
        Case("LyCORIS in sd-scripts", kind, "flux.1", built(lycoris_flux, kind))
        for kind in ("LoHa", "LoKr", "full differences")
    ),
    *(
        Case(writer, form, a, built(write_sample, a, way))
        for a, ways in WAYS.items() for (writer, form), way in ways.items()
    ),
    Case("SimpleTuner", "LyCORIS: LoKr", "hidream-i1",
         built(lycoris_wrapper, "hidream-i1", "LoKr")),
    *(
        Case("SimpleTuner", f"LyCORIS: {kind}, fused", "krea-2", built(simple_tuner_fused, kind))
        for kind in ("LoKr", "LoCon")
    ),
    *(
        Case("diffusers", "LoRA with alpha in the metadata", a,
             partial(save_with_diffusers, architecture=a))
        for a in WAYS if a in PIPELINES
    ),
]  # fmt: skip
