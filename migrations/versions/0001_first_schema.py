"""first schema: adapters, files, covers, captions, encoders, embeddings with HNSW, crawls"""

from importlib import resources
from typing import Any

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    _create_crawls()
    _create_files()
    _create_adapters()
    _create_listings()
    _create_words()
    _create_covers()
    _create_encoders()
    _create_embeddings()
    _create_nights()
    _create_images()
    _create_request_keys()
    _create_tokens()
    _create_favourites()
    _create_drawn_covers()
    _create_own_folders()
    _create_queue()


def downgrade() -> None:
    # It takes a row of a table, which could not go before it; a trigger that asks it goes too.
    op.execute("DROP FUNCTION facts_of(listings) CASCADE")
    # The extensions stay: the database may have had them before.
    for table in (
        "drawn_covers",
        "favourites",
        "own_folders",
        "cover_embeddings",
        "log_ins",
        "tokens",
        "request_keys",
        "image_files",
        "images",
        "nights",
        "job_outcomes",
        "workers",
        "caption_embeddings",
        "weight_embeddings",
        "encoder_promotions",
        "encoders",
        "image_captions",
        "captions",
        "covers",
        "vocabulary",
        "listing_words",
        "listings",
        "adapters",
        "sketches",
        "sketch_bases",
        "files",
        "crawl_runs",
        "crawl_cursors",
    ):
        op.drop_table(table)
    for function in (
        "list_facts_of_words()",
        "list_words_of_adapter()",
        "list_words(bigint[])",
        "popularity(bigint)",
        "list_adapters_of_file()",
        "list_adapter()",
        "list_adapters(bigint[])",
        "permits_selling(text)",
    ):
        op.execute(f"DROP FUNCTION {function}")
    _drop_queue()


def _create_crawls() -> None:
    op.create_table(
        "crawl_cursors",
        sa.Column("hub", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("updated_since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hub", "endpoint", name=op.f("pk_crawl_cursors")),
    )
    op.create_table(
        "crawl_runs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("hub", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        _moment("started_at"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        _empty_object("counts"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("seconds", sa.JSON(), server_default=sa.text("'{}'::json"), nullable=False),
        sa.Column("fetched_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("listed_all", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'failed')", name=op.f("ck_crawl_runs_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crawl_runs")),
    )
    op.create_index(op.f("ix_crawl_runs_started_at"), "crawl_runs", ["started_at"])


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="stored", nullable=False),
        sa.Column("base_model", sa.Text(), nullable=True),
        sa.Column("verdict", postgresql.JSONB(), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reader_version", sa.Text(), nullable=True),
        sa.Column("body_sha256", sa.Text(), nullable=True),
        sa.Column("fingerprint", HALFVEC(256), nullable=True),
        sa.Column("log_norm", sa.Float(), nullable=True),
        sa.Column("peft_config", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("state IN ('stored', 'dropped', 'wanted')", name=op.f("ck_files_state")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_files")),
    )
    op.create_index(
        "ix_files_state", "files", ["state"], postgresql_where=sa.text("state <> 'stored'")
    )
    op.create_index(op.f("ix_files_body_sha256"), "files", ["body_sha256"])
    _create_hnsw_index("files", "fingerprint")
    op.create_table(
        "sketches",
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_sha256"],
            ["files.sha256"],
            name=op.f("fk_sketches_file_sha256_files"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("file_sha256", "version", name=op.f("pk_sketches")),
    )
    # Random projections do not get shorter: trying takes three quarters of what storing costs.
    op.execute("ALTER TABLE sketches ALTER COLUMN data SET STORAGE EXTERNAL")
    op.create_table(
        "sketch_bases",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("basis_sha256", sa.Text(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sketch_bases")),
        sa.UniqueConstraint("version", name=op.f("uq_sketch_bases_version")),
    )


def _create_adapters() -> None:
    op.create_table(
        "adapters",
        sa.Column("id", sa.BigInteger(), nullable=False),
        *_columns_of_a_listing(),
        sa.Column("file_sha256", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="listed", nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("refused_by", sa.Text(), nullable=True),
        _moment("first_seen_at"),
        sa.Column("seen_run", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        _moment("changed_at"),
        _empty_object("record"),
        sa.Column("covers_done", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("claimed_base_model", sa.Text(), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "state IN ('listed', 'ready', 'refused', 'gone')", name=op.f("ck_adapters_state")
        ),
        sa.ForeignKeyConstraint(
            ["file_sha256"], ["files.sha256"], name=op.f("fk_adapters_file_sha256_files")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adapters")),
        sa.UniqueConstraint(
            "hub",
            "endpoint",
            "repo",
            "version",
            "file_name",
            name=op.f("uq_adapters_hub_endpoint_repo_version_file_name"),
        ),
    )
    op.create_index("ix_adapters_base_model_state", "adapters", ["base_model", "state"])
    op.create_index(
        "ix_adapters_state_id",
        "adapters",
        ["state", "id"],
        postgresql_where=sa.text("state <> 'ready'"),
    )
    op.create_index(op.f("ix_adapters_file_sha256"), "adapters", ["file_sha256"])
    op.create_index(
        "ix_adapters_file_stem",
        "adapters",
        [sa.literal_column(r"lower(regexp_replace(file_name, '^.*/|\.[^./]*$', '', 'g'))")],
    )
    op.create_index(
        "ix_adapters_version", "adapters", ["version"], postgresql_where=sa.text("version <> ''")
    )


def _columns_of_a_listing() -> list[sa.Column[Any]]:
    """Return the columns for what a hub says of an adapter."""
    return [
        sa.Column("hub", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("repo", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("trigger_words", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=True),
        sa.Column("mature", sa.Boolean(), nullable=True),
        sa.Column("downloads", sa.BigInteger(), nullable=False),
        sa.Column("hub_created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hub_updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("page_url", sa.Text(), nullable=False),
    ]


def _create_listings() -> None:
    op.create_table(
        "listings",
        sa.Column("adapter_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("hub", sa.Text(), nullable=False),
        sa.Column("tags", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("licence", sa.Text(), nullable=True),
        sa.Column("commercial", sa.Boolean(), nullable=False),
        sa.Column("trainer", sa.Text(), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("downloads", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("has_trigger_words", sa.Boolean(), nullable=False),
        sa.Column("fusable", sa.Boolean(), nullable=False),
        sa.Column("mature", sa.Boolean(), nullable=True),
        sa.Column(
            "shuffle",
            sa.Integer(),
            sa.Computed("hashint8(adapter_id)", persisted=True),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["adapters.id"],
            name=op.f("fk_listings_adapter_id_adapters"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("adapter_id", name=op.f("pk_listings")),
    )
    op.create_index(op.f("ix_listings_file_sha256"), "listings", ["file_sha256"])
    for column in ("author", "licence", "trainer", "hub"):
        op.create_index(f"ix_listings_{column}", "listings", [column])
    op.create_index("ix_listings_tags", "listings", ["tags"], postgresql_using="gin")
    for column in (
        "base_model",
        "name",
        "downloads",
        "created_at",
        "updated_at",
        "size",
        "rank",
        "shuffle",
    ):
        op.create_index(f"ix_listings_{column}", "listings", [column, "adapter_id"])
    _execute_file("listings.sql")


def _create_words() -> None:
    op.create_table(
        "listing_words",
        sa.Column("adapter_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("words_vector", postgresql.TSVECTOR(), nullable=False),
        sa.Column("called", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("facts", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("popularity", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["listings.adapter_id"],
            name=op.f("fk_listing_words_adapter_id_listings"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("adapter_id", name=op.f("pk_listing_words")),
    )
    op.create_index(
        "ix_listing_words_words_vector_called_facts",
        "listing_words",
        ["words_vector", "called", "facts"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": False},
    )
    op.create_table(
        "vocabulary",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vocabulary")),
    )
    op.create_index(op.f("ix_vocabulary_word"), "vocabulary", ["word"])
    op.create_index(
        "ix_vocabulary_word_trgm",
        "vocabulary",
        ["word"],
        postgresql_using="gin",
        postgresql_ops={"word": "gin_trgm_ops"},
        postgresql_with={"fastupdate": False},
    )
    _execute_file("listing_words.sql")


def _execute_file(name: str) -> None:
    """Make the functions and triggers that keep a table.

    psycopg takes statements without parameters together.
    """
    statements = resources.files("registry.db").joinpath(name).read_text()
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def _create_covers() -> None:
    op.create_table(
        "covers",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("adapter_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("thumbnail_sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("phash", sa.BigInteger(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["adapters.id"],
            name=op.f("fk_covers_adapter_id_adapters"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_covers")),
        sa.UniqueConstraint("adapter_id", "position", name=op.f("uq_covers_adapter_id_position")),
    )
    op.create_index(op.f("ix_covers_sha256"), "covers", ["sha256"])
    op.create_index(op.f("ix_covers_phash"), "covers", ["phash"])
    for place, shift in enumerate((0, 16, 32, 48)):
        part: sa.ColumnClause[int] = sa.literal_column(f"((phash >> {shift}) & 65535)")
        op.create_index(f"ix_covers_phash_{place}", "covers", [part], postgresql_include=["phash"])
    op.create_table(
        "cover_embeddings",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("image_encoder", sa.Text(), nullable=False),
        sa.Column("embedding", HALFVEC(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", "image_encoder", name=op.f("pk_cover_embeddings")),
    )
    op.create_table(
        "captions",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("cover_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="prompt", nullable=False),
        sa.Column("language", sa.Text(), server_default="", nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("prompt_version", sa.Text(), server_default="", nullable=False),
        sa.Column("superseded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("text_md5", sa.Text(), sa.Computed("md5(text)", persisted=True), nullable=False),
        sa.CheckConstraint("source IN ('hub', 'vlm')", name=op.f("ck_captions_source")),
        sa.CheckConstraint(
            "kind IN ('prompt', 'short', 'medium', 'long')", name=op.f("ck_captions_kind")
        ),
        sa.ForeignKeyConstraint(
            ["cover_id"],
            ["covers.id"],
            name=op.f("fk_captions_cover_id_covers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_captions")),
    )
    op.create_index(
        "uq_captions_cover_id_text",
        "captions",
        ["cover_id", sa.literal_column("md5(text)")],
        unique=True,
        postgresql_where=sa.text("source = 'hub'"),
    )
    op.create_index(
        "uq_captions_cover_id_version",
        "captions",
        ["cover_id", "kind", "language", "model", "prompt_version"],
        unique=True,
        postgresql_where=sa.text("source = 'vlm'"),
    )
    op.create_index(op.f("ix_captions_cover_id"), "captions", ["cover_id"])
    op.create_index(op.f("ix_captions_text_md5"), "captions", ["text_md5"])
    _create_image_captions()


def _create_image_captions() -> None:
    op.create_table(
        "image_captions",
        sa.Column("image_sha256", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt_version", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("short", sa.Text(), nullable=True),
        sa.Column("medium", sa.Text(), nullable=True),
        sa.Column("long", sa.Text(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        _moment("tried_at"),
        sa.CheckConstraint(
            "num_nulls(short, medium, long) IN (0, 3) AND (short IS NULL) = (reason IS NOT NULL)",
            name=op.f("ck_image_captions_captioned_or_failed"),
        ),
        sa.PrimaryKeyConstraint(
            "image_sha256",
            "model",
            "prompt_version",
            "language",
            name=op.f("pk_image_captions"),
        ),
    )


def _create_encoders() -> None:
    op.create_table(
        "encoders",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("text_encoder", sa.Text(), nullable=False),
        sa.Column("sketch_version", sa.Text(), nullable=False),
        sa.Column("checkpoint_sha256", sa.Text(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(), nullable=False),
        sa.Column("calibration", postgresql.JSONB(), nullable=True),
        sa.Column("active", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encoders")),
        sa.UniqueConstraint("name", name=op.f("uq_encoders_name")),
    )
    op.create_index(
        "uq_encoders_base_model_active",
        "encoders",
        ["base_model"],
        unique=True,
        postgresql_where=sa.text("active"),
    )
    op.create_table(
        "encoder_promotions",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("encoder_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        _moment("promoted_at"),
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


def _create_embeddings() -> None:
    op.create_table(
        "weight_embeddings",
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("encoder_id", sa.BigInteger(), nullable=False),
        sa.Column("embedding", HALFVEC(512), nullable=False),
        sa.ForeignKeyConstraint(
            ["encoder_id"],
            ["encoders.id"],
            name=op.f("fk_weight_embeddings_encoder_id_encoders"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["file_sha256"],
            ["files.sha256"],
            name=op.f("fk_weight_embeddings_file_sha256_files"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("file_sha256", "encoder_id", name=op.f("pk_weight_embeddings")),
    )
    _create_hnsw_index("weight_embeddings", "embedding")
    op.create_table(
        "caption_embeddings",
        sa.Column("text_md5", sa.Text(), nullable=False),
        sa.Column("text_encoder", sa.Text(), nullable=False),
        sa.Column("embedding", HALFVEC(512), nullable=False),
        sa.PrimaryKeyConstraint("text_md5", "text_encoder", name=op.f("pk_caption_embeddings")),
    )
    _create_hnsw_index("caption_embeddings", "embedding")


def _create_nights() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        _moment("started_at"),
        _moment("seen_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "job_outcomes",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("fetched_bytes", sa.BigInteger(), nullable=False),
        sa.Column("hub_failed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["crawl_runs.id"],
            name=op.f("fk_job_outcomes_run_id_crawl_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_outcomes")),
    )
    op.create_index("ix_job_outcomes_run_id_step", "job_outcomes", ["run_id", "step"])
    op.create_table(
        "nights",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        _moment("started_at"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        _empty_object("report"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name=op.f("ck_nights_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nights")),
        sa.UniqueConstraint("due_at", name=op.f("uq_nights_due_at")),
    )


def _create_images() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("asked", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("total", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("recipe", postgresql.JSONB(), nullable=True),
        sa.Column("activity", postgresql.JSONB(), nullable=True),
        sa.Column("problem", postgresql.JSONB(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        _moment("created_at"),
        _moment("seen_at"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'drawing', 'done', 'failed', 'cancelled', 'interrupted')",
            name=op.f("ck_images_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
    )
    op.create_index(
        "ix_images_unfinished",
        "images",
        ["id"],
        postgresql_where=sa.text("state IN ('waiting', 'drawing')"),
    )
    op.create_table(
        "image_files",
        sa.Column("image_id", sa.BigInteger(), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        sa.Column("thumbnail", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"],
            ["images.id"],
            name=op.f("fk_image_files_image_id_images"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image_files")),
    )
    # PNG and WebP are compressed already.
    for column in ("png", "thumbnail"):
        op.execute(f"ALTER TABLE image_files ALTER COLUMN {column} SET STORAGE EXTERNAL")


def _create_request_keys() -> None:
    op.create_table(
        "request_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column(
            "headers", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        _moment("created_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_request_keys")),
    )
    op.create_index("ix_request_keys_created_at", "request_keys", ["created_at"])


def _create_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        _moment("created_at"),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tokens_sha256")),
    )
    op.create_table(
        "log_ins",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("token_id", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_log_ins")),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["tokens.id"],
            name=op.f("fk_log_ins_token_id_tokens"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(op.f("ix_log_ins_token_id"), "log_ins", ["token_id"])


def _create_own_folders() -> None:
    op.create_table(
        "own_folders",
        sa.Column("path", sa.Text(), nullable=False),
        _moment("added_at"),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_own_folders")),
    )


def _create_favourites() -> None:
    op.create_table(
        "favourites",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("adapter_id", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        _moment("since"),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["adapters.id"],
            name=op.f("fk_favourites_adapter_id_adapters"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_favourites")),
        sa.UniqueConstraint("adapter_id", name=op.f("uq_favourites_adapter_id")),
    )


def _create_drawn_covers() -> None:
    op.create_table(
        "drawn_covers",
        sa.Column("adapter_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("thumbnail_sha256", sa.Text(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("recipe", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        _moment("tried_at"),
        sa.CheckConstraint(
            "num_nulls(sha256, thumbnail_sha256, width, height, recipe) IN (0, 5) "
            "AND (sha256 IS NULL) = (reason IS NOT NULL)",
            name=op.f("ck_drawn_covers_drawn_or_failed"),
        ),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["adapters.id"],
            name=op.f("fk_drawn_covers_adapter_id_adapters"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("adapter_id", name=op.f("pk_drawn_covers")),
    )


def _create_queue() -> None:
    """Create the queue of jobs as procrastinate 3.10 wants it; later releases bring migrations."""
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))


def _drop_queue() -> None:
    for table in ("periodic_defers", "events", "jobs", "workers"):
        op.execute(f"DROP TABLE procrastinate_{table} CASCADE")
    op.execute(
        """
        DO $$
        DECLARE functions text;
        BEGIN
            SELECT string_agg(oid::regprocedure::text, ', ') INTO functions
            FROM pg_proc
            WHERE starts_with(proname, 'procrastinate_')
                AND pronamespace = current_schema()::regnamespace;
            EXECUTE 'DROP FUNCTION ' || functions;
        END $$
        """
    )
    for name in ("job_to_defer_v1", "job_event_type", "job_status"):
        op.execute(f"DROP TYPE procrastinate_{name}")


def _create_hnsw_index(table: str, column: str) -> None:
    op.create_index(
        f"ix_{table}_{column}_hnsw",
        table,
        [column],
        postgresql_using="hnsw",
        postgresql_ops={column: "halfvec_cosine_ops"},
        postgresql_with={"m": 16, "ef_construction": 64},
    )


def _moment(name: str) -> sa.Column[Any]:
    """Return a column for a time, by default that of the row's insertion."""
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _empty_object(name: str) -> sa.Column[Any]:
    """Return a column for a JSON object, empty by default."""
    return sa.Column(
        name, postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False
    )
