"""Weight encoders that are given up: their rows and embeddings go; what they read stays."""

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from registry.db.encoder_models import Encoder, EncoderPromotion, WeightEmbedding
from registry.db.encoders import get_encoder
from registry.db.promotion import find_fallback, lock_active
from registry.errors import EncoderInUseError


def remove_encoder(session: Session, name: str, *, force: bool = False) -> int:
    """Remove an encoder that does not serve; return how many embeddings went with it.

    What it had replaced takes its place in the history: a rollback that led to it leads there.

    Raises:
        EncoderNotFoundError: there is none of this name.
        EncoderInUseError: it is active, or a rollback would bring it back and not `force`.
    """
    encoder = get_encoder(session, name)
    active = lock_active(session, encoder.base_model)
    # Another may have removed it while this one waited.
    encoder = get_encoder(session, name)
    if active is not None and active.id == encoder.id:
        raise EncoderInUseError(
            f"encoder {name!r} is active for {encoder.base_model}, and stays. Promote another, or "
            f"go back to the one before by `autolora encoders rollback {encoder.base_model}`."
        )
    if active is not None and not force and _replaced(session, active) == encoder.id:
        raise EncoderInUseError(
            f"encoder {name!r} is what `autolora encoders rollback {encoder.base_model}` goes back "
            f"to from {active.name!r}, and stays. `autolora encoders remove {name} --force` "
            "removes it all the same."
        )
    _leave_history(session, encoder.id)
    embedded = delete(WeightEmbedding).where(WeightEmbedding.encoder_id == encoder.id)
    removed: int = session.execute(embedded).rowcount  # type: ignore[attr-defined]
    session.execute(delete(Encoder).where(Encoder.id == encoder.id))
    return removed


def forget_replaced(session: Session) -> int:
    """Delete the embeddings of encoders that served, unless they serve or a rollback leads there.

    Searches walk over them and use none. The encoders stay: a back-fill makes them again. One that
    never served may just be back-filled.
    """
    served = select(EncoderPromotion.encoder_id)
    replaced = select(Encoder.base_model).where(~Encoder.active, Encoder.id.in_(served)).distinct()
    removed = 0
    for base_model in session.scalars(replaced).all():
        # No promotion nor rollback meanwhile.
        active = lock_active(session, base_model)
        fallback = None if active is None else _replaced(session, active)
        idle = select(Encoder.id).where(
            Encoder.base_model == base_model,
            ~Encoder.active,
            Encoder.id.in_(served),
            Encoder.id.is_distinct_from(fallback),
        )
        embedded = delete(WeightEmbedding).where(WeightEmbedding.encoder_id.in_(idle))
        removed += session.execute(embedded).rowcount  # type: ignore[attr-defined]
    return removed


def _replaced(session: Session, active: Encoder) -> int | None:
    fallback = find_fallback(session, active.base_model)
    return None if fallback is None else fallback.id


def _leave_history(session: Session, encoder_id: int) -> None:
    """Have what replaced an encoder replace what that had replaced by then."""
    later = select(EncoderPromotion).where(EncoderPromotion.previous_id == encoder_id)
    for promotion in session.scalars(later).all():
        before = session.scalar(
            select(EncoderPromotion.previous_id)
            .where(
                EncoderPromotion.encoder_id == encoder_id,
                EncoderPromotion.kind == "promoted",
                EncoderPromotion.id < promotion.id,
            )
            .order_by(EncoderPromotion.id.desc())
            .limit(1)
        )
        # Of two that took turns, the one that is left replaced none.
        previous = None if before == promotion.encoder_id else before
        session.execute(
            update(EncoderPromotion)
            .where(EncoderPromotion.id == promotion.id)
            .values(previous_id=previous)
        )
