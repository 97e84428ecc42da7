"""Words with accents are stored without them as well: who types cafe finds café.

As `segment` in registry/text/word_segmentation.py does for what is listed from now on. Written
once for what has such words, which is little of an index; the triggers do the rest.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Marks, apart from their Latin letters, and letters that have none to take off.
STATEMENT = r"""
    UPDATE adapters SET words = words || ' ' || (
        SELECT string_agg(DISTINCT normalize(replace(replace(replace(translate(
            regexp_replace(parts, '([a-z])[\u0300-\u036f]+', '\1', 'g'), 'øłđ', 'old'
        ), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), NFC), ' ')
        FROM regexp_split_to_table(words, ' ') AS word, normalize(word, NFD) AS parts
        WHERE parts ~ '[a-z][\u0300-\u036f]|[øłđßæœ]'
    )
    WHERE normalize(words, NFD) ~ '[a-z][\u0300-\u036f]|[øłđßæœ]'
"""


def upgrade() -> None:
    op.execute(STATEMENT)


def downgrade() -> None:
    # More words than before do no harm: they are found by what they are.
    pass
