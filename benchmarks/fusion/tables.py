"""The measures of fusion as tables: values, and 95 % intervals in brackets."""

from collections.abc import Iterator
from typing import Any

from benchmarks.tables import table, with_interval


def to_markdown(results: dict[str, Any]) -> str:
    """Write what `benchmarks.fusion.measures.measure_all` found."""
    shares = {n: {**row, **row["share"]} for n, row in results["composition"].items()}
    falls = {n: {**row, **row["fall"]} for n, row in results["composition"].items()}
    strengths = ", ".join(f"{s} at n = {n}" for n, s in results["strengths"].items())
    lines = [
        "'best strength' is one strength for all adapters, the best of validation for up to three: "
        f"{strengths}. 'rivals - sum' is the difference of the two, case by case.",
        "",
        "Composition: the share of the gap between the base and an adapter trained on the very "
        "picture (the oracle) that is closed on withheld pictures of an object in a style, both "
        "adapters loaded and named by the prompt; at n = 3 a third one beside them.",
        "",
        *tables(shares, 2),
        "The same as the fall of the loss, in 1/1000 (the oracle's: "
        + ", ".join(f"{1000 * row['oracle']:.0f}" for row in results["composition"].values())
        + ").",
        "",
        *tables(falls, 1),
        "The same of objects with a colour, a texture or a background that their adapter has not "
        "seen, drawn at random; the base has seen the objects, and neither with the other.",
        "",
        *tables(results["effects"], 1),
        "Retention: the share of an adapter's own gain, on its own pictures, that is left with "
        "n adapters loaded (1: as if alone, 0: as the base).",
        "",
        *tables(results["own"], 2),
        "The same on its own pictures and on unseen ones of its concept together.",
        "",
        *tables(results["both"], 2),
        "Unseen pictures of the adapter: fall of the loss below the base's, in 1/1000 (of the "
        "adapter alone: "
        + ", ".join(
            f"{1000 * row['alone']:.1f} of the sets of {n}" for n, row in results["unseen"].items()
        )
        + ").",
        "",
        *tables(results["unseen"], 1),
        "Drift: the same on pictures that none of the adapters is of (below 0: harm).",
        "",
        *tables(results["drift"], 1),
    ]
    return "\n".join(lines)


def tables(rows: dict[str, Any], digits: int) -> Iterator[str]:
    """Yield the table of all values, and that of how far the best is above each."""
    yield figures(rows, "values", "{}", digits)
    yield figures(rows, "more", "rivals - {}", digits)


def figures(rows: dict[str, Any], part: str, head: str, digits: int) -> str:
    names = list(next(iter(rows.values()))[part])
    cells = [
        [str(size), str(row["cases"]), *(with_interval(row[part][n], digits) for n in names)]
        for size, row in rows.items()
    ]
    return table(["n", "cases", *(head.format(name) for name in names)], cells)
