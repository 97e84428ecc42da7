"""Weight encoders in the database: registered and listed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crawler.hashed_file import hash_file
from encoder.base_models.families import find_family
from registry.blobs import BlobStore
from registry.db import pending
from registry.db.encoder_models import Encoder, EncoderPromotion, WeightEmbedding
from registry.db.models import EMBEDDING_DIM
from registry.errors import EncoderNotFoundError, EncoderRejectedError


class _OfBaseModel(Protocol):
    @property
    def base_model(self) -> str: ...


AnyEncoder = TypeVar("AnyEncoder", bound=_OfBaseModel)


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """An encoder as people see it; `missing` sketches have no embedding by it yet."""

    name: str
    base_model: str
    text_encoder: str
    sketch_version: str
    metrics: dict[str, Any]
    active: bool
    # Whether it is active, or was so once.
    served: bool
    created_at: datetime
    embedded: int
    missing: int

    @property
    def is_unfinished(self) -> bool:
        """Whether its back-fill was not begun, or stopped, before it ever served."""
        return not self.served and self.missing > 0


def active_encoders(session: Session) -> list[Encoder]:
    """The encoders that search uses, one a base model at most."""
    return list(session.scalars(select(Encoder).where(Encoder.active).order_by(Encoder.id)))


def find_active(session: Session, base_model: str) -> Encoder | None:
    """The encoder that search uses for a base model: its own, or one of the same family."""
    return encoder_among(active_encoders(session), base_model)


def encoder_among(active: Sequence[AnyEncoder], base_model: str) -> AnyEncoder | None:
    """The one of `active` encoders that search uses for a base model."""
    same = [encoder for encoder in active if encoder.base_model == base_model]
    family = find_family(base_model)
    kin = [e for e in active if family is not None and find_family(e.base_model) is family]
    return next(iter([*same, *kin]), None)


def candidates(session: Session, checkpoints: set[str]) -> list[Encoder]:
    """Encoders of these checkpoints (sha256) that never served: they wait to be promoted."""
    served = select(EncoderPromotion.encoder_id)
    return list(
        session.scalars(
            select(Encoder)
            .where(Encoder.checkpoint_sha256.in_(checkpoints), Encoder.id.not_in(served))
            .order_by(Encoder.id)
        )
    )


def find_registered(session: Session, path: Path) -> Encoder | None:
    """The encoder with this very checkpoint, active or not."""
    sha256 = hash_file(path)
    return session.scalar(select(Encoder).where(Encoder.checkpoint_sha256 == sha256))


def find_encoder(session: Session, name: str) -> Encoder | None:
    """Return the encoder of a name, active or not, if there is one."""
    return session.scalar(select(Encoder).where(Encoder.name == name))


def get_encoder(session: Session, name: str) -> Encoder:
    """Return the encoder of a name, active or not.

    Raises:
        EncoderNotFoundError: there is none.
    """
    encoder = find_encoder(session, name)
    if encoder is None:
        raise EncoderNotFoundError(name, list(session.scalars(select(Encoder.name))))
    return encoder


def list_encoders(session: Session) -> list[EncoderFacts]:
    """Return all encoders, those of a base model together, the latest first."""
    embedded = dict(
        session.execute(
            select(WeightEmbedding.encoder_id, func.count()).group_by(WeightEmbedding.encoder_id)
        ).all()
    )
    served = set(session.scalars(select(EncoderPromotion.encoder_id)))
    encoders = session.scalars(select(Encoder).order_by(Encoder.base_model, Encoder.id.desc()))
    return [
        EncoderFacts(
            name=encoder.name,
            base_model=encoder.base_model,
            text_encoder=encoder.text_encoder,
            sketch_version=encoder.sketch_version,
            metrics=encoder.metrics,
            active=encoder.active,
            served=encoder.active or encoder.id in served,
            created_at=encoder.created_at,
            embedded=embedded.get(encoder.id, 0),
            missing=count_missing(session, encoder),
        )
        for encoder in encoders
    ]


def base_models_of(session: Session, encoder: Encoder) -> list[str]:
    """The base models whose adapters an encoder can embed: all of its architecture."""
    family = find_family(encoder.base_model)
    names = pending.base_models_of_files(session)
    return [n for n in names if n == encoder.base_model or (family and find_family(n) is family)]


def count_missing(session: Session, encoder: Encoder) -> int:
    """Return how many files an encoder has not embedded of those that it can embed."""
    return pending.count_to_embed(session, encoder, base_models_of(session, encoder))


def register_encoder(session: Session, blobs: BlobStore, path: Path) -> Encoder:
    """Store a checkpoint as an encoder beside those that are there; it serves once promoted.

    A name that another checkpoint has already gets the start of the hash behind it: what was
    embedded by the one says nothing in the space of the other.

    Raises:
        EncoderRejectedError: it is no checkpoint, or does not read its base model's adapters, or
            its embeddings do not fit the column.
    """
    from encoder.errors import CheckpointError
    from encoder.weight_encoders.checkpoint import load_encoder

    try:
        loaded = load_encoder(path)
    except (CheckpointError, FileNotFoundError) as error:
        raise EncoderRejectedError(
            f"{path} cannot be registered: {error}. Give a checkpoint of a weight encoder; "
            "REGISTRY_ENCODER_CHECKPOINT names those that a refresh registers."
        ) from error
    if find_family(loaded.family) is not find_family(loaded.base_model):
        raise EncoderRejectedError(
            f"encoder {loaded.name!r} is for {loaded.base_model}, and reads adapters of "
            f"{loaded.family}. Train it on adapters of the base model that it is for."
        )
    if loaded.dim != EMBEDDING_DIM:
        raise EncoderRejectedError(
            f"encoder {loaded.name!r} gives {loaded.dim} dimensions; {EMBEDDING_DIM} are stored. "
            "Train it with a text encoder of that width."
        )
    sha256 = blobs.put_file(path)
    known = session.scalar(select(Encoder).where(Encoder.checkpoint_sha256 == sha256))
    if known is not None:
        return known
    taken = session.scalar(select(Encoder.id).where(Encoder.name == loaded.name)) is not None
    encoder = Encoder(
        name=f"{loaded.name}-{sha256[:8]}" if taken else loaded.name,
        base_model=loaded.base_model,
        text_encoder=loaded.text_encoder,
        sketch_version=loaded.sketch_version,
        checkpoint_sha256=sha256,
        metrics=dict(loaded.metrics),
        active=False,
    )
    session.add(encoder)
    session.flush()
    return encoder
