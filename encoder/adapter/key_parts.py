"""Tensors' names in a file (keys) -> the module that each belongs to, and what it is of that.

keys_to_layers.py goes on from there: it tells which layer a module is. This works on names
alone, so that a header is enough. A key is a prefix that the trainer's program puts first, a
module, and a suffix that says what the tensor is. What cannot be read exactly is refused by
name: a LoRA read half is another LoRA.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from encoder.errors import UnsupportedLoraError

# Suffix -> what the tensor is ("slot"). An adapter's name may stand before PEFT's ".weight".
ADAPTER = r"(?:\.(?!weight$|bias$)[\w-]+)?"
SUFFIXES = (
    (re.compile(rf"\.lora_A{ADAPTER}\.weight$"), "down"),
    (re.compile(rf"\.lora_B{ADAPTER}\.weight$"), "up"),
    (re.compile(rf"\.lora_B{ADAPTER}\.bias$"), "up_bias"),
    (re.compile(rf"\.lora_magnitude_vector{ADAPTER}(?:\.weight)?$"), "magnitude"),
    (re.compile(r"\.lora[._](?:linear_layer\.)?down\.weight$"), "down"),
    (re.compile(r"\.lora[._](?:linear_layer\.)?up\.weight$"), "up"),
    (re.compile(r"\.lora_mid\.weight$"), "mid"),
    (re.compile(r"\.(hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)(?:\.default)?$"), ""),
    (re.compile(r"\.(alpha|dora_scale|diff|diff_b|set_weight|w_norm|b_norm)$"), ""),
    # XLabs, and diffusers' attention processors: "….processor.qkv_lora1.down.weight".
    (re.compile(r"(?<=_lora)\.down\.weight$|(?<=_lora[12])\.down\.weight$"), "down"),
    (re.compile(r"(?<=_lora)\.up\.weight$|(?<=_lora[12])\.up\.weight$"), "up"),
)  # fmt: skip

# Kinds of adapters that are no sum of a change and the base's weights, or no LoRA at all.
OTHER_KINDS = (
    (re.compile(r"\.oft_(blocks|diag|R)|\.oft_R\."), "OFT or BOFT, which rotates weights"),
    (re.compile(r"\.(lora_)?[ab][12]\.weight$"), "GLoRA"),
    (re.compile(r"\.ia3_l|\.on_input$"), "IA3, which scales activations"),
    (re.compile(r"\.(lambda_layer|[pq]_layer\.weight)$"), "T-LoRA"),
    (
        re.compile(
            r"\.(vera_lambda|lora_(E|ranknum|embedding_[AB])|(adamss|boft|bone|c3a|delora|fourierft"
            r"|glora|gralora|hira|hra|lily|miss|poly|randlora|road|shira|vblora|waveft|xlora)_)"
        ),
        "a kind of PEFT's that is no LoRA",
    ),
    (re.compile(r"^emb_params$|string_to_param|^clip_[gl]$"), "a textual inversion, not a LoRA"),
    (re.compile(r"ip_adapter|^image_proj\.|to_[kv]_ip"), "an IP-Adapter, not a LoRA"),
    (re.compile(r"^lora_controlnet|^lllite|^controlnet_|^input_hint_block"), "a ControlNet's part"),
    (re.compile(r"(query|key)_norm\.scale$"), "a control LoRA with norms of its own"),
    (re.compile(r"\.(scale_weight|weight_scale|scale_input)$|^scaled_fp8$"), "scaled float8"),
    (re.compile(r"\.magnitude$"), "ai-toolkit's own DoRA"),
    (re.compile(r"\.lora_A(\.[\w-]+)?\.bias$"), "a LoRA with a bias between its factors"),
)

# A number between dots or underscores.
INDEX = re.compile(r"(?<=[._])\d+(?=[._])")

# Text encoders are listed and left out: only the diffusion network is adapted here.
TEXT_ENCODER = re.compile(r"text_encoder(?:_(\d))?\.|lora_te(\d)?_|text_encoders\.(\w+)\.")
EMBEDDING = re.compile(r"bundle_emb\.")

# Names with dots, and names in which the module's dots became underscores.
DOTTED_PREFIXES = (
    "base_model.model.transformer.", "base_model.model.unet.", "base_model.model.",
    "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "pipe.dit.",
)  # fmt: skip
FLAT_PREFIXES = ("lora_unet_", "lora_transformer_", "lycoris_")


@dataclass
class KeyPlan:
    """The tensors of a file by module, named as in the file without the prefix."""

    prefix: str
    # Module -> slot -> the tensor's name in the file.
    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    # Tensors with no place in the diffusion network: part -> modules of it.
    parts: Counter[str] = field(default_factory=Counter)
    # (slot, tensor) of text encoders, which tell their widths.
    text: list[tuple[str, str]] = field(default_factory=list)

    @property
    def flat(self) -> bool:
        """Whether the modules' names have underscores for dots."""
        return self.prefix in FLAT_PREFIXES


def plan_layers(file: str | Path, keys: Iterable[str]) -> KeyPlan:
    """Group the tensors' names by module.

    Raises:
        UnsupportedLoraError: some tensor is of a kind not read exactly, or of none known here.
    """
    keys = sorted(keys)
    # Blocks differ in their numbers only, and no kind is told by those.
    first: dict[str, str] = {}
    for key in keys:
        first.setdefault(INDEX.sub("0", key), key)
    for key in first.values():
        _refuse_other_kinds(file, key)
    prefixes = Counter(find_prefix(key) for key in keys if not _part_outside(key))
    if len(prefixes) > 1:
        raise UnsupportedLoraError(file, f"mixes the prefixes {sorted(prefixes)}")
    plan = KeyPlan(next(iter(prefixes), ""))
    text_modules = set()
    for key in keys:
        slot, stem = _split_suffix(file, key)
        if part := _part_outside(key):
            plan.text.append((slot, key))
            text_modules.add((part, stem))
            continue
        module = stem.removeprefix(plan.prefix)
        slots = plan.modules.setdefault(module, {})
        if slot in slots:
            raise UnsupportedLoraError(file, f"{key[:100]} and {slots[slot][:100]} are the same")
        slots[slot] = key
    plan.parts.update(part for part, _ in text_modules)
    if not plan.modules:
        others = f", only {' and '.join(sorted(plan.parts))}" if plan.parts else ""
        raise UnsupportedLoraError(file, f"changes no layer of an image model{others}")
    return plan


def find_prefix(key: str) -> str:
    """Return the prefix that the writer's program put before the module's name."""
    for prefix in (*DOTTED_PREFIXES, *FLAT_PREFIXES):
        if key.startswith(prefix):
            return prefix
    return ""


def _part_outside(key: str) -> str:
    """Return the part, outside the diffusion network, that a tensor belongs to; "" if none."""
    if EMBEDDING.match(key):
        return "embeddings"
    match = TEXT_ENCODER.match(key)
    if match is None:
        return ""
    number = match[1] or match[2] or "1"
    return match[3] or ("text_encoder" if number == "1" else f"text_encoder_{number}")


def _split_suffix(file: str | Path, key: str) -> tuple[str, str]:
    """Return (slot, the name before the suffix)."""
    for pattern, slot in SUFFIXES:
        if match := pattern.search(key):
            return slot or match[1], key[: match.start()]
    if EMBEDDING.match(key):
        return "embedding", key
    raise UnsupportedLoraError(
        file, f"tensor {key[:100]!r} is of no kind known here: no LoRA, or a whole checkpoint"
    )


def _refuse_other_kinds(file: str | Path, key: str) -> None:
    for pattern, kind in OTHER_KINDS:
        if pattern.search(key):
            raise UnsupportedLoraError(file, f"is or has {kind} ({key[:100]}); that is not read")
