"""The pages' words in English and Chinese, which `words` holds page by page."""

import re
from typing import Literal

from markupsafe import Markup, escape
from starlette.requests import Request

from registry.api.pages.words import adapter, drawing, folders, frame, picture, search, status

Language = Literal["en", "zh"]
COOKIE = "lang"
# One of the languages that a browser accepts (RFC 9110): its first subtag, the others, its weight.
ACCEPTED = re.compile(r"\s*([a-z]+)(?:-[a-z\d-]+)?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?")

PAGES = (frame, search, picture, adapter, drawing, folders, status)
TEXTS: dict[str, tuple[str, str]] = {
    key: words for page in PAGES for key, words in page.TEXTS.items()
}


def text_of(language: Language, key: str, **values: object) -> str:
    """Return a text with its places filled; as markup, where one of the values is."""
    text = TEXTS[key][language == "zh"]
    if any(isinstance(value, Markup) for value in values.values()):
        return escape(text).format(**values)
    return text.format(**values)


def has_text(key: str) -> bool:
    """Whether there is a word for what others name, who may know more than this version."""
    return key in TEXTS


def pattern_of(language: Language, key: str) -> str:
    """Return a text with its places open, for a script to fill."""
    return TEXTS[key][language == "zh"]


def language_of(request: Request) -> Language:
    """Return the language chosen by `?lang=`, else by cookie, else by the browser."""
    for chosen in (request.query_params.get(COOKIE), request.cookies.get(COOKIE)):
        if chosen == "en":
            return "en"
        if chosen == "zh":
            return "zh"
    return _accepted(request.headers.get("accept-language", ""))


def _accepted(header: str) -> Language:
    """Return which of our languages a browser likes best; of equals the one that it names first."""
    weights: dict[str, float] = {}
    for one in filter(None, map(ACCEPTED.fullmatch, header.lower().split(","))):
        weights[one[1]] = max(weights.get(one[1], 0.0), float(one[2] or 1))
    ours = [name for name, weight in weights.items() if name in ("en", "zh") and weight > 0]
    return "zh" if max(ours, key=weights.__getitem__, default="en") == "zh" else "en"
