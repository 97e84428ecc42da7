"""key adapters by endpoint, captions' embeddings by text; reader versions; encoders' history"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    _key_by_endpoint()
    op.add_column("files", sa.Column("reader_version", sa.Text(), nullable=True))
    _key_embeddings_by_text()
    op.add_column("encoders", sa.Column("calibration", postgresql.JSONB(), nullable=True))
    op.create_table(
        "encoder_promotions",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("encoder_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "promoted_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('promoted', 'rolled back')", name=op.f("ck_encoder_promotions_kind")
        ),
        sa.ForeignKeyConstraint(
            ["encoder_id"],
            ["encoders.id"],
            name=op.f("fk_encoder_promotions_encoder_id_encoders"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["previous_id"],
            ["encoders.id"],
            name=op.f("fk_encoder_promotions_previous_id_encoders"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encoder_promotions")),
    )
    # Encoders that are active were promoted before this was written down.
    op.execute(
        "INSERT INTO encoder_promotions (base_model, encoder_id, kind, promoted_at) "
        "SELECT base_model, id, 'promoted', created_at FROM encoders WHERE active"
    )


def _key_by_endpoint() -> None:
    # '' until the hub is crawled again, which adopts the rows.
    for table in ("adapters", "crawl_cursors", "crawl_runs"):
        op.add_column(
            table, sa.Column("endpoint", sa.Text(), server_default=sa.text("''"), nullable=False)
        )
    op.drop_constraint("uq_adapters_hub_repo_version_file_name", "adapters")
    op.create_unique_constraint(
        "uq_adapters_hub_endpoint_repo_version_file_name",
        "adapters",
        ["hub", "endpoint", "repo", "version", "file_name"],
    )
    op.drop_constraint("pk_crawl_cursors", "crawl_cursors")
    op.create_primary_key("pk_crawl_cursors", "crawl_cursors", ["hub", "endpoint"])


def _key_embeddings_by_text() -> None:
    op.add_column(
        "captions",
        sa.Column("text_md5", sa.Text(), sa.Computed("md5(text)", persisted=True), nullable=False),
    )
    op.create_index(op.f("ix_captions_text_md5"), "captions", ["text_md5"])
    op.rename_table("caption_embeddings", "caption_embeddings_by_id")
    op.execute("ALTER INDEX pk_caption_embeddings RENAME TO pk_caption_embeddings_by_id")
    op.drop_index("ix_caption_embeddings_embedding_hnsw", "caption_embeddings_by_id")
    op.create_table(
        "caption_embeddings",
        sa.Column("text_md5", sa.Text(), nullable=False),
        sa.Column("text_encoder", sa.Text(), nullable=False),
        sa.Column("embedding", HALFVEC(512), nullable=False),
        sa.PrimaryKeyConstraint("text_md5", "text_encoder", name=op.f("pk_caption_embeddings")),
    )
    op.execute(
        "INSERT INTO caption_embeddings "
        "SELECT DISTINCT ON (c.text_md5, e.text_encoder) c.text_md5, e.text_encoder, e.embedding "
        "FROM caption_embeddings_by_id e JOIN captions c ON c.id = e.caption_id"
    )
    op.drop_table("caption_embeddings_by_id")
    op.create_index(
        "ix_caption_embeddings_embedding_hnsw",
        "caption_embeddings",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
        postgresql_with={"m": 16, "ef_construction": 64},
    )


def downgrade() -> None:
    op.drop_table("encoder_promotions")
    op.drop_column("encoders", "calibration")
    op.drop_column("files", "reader_version")
    # Embeddings are made again by the next refresh.
    op.drop_table("caption_embeddings")
    op.drop_index("ix_captions_text_md5", "captions")
    op.drop_column("captions", "text_md5")
    op.create_table(
        "caption_embeddings",
        sa.Column("caption_id", sa.BigInteger(), nullable=False),
        sa.Column("text_encoder", sa.Text(), nullable=False),
        sa.Column("embedding", HALFVEC(512), nullable=False),
        sa.ForeignKeyConstraint(
            ["caption_id"],
            ["captions.id"],
            name=op.f("fk_caption_embeddings_caption_id_captions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("caption_id", "text_encoder", name=op.f("pk_caption_embeddings")),
    )
    op.create_index(
        "ix_caption_embeddings_embedding_hnsw",
        "caption_embeddings",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
        postgresql_with={"m": 16, "ef_construction": 64},
    )
    # Of adapters that two endpoints of a hub list, one stays.
    op.execute(
        "DELETE FROM adapters a USING adapters b WHERE a.id > b.id AND a.hub = b.hub AND "
        "a.repo = b.repo AND a.version = b.version AND a.file_name = b.file_name"
    )
    op.drop_constraint("uq_adapters_hub_endpoint_repo_version_file_name", "adapters")
    op.create_unique_constraint(
        "uq_adapters_hub_repo_version_file_name",
        "adapters",
        ["hub", "repo", "version", "file_name"],
    )
    # A crawl from the beginning is what a missing cursor costs.
    op.execute("DELETE FROM crawl_cursors")
    op.drop_constraint("pk_crawl_cursors", "crawl_cursors")
    op.create_primary_key("pk_crawl_cursors", "crawl_cursors", ["hub"])
    for table in ("adapters", "crawl_cursors", "crawl_runs"):
        op.drop_column(table, "endpoint")
