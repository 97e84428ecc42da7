from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from crawler.retry_after import retry_after_seconds


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_seconds("7") == 7
    before = datetime.now(UTC)
    # A date has no fractions of a second.
    due = before.replace(microsecond=0) + timedelta(seconds=60)
    waits = retry_after_seconds(format_datetime(due, usegmt=True))
    assert waits is not None
    assert due - datetime.now(UTC) <= timedelta(seconds=waits) <= due - before
    assert retry_after_seconds("soon") is None
    assert retry_after_seconds("Sun, 06 Nov 99999999999 08:49:37 GMT") is None
    assert retry_after_seconds(None) is None
