"""`make demo`: crawl three hubs, index their adapters, search, fuse, serve.

All of it is the system itself on a world small enough to ship: the crawler against hubs on
loopback, PostgreSQL, the trained encoder, the real pipeline.
"""

import argparse
import json
import shlex
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event, Thread

from PIL import Image
from rich.console import Console

from crawler.errors import AutoLoraError
from crawler.sources.civitai import CivitaiSource
from crawler.sources.hugging_face import HuggingFaceSource
from crawler.sources.modelscope import ModelScopeSource
from demo.hub import civitai, hugging_face, modelscope
from demo.listing import BASE_MODEL
from demo.paths import DATA, OUTSIDE
from registry.api.schemas.found import SearchAnswer
from registry.cli.errors import PortError
from registry.cli.options import FoundOptions
from registry.cli.progress import show_refresh
from registry.cli.search_table import print_search
from registry.cli.server import listen, serve_until_stopped
from registry.config import ENV_FILE, PREFIX, Settings
from registry.fusion.sheets import draw_rows, label_of
from registry.refresh.pipeline import Pipeline, StepProgress
from registry.retrieval.cards import AdapterCard
from registry.retrieval.given_values import Paging
from registry.running import Identity
from registry.service import Registry

OUT = Path(__file__).parent / "out"
SEARCHES = (
    "black line art of musical instruments",
    "a mouse face",
    "一盘寿司",
)
FUSIONS = ("a red heart with a blue polka dot texture", "pancakes with a green striped texture")
# Adapters of the zoo that the second hub lists, too.
ON_BOTH = 24
SEED = 3
TILE = 144
# No shell can take back what the file says, which counts where the environment says nothing.
WARN_OF_FILE = f"""\
if grep -iqs '^[[:space:]]*\\(export[[:space:]]*\\)\\{{0,1\\}}{PREFIX}' {ENV_FILE}; then
    echo "What {ENV_FILE} sets here counts beside the demo's settings: work in another folder." >&2
fi
"""


def demo_settings(home: Path, port: int) -> Settings:
    """What an operator would write into `.env`, pointing at the shipped files.

    Nothing else counts: a database, tokens or hubs that are set here are the operator's own.
    """
    return Settings.given_alone(
        home=home,
        encoder_checkpoint=DATA / "encoder.safetensors",
        base_models={BASE_MODEL: DATA / "base"},
        gates={BASE_MODEL: DATA / "gates.safetensors"},
        port=port,
        # Nobody has rated these pictures, and none is mature.
        blur="mature",
    )


class Stopped(Exception):  # noqa: N818
    """Ctrl-C ended the server, so what it is filled with has to wait for the next time."""


def until(stopped: Event, steps: Iterator[StepProgress]) -> Iterator[StepProgress]:
    """Pass steps on until it is stopped."""
    for step in steps:
        yield step
        if stopped.is_set():
            raise Stopped


def index(registry: Registry, stopped: Event) -> None:
    """Crawl the loopback hubs and index what is missing; a rerun finds nothing to do.

    What two of them list is one file, which is fetched once, and one result with two listings.
    The third lists adapters of art that neither the base nor the encoder has seen.
    """
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    with (
        modelscope.serve(DATA / "zoo") as hub,
        civitai.serve(DATA / "zoo") as other,
        hugging_face.serve(OUTSIDE) as outside,
    ):
        other.entries = other.entries[:ON_BOTH]
        for source in (
            ModelScopeSource(hub.endpoint, name="demo"),
            CivitaiSource(other.endpoint, name="demo"),
            HuggingFaceSource(outside.endpoint, name="demo"),
        ):
            with source, closing(pipeline.refresh(source)) as refreshed:
                show_refresh(until(stopped, refreshed))


def show_searches(registry: Registry, console: Console) -> None:
    for text in SEARCHES:
        console.print(f'\n[bold]autolora search "{text}"[/]')
        page = SearchAnswer.from_page(registry.search(text, paging=Paging(limit=5)))
        print_search(page.model_copy(update={"next": None}), FoundOptions())


def sheet_rows(
    registry: Registry, stopped: Event
) -> Iterator[tuple[str, list[tuple[str, Image.Image]]]]:
    """Retrieve for every prompt, then draw it without, with each, and with all adapters."""
    for prompt in FUSIONS:
        if stopped.is_set():
            raise Stopped
        choices = registry.choose(prompt, 2, base_model=BASE_MODEL)
        cards = [choice.card for choice in choices]
        ids = [card.id for card in cards]
        names = [label_of(card.name, card.id) for card in cards]
        pictures = [
            (f"found: {name}\n{card.author}", cover(registry, card))
            for name, card in zip(names, cards, strict=True)
        ]
        nothing = registry.maker.fuse(
            prompt, adapters=[], base_model=BASE_MODEL, seed=SEED, mode="base"
        )
        pictures.append(("base alone", nothing.image))
        for name, card in zip(names, cards, strict=True):
            single = registry.maker.fuse(prompt, adapters=[card.id], seed=SEED)
            pictures.append((f"only this one\n{name}", single.image))
        plain = registry.maker.fuse(prompt, adapters=ids, seed=SEED, mode="sum")
        pictures.append(("plain sum", plain.image))
        fused = registry.maker.fuse(prompt, adapters=ids, seed=SEED)
        fused.save(OUT / f"{prompt.replace(' ', '-')}.png")
        pictures.append(("gated", fused.image))
        yield f"“{prompt}”", pictures


def cover(registry: Registry, card: AdapterCard) -> Image.Image:
    return Image.open(registry.blobs.path(registry.cover(card.id, 0).sha256))


def write_environment(settings: Settings, path: Path) -> None:
    """Write what lets a shell find `autolora`, and that the demo's registry and no other."""
    said = {
        "HOME": str(settings.home),
        "BASE_MODELS": json.dumps({name: str(at) for name, at in settings.base_models.items()}),
        "GATES": json.dumps({name: str(at) for name, at in settings.gates.items()}),
        "ENCODER_CHECKPOINT": str(settings.encoder_checkpoint),
        "BLUR": settings.blur,
    }
    names = [PREFIX + name.upper() for name in Settings.model_fields]
    # Small letters count as well.
    lines = [f"unset {' '.join([*names, *map(str.lower, names)])}\n"]
    lines += [f"export {PREFIX}{name}={shlex.quote(value)}\n" for name, value in said.items()]
    # Where this Python keeps programs, of which `autolora` is one.
    programs = shlex.quote(sysconfig.get_path("scripts"))
    lines.append(f'export PATH={programs}:"$PATH"\n')
    lines.append(WARN_OF_FILE)
    path.write_text("".join(lines), encoding="utf-8")


def fill(registry: Registry, console: Console, stopped: Event) -> None:
    """Index the hubs, search, and fuse, unless it is stopped."""
    started = time.monotonic()
    write_environment(registry.settings, OUT / "env")
    console.print("[bold]1 of 3[/] Crawling and indexing three hubs")
    index(registry, stopped)
    console.print("\n[bold]2 of 3[/] Searching")
    show_searches(registry, console)
    console.print(f"\nFirst answers after {time.monotonic() - started:.0f} s")
    console.print("\n[bold]3 of 3[/] Fusing: " + " · ".join(f"“{p}”" for p in FUSIONS))
    draw_rows(list(sheet_rows(registry, stopped)), TILE).save(OUT / "sheet.png")
    console.print(
        f"Wrote {OUT / 'sheet.png'}, and the images with their recipes beside it",
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"For `autolora` in a shell to use this registry: . {shlex.quote(str(OUT / 'env'))}",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"Done in {time.monotonic() - started:.0f} s")


def run(once: bool, port: int) -> None:
    """Fill the registry, and serve it meanwhile and afterwards unless `once` is asked for."""
    console = Console(stderr=True, highlight=False)
    settings = demo_settings(OUT / "home", port)
    OUT.mkdir(exist_ok=True)
    stopped = Event()
    with ExitStack() as stack:
        # Before anything slow: a taken port is known at once.
        listener = None if once else stack.enter_context(listen(settings.host, settings.port))
        registry = stack.enter_context(Registry(settings))
        if listener is None:
            fill(registry, console, stopped)
            return
        # Its page tells how far the indexing is.
        filling = Thread(target=fill_behind, args=[registry, console, stopped], name="fill")
        filling.start()
        try:
            serve_until_stopped(listener, registry, Identity.make())
        finally:
            stopped.set()
            filling.join()


def fill_behind(registry: Registry, console: Console, stopped: Event) -> None:
    try:
        fill(registry, console, stopped)
    except Stopped:
        console.print("stopped. What was done is kept: `make demo` goes on from there.")
    except AutoLoraError as error:
        console.print(f"demo: {error}", markup=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit instead of serving the page")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        run(arguments.once, arguments.port)
    except PortError as error:
        print(f"demo: {error} For example: make demo ARGS='--port 8123'", file=sys.stderr)
        return 1
    except AutoLoraError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped. What was done is kept: `make demo` goes on from there.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
