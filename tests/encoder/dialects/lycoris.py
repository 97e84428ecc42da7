"""LyCORIS' kinds of adapters, as its wrapper and its module for sd-scripts write them."""

from collections.abc import Callable
from itertools import cycle

from tests.encoder.dialects.kinds import Pen, Written
from tests.encoder.dialects.networks import (
    Shapes,
    family_of,
    flux_original,
    flux_to_diffusers,
    linear_shapes,
)
from tests.encoder.dialects.samples import Sample, flat, only, write_all

Write = Callable[[tuple[int, ...]], Written]


def lycoris_wrapper(architecture: str, kind: str) -> Sample:
    """`LycorisNetwork` names modules of diffusers' network, with its own prefix."""
    pen = Pen()
    kinds: dict[str, Write] = {
        "LoKr": pen.lokr,
        "LoHa": pen.loha,
        "LoCon": pen.lora,
        "full": lambda shape: pen.full(shape, bias=True),
        "DoRA": lambda shape: pen.dora(shape, by_output=True),
    }
    # Z-Image's feed forward is of an odd width in the tiny network.
    shapes = only(linear_shapes(architecture), "to_q", "to_k", "to_v", "to_out.0", ".net.2")
    return write_all(Sample(architecture), shapes, flat("lycoris_"), kinds[kind])


def lycoris_kohya(kind: str, architecture: str = "sd-1.5") -> Sample:
    """lycoris/kohya.py: sd-scripts' names, convolutions and norms as well."""
    pen = Pen()
    family = family_of(architecture)
    wide = {n: s for n, s in family.convolutions.items() if s[2] == 3 and not n.startswith("conv")}
    linear: Shapes = dict(family.block_layers)
    both = {**linear, **wide, **only(dict(family.convolutions), "proj_in", "conv_shortcut")}
    sample, stem = Sample(architecture), flat("lora_unet_")
    match kind:
        case "LoCon":
            return write_all(sample, both, stem, pen.lora)
        case "LoCon with Tucker cores":
            write_all(sample, linear, stem, pen.lora)
            return write_all(sample, wide, stem, pen.locon_tucker)
        case "LoHa":
            return write_all(sample, both, stem, pen.loha)
        case "LoHa with Tucker cores":
            write_all(sample, linear, stem, pen.loha)
            return write_all(sample, wide, stem, lambda shape: pen.loha(shape, tucker=True))
        case "LoKr":
            forms = cycle(("full", "w2", "both"))
            return write_all(sample, both, stem, lambda shape: pen.lokr(shape, form=next(forms)))
        case "LoKr with Tucker cores":
            write_all(sample, linear, stem, pen.lokr)
            return write_all(sample, wide, stem, lambda shape: pen.lokr(shape, form="tucker"))
        case "DoRA by output":
            return write_all(sample, both, stem, lambda shape: pen.dora(shape, by_output=True))
        case "DoRA by input":
            return write_all(sample, both, stem, lambda shape: pen.dora(shape, by_output=False))
        case "full differences, biases":
            biased = {n: s for n, s in both.items() if f"{n}.bias" in family.vectors}
            write_all(sample, linear, stem, pen.full)
            return write_all(sample, biased, stem, lambda shape: pen.full(shape, bias=True))
        case "LoRA and norms":
            write_all(sample, linear, stem, pen.lora)
            norms = {
                name.removesuffix(".weight"): (length,)
                for name, length in family.vectors.items()
                if name.endswith(".weight")
            }
            return write_all(sample, norms, stem, lambda shape: pen.norm(shape[0]))
    raise ValueError(kind)


def lycoris_flux(kind: str) -> Sample:
    """Kinds of LyCORIS on layers that are fused in FLUX's own network."""
    pen = Pen()
    kinds: dict[str, Write] = {
        "LoHa": pen.loha,
        "LoKr": pen.lokr,
        "full differences": lambda shape: pen.full(shape, bias=True),
    }
    return write_all(
        Sample("flux.1"), flux_original(), flat("lora_unet_"), kinds[kind], flux_to_diffusers
    )
