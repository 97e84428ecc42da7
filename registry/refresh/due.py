"""When nights are due."""

from datetime import UTC, datetime, time, timedelta


def last_due(at: time, now: datetime) -> datetime:
    """Return the last moment at which a night was due; hours are UTC's, for all replicas alike."""
    today = datetime.combine(now.astimezone(UTC).date(), at, UTC)
    return today if today <= now else today - timedelta(days=1)


def next_due(at: time, now: datetime) -> datetime:
    return last_due(at, now) + timedelta(days=1)
