"""A night: every source refreshed, the index looked after, and a report of it.

It can be killed anywhere and begun again: each of its parts does what is still to do.
"""

import logging
import time
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

from crawler.errors import AutoLoraError
from crawler.records import Source
from encoder.text_encoder import TextEncoder
from encoder.training.progress import silent
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import captions, nights, runs
from registry.db.adapters import Origin
from registry.db.encoder_removals import forget_replaced
from registry.db.session import one_line_errors
from registry.db.status import count_refusals, count_states
from registry.errors import DatabaseLostError, DiskError
from registry.refresh.canaries import ask_canaries
from registry.refresh.learn import Learner, learnable_base_models
from registry.refresh.pipeline import Pipeline, StepProgress
from registry.refresh.problems import reported
from registry.refresh.sources import open_source
from registry.retrieval.finder import Finder

log = logging.getLogger(__name__)

# An index is learned from again when it has so many times the examples that it last had.
GROWTH = 1.05


class NightWatch:
    """Does nights over one database, one at a time however many processes try."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        settings: Settings,
        text_encoder: TextEncoder,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._pipeline = Pipeline(sessions, blobs, settings, text_encoder)
        self._learner = Learner(sessions, blobs, text_encoder, settings.home / "learning")
        self._finder = Finder(settings, sessions, blobs, text_encoder)

    def run(self, due_at: datetime) -> Generator[StepProgress, None, bool]:
        """Do the night that was due at a moment; return whether it was done here.

        It is not where it is over, or somebody is at one.

        Raises:
            DiskError, DatabaseLostError: nothing more can be stored.
        """
        with one_line_errors(), nights.only_one(self._engine) as turn:
            if turn is None:
                return False
            with self._sessions.begin() as session:
                over = nights.is_over(session, due_at)
                night_id = None if over else nights.begin(session, due_at)
            if night_id is None:
                return False
            report: dict[str, Any] = {}
            try:
                with one_line_errors(), closing(self._do(report)) as parts:
                    for progress in parts:
                        yield progress
                        turn.keep()
            except DatabaseLostError:
                # It stays as it is, interrupted, and is begun again.
                raise
            except Exception as error:
                self._finish(night_id, report, reported(error))
                raise
            self._finish(night_id, report, None)
            return True

    def _do(self, report: dict[str, Any]) -> Generator[StepProgress]:
        """Do all parts, in their order; fill the report."""
        started = time.monotonic()
        report["sources"] = []
        for address in self._settings.nightly_sources:
            yield from self._refresh(address, report["sources"])
        report["fetched_bytes"] = sum(one.get("fetched_bytes", 0) for one in report["sources"])
        seconds = report["seconds"] = {"refresh": _seconds_since(started)}
        parts: dict[str, Callable[[], Any]] = {
            "learn": self._learn,
            "forget": self._forget,
            "analyze": self._analyze,
            "canaries": self._ask_canaries,
        }
        for name, part in parts.items():
            started = time.monotonic()
            report[name] = part()
            seconds[name] = _seconds_since(started)
        with self._sessions() as session:
            report["states"] = count_states(session)
            report["refusals"] = count_refusals(session)

    def _refresh(self, address: str, told: list[dict[str, Any]]) -> Generator[StepProgress]:
        """Refresh one source; what is wrong with it does not keep the others from theirs."""
        facts: dict[str, Any] = {"source": address, "error": None}
        told.append(facts)
        try:
            with closing(open_source(address, self._settings)) as source:
                origin = Origin(source.hub, source.endpoint)
                full = facts["full"] = self._is_full(source, origin)
                run_id = yield from self._pipeline.refresh(source, full=full)
                facts.update(self._facts_of_run(run_id))
        except (DiskError, DatabaseLostError):
            raise
        except Exception as error:
            # Any: what a stranger's files or a hub's answers break is this source's alone.
            if not isinstance(error, AutoLoraError):
                log.exception("%s broke its refresh", address)
            facts["error"] = reported(error)

    def _is_full(self, source: Source, origin: Origin) -> bool:
        """Whether it is time to list all that a hub has: only then is it seen what vanished."""
        if not source.has_cursor:
            return False
        with self._sessions() as session:
            listed_at = runs.find_last_complete_time(session, origin)
        days, now = timedelta(days=self._settings.full_listing_days), datetime.now(UTC)
        # What was listed while the clock was ahead tells nothing of how long ago that is.
        return listed_at is None or listed_at > now or now - listed_at >= days

    def _facts_of_run(self, run_id: int) -> dict[str, Any]:
        with self._sessions() as session:
            run = runs.get_run(session, run_id)
        # Beside the steps a report lists problems, and what was skipped.
        counts = {name: n for name, n in run.counts.items() if isinstance(n, dict)}
        return {
            "run": run.id,
            "counts": counts,
            "seconds": run.seconds,
            "fetched_bytes": run.fetched_bytes,
            "bytes_per_adapter": run.bytes_per_adapter,
            "error": run.error,
        }

    def _learn(self) -> dict[str, Any]:
        """Let an index that has grown train its encoders; return what came of it, by family.

        Growth is of what is learned from: captions that come later teach, too.
        """
        with self._sessions() as session:
            families = learnable_base_models(session)
            report = nights.find_last_report(session) or {}
        before = {
            name: facts["examples"]
            for name, facts in report.get("learn", {}).items()
            if "examples" in facts
        }
        # What was learned from stays known; what came of it is in the report of that night.
        lessons: dict[str, Any] = {name: {"examples": count} for name, count in before.items()}
        for name in families:
            examples = self._learner.count_examples(name)
            if examples > GROWTH * before.get(name, 0):
                lessons.setdefault(name, {}).update(self._lesson(name, examples))
        return lessons

    def _lesson(self, base_model: str, examples: int) -> dict[str, Any]:
        """Return what came of a lesson; `examples` are in it only where there was one.

        So what could not be learned from tonight is tried again, however little is added.
        """
        try:
            with one_line_errors():
                lesson = self._learner.learn(base_model, silent)
        except (DiskError, DatabaseLostError):
            raise
        except Exception as error:
            # Any: what a stranger's files teach wrongly is this family's alone.
            if not isinstance(error, AutoLoraError):
                log.exception("%s broke its lesson", base_model)
            return {"outcome": reported(error)}
        return {
            "examples": examples,
            "outcome": lesson.outcome,
            "encoder": lesson.encoder,
            "sketches": lesson.sketches,
            "trained_on": lesson.trained_on,
            "mrr": str(lesson.mrr),
            "gain": None if lesson.gain is None else str(lesson.gain),
            "seconds": lesson.seconds,
        }

    def _forget(self) -> dict[str, int]:
        """Delete vectors that no search uses, but that each walks over; return how many."""
        with self._sessions.begin() as session:
            weights = forget_replaced(session)
        with self._sessions.begin() as session:
            return {"weights": weights, "captions": captions.forget_unsaid(session)}

    def _analyze(self) -> None:
        """Let the planner know what the night has changed."""
        with self._sessions.begin() as session:
            session.execute(text("ANALYZE"))

    def _ask_canaries(self) -> dict[str, Any]:
        with self._sessions() as session:
            before = nights.find_last_report(session) or {}
        return ask_canaries(self._sessions, self._finder, before.get("canaries"))

    def _finish(self, night_id: int, report: dict[str, Any], error: str | None) -> None:
        with self._sessions.begin() as session:
            nights.finish(session, night_id, report, error)

    @property
    def _engine(self) -> Engine:
        engine: Engine = self._sessions.kw["bind"]
        return engine


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 3)
