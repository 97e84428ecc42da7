"""A file keeps why it was refused: who is given it later is refused as well."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# What no header and no person refused was refused for its file, by what read that last.
TOLD = """
    UPDATE files SET refusal = told.refusal
    FROM (
        SELECT DISTINCT ON (file_sha256) file_sha256, refusal FROM adapters
        WHERE state = 'refused' AND refused_by IS NULL AND refusal IS NOT NULL
        ORDER BY file_sha256, id
    ) AS told
    WHERE files.sha256 = told.file_sha256
"""
# A file that nothing ever took, and of which nobody tells why, is read again.
UNTOLD = """
    UPDATE files SET reader_version = NULL
    WHERE read_at IS NULL AND refusal IS NULL AND reader_version IS NOT NULL
"""
LATE = """
    UPDATE adapters SET state = 'refused', refusal = files.refusal
    FROM files
    WHERE files.sha256 = adapters.file_sha256 AND files.refusal IS NOT NULL
        AND adapters.state IN ('listed', 'ready')
"""
STATEMENTS = (TOLD, UNTOLD, LATE)


def upgrade() -> None:
    op.add_column("files", sa.Column("refusal", sa.Text(), nullable=True))
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_column("files", "refusal")
