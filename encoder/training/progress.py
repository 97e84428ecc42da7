"""How those who train tell how far they are."""

from collections.abc import Callable

# Called with (done, total, what) as work goes on; a command draws its bar from it.
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, what: str) -> None:
    """Report progress to nobody."""
