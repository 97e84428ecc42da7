"""Weight encoders in the database: registering, promoting, finding."""

from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from registry.blobs import BlobStore, hash_file
from registry.db.models import EMBEDDING_DIM, Encoder, WeightEmbedding
from registry.errors import EncoderRejectedError


def active_encoders(session: Session) -> list[Encoder]:
    """The encoders that search uses, one a base model at most."""
    return list(session.scalars(select(Encoder).where(Encoder.active).order_by(Encoder.id)))


def is_registered(session: Session, path: Path) -> bool:
    """Whether an encoder with this very checkpoint is known, active or not."""
    sha256 = hash_file(path)
    return session.scalar(select(Encoder.id).where(Encoder.checkpoint_sha256 == sha256)) is not None


def register_encoder(session: Session, blobs: BlobStore, path: Path) -> Encoder:
    """Store a checkpoint and make its encoder the active one of its base model.

    Whoever opened the session commits, and so promotes it in one transaction; the next
    refresh embeds what is there. A checkpoint of a known name replaces that encoder, whose
    embeddings go, for they are not in the new one's space.

    Raises:
        EncoderRejectedError: it is no checkpoint, or its embeddings do not fit the column.
    """
    from encoder.checkpoint import load_encoder
    from encoder.errors import CheckpointError

    try:
        loaded = load_encoder(path)
    except (CheckpointError, FileNotFoundError) as error:
        raise EncoderRejectedError(
            f"{path} cannot be registered: {error}. Point REGISTRY_ENCODER_CHECKPOINT at a "
            "checkpoint of a weight encoder."
        ) from error
    if loaded.dim != EMBEDDING_DIM:
        raise EncoderRejectedError(
            f"encoder {loaded.name!r} gives {loaded.dim} dimensions; {EMBEDDING_DIM} are stored. "
            "Train it with a text encoder of that width."
        )
    sha256 = blobs.put_file(path)
    # Deactivated first: at no moment may two be active.
    session.execute(
        update(Encoder).where(Encoder.base_model == loaded.base_model).values(active=False)
    )
    encoder = session.scalar(select(Encoder).where(Encoder.name == loaded.name).with_for_update())
    if encoder is None:
        encoder = Encoder(name=loaded.name)
        session.add(encoder)
    elif encoder.checkpoint_sha256 != sha256:
        session.execute(delete(WeightEmbedding).where(WeightEmbedding.encoder_id == encoder.id))
    encoder.base_model = loaded.base_model
    encoder.text_encoder = loaded.text_encoder
    encoder.sketch_version = loaded.sketch_version
    encoder.checkpoint_sha256 = sha256
    encoder.metrics = dict(loaded.metrics)
    encoder.active = True
    session.flush()
    return encoder
