"""A request's key is held by one server at a time, which says now and then that it is at work."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE = "request_keys"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("owner", sa.Text(), server_default="", nullable=False))
    op.add_column(
        TABLE,
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
    )


def downgrade() -> None:
    op.drop_column(TABLE, "seen_at")
    op.drop_column(TABLE, "owner")
