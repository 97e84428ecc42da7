"""The origins that were crawled, and how far each has come."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from registry.db.models import CrawlCursor, CrawlRun
from registry.db.runs import state_now


@dataclass(frozen=True, slots=True)
class HubFacts:
    """An origin: what changed there before `updated_since` is here, None where it never ended.

    A folder has no cursor: all of it is looked at each time.
    """

    hub: str
    endpoint: str
    updated_since: datetime | None
    last_run_at: datetime
    last_state: str


def list_hubs(session: Session) -> list[HubFacts]:
    """Return every origin that was ever refreshed, by its name."""
    same = (CrawlCursor.hub == CrawlRun.hub) & (CrawlCursor.endpoint == CrawlRun.endpoint)
    whole = aliased(CrawlRun)
    listed_all = (
        select(func.max(whole.started_at))
        .where(whole.hub == CrawlRun.hub, whole.endpoint == CrawlRun.endpoint, whole.listed_all)
        .scalar_subquery()
    )
    rows = session.execute(
        select(
            CrawlRun.hub,
            CrawlRun.endpoint,
            func.coalesce(CrawlCursor.updated_since, listed_all),
            CrawlRun.started_at,
            state_now(),
        )
        .outerjoin(CrawlCursor, same)
        # Of each origin the first row in this order.
        .ext(distinct_on(CrawlRun.hub, CrawlRun.endpoint))
        .order_by(CrawlRun.hub, CrawlRun.endpoint, CrawlRun.id.desc())
    )
    return [HubFacts(*row) for row in rows]
