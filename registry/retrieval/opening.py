"""What a search has to know before it asks anything: told by one statement, in one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy.orm import Session

from registry.db.models import Listing
from registry.retrieval.known_values import values_of
from registry.retrieval.remembered import STATE
from registry.retrieval.statements import SETTING, Answer, ask, note_prepared, written


@dataclass(frozen=True, slots=True)
class ActiveEncoder:
    """An encoder that search uses, as its row in the database says."""

    name: str
    base_model: str
    text_encoder: str
    checkpoint_sha256: str
    calibration: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Opening:
    """The base models that there are, the active encoders, and the state of the database."""

    base_models: Sequence[str]
    encoders: Sequence[ActiveEncoder]
    state: str | None


def ask_opening(session: Session) -> Answer[Opening]:
    """Ask what is there; return what gives it.

    The session's transaction runs as `registry.retrieval.statements.SETTINGS` say afterwards.
    """
    told = ask(session, _statement(), {})
    note_prepared(session)

    def answer() -> Opening:
        [opened] = told()
        encoders = [ActiveEncoder(**encoder) for encoder in opened.encoders]
        return Opening(opened.base_models, encoders, opened.state)

    return answer


@cache
def _statement() -> str:
    return f"""
        SELECT {SETTING}, {STATE},
        ARRAY({written(values_of(Listing.base_model))}) AS base_models, ARRAY(
            SELECT jsonb_build_object(
                'name', name, 'base_model', base_model, 'text_encoder', text_encoder,
                'checkpoint_sha256', checkpoint_sha256, 'calibration', calibration
            )
            FROM encoders WHERE active ORDER BY id
        ) AS encoders
    """
