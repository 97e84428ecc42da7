"""How the service is: runs, nights, workers, health, and what went wrong."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from registry.api.schemas.shapes import Answer
from registry.retrieval.cursors import write_cursor

if TYPE_CHECKING:
    from registry.db.runs import RunFacts
    from registry.db.status import Status


class RunAnswer(Answer):
    id: int
    hub: str
    started_at: datetime
    finished_at: datetime | None
    state: str
    counts: dict[str, Any]
    seconds: dict[str, float] = Field(description="How long each step took.")
    fetched_bytes: int = Field(description="What the hub sent of files.")
    bytes_per_adapter: int | None = Field(
        description="The same for each adapter that became findable; null where none did."
    )
    error: str | None
    step: str | None = Field(default=None, description="What it is at, while it runs.")
    done: int | None = None
    total: int | None = None

    @classmethod
    def from_run(cls, run: "RunFacts") -> Self:
        return cls.model_validate(run)


class RunListAnswer(Answer):
    items: list[RunAnswer]
    next: str | None

    @classmethod
    def from_runs(cls, runs: "Sequence[RunFacts]", limit: int) -> Self:
        """Return a page of `limit` runs; where there are more, another page follows."""
        shown = runs[:limit]
        return cls(
            items=[RunAnswer.from_run(run) for run in shown],
            next=write_cursor("runs", [shown[-1].id]) if len(runs) > limit else None,
        )


class NightAnswer(Answer):
    id: int
    due_at: datetime
    started_at: datetime
    finished_at: datetime | None
    state: str
    attempts: int = Field(description="More than 1 where it was interrupted, and begun again.")
    report: dict[str, Any]
    error: str | None


class NightListAnswer(Answer):
    items: list[NightAnswer]
    next: str | None


class WorkerAnswer(Answer):
    host: str
    pid: int
    queues: list[str]
    started_at: datetime
    seen_at: datetime
    alive: bool


class HubAnswer(Answer):
    hub: str
    endpoint: str
    updated_since: datetime | None = Field(
        description="What changed there before is here; null where no refresh came to its end."
    )
    last_run_at: datetime
    last_state: str


class ActiveEncoderAnswer(Answer):
    name: str
    base_model: str
    missing: int = Field(description="Files that it has not embedded yet.")


class DiskAnswer(Answer):
    """Bytes."""

    free: int = Field(description="Of the home's disk.")
    total: int
    database: int
    files: int = Field(description="Adapters' files that are kept.")


class StatusAnswer(Answer):
    states: dict[str, int] = Field(description="Adapters by state.")
    refusals: dict[str, int] = Field(description="Refused adapters by reason.")
    waiting: dict[str, int] = Field(description="What each step has left to do.")
    queued: dict[str, int] = Field(description="Jobs that are handed out to workers, by queue.")
    workers: list[WorkerAnswer]
    last_night: NightAnswer | None
    hubs: list[HubAnswer] = Field(description="Those that were refreshed, and how far they came.")
    encoders: list[ActiveEncoderAnswer] = Field(description="Those that search uses.")
    disk: DiskAnswer
    next_night: datetime | None = Field(description="Null where this server has none done.")

    @classmethod
    def from_status(cls, status: "Status", next_night: datetime | None) -> Self:
        return cls.model_validate(asdict(status) | {"next_night": next_night})


class ActivityAnswer(Answer):
    """How far an adapter's gates stood open: their mean, and by layer; none without gates."""

    id: int | None
    name: str
    sha256: str
    mean: float | None
    layers: dict[str, float]


class Health(Answer):
    status: Literal["ok"] = "ok"
    version: str = Field(description="Of the registry's program.")
    instance: str | None = Field(
        default=None, description="Which running server it is: one that is started anew is another."
    )


class Readiness(Answer):
    status: Literal["ok"] = "ok"
    adapters: int
    base_models: dict[str, int]


class Problem(Answer):
    """RFC 9457. `type` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = Field(
        default=None, description="As in the header X-Request-ID and in the server's log."
    )
