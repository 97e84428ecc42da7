"""Graphs of vectors in which half as many candidates find as much.

What is in them stays as it is; what comes from now on is put in with more care. `REINDEX INDEX
CONCURRENTLY` does the same for the rest, where an index is large.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = (
    "ix_files_fingerprint_hnsw",
    "ix_weight_embeddings_embedding_hnsw",
    "ix_caption_embeddings_embedding_hnsw",
    "ix_description_embeddings_embedding_hnsw",
)


def upgrade() -> None:
    _set_ef_construction(128)


def downgrade() -> None:
    _set_ef_construction(64)


def _set_ef_construction(candidates: int) -> None:
    for index in INDEXES:
        op.execute(f"ALTER INDEX {index} SET (ef_construction = {candidates})")
