"""Which kind of answer is liked best, as Accept says (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence

WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


def liked_best(header: str, kinds: Sequence[str]) -> str:
    """Return which of `kinds` is liked best; of equals the one named first.

    The first of `kinds` is for who names none of them.
    """
    weights: dict[str, float] = {}
    for one in header.lower().split(","):
        name, *parameters = (part.strip() for part in one.split(";"))
        found = [match[1] for match in map(WEIGHT.fullmatch, parameters) if match]
        weights.setdefault(name, float(found[0]) if found else 1.0)

    def weight(kind: str) -> float:
        ranges = (kind, kind.partition("/")[0] + "/*", "*/*")
        return next((weights[one] for one in ranges if one in weights), 0.0)

    named = [name for name, liked in weights.items() if name in kinds and liked > 0]
    return max([*named, *kinds], key=weight)
