"""Templates -> pages. Everything from a hub is escaped: it is text, never markup."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from crawler.foreign_text import visible
from registry.api.pages import likeness
from registry.api.pages.faults import PageFaults
from registry.api.pages.sentences import in_chinese
from registry.api.pages.texts import (
    COOKIE,
    Language,
    has_text,
    language_of,
    pattern_of,
    text_of,
)
from registry.api.pages.tiles import (
    BLUR_COOKIE,
    BLURS,
    MOST_PREVIEWED,
    blur_of,
    commercial_use,
    is_blurred,
    lora_tag,
)
from registry.api.pages.tray import address_without
from registry.api.urls import cover_url, thumbnail_url
from registry.config import Blur
from registry.fusion.licences import NOT_STATED
from registry.token_scopes import TokenScope

PAGES = Path(__file__).parent
STATIC = PAGES / "static"
# A verdict's fields in the order they are shown; texts.py has a name for each.
VERDICT_NAMES = (
    "reasons",
    "sketch_refusal",
    "trainer",
    "format",
    "base_model",
    "said_by",
    "evidence",
    "kinds",
    "ranks",
    "alpha",
    "alphas",
    "scales",
    "layers",
    "missing",
    "unmatched",
    "zero_layers",
    "damaged_layers",
    "parts",
    "dtype",
    "trigger_words",
)
# Those that are sentences, and have another language.
VERDICT_SENTENCES = ("reasons", "said_by", "evidence", "alpha", "sketch_refusal")
# Said elsewhere on the page, or for programs.
HIDDEN = {
    "loadable", "fusable", "family", "confidence", "names", "layer_names", "missing_names",
    "ruled_out", "unused", "size", "spectrum", "sketch_version",
}  # fmt: skip
# `SIZE` of registry.retrieval.given_values, as browsers have it, which know no case to ignore.
SIZE_PATTERN = r"\s*\d{1,19}(\.\d{1,6})?\s*[kmgtKMGT]?([iI]?[bB])?\s*"
# As many as the search box takes.
MOST_LETTERS = 2000
YEAR_SECONDS = 365 * 24 * 3600


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """Render a page in the language of the request; `?lang=` and `?blur=` are kept in cookies."""
    response = HTMLResponse(render_html(request, template, **values), status, dict(headers or {}))
    response.headers["Vary"] = "Accept-Language, Cookie"
    response.headers["Cache-Control"] = "no-cache"
    for name, value in ((COOKIE, language_of(request)), (BLUR_COOKIE, _blur(request))):
        if name in request.query_params:
            response.set_cookie(name, value, max_age=YEAR_SECONDS, samesite="lax", httponly=True)
    return response


def render_html(request: Request, template: str, **values: Any) -> str:
    """Return a page, or a part of one, in the language of the request."""
    language = language_of(request)
    # Of who was turned away before anybody asked what is open to all.
    scopes = getattr(request.state, "scopes", request.app.state.open_scopes)
    return (
        _environment()
        .get_template(template)
        .render(
            t=partial(text_of, language),
            pattern=partial(pattern_of, language),
            said=partial(said_in, language),
            language=language,
            blur=_blur(request),
            blur_url=partial(_with, request, BLUR_COOKIE),
            can_draw=TokenScope.FUSE in scopes,
            can_change=TokenScope.ADMIN in scopes,
            is_logged_in=getattr(request.state, "is_logged_in", False),
            other_language_url=_in_other_language(request, language),
            **{"like_url": likeness.add_to(likeness.FRONT)} | values,
        )
    )


def _in_other_language(request: Request, language: Language) -> str | None:
    """Return where the same page is in the other language; None where no address leads to it.

    What answers a form, as a picture's results do, would be gone.
    """
    if request.method == "POST":
        return None
    return _with(request, COOKIE, "en" if language == "zh" else "zh")


def _blur(request: Request) -> Blur:
    return blur_of(request, request.app.state.registry.settings.blur)


def error_page(
    request: Request,
    status: int,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None,
    faults: PageFaults | None = None,
    mended: str | None = None,
) -> HTMLResponse:
    """Render what went wrong; of an address with `faults`, what is wrong in it.

    `mended` is where one goes on without that.
    """
    # No counts in the footer: the error may be that the database is away.
    return render(
        request,
        "error.html",
        status=status,
        headers=headers,
        title=title,
        detail=detail,
        faults=faults,
        mended=mended,
        error_status=status,
        query=_question(request),
    )


def _question(request: Request) -> str:
    """Return what was searched for where filters may be at fault."""
    asked = request.query_params
    query = asked.get("q", "").strip() if request.url.path == "/" else ""
    return query if set(asked) - {"q", COOKIE} and len(query) <= MOST_LETTERS else ""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGES / "templates"),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "cover_url": cover_url,
        "thumbnail_url": thumbnail_url,
        "static_url": static_url,
        "is_blurred": is_blurred,
        "commercial_use": commercial_use,
        "lora_tag": lora_tag,
        "not_stated": NOT_STATED,
        "most_previewed": MOST_PREVIEWED,
        "blurs": BLURS,
        "size_pattern": SIZE_PATTERN,
        "verdict_names": VERDICT_NAMES,
        "verdict_sentences": VERDICT_SENTENCES,
        "has_text": has_text,
        "address_without": address_without,
        "verdict_rows": verdict_rows,
    }
    environment.filters |= {
        "apart": apart,
        "bytes": format_bytes,
        "json_text": json_text,
        "day": format_day,
        "minute": format_minute,
        "number": "{:,}".format,
        "sentence": sentence,
    }
    return environment


def _harmless(value: Any) -> Any:
    """Write out signs that turn the direction of a page's text, or hide in it."""
    # What is markup already was text that came through here.
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def apart(text: str) -> Markup:
    """Return a name in its own order: one that is read from the right turns nothing beside it."""
    return Markup("<bdi>{}</bdi>").format(visible(text))


@cache
def static_url(name: str) -> str:
    """Return the address of a static file, new whenever the file is."""
    return f"/static/{name}?v={int((STATIC / name).stat().st_mtime):x}"


def said_in(language: Language, text: str) -> Markup | str:
    """Return what another room says in a page's language; marked as English where it is not."""
    if language == "en":
        return text
    chinese = in_chinese(text)
    return Markup('<span lang="en">{}</span>').format(visible(text)) if chinese is None else chinese


def verdict_rows(verdict: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return what a verdict says as texts, what matters most first, nothing that is empty.

    Names that this version does not know come last: the verdict may be a later one's.
    """
    known = [name for name in VERDICT_NAMES if name in verdict]
    others = sorted(verdict.keys() - set(VERDICT_NAMES) - HIDDEN)
    rows = []
    for name in [*known, *others]:
        value = verdict[name]
        if value in (None, "", [], {}):
            continue
        if name in ("ranks", "alphas", "scales"):
            # Smallest, median, largest; mostly all the same.
            value = list(dict.fromkeys(value))
        if isinstance(value, dict):
            value = [f"{count} {what}" for what, count in value.items()]
        rows.append((name, list(map(str, value)) if isinstance(value, list) else [str(value)]))
    return rows


def json_text(value: Any) -> str:
    """Return JSON for people, in their own letters; a page escapes it like any other text."""
    text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
    # What cannot be seen is written as JSON has it, so that what is copied is still the same.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def format_bytes(size: int) -> str:
    amount = float(size)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def format_day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def format_minute(moment: datetime) -> Markup:
    """Return a moment in UTC, for a script to tell by the clock of who reads."""
    moment = moment.astimezone(UTC)
    written = moment.strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}">{}</time>').format(f"{moment:%Y-%m-%dT%H:%MZ}", written)


def sentence(text: str) -> str:
    """Return what is said in a line of a terminal as it is written on a page.

    It may begin with the name of a field, which stays as it is.
    """
    return text[:1].upper() + text[1:] if text.split(" ", 1)[0].isalpha() else text


def _with(request: Request, name: str, value: str) -> str:
    """Return the address of this page with something else asked under a name."""
    # Without the path, which may be one that nothing answers, such as `//evil.example`: as a
    # link that would lead to another site.
    return f"?{request.url.include_query_params(**{name: value}).query}"
