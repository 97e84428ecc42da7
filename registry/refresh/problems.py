"""Errors as reports tell them."""

from crawler.errors import AutoLoraError
from crawler.foreign_text import one_line


def reported(error: Exception) -> str:
    """What an error says, in one line; one that is not ours also says what it is."""
    message = one_line(str(error))
    if isinstance(error, AutoLoraError | OSError) and message:
        return message
    return f"unexpected {type(error).__name__}: {message}. Please report this."
