"""Parts between separators are words: v34 of lora_v34_final; so are singulars with accents.

As `segment` in registry/text/word_segmentation.py does for what is listed from now on. Written
once for what has such parts; the triggers do the rest.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# A seam in a part makes it another word than those between seams: a digit, a capital in it.
STATEMENT = r"""
    UPDATE adapters SET words = adapters.words || ' ' || more.words
    FROM (
        SELECT found.id, string_agg(DISTINCT word, ' ') AS words
        FROM (
            SELECT id, words AS known, lower(part) AS word
            FROM adapters, regexp_split_to_table(concat_ws(
                ' ', name, file_name, array_to_string(trigger_words, ' '),
                array_to_string(tags, ' '), author, description
            ), '[^A-Za-z0-9]+') AS part
            WHERE length(part) BETWEEN 2 AND 20
                AND (part ~ '[A-Za-z]' AND part ~ '[0-9]' OR part ~ '[a-z][A-Z]')
            UNION ALL
            SELECT id, words, singular
            FROM adapters, regexp_split_to_table(words, ' ') AS plural,
                left(plural, -1) AS with_accents,
                regexp_replace(normalize(with_accents, NFD), '[\u0300-\u036f]', '', 'g') AS without,
                unnest(ARRAY[with_accents, normalize(without, NFC)]) AS singular
            WHERE plural ~ '[^\u0001-\u007f]' AND plural ~ '[^uis]s$' AND length(plural) > 3
                AND normalize(plural, NFD) ~ '[a-z][\u0300-\u036f]'
        ) AS found
        WHERE strpos(' ' || known || ' ', ' ' || word || ' ') = 0
        GROUP BY found.id
    ) AS more
    WHERE more.id = adapters.id
"""


def upgrade() -> None:
    op.execute(STATEMENT)


def downgrade() -> None:
    # More words than before do no harm: they are found by what they are.
    pass
