"""Numbers of things in words."""


def counted(number: int, one: str, several: str = "") -> str:
    """Return `1 file` or `2,000 files`; a verb goes with its noun: ("file is", "files are")."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"
