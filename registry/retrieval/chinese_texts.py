"""What could be asked of an index in Chinese: names and captions of its popular adapters."""

from sqlalchemy.orm import Session

from encoder.chinese import HAN
from registry.retrieval.statements import believed, rows

# So many of the most popular are looked at; a few milliseconds, however many there are.
MOST_LOOKED_AT = 500
# Longer texts tell of one picture only, and fill a line.
SHORTEST, LONGEST = 2, 10


def short_chinese_texts(session: Session, limit: int) -> list[str]:
    """Return up to `limit` short Chinese names, then captions, of the most popular adapters.

    Not of those whose pictures are mature. What was found is believed for a minute.
    """
    return believed(session, ("Chinese texts", limit), lambda: _find(session, limit))


def _find(session: Session, limit: int) -> list[str]:
    statement = """
        WITH popular AS MATERIALIZED (
            SELECT adapter_id, name,
                row_number() OVER (ORDER BY downloads DESC, adapter_id DESC) AS place
            FROM (
                SELECT adapter_id, name, downloads, mature FROM listings
                ORDER BY downloads DESC, adapter_id DESC LIMIT %(most)s
            ) AS first
            WHERE mature IS NOT TRUE
        ), said AS (
            SELECT name AS text, 0 AS way, place FROM popular
            UNION ALL SELECT captions.text, 1, place
            FROM popular
                JOIN covers ON covers.adapter_id = popular.adapter_id AND position = 0
                JOIN captions ON captions.cover_id = covers.id AND NOT superseded
        )
        SELECT text FROM said WHERE text ~ %(chinese)s
        GROUP BY text ORDER BY min(way), min(place), text LIMIT %(limit)s
    """
    chinese = f"^[{HAN}]{{{SHORTEST},{LONGEST}}}$"
    asked = {"most": MOST_LOOKED_AT, "chinese": chinese, "limit": limit}
    return [row.text for row in rows(session, statement, asked)]
