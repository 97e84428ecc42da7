"""Layers and claims -> the base model that an adapter loads into, with the evidence in words."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from typing import NamedTuple

from encoder.base_models.facts import (
    family_of,
    find_facts,
    is_open_name,
    read_facts,
    variant_names,
)
from encoder.base_models.families import (
    FAMILIES,
    LOOKALIKES,
    Family,
    block_of,
    family_names,
    find_family,
)
from encoder.base_models.names import UNKNOWN_BASE_MODEL, name_claim, name_listed
from encoder.errors import UnknownClaimError


class Confidence(IntEnum):
    """How well layers alone tell the family; more is surer."""

    NONE = 0  # no family has these layers
    CLAIM_NEEDED = 1  # several have them: only a claim (metadata, a hub's card) can decide
    LIKELY = 2  # several have them, but an adapter of the others would not look like this
    CERTAIN = 3  # of all architectures known here, one has them


@dataclass(frozen=True)
class FamilyMatch:
    """The family that a file's layers tell, how surely, and why.

    `family` is None below LIKELY; `candidates` are all that have every layer, those that are
    known only to be told apart included. `lookalike` is the one of these that the layers tell.
    """

    family: Family | None
    confidence: Confidence
    evidence: str
    candidates: tuple[Family, ...] = ()
    lookalike: Family | None = None


def match_family(
    shapes: Mapping[str, tuple[int, ...]],
    families: Sequence[Family] = FAMILIES,
    *,
    text_widths: Collection[int] = (),
) -> FamilyMatch:
    """Tell the family from layers' names and shapes, with the evidence in words.

    `shapes` are those of the base's weights that the adapter changes: (d_out, d_in) of linear
    layers, (c_out, c_in, height, width) of convolutions, (length,) of vectors by parameter
    name. Every one must exist in the family with that very shape (1x1 kernels count as
    matrices): HunyuanVideo shares names and width with FLUX.1 but has more blocks, so one block
    too many is enough to doubt.
    `text_widths` are the hidden sizes of text encoders that the file changes as well.
    """
    if not shapes:
        return FamilyMatch(None, Confidence.NONE, "no layer of a diffusion network is changed")
    known = (*families, *LOOKALIKES)
    fitting = tuple(family for family in known if _fits(shapes, family))
    if not fitting:
        return FamilyMatch(None, Confidence.NONE, _describe_misfit(shapes, known))
    evidence = f"all {len(shapes)} layers exist in {_list(fitting)} with these shapes"
    if len(shapes) == 1:
        evidence = f"its one layer exists in {_list(fitting)} with this shape"
    if text_widths:
        widths = set(text_widths)
        agreeing = tuple(f for f in fitting if not f.text_widths or widths <= f.text_widths)
        seen = " and ".join(map(str, sorted(widths)))
        evidence += f"; text encoders {seen} wide are those of {_list(agreeing) or 'none of them'}"
        fitting = agreeing
    chosen, confidence, why = _choose(shapes, fitting)
    if chosen in families:
        return FamilyMatch(chosen, confidence, evidence + why, fitting)
    # Its architecture is only known to be told apart.
    confidence = min(confidence, Confidence.CLAIM_NEEDED)
    return FamilyMatch(None, confidence, evidence + why, fitting, lookalike=chosen)


def _choose(
    shapes: Mapping[str, tuple[int, ...]], fitting: Sequence[Family]
) -> tuple[Family | None, Confidence, str]:
    if not fitting:
        return None, Confidence.NONE, ""
    if len(fitting) == 1:
        return fitting[0], Confidence.CERTAIN, ""
    usual = [family for family in fitting if not family.rare]
    if len(usual) == 1:
        others = _list([family for family in fitting if family.rare])
        return usual[0], Confidence.LIKELY, f"; adapters of {others} are rare"
    # Trainers leave out kinds of layers, hardly ever the last blocks of a network.
    blocks = set(map(block_of, shapes))
    whole = [family for family in usual if family.blocks <= blocks]
    if len(whole) == 1:
        return whole[0], Confidence.LIKELY, f"; only {whole[0].name} has no block beyond these"
    return None, Confidence.CLAIM_NEEDED, ""


def _fits(shapes: Mapping[str, tuple[int, ...]], family: Family) -> bool:
    """Whether there are no `_misfits`; most families have one among the first layers."""
    return all(_as_map(family.shape_of(name)) == _as_map(shape) for name, shape in shapes.items())


def _misfits(shapes: Mapping[str, tuple[int, ...]], family: Family) -> list[str]:
    return [
        name for name, shape in shapes.items() if _as_map(family.shape_of(name)) != _as_map(shape)
    ]


def _as_map(shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """A 1x1 kernel does what a matrix does: sd-scripts trains SD2's projections as kernels."""
    return shape[:2] if shape and shape[2:] == (1, 1) else shape


def _describe_misfit(shapes: Mapping[str, tuple[int, ...]], families: Sequence[Family]) -> str:
    nearest = min(families, key=lambda family: len(_misfits(shapes, family)))
    wrong = _misfits(shapes, nearest)
    if len(wrong) == len(shapes):
        if len(shapes) == 1:
            return "its one layer exists in no base model known here"
        return f"none of the {len(shapes)} layers exists in a base model known here"
    size = "x".join(map(str, shapes[wrong[0]]))
    return (
        f"{len(shapes) - len(wrong)} of {len(shapes)} layers exist in {nearest.name} with these "
        f"shapes, but {wrong[0]} ({size}) does not"
    )


def _list(families: Sequence[Family]) -> str:
    return " and ".join(family.name for family in families)


class Authority(IntEnum):
    """Whose word on a base model counts more, where layers allow several."""

    FILE = 1  # its header, which trainers fill with defaults that nobody looks at
    HUB = 2  # the card of the page that lists it, or a sidecar
    PERSON = 3  # somebody who says so here


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says that an adapter loads into, and in which words."""

    base_model: str | None  # None where the words are not known here
    text: str
    authority: Authority = Authority.FILE


def claim_of_person(words: str, who: str) -> Claim:
    """Return a person's claim; hubs' and trainers' words for a base model are understood too.

    Raises:
        UnknownClaimError: nothing known here is called so.
    """
    name = words if find_facts(words) else name_claim(words)
    if name is None:
        listed = name_listed([words])
        if listed == UNKNOWN_BASE_MODEL:
            raise UnknownClaimError(words, get_close_matches(words.lower(), variant_names()))
        name = listed
    return person_says(name, who)


def person_says(base_model: str, who: str) -> Claim:
    """Return the claim of a person who named a base model as it is named here."""
    says = "say" if who == "you" else "says"
    return Claim(base_model, f"{who} {says} {base_model!r}", Authority.PERSON)


def claim_of_hub(words: Iterable[str], hub: str) -> Claim | None:
    """Return what a hub's card or a sidecar claims, None where its words are not known."""
    name = name_listed(words)
    if name == UNKNOWN_BASE_MODEL:
        return None
    return Claim(name, f"{hub} lists it for {name!r}", Authority.HUB)


class Decision(NamedTuple):
    """A base model, "unknown" where nothing decides; `said_by` is empty where layers did."""

    base_model: str
    evidence: tuple[str, ...]
    said_by: str = ""
    ruled_out: tuple[str, ...] = ()  # base models that are claimed, and that layers exclude


def decide_base_model(match: FamilyMatch, claims: Sequence[Claim]) -> Decision:
    """Return the base model that layers and claims give, and the evidence in words.

    Layers tell the family, claims the variant: the most special one that is claimed. What
    layers exclude is never believed, and keeps nobody from believing the rest; nor is a family's
    name in a file whose layers tell another, which is known only to be told apart. Of what they
    allow, a person's word counts before a hub's, and that before the file's. Claims of equal
    weight that contradict each other leave nothing certain. The base model may be one whose
    adapters are not read.
    """
    possible = [
        claim for claim in claims if _is_possible(claim, match) and not _is_default(claim, match)
    ]
    excluded = [claim for claim in claims if _is_ruled_out(claim, match)]
    ruled_out = tuple(dict.fromkeys(claim.base_model for claim in excluded if claim.base_model))
    evidence = (match.evidence, *(_quote(claim, claim in excluded) for claim in claims))
    candidates = match.candidates
    # A name that leaves the size open is true of all that fit, and is said where nobody says more.
    open_name: Decision | None = None
    for authority in sorted({claim.authority for claim in possible}, reverse=True):
        said = [claim for claim in possible if claim.authority is authority]
        names = [claim.base_model for claim in said if claim.base_model]
        agreed = [f for f in candidates if all(_covers(name, f) for name in names)]
        if len(agreed) == 1:
            special = [name for name in names if not _leaves_size_open(name)]
            best = max(special or [agreed[0].name], key=_speciality)
            words = next((c.text for c in said if c.base_model == best), said[0].text)
            return Decision(best, evidence, words, ruled_out)
        if agreed and open_name is None and all(map(_leaves_size_open, names)):
            likely = match.family.name if match.family in agreed else names[0]
            open_name = Decision(likely, evidence, said[0].text, ruled_out)
        candidates = tuple(agreed) or candidates
    if open_name is not None:
        return open_name
    # Words not known here may be of another architecture that looks like this one, but hardly of
    # a rare one, whose words are few and known.
    unknown = any(claim.base_model is None for claim in claims)
    doubted = possible or (unknown and not _is_rarely_another(match))
    name = match.family.name if match.family else _open_name(match.candidates)
    if name and (match.confidence is Confidence.CERTAIN or not doubted):
        return Decision(name, evidence, ruled_out=ruled_out)
    return Decision(UNKNOWN_BASE_MODEL, evidence, ruled_out=ruled_out)


def _is_rarely_another(match: FamilyMatch) -> bool:
    """Whether the other families that have these layers are rare, all of them."""
    others = [family for family in match.candidates if family is not match.family]
    return bool(others) and all(family.rare for family in others)


def _open_name(candidates: Sequence[Family]) -> str | None:
    """Return the name that leaves open which size it is, where all usual families are of it."""
    sizes = {family.name for family in candidates if not family.rare}
    named = (facts.name for facts in read_facts().values() if sizes and sizes <= {*facts.sizes})
    return next(named, None)


def _is_possible(claim: Claim, match: FamilyMatch) -> bool:
    name = claim.base_model
    return name is not None and any(_covers(name, family) for family in match.candidates)


def _is_default(claim: Claim, match: FamilyMatch) -> bool:
    """Whether a file names no more than a family, and its layers tell a lookalike of that.

    ai-toolkit writes "flux.1" into adapters of Flex.1 too, which has fewer blocks.
    """
    return (
        match.lookalike is not None
        and claim.authority is Authority.FILE
        and claim.base_model is not None
        and is_open_name(claim.base_model)
    )


def _is_ruled_out(claim: Claim, match: FamilyMatch) -> bool:
    """Whether layers are those of other families; where they are of none, nothing is known."""
    return bool(claim.base_model and match.candidates) and not _is_possible(claim, match)


def _quote(claim: Claim, is_ruled_out: bool) -> str:
    return f"{claim.text}, which its layers rule out" if is_ruled_out else claim.text


def _leaves_size_open(base_model: str) -> bool:
    facts = find_facts(base_model)
    return facts is not None and bool(facts.sizes)


def _speciality(base_model: str) -> int:
    """Return how special a base model is among the variants of its family."""
    facts = find_facts(base_model)
    return list(facts.variants).index(base_model) if facts else 0


def _covers(base_model: str, family: Family) -> bool:
    named = find_family(base_model)
    names = (named.name,) if named else family_names(base_model) or ()
    return family.name in (*names, family_of(base_model))
