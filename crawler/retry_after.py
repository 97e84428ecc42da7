"""How long a server that is busy asks to be left alone. Importing this imports nothing heavy."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_seconds(value: str | None) -> float | None:
    """Read a Retry-After header: seconds or a date [1]; None where it is neither.

    - [1] https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
    """
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        due = parsedate_to_datetime(value)
    # A year of many digits fits no integer of C's.
    except (ValueError, OverflowError):
        return None
    return max(0.0, (due.replace(tzinfo=due.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
