"""Words stand by where they are said, those of an author's name apart: Neon Cat does no cats.

As `segment_places` in registry/text/word_segmentation.py does for what is listed from now on, which
also tells words in traditional signs from where they stand; here they count as said elsewhere.
"""

from importlib import resources

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENT = r"""
    UPDATE adapters SET words = sorted.words
    FROM (
        SELECT id, concat_ws(
            E'\n',
            coalesce(string_agg(word, ' ') FILTER (WHERE strpos(names, word) > 0), ''),
            concat_ws(
                ' ',
                nullif(whole_author, ''),
                string_agg(word, ' ') FILTER (WHERE strpos(of_author, word) > 0)
            ),
            coalesce(string_agg(word, ' ') FILTER (
                WHERE strpos(others, word) > 0
                    OR strpos(names, word) = 0 AND strpos(of_author, word) = 0
            ), '')
        ) AS words
        FROM (
            -- iceCat_v2 has icecatv2, too.
            SELECT id, words,
                concat_ws(' ', names, translate(names, '-_.', '')) AS names,
                concat_ws(' ', of_author, translate(of_author, '-_.', '')) AS of_author,
                concat_ws(' ', others, translate(others, '-_.', '')) AS others,
                regexp_replace(
                    regexp_replace(of_author, '[\W_]', '', 'g'), '([^uis])s$', '\1'
                ) AS whole_author
            FROM adapters,
                lower(concat_ws(' ', name, array_to_string(trigger_words, ' '))) AS names,
                lower(author) AS of_author,
                lower(concat_ws(' ', file_name, array_to_string(tags, ' '), description)) AS others
        ) AS said, regexp_split_to_table(words, ' ') AS word
        WHERE word <> ''
        GROUP BY id, whole_author
    ) AS sorted
    WHERE sorted.id = adapters.id
"""
INDEX = "ix_listing_words_words_vector_called_facts"


def upgrade() -> None:
    functions = resources.files("registry.db").joinpath("listing_words.sql").read_text()
    op.get_bind().exec_driver_sql(functions.replace("%", "%%"))
    # All at once, and their index anew: one by one they would take ten times as long.
    op.execute("ALTER TABLE adapters DISABLE TRIGGER list_words_of_updated_adapter")
    op.execute(STATEMENT)
    op.execute("ALTER TABLE adapters ENABLE TRIGGER list_words_of_updated_adapter")
    op.drop_index(INDEX, table_name="listing_words")
    op.execute("SELECT list_words(ARRAY(SELECT adapter_id FROM listings))")
    op.create_index(
        INDEX,
        "listing_words",
        ["words_vector", "called", "facts"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": False},
    )


def downgrade() -> None:
    # Words by place are words; marks of authors, which nobody asks for then, do no harm.
    pass
