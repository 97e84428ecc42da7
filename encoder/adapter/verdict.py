"""What an adapter's file is and what can be done with it, for a person and for a program."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

from crawler.counted import counted
from encoder.adapter.convert import Outcome
from encoder.adapter.layers import Layer
from encoder.adapter.spectrum import BlockSpectrum, Measures
from encoder.base_models.facts import find_facts
from encoder.base_models.matching import Confidence
from encoder.base_models.names import UNKNOWN_BASE_MODEL
from encoder.late_torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a file is. What only its data can tell is empty where just the header was read."""

    format: str  # how tensors are named: "kohya", "peft"…
    names: str = "diffusers"  # whose names modules have: "diffusers", "bfl"…
    trainer: str | None
    family: str | None = None
    base_model: str
    evidence: tuple[str, ...]  # how the base model is known
    confidence: str = "none"  # of the family: "certain", "likely", "claim needed", "none"
    # Who says which base model of the family it is; empty where nobody does.
    said_by: str = ""
    ruled_out: tuple[str, ...] = ()  # base models that are claimed, and that layers exclude
    ranks: tuple[int, int, int]  # smallest, median, largest
    alpha: str = ""  # the rule that scales follow
    # Smallest and largest; empty where there is none, or where it was not read.
    alphas: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()  # what products of factors are multiplied by
    layers: int
    layer_names: tuple[str, ...] = ()
    missing: int  # layers of the base's blocks that the adapter leaves alone
    missing_names: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()  # what fits no layer of the base, as the file names it
    # "transformer" or "unet", text encoders, embeddings -> how many modules.
    parts: Mapping[str, int] = field(default_factory=dict)
    unused: int  # modules of parts that are left out
    kinds: Mapping[str, int] = field(default_factory=dict)  # "LoRA", "bias"… -> how many
    dtype: str
    size: int = 0  # bytes of the file
    zero_layers: tuple[str, ...]
    damaged_layers: tuple[str, ...] = ()  # NaN, infinity, or too large to compute with
    spectrum: tuple[BlockSpectrum, ...] = ()
    loadable: bool
    fusable: bool
    reasons: tuple[str, ...]  # why not loadable or fusable, or what to know

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON's types; runs of blocks are one name: "blocks.0..18.to_q"."""
        written = {field.name: _as_json(getattr(self, field.name)) for field in fields(self)}
        for name in ("layer_names", "missing_names", "zero_layers", "damaged_layers"):
            written[name] = join_names(getattr(self, name))
        return written


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [asdict(part) if isinstance(part, BlockSpectrum) else part for part in value]
    return dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file beside its layers."""

    format: str
    trainer: str | None
    alpha: str
    alphas: tuple[float, ...]  # of every layer whose alpha is known
    config: str  # where PEFT's config stands that all alphas are from, or ""
    dtype: str
    size: int
    parts: Mapping[str, int]  # that are left out
    notes: tuple[str, ...]


def judge(outcome: Outcome, facts: FileFacts, measures: Measures | None = None) -> Verdict:
    """Judge an adapter; without `measures` of its layers, its tensors have no data."""
    conversion, family = outcome.conversion, outcome.family
    layers = conversion.layers
    kinds = Counter(layer.kind for layer in layers.values())
    for name in conversion.vectors:
        is_bias = name.endswith(".bias") and (family is None or _has_layer(outcome, name))
        kinds["bias" if is_bias else "norm"] += 1
    ranks = sorted(layer.rank for layer in layers.values()) or [0]
    missing = [name for name in family.block_layers if name not in layers] if family else []
    network = "unet" if _is_unet(outcome) else "transformer"
    changed = len(layers) + len(conversion.vectors)
    verdict = Verdict(
        format=facts.format,
        names=conversion.convention,
        trainer=facts.trainer,
        family=family.name if family else None,
        base_model=outcome.base_model,
        evidence=outcome.evidence,
        confidence=outcome.confidence.name.lower().replace("_", " "),
        said_by=outcome.said_by,
        ruled_out=outcome.ruled_out,
        ranks=(ranks[0], int(statistics.median_low(ranks)), ranks[-1]),
        alpha=facts.alpha,
        alphas=_ends(facts.alphas),
        scales=_ends([layer.scale for layer in layers.values()]),
        layers=len(layers),
        layer_names=tuple(layers),
        missing=len(missing),
        missing_names=tuple(missing),
        unmatched=conversion.unmatched,
        parts={network: changed, **facts.parts} if changed else dict(facts.parts),
        unused=sum(facts.parts.values()),
        kinds=dict(sorted(kinds.items())),
        dtype=facts.dtype,
        size=facts.size,
        zero_layers=(),
        damaged_layers=(),
        spectrum=(),
        loadable=changed > 0,
        fusable=True,
        reasons=(*conversion.notes, *facts.notes),
    )
    if measures is not None:
        verdict = _with_numbers(verdict, measures, conversion.vectors)
    return _conclude(verdict, outcome)


def _ends(numbers: Sequence[float]) -> tuple[float, ...]:
    """Return the smallest and the largest; nothing where some were not read (NaN) or are infinite.

    PostgreSQL's JSON has no word for either.
    """
    if not numbers or not all(map(math.isfinite, numbers)):
        return ()
    return min(numbers), max(numbers)


def join_names(names: Iterable[str]) -> list[str]:
    """Join names that differ in one number: "blocks.0.q" and "blocks.1.q" to "blocks.0..1.q"."""
    return list(_joined(tuple(names)))


# Most files change the same layers.
@lru_cache(maxsize=64)
def _joined(names: tuple[str, ...]) -> tuple[str, ...]:
    rows = [tuple(name.split(".")) for name in names]
    for place in reversed(range(max(map(len, rows), default=0))):
        rows = _join_at(place, rows)
    return tuple(".".join(row) for row in rows)


def _join_at(place: int, rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    numbers: dict[tuple[tuple[str, ...], ...], list[int]] = {}
    for row in rows:
        if place < len(row) and row[place].isdecimal():
            rest = (row[:place], row[place + 1 :])
            numbers.setdefault(rest, []).append(int(row[place]))
        else:
            numbers[(row,)] = []
    joined = []
    for around, members in numbers.items():
        if not members:
            joined.append(around[0])
            continue
        members.sort()
        breaks = [i for i, (a, b) in enumerate(pairwise(members), 1) if b != a + 1]
        for start, end in zip([0, *breaks], [*breaks, len(members)], strict=True):
            first, last = members[start], members[end - 1]
            span = str(first) if first == last else f"{first}..{last}"
            joined.append((*around[0], span, *around[1]))
    return joined


def _with_numbers(verdict: Verdict, measures: Measures, vectors: Mapping[str, Tensor]) -> Verdict:
    damaged = [name for name, vector in vectors.items() if not vector.isfinite().all()]
    return replace(
        verdict,
        zero_layers=measures.zero_layers,
        damaged_layers=(*measures.damaged, *damaged),
        spectrum=measures.blocks,
    )


def _conclude(verdict: Verdict, outcome: Outcome) -> Verdict:
    """Say what follows for loading and fusing, in words that a user understands."""
    if not verdict.loadable:
        return replace(verdict, fusable=False, reasons=(_why_unloadable(verdict),))
    stops = _why_not_fused(verdict, outcome)
    return replace(
        verdict,
        loadable=not verdict.damaged_layers,
        fusable=not stops,
        reasons=(*stops, *verdict.reasons, *_notes(verdict, outcome)),
    )


def _why_not_fused(verdict: Verdict, outcome: Outcome) -> list[str]:
    stops = []
    if verdict.unmatched and outcome.base_model != UNKNOWN_BASE_MODEL:
        stops.append(
            f"without a place in {outcome.base_model}, and left out: {_some(verdict.unmatched)}"
        )
    elif verdict.unmatched:
        stops.append(_why_unloadable(verdict))
    if verdict.damaged_layers:
        shown = _some(join_names(verdict.damaged_layers))
        number = counted(len(verdict.damaged_layers), "layer holds", "layers hold")
        stops.append(f"{number} NaN or infinity: {shown}")
    if of_base := _why_base_is_not_fused(outcome):
        stops.append(of_base)
    if lost := _lost_in_fusion(outcome):
        stops.append(f"fusion would lose {' and '.join(lost)}")
    if not outcome.conversion.layers:
        stops.append("it changes no layer that fusion works on")
    elif len(verdict.zero_layers) == verdict.layers:
        stops.append("it has no effect")
    return stops


def _why_base_is_not_fused(outcome: Outcome) -> str | None:
    if outcome.base_model == UNKNOWN_BASE_MODEL:
        several = outcome.confidence is Confidence.CLAIM_NEEDED
        which = f": {outcome.evidence[0]}" if several else ""
        return f"the base model is not known for certain{which}"
    facts = find_facts(outcome.base_model)
    if facts and facts.video:
        return f"{outcome.base_model} makes videos, and only images are fused here"
    if outcome.family is None and facts and facts.sizes:
        return f"it may be for {' or '.join(facts.sizes)}: a claim says which"
    if outcome.family is None:
        return f"adapters of {outcome.base_model} are not fused here"
    return None


def _notes(verdict: Verdict, outcome: Outcome) -> list[str]:
    """Say what is left out or odd, whether the adapter is fused or not."""
    notes = []
    if verdict.zero_layers:
        zero, verb = len(verdict.zero_layers), "is" if len(verdict.zero_layers) == 1 else "are"
        notes.append(f"{zero} of {counted(verdict.layers, 'layer')} {verb} zero")
    if _is_large(outcome.conversion.layers.values()):
        notes.append("it takes as much memory, fused, as the layers that it changes")
    for part, count in verdict.parts.items():
        if part.startswith("text_encoder") or part not in ("transformer", "unet", "embeddings"):
            notes.append(
                f"its {counted(count, f'layer of {part} is', f'layers of {part} are')} left out: "
                "prompts are read as without it"
            )
        elif part == "embeddings":
            notes.append(f"its trained embeddings ({count}) are left out, and so their words")
    return notes


def _why_unloadable(verdict: Verdict) -> str:
    """Return the one cause why nothing of a file, or not all of it, has a name."""
    layers = counted(len(verdict.unmatched), "layer fits", "layers fit")
    return f"{layers} no base model known here: {_some(verdict.unmatched)}"


def _some(names: Sequence[str]) -> str:
    """Name the first of some names; those of a stranger's file may be of any length."""
    return ", ".join(name[:100] for name in names[:3]) + (" …" if len(names) > 3 else "")


def _is_large(layers: Iterable[Layer]) -> bool:
    """Whether the factors of all changes hold as many numbers as the changes themselves."""
    held = whole = 0
    for layer in layers:
        outputs, inputs = layer.shape[0], math.prod(layer.shape[1:])
        held += layer.rank * (outputs + inputs)
        whole += outputs * inputs
    return whole > 0 and held >= whole


def _lost_in_fusion(outcome: Outcome) -> list[str]:
    """What gates cannot work on: they add to the outputs of linear layers."""
    conversion = outcome.conversion
    # Convolutions of one pixel are linear layers.
    kernels = [layer.shape[2:] for layer in conversion.layers.values()]
    convolutions = sum(kernel not in ((), (1, 1)) for kernel in kernels)
    based = sum(layer.kind.startswith(("DoRA", "replaced")) for layer in conversion.layers.values())
    beside = sum(_is_beside(outcome.base_model, name) for name in conversion.layers)
    lost = [
        (beside, "layer", "layers", " of a network beside the one that draws"),
        (convolutions, "convolution", "convolutions", " of several pixels"),
        (based, "layer that depends", "layers that depend", " on the base's weights (DoRA)"),
        (len(conversion.vectors), "bias or norm", "biases and norms", ""),
    ]
    return [counted(count, one, several) + more for count, one, several, more in lost if count]


def _is_beside(base_model: str, layer: str) -> bool:
    """Whether a layer is of a network that reads the text for the one that draws."""
    facts = find_facts(base_model)
    return facts is not None and layer.partition(".")[0] in facts.beside


def _is_unet(outcome: Outcome) -> bool:
    return any(name.startswith(("down_blocks.", "mid_block.", "up_blocks."))
               for name in outcome.conversion.layers)  # fmt: skip


def _has_layer(outcome: Outcome, parameter: str) -> bool:
    family, module = outcome.family, parameter.rpartition(".")[0]
    return family is not None and (module in family.layers or module in family.convolutions)
