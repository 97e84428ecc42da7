"""Questions that mean nothing: keyboards mashed, letters and signs at random, in two scripts."""

import random
from collections.abc import Callable

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertz", "azerty")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONSONANTS = "bcdfghjklmnpqrstvwxz"
# Rare enough that hardly two of them together are a word.
HAN = range(0x4E00, 0x9FA5)
SIGHS = "啊哦嗯呵哈嘿呃嘛呀咦"

TYPED = (
    "asdfqwer", "qwrtz 123", "啊啊啊", "asdf", "xxxxx", "aaaaaaaa", "123123", "qqq www eee",
    "lorem ipsum dolor", "foo bar baz", "zzz", "哈哈哈哈哈", "嗯嗯", "????!!!!", "nnnn", "abcabc",
    "jkljkl", "blah blah", "test123test", "hjklö",
)  # fmt: skip


def nonsense(count: int, seed: int) -> list[str]:
    """Return distinct texts that name nothing, all ways to make them alike often."""
    rng = random.Random(f"nonsense/{seed}")
    ways: tuple[Callable[[random.Random], str], ...] = (
        _mashed, _lettered, _unspeakable, _numbered, _repeated, _sighed, _random_han, _mixed,
    )  # fmt: skip
    found = dict.fromkeys(TYPED if seed == 0 else ())
    while len(found) < count:
        found[ways[len(found) % len(ways)](rng)] = None
    return list(found)[:count]


def _mashed(rng: random.Random) -> str:
    """Neighbours on a keyboard, as a hand falls on it."""
    pieces = []
    for _ in range(rng.randint(1, 3)):
        row = rng.choice(ROWS)
        start = rng.randrange(len(row) - 2)
        pieces.append(row[start : start + rng.randint(3, 6)])
    return rng.choice(["", " "]).join(pieces)


def _lettered(rng: random.Random) -> str:
    words = ("".join(rng.choices(LETTERS, k=rng.randint(4, 9))) for _ in range(rng.randint(1, 3)))
    return " ".join(words)


def _unspeakable(rng: random.Random) -> str:
    return "".join(rng.choices(CONSONANTS, k=rng.randint(5, 10)))


def _numbered(rng: random.Random) -> str:
    return f"{_unspeakable(rng)[:4]} {rng.randrange(10_000, 10_000_000)}"


def _repeated(rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=rng.randint(1, 3))) * rng.randint(3, 5)


def _sighed(rng: random.Random) -> str:
    return "".join(rng.choices(SIGHS, k=rng.randint(1, 2))) * rng.randint(2, 4)


def _random_han(rng: random.Random) -> str:
    return "".join(chr(rng.choice(HAN)) for _ in range(rng.randint(2, 6)))


def _mixed(rng: random.Random) -> str:
    return f"{_random_han(rng)} {_unspeakable(rng)}"
