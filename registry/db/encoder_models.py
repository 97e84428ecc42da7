"""The tables of encoders: what they read, what they are, and what they made of it.

The others are in models.py.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, func
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.half_vectors import HalfVec
from registry.db.models import EMBEDDING_DIM, Base, hnsw


class Encoder(Base):
    """A trained weight encoder; at most one a base model is active, and search uses that."""

    __tablename__ = "encoders"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    base_model: Mapped[str]
    text_encoder: Mapped[str]
    sketch_version: Mapped[str]
    # Its checkpoint is a blob.
    checkpoint_sha256: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    # What its similarities mean, measured on the index when it was promoted.
    calibration: Mapped[dict[str, Any] | None]
    active: Mapped[bool] = mapped_column(server_default=sql("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        Index(
            "uq_encoders_base_model_active",
            "base_model",
            unique=True,
            postgresql_where=sql("active"),
        ),
    )


class EncoderPromotion(Base):
    """One change of a base model's active encoder."""

    __tablename__ = "encoder_promotions"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    base_model: Mapped[str]
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id", ondelete="CASCADE"))
    previous_id: Mapped[int | None] = mapped_column(ForeignKey("encoders.id", ondelete="SET NULL"))
    kind: Mapped[str]
    # Why thresholds were overridden, for people.
    reason: Mapped[str | None]
    promoted_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("kind IN ('promoted', 'rolled back')", name="kind"),)


class WeightEmbedding(Base):
    """A file's weights in an encoder's space. By file, so re-uploads are encoded once."""

    __tablename__ = "weight_embeddings"

    file_sha256: Mapped[str] = mapped_column(
        ForeignKey("files.sha256", ondelete="CASCADE"), primary_key=True
    )
    encoder_id: Mapped[int] = mapped_column(
        ForeignKey("encoders.id", ondelete="CASCADE"), primary_key=True
    )
    embedding: Mapped[Any] = mapped_column(HalfVec(EMBEDDING_DIM))

    __table_args__ = (hnsw("weight_embeddings"),)


class Sketch(Base):
    """What encoders are trained on and encode from; kept for good, unlike the file."""

    __tablename__ = "sketches"

    file_sha256: Mapped[str] = mapped_column(
        ForeignKey("files.sha256", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class SketchBasis(Base):
    """The inputs that a family's sketches are made in, learned from the files of this index.

    The latest of a family is used, beside the sketches that every file has.
    """

    __tablename__ = "sketch_bases"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    family: Mapped[str]
    # The version of the sketches made in it.
    version: Mapped[str] = mapped_column(unique=True)
    # The basis is a blob.
    basis_sha256: Mapped[str]
    # How many files it was learned from.
    files: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
