"""Tensors' names in a file (keys) -> the module that each belongs to, and what it is of that.

keys_to_layers.py goes on from there: it tells which layer a module is. This works on names
alone, so that a header is enough. A key is a prefix that the trainer's program puts first, a
module, and a suffix that says what the tensor is. refused_kinds.py has refused by name what is
no adapter of an image model.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from encoder.adapter.first_format import PREFIX as FIRST_FORMAT
from encoder.errors import UnsupportedLoraError

# Suffix -> what the tensor is ("slot"). An adapter's name may stand before PEFT's ".weight".
ADAPTER = r"(?:\.(?!weight$|bias$)[\w-]+)?"
SUFFIXES = (
    # Without any more, Mochi's authors'.
    (re.compile(rf"\.lora_A(?:{ADAPTER}\.weight)?$"), "down"),
    (re.compile(rf"\.lora_B(?:{ADAPTER}\.weight)?$"), "up"),
    (re.compile(rf"\.lora_B{ADAPTER}\.bias$"), "up_bias"),
    # PEFT's, and ai-toolkit's.
    (re.compile(rf"\.(?:lora_magnitude_vector{ADAPTER}(?:\.weight)?|magnitude)$"), "magnitude"),
    (re.compile(r"\.lora[._](?:linear_layer\.)?down\.weight$"), "down"),
    (re.compile(r"\.lora[._](?:linear_layer\.)?up\.weight$"), "up"),
    (re.compile(r"\.lora_mid\.weight$"), "mid"),
    (re.compile(r"\.(hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)(?:\.default)?$"), ""),
    (re.compile(r"\.(alpha|dora_scale|diff|diff_b|diff_m|set_weight|w_norm|b_norm)$"), ""),
    # XLabs, and diffusers' attention processors: "….processor.qkv_lora1.down.weight".
    (re.compile(r"(?<=_lora)\.down\.weight$|(?<=_lora[12])\.down\.weight$"), "down"),
    (re.compile(r"(?<=_lora)\.up\.weight$|(?<=_lora[12])\.up\.weight$"), "up"),
)  # fmt: skip

# Text encoders are listed and left out: only the diffusion network is adapted here. PEFT puts its
# own prefix before either.
TEXT_ENCODER = re.compile(
    r"(?:base_model\.model\.)*"
    r"(?:text_encoder(?:_(\d))?\.|lora_te(\d)?[._]|text_encoders\.(\w+)\.|(clip_[lg]|t5|llama)\.)"
)
EMBEDDING = re.compile(r"bundle_emb\.")

# Names with dots, and names in which the module's dots became underscores. Wrapped twice, a
# network's names begin with the same prefix twice.
DOTTED_PREFIXES = (
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.",
    "conditional_transformer.", "transformer_ref.", "pipe.dit.", "module.", FIRST_FORMAT,
)  # fmt: skip
NETWORKS = ("transformer.", "diffusion_model.")
DOTTED = re.compile(f"(?:{'|'.join(map(re.escape, DOTTED_PREFIXES))})*")
# What PyTorch wraps modules in to compile them, to shard them or to compute them again, wherever.
WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
FLAT = re.compile(r"(?:lora_unet_(?:unet_|_)?|lora_transformer_|lycoris_)?")
# Modules or tensors that fit nothing else in a file: so many, or this share of its modules, are
# named and left out. More of them, and the file is something else.
FEW_STRAYS, STRAY_SHARE = 1, 0.1

WHOLE_MODEL = (
    "is no adapter but a whole model or a part of one: a checkpoint, a VAE, a text encoder, "
    "an upscaler or the like"
)


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
    # What belongs to no module: few, and named.
    strays: tuple[str, ...] = ()
    # All prefixes, where one file has those of several programs; modules keep theirs then.
    mixed: tuple[str, ...] = ()

    @property
    def flat(self) -> bool:
        """Whether the modules' names have underscores for dots."""
        return _is_flat(self.prefix)

    def name_of(self, module: str) -> tuple[str, bool]:
        """Return a module's name without a prefix, and whether it has underscores for dots."""
        if not self.mixed:
            return module, self.flat
        prefix = find_prefix(module)
        return module.removeprefix(prefix), _is_flat(prefix)


def plan_layers(file: str | Path, keys: Iterable[str]) -> KeyPlan:
    """Group the tensors' names by module.

    Raises:
        UnsupportedLoraError: some tensors are of no kind known here.
    """
    split = [(key, *_split_suffix(key)) for key in sorted(keys)]
    known = [(key, slot, stem) for key, slot, stem in split if slot]
    inside = [(key, slot, stem) for key, slot, stem in known if not _part_outside(key)]
    plan, other = _begin_plan(sorted({stem for _, _, stem in inside}))
    text_modules = set()
    for key, slot, stem in known:
        if part := _part_outside(key):
            plan.text.append((slot, key))
            text_modules.add((part, stem))
        elif stem not in other:
            module = stem if plan.mixed else stem.removeprefix(find_prefix(stem))
            _add(file, plan, module, slot, key)
    plan.parts.update(part for part, _ in text_modules)
    strays = [key for key, slot, _ in split if not slot]
    _check_strays(file, strays, {stem for _, _, stem in known})
    plan.strays = (*sorted(other), *strays)
    if not plan.modules:
        raise UnsupportedLoraError(file, _why_empty(plan))
    return plan


def are_few(strays: int, fitting: int) -> bool:
    """Whether what does not fit is little enough beside what does to be left out by name."""
    return strays <= fitting and strays <= max(FEW_STRAYS, STRAY_SHARE * fitting)


def find_prefix(key: str) -> str:
    """Return the prefixes that the writer's program put before the module's name."""
    for pattern in (DOTTED, FLAT):
        match = pattern.match(key)
        assert match is not None
        if match[0]:
            return match[0]
    return ""


def is_change(key: str) -> bool:
    """Whether a tensor's name ends as those of changes do that are read here."""
    return bool(_split_suffix(key)[0])


def is_outside(key: str) -> bool:
    """Whether a tensor belongs to a text encoder, or is an embedding."""
    return bool(_part_outside(key))


def _begin_plan(stems: Collection[str]) -> tuple[KeyPlan, set[str]]:
    """Return a plan with the prefix of most modules, and the few that have one of another kind.

    Where more have one, the file may be an adapter as two programs write it.
    """
    by_prefix: dict[str, set[str]] = {}
    for stem in stems:
        by_prefix.setdefault(find_prefix(stem), set()).add(stem)
    if not by_prefix:
        return KeyPlan(""), set()
    main = max(by_prefix, key=lambda prefix: len(by_prefix[prefix]))
    others = {stem for prefix, own in by_prefix.items() for stem in own if not _alike(prefix, main)}
    mains = len(stems) - len(others)
    if len(others) >= mains or not are_few(len(others), mains):
        return KeyPlan(main, mixed=tuple(sorted(by_prefix))), set()
    return KeyPlan(main), others


def _is_flat(prefix: str) -> bool:
    return bool(prefix) and FLAT.fullmatch(prefix) is not None


def _alike(first: str, second: str) -> bool:
    """Whether both mean the network itself, by diffusers' name and by ComfyUI's.

    fal's files have the one before blocks that diffusers names, the other before the rest.
    """
    return first == second or (first.endswith(NETWORKS) and second.endswith(NETWORKS))


def _add(file: str | Path, plan: KeyPlan, module: str, slot: str, key: str) -> None:
    slots = plan.modules.setdefault(module, {})
    if slot in slots:
        raise UnsupportedLoraError(file, f"{key[:100]} and {slots[slot][:100]} are the same")
    slots[slot] = key


def _check_strays(file: str | Path, strays: Sequence[str], stems: Collection[str]) -> None:
    """Refuse tensors of an unknown kind where they are many, or a part of what is read."""
    if not strays:
        return
    pieces = [key for key in strays if any(parent in stems for parent in _parents(key))]
    if pieces or not are_few(len(strays), len(stems)):
        key = (pieces or strays)[0]
        weights = sum(key.endswith((".weight", ".bias")) for key in strays)
        if not stems and 2 * weights > len(strays):
            raise UnsupportedLoraError(file, WHOLE_MODEL)
        raise UnsupportedLoraError(file, f"tensor {key[:100]!r} is of no kind known here")


def _parents(key: str) -> Iterator[str]:
    """Yield the names that a key begins with: "a.b.c" -> "a.b", "a"."""
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def _why_empty(plan: KeyPlan) -> str:
    if not plan.parts:
        return "changes no layer of an image model"
    parts = " and ".join(f"{part} ({count} modules)" for part, count in sorted(plan.parts.items()))
    return f"changes no layer of an image model, only {parts}: a text encoder's half of an adapter"


def _part_outside(key: str) -> str:
    """Return the part, outside the diffusion network, that a tensor belongs to; "" if none."""
    if EMBEDDING.match(key):
        return "embeddings"
    match = TEXT_ENCODER.match(key)
    if match is None:
        return ""
    number = match[1] or match[2] or "1"
    return match[3] or match[4] or ("text_encoder" if number == "1" else f"text_encoder_{number}")


def _split_suffix(key: str) -> tuple[str, str]:
    """Return (slot, the name before the suffix); no slot where the suffix is not known.

    TheLastBen's trainer has a dot more at the end of a name, which became an underscore.
    """
    for pattern, slot in SUFFIXES:
        if match := pattern.search(key):
            return slot or match[1], WRAPPERS.sub("", key[: match.start()]).removesuffix("_")
    return ("embedding" if EMBEDDING.match(key) else ""), key
