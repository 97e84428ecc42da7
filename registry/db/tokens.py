"""Tokens: who may ask this registry from elsewhere, and for what."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from crawler.foreign_text import plain_line
from registry.db.work_models import Token
from registry.errors import TokenNameError, TokenNotFoundError
from registry.token_scopes import TokenScope

# So that whoever finds one in a file knows what it is, as do programs that look for them.
PREFIX = "autolora_"
# 256 random bits cannot be guessed, so a plain hash keeps them: slow ones are for passwords.
RANDOM_BYTES = 32


@dataclass(frozen=True)
class TokenFacts:
    """All that is kept of a token, but its hash."""

    id: int
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


def create_token(session: Session, name: str, scopes: Collection[TokenScope]) -> str:
    """Note that who has a token may do what `scopes` say; return it, for it is kept nowhere.

    Raises:
        TokenNameError: the name has nothing that can be seen.
    """
    name = plain_line(name)
    if not name:
        raise TokenNameError
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    session.add(Token(name=name, scopes=sorted(set(scopes)), sha256=hash_secret(secret)))
    session.flush()
    return secret


def list_tokens(session: Session) -> list[TokenFacts]:
    """Return all tokens, those that were revoked included, the last made first."""
    rows = session.scalars(select(Token).order_by(Token.id.desc()))
    return [
        TokenFacts(row.id, row.name, tuple(row.scopes), row.created_at, row.revoked_at)
        for row in rows
    ]


def revoke_token(session: Session, token_id: int) -> None:
    """Let a token open nothing from now on.

    Raises:
        TokenNotFoundError: there is none of this id, or it was revoked already.
    """
    revoked = session.scalar(
        update(Token)
        .where(Token.id == token_id, Token.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC))
        .returning(Token.id)
    )
    if revoked is None:
        raise TokenNotFoundError(token_id)


def hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
