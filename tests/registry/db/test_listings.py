"""`listings` equals what a query over adapters and their files says, whatever was done to them."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from registry.db.adapters import forget_file
from registry.db.models import Adapter, File, Listing
from registry.fusion.licences import Terms, terms_of
from tests.builders import add_adapter

VERDICT = {"fusable": True, "trainer": "Kohya", "ranks": [4, 16, 64], "reasons": []}


def expected(session: Session) -> dict[int, dict[str, Any]]:
    """What listings should hold, the slow and obvious way."""
    session.expire_all()
    rows = {}
    for adapter, file in session.execute(
        select(Adapter, File)
        .join(File, File.sha256 == Adapter.file_sha256)
        .where(Adapter.state == "ready")
    ):
        verdict = file.verdict or {}
        ranks = verdict.get("ranks") or [0, 0, 0]
        trainer = verdict.get("trainer")
        rows[adapter.id] = {
            "file_sha256": file.sha256,
            "base_model": adapter.base_model,
            "name": adapter.name.lower(),
            "author": adapter.author.lower(),
            "hub": adapter.hub.lower(),
            "tags": sorted({tag.lower() for tag in adapter.tags}),
            "licence": adapter.licence and adapter.licence.lower(),
            "commercial": terms_of(adapter.licence) <= Terms.CONDITIONS,
            "trainer": trainer and trainer.lower(),
            "rank": ranks[1],
            "size": file.size,
            "downloads": adapter.downloads,
            "created_at": adapter.hub_created_at,
            "updated_at": adapter.hub_updated_at,
            "has_trigger_words": bool(adapter.trigger_words),
            "fusable": bool(verdict.get("fusable")),
            "mature": adapter.mature,
        }
    return rows


def listed(session: Session) -> dict[int, dict[str, Any]]:
    session.expire_all()
    known = [c.name for c in Listing.__table__.columns if c.name not in ("adapter_id", "shuffle")]
    return {
        row.adapter_id: {name: getattr(row, name) for name in known}
        for row in session.scalars(select(Listing))
    }


def test_only_what_is_ready_is_listed(session: Session) -> None:
    adapter = add_adapter(session, state="listed")
    assert listed(session) == {}

    for state, is_listed in (("ready", True), ("refused", False), ("ready", True), ("gone", False)):
        session.execute(update(Adapter).where(Adapter.id == adapter.id).values(state=state))
        assert (adapter.id in listed(session)) is is_listed


def test_a_verdict_that_comes_later_shows(session: Session) -> None:
    """A file is shared by all its adapters, and read once."""
    first = add_adapter(session)
    second = add_adapter(session, file_sha256=first.file_sha256)
    assert {row["rank"] for row in listed(session).values()} == {0}

    session.execute(update(File).values(verdict=VERDICT, size=7))

    rows = listed(session)
    assert rows.keys() == {first.id, second.id}
    assert {(row["rank"], row["trainer"], row["size"]) for row in rows.values()} == {
        (16, "kohya", 7)
    }


def test_a_deleted_adapter_is_listed_no_more(session: Session) -> None:
    adapter = add_adapter(session)
    session.execute(delete(Adapter).where(Adapter.id == adapter.id))

    assert listed(session) == {}


def test_that_a_crawl_saw_an_adapter_writes_no_listing(session: Session) -> None:
    """Every run notes it of every adapter."""
    adapter = add_adapter(session)
    place = text("SELECT ctid::text FROM listings WHERE adapter_id = :id")
    before = session.scalar(place, {"id": adapter.id})

    session.execute(update(Adapter).values(seen_run=9, state="ready", downloads=0))

    assert session.scalar(place, {"id": adapter.id}) == before


LICENCES = [
    None, "", "other", "MIT", "mit license", "emit", "Apache-2.0", "CC-BY-4.0", "cc-by-nc-4.0",
    "CC-BY-SA-4.0", "cc-by-nd-4.0", "CC-BY-NC-ND-4.0", "cc0-1.0", "creativeml-openrail-m",
    "openrail++", "GPL-3.0", "lgpl", "flux-1-dev-non-commercial-license", "FluxDev", "research",
    "fair-noncommercial", "stabilityai-community", "gemma", "llama3", "isc", "discord", "bsd-3",
    "unlicense", "public domain", "wtfpl", "No-Derivatives", "non commercial", " MIT ", "mpl-2.0",
    "知识共享", "cc-by", "cc-by-x", "a_nc", "x nd y",
]  # fmt: skip


def test_sql_sorts_licences_as_fusion_does(session: Session) -> None:
    for licence in LICENCES:
        permits = session.scalar(text("SELECT permits_selling(:name)"), {"name": licence})
        assert permits is (terms_of(licence) <= Terms.CONDITIONS), licence


def _change(session: Session, rng: random.Random) -> None:
    """Do to a random adapter or file one of the things that the pipeline does."""
    adapters = session.scalars(select(Adapter)).all()
    if not adapters or rng.random() < 0.2:
        shared = rng.choice(adapters).file_sha256 if adapters and rng.random() < 0.5 else None
        add_adapter(
            session,
            state=rng.choice(["ready", "listed"]),
            file_sha256=shared,
            name=rng.choice(["Ärger", "狐狸 Fox", "X"]),
            licence=rng.choice(LICENCES),
            tags=rng.choice([[], ["A", "b"], ["水墨", "C d"]]),
        )
        return
    adapter = rng.choice(adapters)
    sha256 = adapter.file_sha256
    row = update(Adapter).where(Adapter.id == adapter.id)
    of_file = update(Adapter).where(Adapter.file_sha256 == sha256, Adapter.state != "gone")
    match rng.randrange(9):
        case 0:
            state = rng.choice(["ready", "listed", "refused", "gone"])
            # What is ready has a file.
            session.execute(row.values(state=state if sha256 else "listed"))
        case 1:
            session.execute(row.values(downloads=rng.randrange(9), mature=rng.choice([None, True])))
        case 2:
            session.execute(row.values(base_model="pony", claimed_base_model="pony"))
        case 3 if sha256:
            session.execute(of_file.values(state="refused", refusal="bad"))
        case 4 if sha256:
            session.execute(of_file.values(state="listed", refusal=None))
        case 5 if sha256:
            forget_file(session, sha256)
        case 6 if sha256:
            verdict = VERDICT | {"ranks": rng.choice([[], [1, 2, 3]]), "trainer": None}
            session.execute(update(File).where(File.sha256 == sha256).values(verdict=verdict))
        case 7:
            session.execute(delete(Adapter).where(Adapter.id == adapter.id))
        case _:
            moment = datetime(2026, 1, rng.randint(1, 28), tzinfo=UTC)
            session.execute(
                row.values(hub_updated_at=moment, tags=["new"], trigger_words=["x"], author="Z")
            )


@pytest.mark.parametrize("seed", range(3))
def test_listings_follow_whatever_happens(session: Session, seed: int) -> None:
    rng = random.Random(seed)
    for step in range(60):
        _change(session, rng)
        session.flush()
        if step % 5 == 0:
            assert listed(session) == expected(session)
    assert listed(session) == expected(session)


@pytest.mark.parametrize("file_first", [True, False])
def test_a_file_and_an_adapter_that_change_at_once_both_show(
    sessions: sessionmaker[Session], file_first: bool
) -> None:
    """One worker reads a file while another notes what the hub says today."""
    with sessions.begin() as session:
        id_ = add_adapter(session, downloads=1).id
    statements = [update(File).values(verdict=VERDICT), update(Adapter).values(downloads=2)]
    first, second = statements if file_first else reversed(statements)

    def change() -> None:
        with sessions.begin() as session:
            session.execute(second)

    with ThreadPoolExecutor() as pool:
        with sessions.begin() as session:
            session.execute(first)
            changing = pool.submit(change)
            wait_for_a_lock(sessions)
        changing.result()

    with sessions() as session:
        assert listed(session) == expected(session)
        assert (listed(session)[id_]["downloads"], listed(session)[id_]["rank"]) == (2, 16)


def wait_for_a_lock(sessions: sessionmaker[Session]) -> None:
    """Wait until somebody waits for another's lock."""
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    for _ in range(1000):
        with sessions() as session:
            if session.scalar(waiting):
                return
        time.sleep(0.01)
    pytest.fail("nobody waits")
