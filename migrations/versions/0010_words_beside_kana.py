"""Kana and hangul are words apart from the letters beside them: ガンダム and rx78 of ガンダムRX78.

As `segment` in registry/text/word_segmentation.py does for what is listed from now on. Written
once for what has such words, which is little of an index; the triggers do the rest.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Behind the last line's words, as if they were said elsewhere than in names.
STATEMENT = r"""
    UPDATE adapters SET words = adapters.words || ' ' || apart.words
    FROM (
        SELECT id, string_agg(DISTINCT part[1], ' ') AS words
        FROM adapters, regexp_split_to_table(words, '\s+') AS word,
            regexp_matches(
                word, '[ぁ-ゖゝ-ゟァ-ヺー-ヿ가-힣]+|[^ぁ-ゖゝ-ゟァ-ヺー-ヿ가-힣]+', 'g'
            ) AS part
        WHERE word ~ '[ぁ-ゖゝ-ゟァ-ヺー-ヿ가-힣][a-z0-9]|[a-z0-9][ぁ-ゖゝ-ゟァ-ヺー-ヿ가-힣]'
        GROUP BY id
    ) AS apart
    WHERE apart.id = adapters.id
"""


def upgrade() -> None:
    op.execute(STATEMENT)


def downgrade() -> None:
    # More words than before do no harm: they are found by what they are.
    pass
