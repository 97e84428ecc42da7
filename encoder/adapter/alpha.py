"""How strong an adapter's layers are: alpha, wherever a writer puts it, and the scale it makes."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawler.peft_config import CONFIG_NAME
from encoder.adapter.key_parts import KeyPlan
from encoder.adapter.peft_config import (
    ALPHAS,
    Strength,
    claims_dora,
    config_strengths,
    find_changed_base,
    find_peft_config,
)
from encoder.adapter.safetensors_header import Header
from encoder.base_models.families import Family
from encoder.errors import BadWeightsError, LoraFileError, UnsupportedLoraError
from encoder.late_torch import Tensor

NO_ALPHA = "1: the file has no alpha"
# Where PEFT's config is that diffusers writes into a file.
IN_METADATA = "the metadata"
# What the metadata calls one alpha of all layers.
NETWORK_ALPHA = "alpha"
# The slots whose first axis is the rank that alpha is divided by.
RANKED = ("down",)
# Slots of what is no product of factors.
UNFACTORED = ("diff", "set_weight", "diff_b", "w_norm", "b_norm")
# Slots of changes that are stored as they are.
UNSCALED = ("diff", "set_weight")
MAGNITUDES = ("dora_scale", "magnitude")


@dataclass(frozen=True, slots=True)
class Alpha:
    """How the strength of layers is known: `rule` in words, and the strengths that are."""

    rule: str
    # The modules whose strength a config gives.
    strengths: Mapping[str, Strength]
    trouble: str = ""  # why the config beside the file is not used
    config: str = ""  # where the config stands that gives all of them, for no tensor does

    def scale(self, module: str, alpha: Tensor | None, rank: int) -> float:
        """alpha / rank; 1 where no alpha is known, as every trainer means it; NaN unread."""
        if alpha is None:
            strength = self.strengths.get(module)
            return 1.0 if strength is None else strength.scale
        return math.nan if alpha.is_meta else float(alpha.item()) / rank

    def alpha(self, module: str, slots: Collection[str], alpha: Tensor | None) -> float | None:
        """Return the alpha itself; None where it is not known, not read, not used or infinite."""
        if not _is_alpha_used(slots):
            return None
        if alpha is None:
            strength = self.strengths.get(module)
            return None if strength is None else strength.alpha
        number = math.nan if alpha.is_meta else float(alpha.item())
        return number if math.isfinite(number) else None


def find_config(
    file: str | Path, header: Header, plan: KeyPlan, beside: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, str]:
    """Return PEFT's config of a file and where it stands; None where there is none."""
    written = find_peft_config(file, header.metadata, plan.prefix)
    if written is not None:
        return written, IN_METADATA
    # Files of other programs may lie beside a config that is not theirs.
    if beside and not plan.flat and any(name in beside for name in ALPHAS):
        return beside, CONFIG_NAME
    return None, ""


def find_network_alpha(
    family: Family | None, metadata: Mapping[str, str]
) -> dict[str, float] | None:
    """Return, as PEFT's config has it, the alpha that a file of MiniMax-H3 names for all layers.

    diffusers' `MiniMaxH3LoraLoaderMixin` takes it where nothing else tells; of other families, no
    program is known to.
    """
    if family is None or family.name != "minimax-h3":
        return None
    try:
        alpha = float(metadata.get(NETWORK_ALPHA, ""))
    except ValueError:
        return None
    return {"lora_alpha": alpha} if math.isfinite(alpha) else None


def find_alpha(
    file: str | Path, header: Header, plan: KeyPlan, config: Mapping[str, Any] | None, where: str
) -> Alpha:
    ranks = {
        module: next(
            (header.tensors[slots[s]].shape[0] for s in RANKED
             if s in slots and header.tensors[slots[s]].shape),
            None,
        )
        for module, slots in plan.modules.items()
    }  # fmt: skip
    strengths, trouble = _strengths(file, config, where, ranks)
    stored = sum("alpha" in slots for slots in plan.modules.values())
    if stored and all(map(_is_unfactored, plan.modules.values())):
        return Alpha("1: no layer is factored, and alpha means nothing there", strengths)
    if stored:
        every = stored == len(plan.modules)
        of = "each layer" if every else f"{stored} of {len(plan.modules)} layers"
        return Alpha(f"alpha / rank, from a tensor of {of}", strengths)
    if strengths and config is not None:
        divisor = "√rank" if config.get("use_rslora") else "rank"
        return Alpha(f"alpha / {divisor}, from {where}", strengths, config=where)
    return Alpha(NO_ALPHA, strengths, trouble)


def _strengths(
    file: str | Path,
    config: Mapping[str, Any] | None,
    where: str,
    ranks: Mapping[str, int | None],
) -> tuple[dict[str, Strength], str]:
    """Return what a config says of every module; of one beside the file, or why it says nothing."""
    try:
        return (config_strengths(file, config, ranks) if config is not None else {}), ""
    except LoraFileError as error:
        # What is wrong in the file itself refuses it, what lies beside it does not.
        if where != CONFIG_NAME:
            raise
        return {}, f"{CONFIG_NAME} beside it: {error.cause}"


def _is_unfactored(slots: Mapping[str, str]) -> bool:
    """Whether a module is a Kronecker product of two full matrices, or no product at all."""
    return {"lokr_w1", "lokr_w2"} <= slots.keys() or not slots.keys().isdisjoint(UNFACTORED)


def _is_alpha_used(slots: Collection[str]) -> bool:
    """Whether a module's scale follows from its alpha.

    Beside two full matrices of a Kronecker product, trainers write a number that means nothing
    (ai-toolkit 9999999999, infinity in float16); PEFT's config counts there.
    """
    full = {"lokr_w1", "lokr_w2", "alpha"} <= set(slots)
    return not full and not any(slot in slots for slot in UNSCALED)


def check_magnitudes(file: str | Path, plan: KeyPlan, config: Mapping[str, Any] | None) -> None:
    """DoRA without its magnitudes would be another adapter."""
    has = any(slot in slots for slots in plan.modules.values() for slot in MAGNITUDES)
    if claims_dora(config) and not has:
        raise BadWeightsError(file, "is DoRA by its metadata, and has no magnitudes")


def check_base(file: str | Path, config: Mapping[str, Any] | None) -> None:
    """Factors that began as a part of the base's weights are no change of the base itself."""
    if method := find_changed_base(config):
        raise UnsupportedLoraError(
            file,
            f"is {method} by PEFT's config: it fits a base whose weights were changed as well. "
            "Saved with path_initial_model_for_weight_conversion, it can be read",
        )


def alpha_notes(plan: KeyPlan, alpha: Alpha, trouble: str) -> tuple[str, ...]:
    trouble = trouble or alpha.trouble
    if trouble:
        return (f"{trouble}; it is not used",)
    if plan.prefix.startswith("base_model.") and alpha.rule == NO_ALPHA:
        return (f"PEFT keeps alpha in {CONFIG_NAME}; without it, scale 1 is taken",)
    return ()
