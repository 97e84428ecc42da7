"""What is said of adapters that have no captions, as vectors."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "description_embeddings",
        sa.Column("adapter_id", sa.BigInteger(), nullable=False),
        sa.Column("text_encoder", sa.Text(), nullable=False),
        sa.Column("text_md5", sa.Text(), nullable=False),
        sa.Column("embedding", HALFVEC(512), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["adapters.id"],
            name=op.f("fk_description_embeddings_adapter_id_adapters"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "adapter_id", "text_encoder", name=op.f("pk_description_embeddings")
        ),
    )
    op.create_index(
        "ix_description_embeddings_embedding_hnsw",
        "description_embeddings",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
        postgresql_with={"m": 16, "ef_construction": 64},
    )


def downgrade() -> None:
    op.drop_table("description_embeddings")
