"""captions are compared as the active encoder has it: what similarities mean is measured anew"""

from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    # NULL: the defaults serve until the next refresh measures.
    op.execute("UPDATE encoders SET calibration = NULL")


def downgrade() -> None:
    upgrade()
