"""What files were read as, stored many at a time.

A transaction costs more than a file's share of it: the rows of a group are loaded, changed and
written together.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from encoder.base_models.families import find_family
from registry.db.adapters import label
from registry.db.claims import load_beside
from registry.db.encoder_models import Sketch, WeightEmbedding
from registry.db.models import Adapter, File
from registry.db.reading_facts import NOTHING, Reading
from registry.db.records import record_from_json, settle
from registry.db.removals import is_removed


def store_readings(session: Session, readings: Sequence[Reading]) -> None:
    """Store what files were read as, and settle what is said of the adapters that they are of.

    A file of which something else is said by now is read again by the next refresh.
    """
    hashes = [reading.sha256 for reading in readings]
    adapters = _lock_adapters(session, hashes)
    files = _lock_files(session, hashes)
    beside = load_beside(session, hashes)
    for reading in readings:
        file = files[reading.sha256]
        columns = {**reading.columns, "refusal": reading.refusal or None}
        if beside.get(reading.sha256, NOTHING) != reading.beside:
            columns["reader_version"] = None
        if not reading.refusal:
            _forget_other_family(session, file, columns["base_model"])
        for column, value in columns.items():
            setattr(file, column, value)
        for adapter in adapters[reading.sha256]:
            _settle(adapter, file, reading.refusal)
    _store_sketches(session, readings)


def refuse_latecomers(session: Session) -> list[tuple[str, str]]:
    """Refuse the adapters that were given a file after it was refused; return which, and why.

    A second listing is given it, and what was gone or taken out comes back with it.
    """
    late = session.execute(
        select(Adapter, File.refusal)
        .join(Adapter.file)
        .where(Adapter.state == "listed", File.refusal.is_not(None))
        .order_by(Adapter.id)
        # The files too: somebody may be storing that they are taken now.
        .with_for_update(key_share=True)
    )
    refused = list[tuple[str, str]]()
    for adapter, refusal in late:
        assert refusal is not None
        adapter.state, adapter.refusal = "refused", refusal
        refused.append((label(adapter.repo, adapter.version), refusal))
    return refused


def _lock_adapters(session: Session, hashes: Sequence[str]) -> dict[str, list[Adapter]]:
    """Return the adapters of each file, locked in the order in which all lock them."""
    found: dict[str, list[Adapter]] = defaultdict(list)
    for adapter in session.scalars(
        select(Adapter)
        .where(Adapter.file_sha256.in_(hashes), Adapter.state != "gone")
        .order_by(Adapter.id)
        .with_for_update(key_share=True)
    ):
        assert adapter.file_sha256 is not None
        found[adapter.file_sha256].append(adapter)
    return found


def _lock_files(session: Session, hashes: Sequence[str]) -> dict[str, File]:
    rows = session.scalars(
        select(File)
        .where(File.sha256.in_(hashes))
        .order_by(File.sha256)
        # Adapters may be given these files meanwhile.
        .with_for_update(key_share=True)
    )
    return {file.sha256: file for file in rows}


def _settle(adapter: Adapter, file: File, refusal: str) -> None:
    """Refuse an adapter; or let what its file was read as correct what is said of it."""
    if is_removed(adapter):
        return
    if refusal:
        adapter.state, adapter.refusal = "refused", refusal
        return
    if adapter.state == "refused":
        # By an earlier reader.
        adapter.state, adapter.refusal = "listed", None
    record = record_from_json(adapter.record)
    for column, value in settle(record, file, adapter.claimed_base_model).items():
        setattr(adapter, column, value)


def _forget_other_family(session: Session, file: File, base_model: str) -> None:
    """What was made of a file as another architecture's says nothing any more."""
    if file.base_model and find_family(file.base_model) is not find_family(base_model):
        session.execute(delete(Sketch).where(Sketch.file_sha256 == file.sha256))
        session.execute(delete(WeightEmbedding).where(WeightEmbedding.file_sha256 == file.sha256))


def _store_sketches(session: Session, readings: Sequence[Reading]) -> None:
    made = {
        (reading.sha256, sketch.version): sketch.data
        for reading in readings
        for sketch in reading.sketches
    }
    hashes = [sha256 for sha256, _ in made]
    for stored in session.scalars(select(Sketch).where(Sketch.file_sha256.in_(hashes))):
        data = made.pop((stored.file_sha256, stored.version), None)
        if data is not None and data != stored.data:
            # Read otherwise than before: embeddings of it are those of another adapter.
            stored.data = data
            session.execute(
                delete(WeightEmbedding).where(WeightEmbedding.file_sha256 == stored.file_sha256)
            )
    session.add_all(
        Sketch(file_sha256=sha256, version=version, data=data)
        for (sha256, version), data in made.items()
    )
