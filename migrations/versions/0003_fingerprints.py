"""fingerprints and body hashes of files, to find what was uploaded again"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    # NULL until the file is read again, which its reader's version brings about.
    op.add_column("files", sa.Column("body_sha256", sa.Text(), nullable=True))
    op.add_column("files", sa.Column("fingerprint", HALFVEC(256), nullable=True))
    op.add_column("files", sa.Column("log_norm", sa.Float(), nullable=True))
    op.create_index(op.f("ix_files_body_sha256"), "files", ["body_sha256"])
    op.create_index(
        "ix_files_fingerprint_hnsw",
        "files",
        ["fingerprint"],
        postgresql_using="hnsw",
        postgresql_ops={"fingerprint": "halfvec_cosine_ops"},
        postgresql_with={"m": 16, "ef_construction": 64},
    )


def downgrade() -> None:
    op.drop_index("ix_files_fingerprint_hnsw", "files")
    op.drop_index(op.f("ix_files_body_sha256"), "files")
    for column in ("log_norm", "fingerprint", "body_sha256"):
        op.drop_column("files", column)
