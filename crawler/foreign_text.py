"""Text that strangers wrote, on its way to a person: harmless, and never endless."""

import unicodedata

# Our longest messages, remedy included, have some 400 characters.
MAX_MESSAGE = 1000
_CUT = " … "
# Line breaks and tabs, and what joins letters of Persian and parts of an emoji.
_SHAPES_A_TEXT = "\n\t\u200c\u200d"


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """Return at most `limit` characters of a text for a message, a terminal or a log: one line.

    Escapes of terminals (C0 and C1), marks that turn the direction of writing, invisible signs
    and lone surrogates are written out, as in "\\x1b[2J": who reads them sees that they were
    there. A long text loses its middle, because messages end with what to do.
    """
    # Cut first, generously: to clean a hostile 100 MB in order to throw them away is work too.
    words = " ".join(_without_middle(text, 4 * limit).split())
    return _without_middle("".join(map(_harmless, words)), limit)


def quoted(text: str, limit: int = 100) -> str:
    """Return the beginning of a text in quotes, as Python would write it, for a message."""
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}…"


def visible(text: str) -> str:
    """Return a text with all its signs written out that act on a terminal or a page; breaks stay.

    For what is shown whole: a description, a prompt, a name in a table.
    """
    return text if text.isprintable() else "".join(map(_harmless_in_a_text, text))


def plain_line(text: str) -> str:
    """Return a text as one line of visible signs, to be stored: a name, a trigger word.

    Line breaks and control characters are spaces, which are single; invisible signs go.
    """
    return " ".join("".join(map(_plain, text)).split())


def _plain(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() or unicodedata.category(character) == "Cc" else ""


def _harmless(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _harmless_in_a_text(character: str) -> str:
    return character if character in _SHAPES_A_TEXT else _harmless(character)


def _without_middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    kept = limit - len(_CUT)
    tail = kept // 3
    return text[: kept - tail] + _CUT + text[-tail:]
