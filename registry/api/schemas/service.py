"""How the service is: runs, nights, workers, health, and what went wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from registry.api.schemas.shapes import Answer, BaseModelName, Bytes, Id, Moment, Next, Sha256
from registry.retrieval.cursors import write_cursor

if TYPE_CHECKING:
    from registry.db.nights import NightFacts
    from registry.db.runs import RunFacts
    from registry.db.status import Status


class RunAnswer(Answer):
    id: Id
    hub: str = Field(examples=["civitai"])
    endpoint: str | None = Field(
        examples=["https://civitai.red"],
        description="Its address, or a folder; null where everybody may read.",
    )
    started_at: Moment
    finished_at: Moment | None
    state: str = Field(
        examples=["done"],
        description="running, done, failed, or interrupted: its process was killed.",
    )
    counts: dict[str, Any] = Field(
        examples=[
            {"crawl": {"ok": 1, "failed": 0}, "publish": {"ok": 1, "failed": 0}, "problems": []}
        ]
    )
    seconds: dict[str, float] = Field(
        examples=[{"crawl": 2.1, "publish": 0.3}], description="How long each step took."
    )
    indexed: int = Field(examples=[1], description="How many adapters became findable.")
    fetched_bytes: Bytes = Field(description="What the hub sent of files.")
    bytes_per_adapter: Bytes | None = Field(
        description="The same for each adapter that became findable; null where none did."
    )
    error: str | None = Field(examples=[None])
    step: str | None = Field(
        default=None, examples=[None], description="What it is at, while it runs."
    )
    done: int | None = Field(default=None, examples=[None])
    total: int | None = Field(default=None, examples=[None])

    @classmethod
    def from_run(cls, run: "RunFacts") -> Self:
        return cls.model_validate(run)


class RunListAnswer(Answer):
    items: list[RunAnswer]
    next: Next

    @classmethod
    def from_runs(cls, runs: "Sequence[RunFacts]", limit: int) -> Self:
        """Return a page of `limit` runs; where there are more, another page follows."""
        shown = runs[:limit]
        return cls(
            items=[RunAnswer.from_run(run) for run in shown],
            next=write_cursor("runs", [shown[-1].id]) if len(runs) > limit else None,
        )


class NightAnswer(Answer):
    id: Id
    due_at: Moment
    started_at: Moment
    finished_at: Moment | None
    state: str = Field(
        examples=["done"],
        description="running, done, failed, or interrupted: its process was killed.",
    )
    attempts: int = Field(
        examples=[1], description="More than 1 where it was interrupted, and begun again."
    )
    report: dict[str, Any] = Field(
        examples=[
            {
                "states": {"ready": 1},
                "refusals": {},
                "fetched_bytes": 38912344,
                "canaries": {"recall": 1.0, "lost": []},
            }
        ]
    )
    error: str | None = Field(examples=[None])


class NightListAnswer(Answer):
    items: list[NightAnswer]
    next: Next

    @classmethod
    def from_nights(cls, nights: "Sequence[NightFacts]", limit: int) -> Self:
        """Return a page of `limit` nights; where there are more, another page follows."""
        shown = nights[:limit]
        return cls(
            items=[NightAnswer.model_validate(night) for night in shown],
            next=write_cursor("nights", [shown[-1].id]) if len(nights) > limit else None,
        )


class WorkerAnswer(Answer):
    host: str = Field(examples=["atelier"])
    pid: int = Field(examples=[4711])
    queues: list[str] = Field(examples=[["fetch", "read"]])
    started_at: Moment
    seen_at: Moment
    alive: bool = Field(examples=[True])


class HubAnswer(Answer):
    hub: str = Field(examples=["civitai"])
    endpoint: str = Field(examples=["https://civitai.red"])
    updated_since: Moment | None = Field(
        description="What changed there before is here; null where no refresh came to its end."
    )
    last_run_at: Moment
    last_state: str = Field(examples=["done"])


class ActiveEncoderAnswer(Answer):
    name: str = Field(examples=["autolora-flux.1-dev-3"])
    base_model: BaseModelName
    missing: int = Field(examples=[0], description="Files that it has not embedded yet.")


class DiskAnswer(Answer):
    """Bytes."""

    free: int = Field(examples=[412000000000], description="Of the disk that blobs lie on.")
    total: int = Field(examples=[1000000000000])
    database: int = Field(examples=[91000000])
    files: Bytes = Field(description="Adapters' files that are kept.")


class StatusAnswer(Answer):
    states: dict[str, int] = Field(
        examples=[{"ready": 1, "refused": 1}], description="Adapters by state."
    )
    refusals: dict[str, int] = Field(
        examples=[{"a pickle, which is never read": 1}], description="Refused adapters by reason."
    )
    withheld: dict[str, int] = Field(
        default_factory=dict,
        examples=[{"its hub gives files to those with a token only": 1}],
        description="Listed adapters whose files their hubs do not give, by reason.",
    )
    waiting: dict[str, int] = Field(
        examples=[{"fetch": 0, "read": 0}], description="What each step has left to do."
    )
    queued: dict[str, int] = Field(
        examples=[{}], description="Jobs that are handed out to workers, by queue."
    )
    workers: list[WorkerAnswer]
    last_night: NightAnswer | None
    hubs: list[HubAnswer] = Field(description="Those that were refreshed, and how far they came.")
    encoders: list[ActiveEncoderAnswer] = Field(description="Those that search uses.")
    disk: DiskAnswer
    next_night: Moment | None = Field(description="Null where this server has none done.")

    @classmethod
    def from_status(cls, status: "Status", next_night: datetime | None) -> Self:
        return cls.model_validate(asdict(status) | {"next_night": next_night})


class ActivityAnswer(Answer):
    """How far an adapter's gates stood open: their mean, and by layer; none without gates."""

    id: Id | None
    name: str = Field(examples=["Paper Fox"])
    sha256: Sha256
    mean: float | None = Field(examples=[0.43])
    layers: dict[str, float] = Field(examples=[{"transformer_blocks.0.attn.to_q": 0.43}])

    @classmethod
    def of_recipe(
        cls, recipe: Mapping[str, Any], activity: Mapping[str, dict[str, float]]
    ) -> list[Self]:
        """Return that of each adapter of a recipe; `activity` has layers by the hash of a file."""
        return [
            cls(
                id=used["id"],
                name=used["name"],
                sha256=used["sha256"],
                mean=sum(layers.values()) / len(layers) if layers else None,
                layers=layers,
            )
            for used in recipe.get("adapters", ())
            for layers in [activity.get(used["sha256"], {})]
        ]


class Health(Answer):
    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"], description="Of the registry's program.")
    instance: str | None = Field(
        default=None,
        examples=["0f4c2a9be1d84c6fa3b5d7e8f9012345"],
        description="Which running server it is: one that is started anew is another.",
    )


class Readiness(Answer):
    status: Literal["ok"] = "ok"
    adapters: int = Field(examples=[1])
    base_models: dict[str, int] = Field(examples=[{"flux.1-dev": 1}])


class Problem(Answer):
    """RFC 9457. `type` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = Field(
        default=None, description="As in the header X-Request-ID and in the server's log."
    )
