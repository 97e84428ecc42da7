"""Which tensors of a file make which layer: the dialects that trainers write.

Works on names alone, so that a header is enough. What cannot be read exactly is refused
by name: a LoRA read half is another LoRA.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from encoder.errors import UnsupportedLoraError

# Kinds of weights that are not a plain LoRA of a linear layer.
OTHER_KINDS = (
    (re.compile(r"\.hada_[wt]\d"), "LoHa"),
    (re.compile(r"\.lokr_[wt]\d"), "LoKr"),
    (re.compile(r"\.dora_scale$|lora_magnitude_vector"), "DoRA"),
    (re.compile(r"\.lora_mid\.weight$"), "LoRA with Tucker decomposition"),
    (re.compile(r"\.diff(_b)?$"), "full difference of a weight or bias"),
    (re.compile(r"\.[wb]_norm$"), "difference of a normalisation"),
    (re.compile(r"\.oft_(blocks|diag)$|\.oft_R\."), "OFT"),
    (re.compile(r"\.[ab][12]\.weight$"), "GLoRA"),
    (re.compile(r"\.lora_[AB](\.default)?\.bias$|lora_(up|down)\.bias$"), "LoRA with a bias"),
    (re.compile(r"^bundle_emb\.|^emb_params$|string_to_param"), "textual inversion"),
    (re.compile(r"\.ip_adapter\.|^image_proj\."), "IP-Adapter"),
)
# Dialects known by sight whose layers we cannot name exactly yet.
OTHER_DIALECTS = (
    (re.compile(r"\.processor\..*lora"), "XLabs"),
    (re.compile(r"(^|\.)(double_blocks|single_blocks)\.\d+\..*lora_[AB]"), "BFL names with lora_A"),
    (re.compile(r"(^|\.)(double_blocks|single_blocks)\.\d+\."), "BFL names"),
    (
        re.compile(r"^(single_)?blocks\.\d+\..*(a_to_|b_to_|to_qkv|ff_[ab]|norm)"),
        "DiffSynth's names",
    ),
    (re.compile(r"^lora_unet_(down|up|mid|input|output|middle)_block"), "kohya names of a UNet"),
    (re.compile(r"^lora_unet_"), "kohya or musubi-tuner names of another base model than FLUX.1"),
    (re.compile(r"^lora_transformer_"), "OneTrainer's legacy names"),
    (re.compile(r"^lycoris_"), "LyCORIS wrapper names"),
)
TEXT_ENCODER = re.compile(r"^(text_encoder(_\d)?\.|lora_te\d?_|text_encoders\.)")

# PEFT's "transformer.transformer_blocks.0.attn.to_q.lora_A[.default].weight", and
# diffusers' older ".lora.down.weight".
PEFT = re.compile(
    r"^(?P<prefix>base_model\.model\.|transformer\.|unet\.|diffusion_model\.)?"
    r"(?P<module>[\w.]+?)\."
    r"(?:(?P<part>lora_A|lora_B|lora\.down|lora\.up|lora_down|lora_up)(?:\.default)?\.weight"
    r"|(?P<alpha>alpha))$",
    re.ASCII,
)
PARTS = {
    "lora_A": "down", "lora.down": "down", "lora_down": "down",
    "lora_B": "up", "lora.up": "up", "lora_up": "up",
}  # fmt: skip
# Without diffusers' own prefix, only names that no other convention uses are believed.
DIFFUSERS_MODULE = re.compile(
    r"(single_)?transformer_blocks\.\d+\.|(x|context)_embedder$|time_text_embed\."
    r"|norm_out\.linear$|proj_out$"
)
KOHYA_FLUX = re.compile(
    r"^(?P<module>lora_unet_(?:double_blocks|single_blocks|img_in|txt_in|time_in|vector_in"
    r"|guidance_in|final_layer)\w*)\.(?:(?P<part>lora_down|lora_up)\.weight|(?P<alpha>alpha))$",
    re.ASCII,
)


@dataclass
class LayerKeys:
    """The tensors of one module, by their names in the file."""

    module: str
    down: str = ""
    up: str = ""
    alpha: str | None = None


@dataclass
class KeyPlan:
    """How a file's tensors make layers; `dialect` is "peft" or "kohya-flux"."""

    dialect: str
    prefix: str
    layers: dict[str, LayerKeys] = field(default_factory=dict)
    # Tensors with no place in the transformer, left out and said so in the verdict.
    text_encoder: list[str] = field(default_factory=list)


def plan_layers(file: str | Path, keys: Iterable[str]) -> KeyPlan:
    """Group the tensors' names into layers.

    Raises:
        UnsupportedLoraError: some tensor is of a kind or dialect not read exactly.
    """
    keys = sorted(keys)
    own = [key for key in keys if not TEXT_ENCODER.match(key)]
    _refuse_other_kinds(file, keys)
    if not own:
        raise UnsupportedLoraError(file, "has no LoRA layer of an image model")
    pattern, dialect = (KOHYA_FLUX, "kohya-flux") if own[0].startswith("lora_") else (PEFT, "peft")
    plan = KeyPlan(dialect, prefix="", text_encoder=[k for k in keys if TEXT_ENCODER.match(k)])
    prefixes = set()
    for key in own:
        match = pattern.match(key)
        if match is None or not _is_named_exactly(match):
            raise _unknown(file, key)
        prefixes.add(match.groupdict().get("prefix") or "")
        _place(file, plan, match)
    if len(prefixes) > 1:
        raise UnsupportedLoraError(file, f"mixes the prefixes {sorted(prefixes)}")
    plan.prefix = prefixes.pop()
    for layer in plan.layers.values():
        if not (layer.down and layer.up):
            missing = "up (B)" if layer.down else "down (A)"
            raise UnsupportedLoraError(file, f"layer {layer.module} lacks its {missing} matrix")
    return plan


def _place(file: str | Path, plan: KeyPlan, match: re.Match[str]) -> None:
    module = match["module"]
    layer = plan.layers.setdefault(module, LayerKeys(module))
    if match["alpha"]:
        layer.alpha = match.string
        return
    side = PARTS[match["part"]]
    if getattr(layer, side):
        raise UnsupportedLoraError(file, f"layer {module} has two {side} matrices")
    setattr(layer, side, match.string)


def _is_named_exactly(match: re.Match[str]) -> bool:
    prefix = match.groupdict().get("prefix")
    if match.re is KOHYA_FLUX or prefix in ("transformer.", "unet."):
        return not match["module"].startswith(("double_blocks.", "single_blocks."))
    return bool(DIFFUSERS_MODULE.match(match["module"]))


def _refuse_other_kinds(file: str | Path, keys: list[str]) -> None:
    for key in keys:
        for pattern, kind in OTHER_KINDS:
            if pattern.search(key):
                raise UnsupportedLoraError(file, f"is {kind} ({key[:100]}), not a plain LoRA")


def _unknown(file: str | Path, key: str) -> UnsupportedLoraError:
    for pattern, dialect in OTHER_DIALECTS:
        if pattern.search(key):
            return UnsupportedLoraError(file, f"uses {dialect} ({key[:100]}), not supported")
    return UnsupportedLoraError(file, f"tensor {key[:100]!r} is in no dialect known here")
