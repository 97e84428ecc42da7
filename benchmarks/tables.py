"""Figures -> Markdown tables."""

from collections.abc import Iterable, Sequence


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; every line ends in a line break."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def with_interval(figures: Sequence[float], digits: int = 3) -> str:
    """Write (value, low, high) as "value [low, high]"."""
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*figures, d=digits)


def signed(figures: Sequence[float], digits: int = 3) -> str:
    """Write the (value, low, high) of a difference, with signs."""
    return "{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]".format(*figures, d=digits)
