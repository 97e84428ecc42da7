"""What a crawl of a loopback hub costs: time beside curl, adapters a second, memory, bytes."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from benchmarks.crawl.hub import serving
from benchmarks.crawl.zoo import entry_of, write_large, write_listing, write_many, write_small
from benchmarks.memory import memory_bytes
from crawler.sources.modelscope import ModelScopeSource
from demo.paths import DATA
from registry.config import Settings
from registry.refresh.pipeline import STEPS, Pipeline, StepProgress
from registry.refresh.step import Step
from registry.refresh.steps.caption import CaptionStep
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.fetch import FetchStep
from registry.service import Registry

WANTED, UNWANTED = "flux.1-dev", "z-image"
CRAWL = (CrawlStep, FetchStep)
ALL_BUT_CAPTIONS = tuple(step for step in STEPS if step is not CaptionStep)
FIRST_LISTED = 1000
Figures = dict[str, Any]


@contextmanager
def empty_registry(home: Path, **chosen: Any) -> Iterator[Registry]:
    """Open a registry that has nothing, with an embedded database of its own that runs."""
    with Registry(Settings(home=home, reserved_bytes=0, **chosen)) as registry:
        registry.text_encoder.encode(["loaded before anybody counts"])
        assert registry.runs(limit=1) == []
        yield registry


def refresh(
    registry: Registry, endpoint: str, steps: tuple[type[Step], ...]
) -> Iterator[StepProgress]:
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    with ModelScopeSource(endpoint, limits=registry.settings.disk_limits) as source:
        yield from pipeline.refresh(source, steps=steps)


def finish(refreshing: Iterator[StepProgress]) -> float:
    """Run a refresh to its end; return seconds."""
    began = time.perf_counter()
    for _ in refreshing:
        pass
    return time.perf_counter() - began


def fetch_by_curl(endpoint: str, entries: list[dict[str, Any]], folder: Path) -> float:
    """Fetch every file with curl, eight at a time as the crawler does; return seconds."""
    folder.mkdir()
    lines = []
    for entry in entries:
        repo, path = f"{entry['owner']}/{entry['name']}", quote_plus(Path(entry["file"]).name)
        lines.append(
            f'url = "{endpoint}/api/v1/models/{repo}/repo?Revision=master&FilePath={path}"'
        )
        lines.append(f'output = "{folder / Path(entry["file"]).name}"')
    began = time.perf_counter()
    subprocess.run(
        ["curl", "--silent", "--fail", "--parallel", "--parallel-max", "8", "--config", "-"],
        input="\n".join(lines), text=True, check=True,
    )  # fmt: skip
    return time.perf_counter() - began


def remove(*folders: Path) -> None:
    """Remove what turns before have left, so that each finds memory and disk as all do."""
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
    os.sync()


def beside_curl(folder: Path, files: int, rank: int, rounds: int) -> Figures:
    """List and download files into an empty registry, and with curl, in turns."""
    names = {f"adapters/{number}.safetensors": WANTED for number in range(files)}
    zoo = write_large(folder / "zoo", names, rank)
    entries = json.loads((zoo / "listing.json").read_text())
    size = sum((zoo / name).stat().st_size for name in names)
    by_crawl, by_curl, cpu = [], [], list[float]()
    fetched, home = folder / "curl", folder / "home"
    with serving(zoo) as endpoint, ModelScopeSource(endpoint) as source:
        # So that the hub has hashed its files, which a real one has done long before.
        assert len(list(source.list_adapters())) == files
        for _ in range(rounds):
            remove(fetched, home)
            by_curl.append(fetch_by_curl(endpoint, entries, fetched))
            remove(fetched, home)
            with empty_registry(home) as registry:
                os.sync()
                before = time.process_time()
                by_crawl.append(finish(refresh(registry, endpoint, CRAWL)))
                cpu.append(time.process_time() - before)
                [run] = registry.runs(limit=1)
                assert run.counts["fetch"] == {"ok": files, "failed": 0}, run.counts
    crawl, curl = min(by_crawl), min(by_curl)
    return {
        "files": files,
        "bytes": size,
        "crawl_mb_s": size / crawl / 1e6,
        "curl_mb_s": size / curl / 1e6,
        "ratio": curl / crawl,
        "crawl_cpu": min(cpu),
    }


def adapters_a_second(folder: Path, adapters: int) -> Figures:
    """Take small adapters with a cover each through all steps but captions."""
    zoo = write_small(folder / "zoo", adapters)
    encoder = {"encoder_checkpoint": DATA / "encoder.safetensors"}
    with serving(zoo) as endpoint, empty_registry(folder / "home", **encoder) as registry:
        seconds = finish(refresh(registry, endpoint, ALL_BUT_CAPTIONS))
        [run] = registry.runs(limit=1)
    assert run.indexed == adapters, run.counts
    return {"adapters": adapters, "a_second": adapters / seconds, "seconds": run.seconds}


def memory_of_listing(folder: Path, listed: int) -> Figures:
    """List a hub; return resident bytes when 1,000 adapters are listed, and the most after."""
    first, most = 0, 0
    zoo = write_many(folder / "zoo", listed)
    with serving(zoo) as endpoint, empty_registry(folder / "home") as registry:
        done = 0
        for progress in refresh(registry, endpoint, (CrawlStep,)):
            done = progress.done
            if done == min(FIRST_LISTED, listed):
                first = memory_bytes("VmRSS")
            if done % 100 == 0 and first:
                most = max(most, memory_bytes("VmRSS"))
    assert done == listed, f"{done} of {listed} were listed"
    return {"listed": listed, "first": first, "most": max(most, first)}


def bytes_of_headers(folder: Path, tenths: int, rank: int) -> Figures:
    """Crawl a hub of which one in ten files is wanted, five are known and four are for others."""
    kinds = [WANTED, *["known"] * 5, *[UNWANTED] * 4] * tenths
    names = {f"adapters/{number}.safetensors": kind for number, kind in enumerate(kinds)}
    bases = {name: WANTED if kind == "known" else kind for name, kind in names.items()}
    zoo = write_large(folder / "zoo", bases, rank)
    # The same files, as another hub lists them.
    known = folder / "known"
    known.mkdir()
    (known / "adapters").symlink_to((zoo / "adapters").absolute())
    theirs = [name for name, kind in names.items() if kind == "known"]
    base = "black-forest-labs/FLUX.1-dev"
    write_listing(known, [entry_of(n, name, base_model=base) for n, name in enumerate(theirs)])
    sizes = {name: (zoo / name).stat().st_size for name in names}
    chosen = {"crawl_base_models": [WANTED]}
    with empty_registry(folder / "home", **chosen) as registry:
        with serving(known) as endpoint:
            finish(refresh(registry, endpoint, CRAWL))
        with serving(zoo) as endpoint:
            finish(refresh(registry, endpoint, CRAWL))
        [run] = registry.runs(limit=1)
    wanted = sum(size for name, size in sizes.items() if names[name] == WANTED)
    assert run.counts["fetch"]["ok"] == 6 * tenths, run.counts
    others = sum(sizes.values()) - wanted
    return {
        "files": len(names),
        "bytes": sum(sizes.values()),
        "fetched": run.fetched_bytes,
        "wanted": wanted,
        "others": others,
        "share_of_others": (run.fetched_bytes - wanted) / others,
        "share_of_all": run.fetched_bytes / sum(sizes.values()),
    }
