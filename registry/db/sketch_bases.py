"""Bases that an index has learned for its sketches, and the files that have none in them yet."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.orm import Session, aliased

from registry.db.claims import load_beside
from registry.db.encoder_models import Sketch, SketchBasis
from registry.db.models import File
from registry.db.reading_facts import NOTHING, Beside


def find_basis(session: Session, family: str) -> SketchBasis | None:
    """The basis that a family's files are sketched in, beside the one that all have."""
    query = select(SketchBasis).where(SketchBasis.family == family)
    return session.scalar(query.order_by(SketchBasis.id.desc()).limit(1))


def is_latest() -> ColumnElement[bool]:
    """Whether a basis is its family's last, which alone is used."""
    return SketchBasis.id.in_(select(func.max(SketchBasis.id)).group_by(SketchBasis.family))


def list_bases(session: Session) -> list[SketchBasis]:
    """The latest of each family."""
    return list(session.scalars(select(SketchBasis).where(is_latest())))


def list_kept(session: Session, base_models: Collection[str]) -> list[str]:
    """The files of base models that were sketched and are in the blob store, by hash."""
    query = select(File.sha256).where(
        File.base_model.in_(base_models),
        File.state == "stored",
        exists().where(Sketch.file_sha256 == File.sha256),
    )
    return list(session.scalars(query.order_by(File.sha256)))


def _lacks(base_models: Collection[str], version: str) -> ColumnElement[bool]:
    """Sketched, but not in this version."""
    other = aliased(Sketch)
    return and_(
        File.base_model.in_(base_models),
        exists().where(other.file_sha256 == File.sha256),
        ~exists().where(Sketch.file_sha256 == File.sha256, Sketch.version == version),
    )


def list_to_sketch(
    session: Session, base_models: Collection[str], version: str, after: str, limit: int
) -> dict[str, Beside]:
    """Return files that are kept and lack a sketch of a version, with what was beside them."""
    query = select(File.sha256).where(
        _lacks(base_models, version), File.state == "stored", File.sha256 > after
    )
    hashes = list(session.scalars(query.order_by(File.sha256).limit(limit)))
    beside = load_beside(session, hashes)
    return {sha256: beside.get(sha256, NOTHING) for sha256 in hashes}


def count_to_sketch(session: Session, base_models: Collection[str], version: str) -> int:
    """Return how many files lack a sketch of a version, whether kept or not."""
    query = select(func.count(File.sha256)).where(_lacks(base_models, version))
    return session.scalar(query) or 0
