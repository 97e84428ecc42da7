"""The index in a few numbers, for those who watch it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from registry.db.models import CrawlRun
from registry.db.status import count_states
from registry.db.work_models import DrawnImage
from registry.image_states import UNFINISHED


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """Adapters by state, jobs by queue and state, images that are not done yet by state.

    And when a refresh last ended well.
    """

    adapters: dict[str, int]
    jobs: dict[tuple[str, str], int]
    images: dict[str, int]
    refreshed_at: datetime | None
    database_bytes: int


def load_index_facts(session: Session) -> IndexFacts:
    jobs = session.execute(
        text("SELECT queue_name, status::text, count(*) FROM procrastinate_jobs GROUP BY 1, 2")
    )
    images = session.execute(
        select(DrawnImage.state, func.count().label("number"))
        .where(DrawnImage.state.in_(UNFINISHED))
        .group_by(DrawnImage.state)
    )
    done = select(func.max(CrawlRun.finished_at)).where(CrawlRun.state == "done")
    size = select(func.pg_database_size(func.current_database()))
    return IndexFacts(
        adapters=count_states(session),
        jobs={(queue, state): count for queue, state, count in jobs},
        images={**dict.fromkeys(UNFINISHED, 0), **{image.state: image.number for image in images}},
        refreshed_at=session.scalar(done),
        database_bytes=session.scalar(size) or 0,
    )
