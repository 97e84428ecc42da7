"""Which weight encoder serves: promoted when it may, and rolled back."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased

from crawler.counted import counted
from registry.db.encoder_models import Encoder, EncoderPromotion, WeightEmbedding
from registry.db.encoders import count_missing, get_encoder
from registry.errors import PromotionError

# What an encoder must reach on the validation adapters of its training. On the miniature world a
# random order has an MRR of .045, AutoLoRA's own encoder .25 and the shipped one .7: below three
# times chance weights are noise beside captions. An interval of 95 % over 120 adapters is about .06
# wide to each side, so a loss of .02 is nothing that could be told from none.
TIMES_CHANCE = 3.0
MOST_LOSS = 0.02


def unmet_thresholds(metrics: Mapping[str, Any], active: Mapping[str, Any] | None) -> list[str]:
    """Return what speaks against promoting an encoder, in words; nothing if it may serve.

    `active` are the metrics of the encoder it would replace, if there is one.
    """
    mrr, gallery = _validation(metrics)
    if mrr is None or gallery is None:
        return ["its checkpoint does not say what MRR it has on how many validation adapters"]
    unmet = []
    floor = TIMES_CHANCE * chance_mrr(gallery)
    if mrr < floor:
        unmet.append(
            f"its validation MRR is {mrr:.3f}; {TIMES_CHANCE:g} times that of a "
            f"random order of {gallery} adapters is {floor:.3f}"
        )
    if active is None:
        return unmet
    old_mrr, _ = _validation(active)
    if old_mrr is None or _split(active) != _split(metrics):
        unmet.append("it was validated on other adapters than the active one: not comparable")
    elif mrr < old_mrr - MOST_LOSS:
        unmet.append(
            f"its validation MRR is {mrr:.3f}, the active one's {old_mrr:.3f}: "
            f"a loss of more than {MOST_LOSS:g}"
        )
    return unmet


def chance_mrr(gallery: int) -> float:
    """Return the MRR of a random order of `gallery` adapters, one of them relevant."""
    return sum(1 / place for place in range(1, gallery + 1)) / gallery


def _validation(metrics: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """Return the MRR and the number of validation adapters."""
    mrr = _at(metrics, "validation", "mrr")
    gallery = _at(metrics, "adapters", "validation")
    sound = isinstance(mrr, int | float) and isinstance(gallery, int) and gallery > 0
    return (float(mrr), gallery) if sound else (None, None)


def _split(metrics: Mapping[str, Any]) -> Any:
    """What tells splits apart: their name if there is one, else how many were validated on."""
    return metrics.get("split") or _at(metrics, "adapters", "validation")


def _at(metrics: Mapping[str, Any], *keys: str) -> Any:
    value: Any = metrics
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def promote(session: Session, name: str, *, reason: str | None = None) -> Encoder:
    """Make an encoder the one that search uses for its base model.

    Whoever opened the session commits: until then every search sees the one before, and
    from then on every search sees this one. `reason` overrides the thresholds, but never
    the back-fill, and is kept.

    Raises:
        PromotionError: it has not embedded everything, or does not meet the thresholds.
    """
    encoder = get_encoder(session, name)
    current = lock_active(session, encoder.base_model)
    if current is not None and current.id == encoder.id:
        return encoder
    _check_complete(session, encoder, current)
    unmet = unmet_thresholds(encoder.metrics, current.metrics if current else None)
    if unmet and not reason:
        raise PromotionError(
            f"encoder {name!r} is not promoted: {'; '.join(unmet)}. "
            f"`autolora encoders promote {name} --force REASON` does it all the same."
        )
    _activate(session, encoder, current, "promoted", reason if unmet else None)
    return encoder


def find_fallback(session: Session, base_model: str) -> Encoder | None:
    """The encoder that the active one of a base model replaced; None if it was the first.

    Raises:
        PromotionError: none is active.
    """
    promotions = session.execute(
        select(EncoderPromotion.previous_id)
        .join(Encoder, Encoder.id == EncoderPromotion.encoder_id)
        .where(
            Encoder.active, Encoder.base_model == base_model, EncoderPromotion.kind == "promoted"
        )
        .order_by(EncoderPromotion.id.desc())
        .limit(1)
    ).all()
    if not promotions:
        raise PromotionError(f"no encoder is active for {base_model}.")
    replaced = promotions[0].previous_id
    return None if replaced is None else session.get(Encoder, replaced)


def roll_back(session: Session, base_model: str) -> Encoder | None:
    """Make the encoder active again that the present one replaced, in one transaction.

    The first one is replaced by none: weights are compared no more.

    Raises:
        PromotionError: none is active, or the one before has not embedded what came since.
    """
    current = lock_active(session, base_model)
    fallback = find_fallback(session, base_model)
    if fallback is not None:
        _check_complete(session, fallback, current)
        _activate(session, fallback, current, "rolled back", None)
    elif current is not None:
        current.active = False
        _note(session, current, current, "rolled back", None)
    return fallback


def lock_active(session: Session, base_model: str) -> Encoder | None:
    """Of two promotions at once, one waits here for the other."""
    rows = session.scalars(
        select(Encoder)
        .where(Encoder.base_model == base_model)
        .order_by(Encoder.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    return next((encoder for encoder in rows if encoder.active), None)


def _activate(
    session: Session, encoder: Encoder, current: Encoder | None, kind: str, reason: str | None
) -> None:
    # Deactivated first: at no moment may two be active.
    session.execute(
        update(Encoder).where(Encoder.base_model == encoder.base_model).values(active=False)
    )
    session.execute(update(Encoder).where(Encoder.id == encoder.id).values(active=True))
    _note(session, encoder, current, kind, reason)
    session.refresh(encoder)


def _note(
    session: Session, encoder: Encoder, current: Encoder | None, kind: str, reason: str | None
) -> None:
    session.add(
        EncoderPromotion(
            base_model=encoder.base_model,
            encoder_id=encoder.id,
            previous_id=current.id if current else None,
            kind=kind,
            reason=reason,
        )
    )
    session.flush()


def _check_complete(session: Session, encoder: Encoder, current: Encoder | None) -> None:
    """No adapter that is found by its weights now may be lost."""
    missing = count_missing(session, encoder)
    if missing:
        raise PromotionError(
            f"encoder {encoder.name!r} has not embedded {counted(missing, 'adapter file')} yet; "
            f"run `autolora encoders backfill {encoder.name}` first."
        )
    if current is None:
        return
    other = aliased(WeightEmbedding)
    lost = session.scalar(
        select(func.count())
        .select_from(WeightEmbedding)
        .where(
            WeightEmbedding.encoder_id == current.id,
            ~select(other)
            .where(other.file_sha256 == WeightEmbedding.file_sha256, other.encoder_id == encoder.id)
            .exists(),
        )
    )
    if lost:
        raise PromotionError(
            f"{counted(lost, 'adapter file has', 'adapter files have')} no sketch of version "
            f"{encoder.sketch_version}, which encoder {encoder.name!r} reads; run "
            f"`autolora encode` to sketch them, then `autolora encoders backfill {encoder.name}`."
        )
