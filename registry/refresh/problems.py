"""Errors as reports tell them."""

from crawler import foreign_text
from crawler.errors import AutoLoraError


def one_line(error: Exception) -> str:
    """What an error says, in one line; one that is not ours also says what it is."""
    message = foreign_text.one_line(str(error))
    if isinstance(error, AutoLoraError | OSError) and message:
        return message
    return f"unexpected {type(error).__name__}: {message}. Please report this."
