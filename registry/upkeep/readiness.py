"""Whether a server can answer as it should: its schema is the database's, its encoders are here."""

from functools import cache

from sqlalchemy.orm import Session

from registry.blobs import BlobStore
from registry.db.encoders import active_encoders
from registry.db.migrate import last_revision, stored_revision
from registry.errors import EncoderLostError, NotReadyError


def check_ready(session: Session, blobs: BlobStore) -> None:
    """Return where all is well.

    Raises:
        NotReadyError: with what is wrong, and what to do.
    """
    revision = stored_revision(session.connection())
    if revision != _known_revision():
        raise NotReadyError(
            f"the database's schema is at {revision} and this server knows {_known_revision()}; "
            "restart it with the version that migrated the database"
        )
    for encoder in active_encoders(session):
        if not blobs.exists(encoder.checkpoint_sha256):
            raise EncoderLostError(encoder.name, encoder.base_model)


@cache
def _known_revision() -> str:
    """Of this code: its files do not change while it runs."""
    return last_revision()
