"""One's own folders, and copies in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field

from registry.api.schemas.shapes import AdapterId, Answer, Asked, Bytes, Id, Moment
from registry.retrieval.terms import DuplicateKind

if TYPE_CHECKING:
    from registry.db.own_folders import FolderFacts
    from registry.retrieval.copies import Copy


class FolderRequest(Asked):
    path: str = Field(
        examples=["/home/ann/loras"],
        min_length=1,
        max_length=4096,
        description="Of a folder, from the root on.",
    )


class RefreshRequest(FolderRequest):
    draw_covers: bool = Field(
        default=False, description="Whether adapters without a cover are given one afterwards."
    )


class TrashRequest(Asked):
    adapters: list[AdapterId] = Field(min_length=1, max_length=100)


class ProblemAnswer(Answer):
    step: str = Field(examples=["read"])
    adapter: str = Field(examples=["old.ckpt"])
    message: str = Field(examples=["a pickle, which is never read"])


class FolderAnswer(Answer):
    """A folder that is watched. `counts` are of its last refresh.

    `problems` are that refresh's, and files that an earlier one refused.
    """

    path: str = Field(examples=["/home/ann/loras"])
    added_at: Moment
    step: str | None = Field(
        examples=[None], description="What a refresh is at; null where none is under way."
    )
    done: int | None = Field(examples=[None])
    total: int | None = Field(examples=[None])
    waits_for: list[str] = Field(
        examples=[[]],
        description="Folders that are looked at before this one, the one at work first.",
    )
    problem: str | None = Field(examples=[None])
    adapters: int = Field(examples=[1], description="How many of it can be found.")
    finished_at: Moment | None
    counts: dict[str, dict[str, int]] = Field(examples=[{"read": {"ok": 1, "failed": 1}}])
    problems: list[ProblemAnswer]
    problem_count: int = Field(
        examples=[0], description="How many there are, of which the first are in `problems`."
    )

    @classmethod
    def from_facts(cls, facts: "FolderFacts", before: Sequence[Path]) -> Self:
        counts = {n: c for n, c in facts.report.items() if isinstance(c, dict)}
        problems = [ProblemAnswer(**one) for one in facts.report.get("problems", [])]
        told = {one.adapter for one in problems}
        problems += [
            ProblemAnswer(step="read", adapter=name, message=f"refused: {why}")
            for name, why in facts.refused.items()
            if name not in told
        ]
        failed = sum(count.get("failed", 0) for count in counts.values())
        return cls(
            path=facts.path,
            added_at=facts.added_at,
            step=facts.step,
            done=facts.done,
            total=facts.total,
            waits_for=[str(folder) for folder in before],
            problem=facts.problem,
            adapters=facts.adapters,
            finished_at=facts.finished_at,
            counts=counts,
            problems=problems,
            # A refresh and the database tell the first each, which are partly the same.
            problem_count=max(len(problems), failed, facts.refused_count),
        )


class FolderListAnswer(Answer):
    items: list[FolderAnswer]


class CopyAnswer(Answer):
    adapter_id: Id
    name: str = Field(examples=["Paper Fox"])
    path: str = Field(examples=["/home/ann/loras/paper-fox.safetensors"])
    size: Bytes
    kind: DuplicateKind = Field(description="What it is to the first of its group.")
    similarity: float = Field(examples=[1.0])
    strength: float = Field(examples=[1.0])

    @classmethod
    def from_copy(cls, copy: "Copy") -> Self:
        return cls(
            adapter_id=copy.adapter_id,
            name=copy.name,
            path=str(copy.file.path),
            size=copy.size,
            kind=copy.kind,
            similarity=copy.similarity,
            strength=copy.strength,
        )


class CopiesAnswer(Answer):
    groups: list[list[CopyAnswer]]
