"""Log-ins: browsers that showed a token once, and are known by a secret of their own since.

The secret is worth nothing elsewhere, ends by itself, and opens nothing once its token is revoked.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.db.tokens import RANDOM_BYTES, hash_secret
from registry.db.work_models import LogIn, Token

# A person at work shows a token once a week.
LASTS = timedelta(days=7)


@dataclass(frozen=True)
class Opened:
    """What a token or a log-in opens, and the hash of the token, by which its requests count."""

    scopes: tuple[str, ...]
    token_sha256: str


def find_by_token(session: Session, token: str) -> Opened | None:
    """Return what a token opens; None where it is none of ours, or revoked."""
    row = session.execute(
        select(Token.scopes, Token.sha256).where(
            Token.sha256 == hash_secret(token), Token.revoked_at.is_(None)
        )
    ).one_or_none()
    return row and Opened(tuple(row.scopes), row.sha256)


def find_by_log_in(session: Session, secret: str) -> Opened | None:
    """Return what a browser's secret opens; None where it is none of ours, or has ended."""
    row = session.execute(
        select(Token.scopes, Token.sha256)
        .join(LogIn, LogIn.token_id == Token.id)
        .where(
            LogIn.sha256 == hash_secret(secret),
            LogIn.expires_at > datetime.now(UTC),
            Token.revoked_at.is_(None),
        )
    ).one_or_none()
    return row and Opened(tuple(row.scopes), row.sha256)


def log_in(session: Session, token: str) -> str | None:
    """Return a new secret that opens what a token does; None where that opens nothing."""
    now = datetime.now(UTC)
    # Those that ended by themselves are cleared away here: nothing else has to think of it.
    session.execute(delete(LogIn).where(LogIn.expires_at <= now))
    token_id = session.scalar(
        select(Token.id).where(Token.sha256 == hash_secret(token), Token.revoked_at.is_(None))
    )
    if token_id is None:
        return None
    secret = secrets.token_urlsafe(RANDOM_BYTES)
    session.add(LogIn(sha256=hash_secret(secret), token_id=token_id, expires_at=now + LASTS))
    return secret


def log_out(session: Session, secret: str) -> None:
    """Let a browser's secret open nothing from now on, if it did."""
    session.execute(delete(LogIn).where(LogIn.sha256 == hash_secret(secret)))
