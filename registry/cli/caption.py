"""The command that has a vision model look at covers."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.context import open_registry
from registry.cli.errors import UsageError, report
from registry.cli.options import Json
from registry.cli.output import print_json, stdout
from registry.cli.progress import show_outcomes

if TYPE_CHECKING:
    from encoder.captions.captioner import Captioner, Language
    from registry.service import Registry

app = typer.Typer()


@app.command()
def caption(
    context: typer.Context,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many images.")] = None,
    language: Annotated[
        str | None, typer.Option(help="en or zh. Default: REGISTRY_CAPTION_LANGUAGES.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also try images that were given up.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Have a vision model describe covers, adapters without words first. Safe to stop and rerun."""
    from registry.db.session import one_line_errors
    from registry.refresh.captioners import open_captioner
    from registry.refresh.captioning import take_known
    from registry.refresh.steps.encode_captions import EncodeCaptionsStep, encode_captions

    registry = open_registry(context)
    languages = _languages(registry, language)
    with open_captioner(registry.settings) as captioner, one_line_errors():
        take_known(registry.sessions)
        counts = Counter(ok=0, failed=0)
        for wanted in languages:
            left = None if limit is None else limit - counts.total()
            counts += _caption(registry, captioner, wanted, left, again)
        waiting, given_up = _count_left(registry, captioner, languages)
        outcomes = encode_captions(registry.sessions, registry.text_encoder)
        show_outcomes(outcomes, EncodeCaptionsStep.title, None, report)
    facts = {
        "model": captioner.name,
        "captioned": counts["ok"],
        "failed": counts["failed"],
        "waiting": waiting,
        "given_up": given_up,
    }
    if as_json:
        print_json(facts)
        return
    words = "{captioned} images captioned by {model}, {failed} failed, {waiting} wait"
    stdout().print(words.format(**facts), markup=False)
    if given_up:
        stdout().print(f"{given_up} were given up; --again tries them", style="dim")


def _languages(registry: "Registry", language: str | None) -> "list[Language]":
    from encoder.captions.captioner import LANGUAGES

    if language is None:
        return registry.settings.caption_languages
    known = [name for name in LANGUAGES if name == language]
    if not known:
        raise UsageError(f"--language is {language!r}; it is one of {', '.join(LANGUAGES)}.")
    return known


def _caption(
    registry: "Registry",
    captioner: "Captioner",
    language: "Language",
    limit: int | None,
    again: bool,
) -> Counter[str]:
    """Caption up to `limit` images under a bar; return the counts of ok and failed."""
    from registry.db.captions import count_waiting, now
    from registry.refresh.captioning import caption_images, version_of
    from registry.refresh.steps.caption import CaptionStep

    with registry.sessions() as session:
        version = version_of(captioner.name, language)
        waiting = count_waiting(session, version, now(session), again=again)
    total = waiting if limit is None else min(limit, waiting)
    outcomes = caption_images(
        registry.sessions, registry.blobs, captioner, language, limit=limit, again=again
    )
    return show_outcomes(outcomes, f"{CaptionStep.title} ({language})", total, report)


def _count_left(
    registry: "Registry", captioner: "Captioner", languages: "list[Language]"
) -> tuple[int, int]:
    """Return how many images wait for another run, and how many are given up."""
    from registry.db.captions import count_given_up, count_waiting, now
    from registry.refresh.captioning import version_of

    versions = [version_of(captioner.name, language) for language in languages]
    with registry.sessions() as session:
        moment = now(session)
        waiting = sum(count_waiting(session, version, moment) for version in versions)
        return waiting, count_given_up(session, versions)
