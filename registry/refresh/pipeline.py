"""From a hub's listing to adapters that can be found: the steps, one after the other."""

import shutil
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from crawler.errors import NoRoomError, SourceError
from crawler.records import Source
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import jobs, runs
from registry.db.adapters import Origin
from registry.db.claims import find_peft_config
from registry.db.holds import Turn
from registry.db.models import EMBEDDING_DIM
from registry.db.session import one_line_errors, translated
from registry.errors import EncoderRejectedError
from registry.fusion.errors import GenerationCancelledError
from registry.fusion.options import StepCallback
from registry.fusion.studio import Studio
from registry.refresh.problems import reported
from registry.refresh.sharing import has_workers, share
from registry.refresh.step import RefreshContext, SharedStep, Step, StepOutcome
from registry.refresh.steps.caption import CaptionStep
from registry.refresh.steps.crawl import CrawlStep
from registry.refresh.steps.describe import DescribeStep
from registry.refresh.steps.draw_covers import DrawCoversStep
from registry.refresh.steps.embed import EmbedStep
from registry.refresh.steps.embed_covers import EmbedCoversStep
from registry.refresh.steps.encode_captions import EncodeCaptionsStep
from registry.refresh.steps.fetch import FetchStep
from registry.refresh.steps.publish import PublishStep
from registry.refresh.steps.read import ReadStep

# In the order in which they are run. Whatever needs to know the steps reads them here.
STEPS: tuple[type[Step], ...] = (
    CrawlStep,
    FetchStep,
    ReadStep,
    CaptionStep,
    EncodeCaptionsStep,
    EmbedStep,
    EmbedCoversStep,
    PublishStep,
    DescribeStep,
    DrawCoversStep,
)

# A partial download that nobody went on with for a week.
STALE_SECONDS = 7 * 86_400
# How far a run is, is told no more often: each time is a transaction.
TOLD_SECONDS = 0.5
# When so few tasks of a step are left, the next steps get ready.
FEW_LEFT = 400
# A report keeps the first problems of a run, and counts the others.
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Where a refresh is; `outcome` is None when a step begins.

    `total` is None where the hub does not tell it. It counts what was to do at the step's
    begin: adapters, files, captions.
    """

    step: Step
    done: int
    total: int | None
    outcome: StepOutcome | None = None


@dataclass
class _Report:
    """What a run's row says: counts and seconds by step, what was skipped, why it failed."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    fetched_bytes: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    error: str | None = None

    def add(self, step: Step, outcome: StepOutcome) -> None:
        counts = self.counts.setdefault(step.name, {"ok": 0, "failed": 0})
        counts["ok" if outcome.ok else "failed"] += 1
        self.fetched_bytes += outcome.fetched_bytes
        if not outcome.ok and len(self.problems) < MOST_PROBLEMS:
            problem = {"step": step.name, "adapter": outcome.adapter, "message": outcome.message}
            self.problems.append(problem)
        if outcome.of_setting:
            self.error = self.error or outcome.message

    def to_columns(self) -> dict[str, Any]:
        return {
            "counts": {**self.counts, "skipped": self.skipped, "problems": self.problems},
            "seconds": self.seconds,
            "fetched_bytes": self.fetched_bytes,
            "error": self.error,
        }


class Pipeline:
    """Runs the steps over one database and one blob store, and reports on them."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        settings: Settings,
        text_encoder: TextEncoder,
        studio: Studio | None = None,
        cover_progress: StepCallback | None = None,
    ) -> None:
        """`studio` draws covers; a process that has one already need not load its bases twice.

        `cover_progress` is told of every step of a cover; what it raises ends the refresh.
        """
        if text_encoder.dim != EMBEDDING_DIM:
            raise EncoderRejectedError(
                f"text encoder {text_encoder.name!r} gives {text_encoder.dim} dimensions; "
                f"{EMBEDDING_DIM} are stored. Set REGISTRY_TEXT_ENCODER to one of that width."
            )
        self._sessions = sessions
        self._blobs = blobs
        self._text_encoder = text_encoder
        self._downloads = settings.home / "downloads"
        self._settings = settings
        self._cover_progress = cover_progress
        self._studio = studio or Studio(settings, blobs.path, self._peft_config)

    def refresh(
        self,
        source: Source,
        *,
        full: bool = False,
        force: bool = False,
        steps: Collection[type[Step]] = STEPS,
    ) -> Generator[StepProgress, None, int]:
        """Run `steps` in their order, yield after each outcome; return the id of the run's report.

        `full` lists everything and marks what has vanished as gone; otherwise only what
        changed since the last run is listed. Much that vanishes at once waits for a second
        listing that agrees, unless `force` is given. A hub that is down, a disk at its reserve and
        a setting that is wrong fail the run, but what is here already goes on through the other
        steps.

        Raises:
            DiskError, DatabaseLostError: nothing more can be stored; run it again later.
            RefreshUnderWayError: another process is refreshing the same origin.
            GenerationCancelledError: `cover_progress` did.
        """
        origin = Origin(source.hub, source.endpoint)
        report = _Report()
        with one_line_errors(), runs.only_one(self._engine, origin) as turn:
            with self._sessions.begin() as session:
                run_id = runs.start_run(session, origin)
            context = self.context(source, run_id, full=full, force=force)
            chosen = [step(context) for step in STEPS if step in steps and step.is_wanted(context)]
            try:
                self._clean()
                yield from self._run_in_order(chosen, run_id, report, turn)
            except BaseException as error:
                report.error = _cause(error)
                # The database may be what failed; then the next run closes this one.
                with suppress(Exception):
                    self._finish(run_id, report)
                raise
            finally:
                # Those that got ready, and whose turn did not come.
                for step in chosen:
                    step.close()
            self._finish(run_id, report)
            return run_id

    def _run_in_order(
        self, steps: Sequence[Step], run_id: int, report: _Report, turn: Turn
    ) -> Iterator[StepProgress]:
        """Prepare all steps, then run them; now and then the run's row is told how far it is."""
        for step in steps:
            for outcome in step.prepare():
                report.add(step, outcome)
                yield StepProgress(step, 0, None, outcome)
        told = 0.0
        for number, step in enumerate(steps):
            with closing(step):
                for progress in _run(step, report):
                    _get_ready(steps[number + 1 :], progress)
                    if progress.outcome is None or time.monotonic() - told > TOLD_SECONDS:
                        self._tell(run_id, progress)
                        turn.keep()
                        told = time.monotonic()
                    yield progress

    def context(
        self, source: Source, run_id: int, *, full: bool = False, force: bool = False
    ) -> RefreshContext:
        """Return what a step needs to be run on its own."""
        return RefreshContext(
            sessions=self._sessions,
            blobs=self._blobs,
            text_encoder=self._text_encoder,
            downloads=self._downloads,
            checkpoint=self._settings.encoder_checkpoint,
            settings=self._settings,
            source=source,
            studio=self._studio,
            cover_progress=self._cover_progress,
            image_encoder=self._settings.image_encoder,
            run_id=run_id,
            full=full,
            force=force,
        )

    def _peft_config(self, sha256: str) -> str:
        with self._sessions() as session:
            return find_peft_config(session, sha256)

    @property
    def _engine(self) -> Engine:
        with self._sessions() as session:
            bind = session.get_bind()
        return bind.engine

    def _tell(self, run_id: int, progress: StepProgress) -> None:
        with self._sessions.begin() as session:
            runs.tell(session, run_id, progress.step.name, progress.done, progress.total)

    def _finish(self, run_id: int, report: _Report) -> None:
        with self._sessions.begin() as session:
            runs.finish_run(session, run_id, **report.to_columns())

    def _clean(self) -> None:
        """Remove what killed runs left behind."""
        with self._sessions.begin() as session:
            jobs.forget_the_killed(session)
        self._blobs.clean()
        for path in self._downloads.glob("*/"):
            # Another process may be cleaning, too.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - STALE_SECONDS:
                    shutil.rmtree(path)


def _get_ready(later: Sequence[Step], progress: StepProgress) -> None:
    """Tell the steps to come when the one under way is about to be done."""
    if progress.total is not None and progress.total - progress.done <= FEW_LEFT:
        for step in later:
            step.get_ready(progress.total)


def _run(step: Step, report: _Report) -> Iterator[StepProgress]:
    if step.skipped:
        report.skipped.append({"step": step.name, "message": step.skipped})
    total, done, started = step.remaining(), 0, time.monotonic()
    yield StepProgress(step, done, total)
    for outcome in _outcomes(step, report):
        done += 1
        report.add(step, outcome)
        yield StepProgress(step, done, total, outcome)
    report.seconds[step.name] = round(time.monotonic() - started, 3)


def _outcomes(step: Step, report: _Report) -> Iterator[StepOutcome]:
    """Yield a step's outcomes; a hub that is down is one more, and the run's error.

    So is a disk without room for what a blob store elsewhere has: other steps may need none.
    """
    try:
        if isinstance(step, SharedStep) and has_workers(step):
            yield from share(step)
        else:
            yield from step.run()
    except (SourceError, NoRoomError) as error:
        report.error = reported(error)
        yield StepOutcome(step.context.source.hub, False, report.error)


def _cause(error: BaseException) -> str:
    """Why a run ended early, in one line."""
    if isinstance(error, DBAPIError):
        error = translated(error)
    if isinstance(error, Exception) and not isinstance(error, GenerationCancelledError):
        return reported(error)
    return "interrupted"
