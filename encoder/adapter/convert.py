"""Modules as a trainer names them -> layers of a base model, or a list of what does not fit.

A file fits a family when every one of its modules is there under some name with that very
shape. Fused projections are split by the family's own sizes, so tiny models work as well.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crawler.counted import counted
from encoder.adapter.assemble import Parts
from encoder.adapter.key_parts import KeyPlan, are_few
from encoder.adapter.keys_to_layers import Target, knows_most, module_shapes, targets_of
from encoder.adapter.layer_cuts import cut_rows, fit_shape, keep_one, swap_halves
from encoder.adapter.layers import Layer
from encoder.base_models.families import LOOKALIKES, Family, find_family, kind_of_name
from encoder.base_models.matching import (
    Claim,
    Confidence,
    FamilyMatch,
    decide_base_model,
    match_family,
)
from encoder.base_models.names import UNKNOWN_BASE_MODEL
from encoder.errors import BaseWeightNeededError, UnsupportedLoraError
from encoder.late_torch import Tensor

# Names that diffusers puts first in no other program's files: believed of unknown families.
DIFFUSERS_PREFIXES = ("transformer.", "unet.")
# Blocks that no other convention has: believed without such a prefix, too.
DIFFUSERS_BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")


@dataclass(frozen=True)
class Conversion:
    """An adapter under diffusers' names, and what found no place."""

    layers: dict[str, Layer] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    convention: str = "diffusers"
    unmatched: tuple[str, ...] = ()  # as the file names them
    problem: str = ""  # why it cannot be converted, though all fits
    placed: int = 0  # modules that have a place
    notes: tuple[str, ...] = ()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight that is changed, vectors by parameter name."""
        vectors = {name: tuple(vector.shape) for name, vector in self.vectors.items()}
        return {name: layer.shape for name, layer in self.layers.items()} | vectors


@dataclass(frozen=True)
class Outcome:
    """A conversion, and the base model it is for."""

    conversion: Conversion
    base_model: str
    family: Family | None
    evidence: tuple[str, ...]
    confidence: Confidence
    said_by: str = ""  # who says which base model of the family it is
    ruled_out: tuple[str, ...] = ()  # base models that are claimed, and that layers exclude


def convert(
    file: str | Path,
    plan: KeyPlan,
    parts: Mapping[str, Parts],
    families: Sequence[Family],
    claims: Sequence[Claim],
    text_widths: Iterable[int] = (),
) -> Outcome:
    """Find the base model whose modules these are, and name the layers as diffusers does.

    Raises:
        UnsupportedLoraError: the file fits, and yet cannot be converted exactly.
    """
    widths = sorted(set(text_widths))
    outcome = _convert_whole(plan, parts, families, claims, widths) or _convert_whole(
        plan, parts, families, claims, widths, among=LOOKALIKES
    )
    if outcome is None and plan.mixed:
        raise UnsupportedLoraError(file, f"mixes the prefixes {list(plan.mixed)}")
    outcome = outcome or _convert_most(plan, parts, families, claims, widths)
    if outcome.conversion.problem:
        raise UnsupportedLoraError(file, outcome.conversion.problem)
    if not plan.strays:
        return outcome
    unmatched = (*outcome.conversion.unmatched, *plan.strays)
    return replace(outcome, conversion=replace(outcome.conversion, unmatched=unmatched))


def _convert_whole(
    plan: KeyPlan,
    parts: Mapping[str, Parts],
    families: Sequence[Family],
    claims: Sequence[Claim],
    widths: Sequence[int],
    among: Sequence[Family] | None = None,
) -> Outcome | None:
    """Convert for a family that has a place for every module; None if there is none.

    `among` are the families that are tried where they are others than all that are read.
    """
    # Families that share these layers convert them in the same way; the first names it best.
    distinct: dict[frozenset[tuple[str, tuple[int, ...]]], Conversion] = {}
    for family in _that_know(families if among is None else among, parts, plan):
        targets = _find_targets(parts, family, plan)
        if len(targets) == len(parts):
            conversion = place_layers(parts, family, targets)
            if not conversion.unmatched:
                distinct.setdefault(frozenset(conversion.shapes().items()), conversion)
    outcomes = [
        _decide(
            conversion,
            match_family(conversion.shapes(), families, text_widths=widths),
            claims,
            families,
        )
        for conversion in distinct.values()
    ]
    # Rarely more than one: names that stand for other layers in another family.
    return max(
        outcomes,
        key=lambda outcome: (outcome.base_model != UNKNOWN_BASE_MODEL, outcome.confidence),
        default=None,
    )


def _that_know(families: Iterable[Family], parts: Collection[str], plan: KeyPlan) -> list[Family]:
    """Return the families in which most of a file's modules have names."""
    spelt: dict[bool, Counter[str]] = {}
    for name, flat in map(plan.name_of, parts):
        spelt.setdefault(flat, Counter())[kind_of_name(name)] += 1
    return [
        family
        for family in families
        if all(knows_most(family, kinds, flat) for flat, kinds in spelt.items())
    ]


def _find_targets(parts: Collection[str], family: Family, plan: KeyPlan) -> dict[str, Target]:
    """Return what modules stand for in `family`, of those that have a name there."""
    named = {module: plan.name_of(module) for module in parts}
    known = {flat: targets_of(family, flat) for flat in {flat for _, flat in named.values()}}
    return {
        module: known[flat][name] for module, (name, flat) in named.items() if name in known[flat]
    }


def _convert_most(
    plan: KeyPlan,
    parts: Mapping[str, Parts],
    families: Sequence[Family],
    claims: Sequence[Claim],
    widths: Sequence[int],
) -> Outcome:
    """Convert for the family that most modules fit by name and shape; the rest are named.

    A few strays do not hide what a file is for. More of them, and it is for something else,
    which happens to share layers.
    """
    known = _that_know((*families, *LOOKALIKES), parts, plan)
    tried = [
        (family, place_layers(parts, family, _find_targets(parts, family, plan)))
        for family in known
    ]
    closest, most = max(tried, key=lambda attempt: attempt[1].placed, default=(None, Conversion()))
    if not most.placed or not are_few(len(most.unmatched), most.placed):
        return _keep_names(plan, parts, claims, closest, most)
    match = match_family(most.shapes(), families, text_widths=widths)
    match = replace(match, confidence=min(match.confidence, Confidence.LIKELY))
    outcome = _decide(most, match, claims, families)
    strays = f"{len(most.unmatched)} of {len(parts)} modules fit none: {most.unmatched[0][:100]}"
    return replace(outcome, evidence=(*outcome.evidence, strays))


def place_layers(
    parts: Mapping[str, Parts], family: Family, targets: Mapping[str, Target]
) -> Conversion:
    """Put every module of a file where it belongs in `family`, by what it stands for there."""
    unmatched = [module for module in parts if module not in targets]
    shapes = module_shapes(family)
    layers: dict[str, Layer] = {}
    vectors: dict[str, Tensor] = {}
    conventions: dict[str, int] = {}
    problem, twice = "", Counter[str]()
    for module, part in parts.items():
        target = targets.get(module)
        if target is None:
            continue
        try:
            split = _split_layer(part.layer, target, shapes) if part.layer else {}
        except BaseWeightNeededError as error:
            problem, split = f"layer {module} cannot be split: {error}", {}
        beside = _split_vectors(part, target, shapes, family)
        if split is None or beside is None:
            unmatched.append(module)
            continue
        differing = vectors.keys() & beside.keys()
        for name in layers.keys() & split.keys():
            kept, other = keep_one(layers[name], split[name])
            if kept is None:
                differing.add(name)
            else:
                split[name] = kept
                twice[other] += 1
        if differing:
            problem = f"two sets of tensors stand for layer {min(differing)}, and they differ"
        layers.update(split)
        vectors.update(beside)
        if target.convention != "diffusers" or target.modules != (module,):
            conventions[target.convention] = conventions.get(target.convention, 0) + 1
    convention = max(conventions, key=lambda name: conventions[name], default="diffusers")
    return Conversion(
        layers,
        vectors,
        convention,
        tuple(unmatched),
        problem,
        placed=len(parts) - len(unmatched),
        notes=tuple(
            f"{counted(count, 'layer is', 'layers are')} there twice{other}"
            for other, count in sorted(twice.items())
        ),
    )


def _split_layer(
    layer: Layer, target: Target, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Layer] | None:
    """Return the layer of each module that `target` stands for; None if it does not fit."""
    if target.swapped:
        layer = swap_halves(layer)
    sizes = [shapes[module][0] for module in target.modules]
    if sum(sizes) != layer.shape[0] or any(len(shapes[m]) == 1 for m in target.modules):
        return None
    split: dict[str, Layer] = {}
    start = 0
    for module, size in zip(target.modules, sizes, strict=True):
        part = layer if len(sizes) == 1 else cut_rows(layer, slice(start, start + size))
        fitting = fit_shape(part, shapes[module])
        if fitting is None:
            return None
        split[module] = fitting
        start += size
    return split


def _split_vectors(
    part: Parts, target: Target, shapes: Mapping[str, tuple[int, ...]], family: Family
) -> dict[str, Tensor] | None:
    split: dict[str, Tensor] = {}
    for kind, whole in part.vectors.items():
        vector = whole.roll(len(whole) // 2) if target.swapped else whole
        start = 0
        for module in target.modules:
            size = shapes[module][0]
            if family.vectors.get(f"{module}.{kind}") != size:
                return None
            split[f"{module}.{kind}"] = vector[start : start + size]
            start += size
        if start != len(vector):
            return None
    return split


def _decide(
    conversion: Conversion, match: FamilyMatch, claims: Sequence[Claim], families: Sequence[Family]
) -> Outcome:
    decision = decide_base_model(match, claims)
    named = find_family(decision.base_model)
    names = (decision.base_model, named.name if named else decision.base_model)
    family = next((family for family in families if family.name in names), None)
    return Outcome(
        conversion,
        decision.base_model,
        family,
        decision.evidence,
        match.confidence,
        decision.said_by,
        decision.ruled_out,
    )


def _keep_names(
    plan: KeyPlan,
    parts: Mapping[str, Parts],
    claims: Sequence[Claim],
    closest: Family | None,
    most: Conversion,
) -> Outcome:
    """Keep names that are diffusers' own; else no layer has a name that could be used."""
    conversion = Conversion(unmatched=tuple(parts))
    if not plan.flat and _are_diffusers_names(plan, parts):
        layers = {module: part.layer for module, part in parts.items() if part.layer}
        vectors = {
            f"{module}.{kind}": vector
            for module, part in parts.items()
            for kind, vector in part.vectors.items()
        }
        conversion = Conversion(layers, vectors)
    evidence = ["layers fit no base model known here"]
    if closest and most.placed >= len(most.unmatched):
        conversion = replace(conversion, unmatched=most.unmatched)
        evidence = [
            f"{len(most.unmatched)} of {len(parts)} layers do not fit {closest.name}, the closest"
        ]
    evidence += [claim.text for claim in claims]
    return Outcome(conversion, UNKNOWN_BASE_MODEL, None, tuple(evidence), Confidence.NONE)


def _are_diffusers_names(plan: KeyPlan, parts: Mapping[str, Parts]) -> bool:
    foreign = ("double_blocks.", "single_blocks.", "input_blocks.", "output_blocks.", "blocks.")
    if any(module.startswith(foreign) or "processor" in module for module in parts):
        return False
    if plan.prefix.endswith(DIFFUSERS_PREFIXES):
        return True
    return all(module.startswith(DIFFUSERS_BLOCKS) for module in parts)
