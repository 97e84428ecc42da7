"""The pages' words in English and Chinese, which `words` holds page by page."""

from typing import Literal

from markupsafe import Markup, escape
from starlette.requests import Request

from registry.api.pages.words import adapter, drawing, folders, frame, picture, search, status

Language = Literal["en", "zh"]
COOKIE = "lang"

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
    # The first language that is one of ours; browsers list them by preference.
    for accepted in request.headers.get("accept-language", "").lower().split(","):
        if accepted.strip().startswith("zh"):
            return "zh"
        if accepted.strip().startswith("en"):
            return "en"
    return "en"
