"""Encoders that are given up, and what a rollback leads to without them."""

from collections.abc import Sequence

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.encoder_models import Encoder, EncoderPromotion
from registry.db.encoder_removals import remove_encoder
from registry.db.promotion import promote, roll_back
from registry.errors import EncoderInUseError
from tests.builders import add_encoder
from tests.registry.conftest import GOOD


def add_in_turn(session: Session, names: Sequence[str]) -> None:
    """Add encoders and promote one after the other; a name that comes again is promoted again."""
    for name in dict.fromkeys(names):
        add_encoder(session, name=name, active=False, metrics=GOOD)
    for name in names:
        promote(session, name)


@pytest.mark.parametrize(
    ("promoted", "removed", "back_to"),
    [
        ("abc", "b", "a"),
        ("abc", "a", "b"),
        ("ab", "a", None),
        # They took turns: none was there before the one that is left.
        ("aba", "b", None),
        ("bab", "a", None),
    ],
)
def test_a_rollback_leads_past_what_was_removed(
    session: Session, promoted: str, removed: str, back_to: str | None
) -> None:
    add_in_turn(session, promoted)

    remove_encoder(session, removed, force=True)

    fallback = roll_back(session, "demo-flux-tiny")
    assert (fallback and fallback.name) == back_to


def test_only_what_serves_or_would_serve_is_kept(session: Session) -> None:
    add_in_turn(session, "abc")

    for name in "bc":
        with pytest.raises(EncoderInUseError):
            remove_encoder(session, name)
    assert remove_encoder(session, "a") == 0
    assert remove_encoder(session, "b", force=True) == 0
    with pytest.raises(EncoderInUseError, match="Promote another"):
        remove_encoder(session, "c", force=True)


def test_what_was_rolled_back_may_go(session: Session) -> None:
    """Nothing leads back to it, and its promotions go with it."""
    add_in_turn(session, "ab")
    roll_back(session, "demo-flux-tiny")

    remove_encoder(session, "b")

    assert session.scalars(select(Encoder.name)).all() == ["a"]
    kinds = session.scalars(select(EncoderPromotion.kind).order_by(EncoderPromotion.id)).all()
    assert kinds == ["promoted", "rolled back"]
