"""What is in the database, and what a refresh told."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from demo.hub.modelscope_facts import Hub
from registry.db.encoder_models import Sketch, WeightEmbedding
from registry.db.models import Adapter, Base, Caption, CaptionEmbedding, Cover, CrawlRun, File
from registry.refresh.pipeline import STEPS, StepProgress
from registry.refresh.steps.caption import CaptionStep
from registry.refresh.steps.describe import DescribeStep
from registry.refresh.steps.draw_covers import DrawCoversStep
from registry.refresh.steps.embed_covers import EmbedCoversStep

NAMES = ["cat", "dog", "fox", "owl"]
# Without an image encoder and a model that looks at covers, and of adapters with captions:
# test_embed_covers.py, test_caption_step.py and test_describe.py have those.
UNASKED = (CaptionStep, EmbedCoversStep, DescribeStep, DrawCoversStep)
NAMES_OF_STEPS = [step.name for step in STEPS if step not in UNASKED]
EVERYTHING: dict[type[Base], int] = {
    Adapter: 4,
    File: 4,
    Cover: 4,
    Caption: 4,
    CaptionEmbedding: 4,
    Sketch: 4,
    WeightEmbedding: 4,
}


def failures(progress: Sequence[StepProgress]) -> dict[str, str]:
    """What failed: adapter -> message."""
    outcomes = [step.outcome for step in progress if step.outcome is not None]
    return {outcome.adapter: outcome.message for outcome in outcomes if not outcome.ok}


def states(sessions: sessionmaker[Session]) -> dict[str, str]:
    with sessions() as session:
        rows = session.execute(select(Adapter.repo, Adapter.state))
        return {row.repo.removeprefix("alice/"): row.state for row in rows}


def row_counts(sessions: sessionmaker[Session]) -> dict[type[Base], int]:
    with sessions() as session:
        return {
            table: session.scalar(select(func.count()).select_from(table)) or 0
            for table in EVERYTHING
        }


def last_run(sessions: sessionmaker[Session]) -> CrawlRun:
    with sessions() as session:
        return session.scalars(select(CrawlRun).order_by(CrawlRun.id.desc()).limit(1)).one()


def get_adapter(sessions: sessionmaker[Session], name: str) -> Adapter:
    with sessions() as session:
        return session.scalars(select(Adapter).where(Adapter.repo == f"alice/{name}")).one()


def downloads(hub: Hub) -> list[str]:
    """The files that were asked for since the list was last cleared."""
    return [path for _, path, _ in hub.requests if "FilePath=" in path]
