"""What people and hubs say that a file is for, and what lies beside it where it is listed."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from crawler.records import AdapterRecord
from encoder.base_models.matching import claim_of_hub, claim_of_person, person_says
from registry.db.adapters import read_again
from registry.db.models import Adapter, File
from registry.db.reading_facts import Beside
from registry.db.records import record_from_json, settle
from registry.db.removals import is_removed
from registry.errors import AdapterNotFoundError

# Who says so, where nobody says who.
SOMEBODY = "somebody"


def load_beside(session: Session, hashes: Collection[str]) -> dict[str, Beside]:
    """Return what is said of files. Of several people, the last one who spoke is believed."""
    rows = session.execute(
        select(
            Adapter.file_sha256,
            Adapter.hub,
            Adapter.record["base_model_words"].label("words"),
            Adapter.record["file", "peft_config"].as_string().label("peft_config"),
            Adapter.claimed_base_model,
            Adapter.claimed_by,
        )
        .where(Adapter.file_sha256.in_(hashes), Adapter.state != "gone")
        .order_by(Adapter.claimed_at.desc().nulls_last(), Adapter.id)
    )
    by_file: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_file[row.file_sha256].append(row)
    return {sha256: _beside(of_file) for sha256, of_file in by_file.items()}


def _beside(rows: Sequence[Row[Any]]) -> Beside:
    claims = [
        person_says(row.claimed_base_model, row.claimed_by or SOMEBODY)
        for row in rows[:1]
        if row.claimed_base_model is not None
    ]
    for row in rows:
        claim = claim_of_hub(row.words or (), row.hub)
        if claim is not None:
            claims.append(claim)
    configs = (row.peft_config or "" for row in rows)
    return Beside(tuple(dict.fromkeys(claims)), next(filter(None, configs), ""))


def said_of(record: AdapterRecord, claimed: str | None, claimed_by: str | None) -> Beside:
    """Return what is said of an adapter whose file is not here yet."""
    claims = [person_says(claimed, claimed_by or SOMEBODY)] if claimed else []
    of_hub = claim_of_hub(record.base_model_words, record.hub)
    return Beside((*claims, of_hub) if of_hub else (*claims,), record.file.peft_config)


def store_claim(session: Session, adapter_id: int, base_model: str | None, who: str) -> str | None:
    """Store what a person says that an adapter is for, None to take it back; return its file.

    The file is to be read again.

    Raises:
        AdapterNotFoundError: there is none of this id.
        UnknownClaimError: nothing known here is called so.
    """
    name = None if base_model is None else claim_of_person(base_model, who).base_model
    adapter = session.get(Adapter, adapter_id)
    if adapter is None:
        raise AdapterNotFoundError(adapter_id)
    adapter.claimed_base_model = name
    by_header = adapter.state == "refused" and adapter.refused_by is not None
    if by_header and not is_removed(adapter):
        # By its header alone: the next fetch looks at it again.
        adapter.state, adapter.refusal, adapter.refused_by = "listed", None, None
    adapter.claimed_by, adapter.claimed_at = (who, datetime.now(UTC)) if name else (None, None)
    file = session.get(File, adapter.file_sha256) if adapter.file_sha256 else None
    adapter.base_model = settle(record_from_json(adapter.record), file, name)["base_model"]
    if file is not None:
        read_again(session, file.sha256)
    return adapter.file_sha256


def find_peft_config(session: Session, file_sha256: str) -> str:
    """Return the config that a file was read with; "" if there was none."""
    file = session.get(File, file_sha256)
    return "" if file is None else file.peft_config
