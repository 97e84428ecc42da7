"""The command that has a vision model look at covers."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from crawler.counted import counted
from registry.cli.context import open_registry
from registry.cli.errors import report
from registry.cli.options import Json
from registry.cli.output import print_json, stdout
from registry.cli.progress import show_outcomes
from registry.retrieval.given_values import check_choice

if TYPE_CHECKING:
    from encoder.captions.captioner import Language
    from registry.refresh.captioning import Captioning
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
    from registry.refresh.captioners import open_captioner
    from registry.refresh.captioning import caption_images, take_known, version_of
    from registry.refresh.steps.caption import CaptionStep
    from registry.refresh.steps.encode_captions import EncodeCaptionsStep, encode_captions

    registry = open_registry(context)
    languages = _languages(registry, language)
    with open_captioner(registry.settings) as captioner:
        take_known(registry.sessions, [version_of(captioner.name, one) for one in languages])
        counts = Counter(ok=0, failed=0)
        for wanted in languages:
            work = _work(registry, captioner.name, wanted, again)
            left = None if limit is None else limit - counts.total()
            waiting = work.count_waiting()
            total = waiting if left is None else min(left, waiting)
            title = f"{CaptionStep.title} ({wanted})"
            counts += show_outcomes(caption_images(work, captioner, left), title, total, report)
        outcomes = encode_captions(registry.sessions, registry.text_encoder)
        show_outcomes(outcomes, EncodeCaptionsStep.title, None, report)
        waiting, given_up = _left(registry, captioner.name, languages)
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
    done = f"{counted(counts['ok'], 'image')} captioned by {captioner.name}"
    stdout().print(f"{done}, {counts['failed']} failed, {waiting} waiting", markup=False)
    if given_up:
        said = counted(given_up, "was given up", "were given up")
        stdout().print(f"{said}; --again tries anew", style="dim")


def _languages(registry: "Registry", language: str | None) -> "list[Language]":
    from encoder.captions.captioner import LANGUAGES

    if language is None:
        return registry.settings.caption_languages
    return [check_choice("--language", language, LANGUAGES)]


def _work(registry: "Registry", model: str, language: "Language", again: bool) -> "Captioning":
    from registry.db.captions import Wanted
    from registry.db.session import now
    from registry.refresh.captioning import Captioning, version_of

    with registry.sessions() as session:
        wanted = Wanted(version_of(model, language), now(session), again)
    return Captioning(registry.sessions, registry.blobs, wanted)


def _left(registry: "Registry", model: str, languages: "Sequence[Language]") -> tuple[int, int]:
    """Return how many images wait in languages, and how many were given up."""
    from registry.db.captions import count_given_up

    works = [_work(registry, model, language, again=False) for language in languages]
    waiting = sum(work.count_waiting() for work in works)
    with registry.sessions() as session:
        return waiting, count_given_up(session, [work.wanted.version for work in works])
