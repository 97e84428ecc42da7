"""A tag that an adapter has in two ways of writing it, `LoRA` and `lora`, is listed once."""

from importlib import resources

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENT = """
    UPDATE listings SET tags = ARRAY(SELECT DISTINCT tag FROM unnest(tags) AS tag ORDER BY 1)
    WHERE cardinality(tags) > (SELECT count(DISTINCT tag) FROM unnest(tags) AS tag)
"""


def upgrade() -> None:
    functions = resources.files("registry.db").joinpath("listings.sql").read_text()
    op.get_bind().exec_driver_sql(functions.replace("%", "%%"))
    op.execute(STATEMENT)


def downgrade() -> None:
    # Which of them was there twice nobody asks.
    pass
