"""Which licence an image falls under that several adapters and a base made together.

A help for people, not advice by a lawyer: names are sorted into families by what they ask.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum


class Terms(IntEnum):
    """What a licence asks, the least first."""

    PERMISSIVE = 0  # name the author, if that
    CONDITIONS = 1  # share alike, or use for some purposes only (OpenRAIL)
    NON_COMMERCIAL = 2
    NO_DERIVATIVES = 3
    # Nobody who says nothing has permitted anything.
    NOT_STATED = 4


NOT_STATED = "not stated"
# Looked for in a licence's name in this order; the first that is found counts.
FAMILIES: Sequence[tuple[re.Pattern[str], Terms]] = [
    (re.compile(pattern), terms)
    for pattern, terms in (
        (r"(^|[-_ ])nd([-_ ]|$)|no-?derivat", Terms.NO_DERIVATIVES),
        (
            r"(^|[-_ ])nc([-_ ]|$)|non-?commercial|research|flux-?1-dev|fluxdev",
            Terms.NON_COMMERCIAL,
        ),
        (r"(^|[-_ ])sa([-_ ]|$)|gpl|rail|copyleft|mpl|community|gemma|llama", Terms.CONDITIONS),
        (
            r"apache|mit\b|bsd|isc\b|cc0|(^|[-_ ])cc-by(-\d|$)|unlicense|public-?domain|wtfpl",
            Terms.PERMISSIVE,
        ),
    )
]
# The licences of the bases themselves, from their model cards on Hugging Face; the miniature
# world's is in demo/data/ATTRIBUTION.md.
BASE_LICENCES: Mapping[str, str] = {
    "flux.1-dev": "flux-1-dev-non-commercial-license",
    "flux.1-schnell": "Apache-2.0",
    "sdxl-1.0": "openrail++",
    "qwen-image": "Apache-2.0",
    "demo-flux-tiny": "CC-BY-4.0",
}


def terms_of(licence: str | None) -> Terms:
    """Sort a licence's name; one that is not known here asks as much as one not stated."""
    name = (licence or "").strip().lower()
    return next((terms for pattern, terms in FAMILIES if pattern.search(name)), Terms.NOT_STATED)


def strictest(licences: Sequence[str | None]) -> str:
    """Return the name of the strictest licence, "not stated" for one that is absent."""
    return max(licences, key=terms_of, default=None) or NOT_STATED


def conflicts(licences: Mapping[str, str | None]) -> list[str]:
    """Say in words where licences, by name of what they are of, do not go together."""
    by_terms: dict[Terms, dict[str, str | None]] = {}
    for name, licence in licences.items():
        by_terms.setdefault(terms_of(licence), {})[name] = licence
    said = []
    if unstated := by_terms.get(Terms.NOT_STATED):
        known = [f"{name} ({licence})" if licence else name for name, licence in unstated.items()]
        said.append(
            f"licence not stated or not known: {', '.join(known)}; ask the author before you "
            "publish the image"
        )
    if fixed := by_terms.get(Terms.NO_DERIVATIVES):
        said.append(f"no derivatives are permitted of: {', '.join(fixed)}")
    alike = by_terms.get(Terms.CONDITIONS, {})
    closed = by_terms.get(Terms.NON_COMMERCIAL, {})
    if alike and closed:
        said.append(
            f"{', '.join(closed)} forbid commercial use, {', '.join(alike)} ask for their own "
            "terms: both may not be met at once"
        )
    elif len({(licence or "").lower() for licence in alike.values()}) > 1:
        said.append(f"{', '.join(alike)} each ask for their own terms: all may not be met at once")
    return said
