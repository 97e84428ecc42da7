"""Questions whose answers are known: does search still find what it should?"""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from registry.db.models import Adapter, Caption, Cover
from registry.retrieval.errors import SearchError
from registry.retrieval.filters import Filters
from registry.retrieval.finder import Finder
from registry.retrieval.given_values import Paging

# Questions of a night, and among how many answers the adapter that is meant counts as found.
QUESTIONS, FIRST = 20, 10
# A prompt may be an essay; its beginning says what is to be seen.
MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Canary:
    """A question made of an adapter's own words."""

    adapter_id: int
    base_model: str
    text: str


def ask_canaries(
    sessions: sessionmaker[Session], finder: Finder, before: dict[str, Any] | None
) -> dict[str, Any]:
    """Ask last time's questions again, and others in place of those whose adapters are gone.

    `before` is what this returned last time. Returned are the share of questions whose adapter is
    among the first answers now and last time, and the questions that found it then and not now.
    """
    before = before or {}
    with sessions() as session:
        canaries = _choose(session, [Canary(**facts) for facts in before.get("questions", [])])
    found = {canary.text: _is_found(finder, canary) for canary in canaries}
    lost = [text for text in before.get("found", []) if found.get(text) is False]
    return {
        "recall": sum(found.values()) / len(found) if found else None,
        "recall_before": before.get("recall"),
        "lost": lost,
        "found": [text for text, is_found in found.items() if is_found],
        "questions": [asdict(canary) for canary in canaries],
    }


def _choose(session: Session, asked: list[Canary]) -> list[Canary]:
    ready = Adapter.state == "ready"
    here = set(
        session.scalars(
            select(Adapter.id).where(ready, Adapter.id.in_([one.adapter_id for one in asked]))
        )
    )
    kept = [one for one in asked if one.adapter_id in here]
    # The same adapters in every night, and not the oldest ones.
    drawn = session.scalars(
        select(Adapter)
        .where(ready, Adapter.id.not_in(here))
        .order_by(func.md5(Adapter.repo), Adapter.id)
        .limit(QUESTIONS - len(kept))
    )
    return kept + [_question(session, adapter) for adapter in drawn.all()]


def _question(session: Session, adapter: Adapter) -> Canary:
    """Ask by a caption, or by the name where there is none."""
    caption = session.scalar(
        select(Caption.text)
        .join(Cover, Cover.id == Caption.cover_id)
        .where(Cover.adapter_id == adapter.id, Caption.text != "")
        .order_by(Cover.position, Caption.id)
        .limit(1)
    )
    words = (caption or adapter.name or adapter.repo)[:MOST_CHARACTERS]
    return Canary(adapter.id, adapter.base_model, words)


def _is_found(finder: Finder, canary: Canary) -> bool:
    try:
        page = finder.search(canary.text, Filters((canary.base_model,)), Paging(limit=FIRST))
    except SearchError:
        return False
    found = {card.id for result in page.results for card in (result.card, *result.also)}
    return canary.adapter_id in found
