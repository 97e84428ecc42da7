"""The tables. Bytes live in the blob store; here are facts, embeddings and where we are."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    literal_column,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from registry.db.half_vectors import HalfVec

# The text encoder's width. halfvec: half the memory, and no recall lost that pgvector's
# authors could measure (https://github.com/pgvector/pgvector#half-precision-vectors).
EMBEDDING_DIM = 512
# encoder.sketches.folding.SIZE.
FINGERPRINT_DIM = 256

# The name of an adapter's file without its folders and its suffix, in lower case: what pictures
# call it. Written out, for an index serves only the very words that it was made with.
FILE_STEM: ColumnElement[str] = literal_column(
    r"lower(regexp_replace(file_name, '^.*/|\.[^./]*$', '', 'g'))", Text
)


def stem_of(file_name: str) -> ColumnElement[str]:
    """Return what FILE_STEM is of a file's name."""
    return func.lower(func.regexp_replace(file_name, r"^.*/|\.[^./]*$", "", "g"), type_=Text)


# A cover's hash in four parts, by which near ones are found: the lowest bits first.
PART_BITS = 16
PHASH_PARTS: tuple[ColumnElement[int], ...] = tuple(
    literal_column(f"((phash >> {PART_BITS * place}) & 65535)", BigInteger) for place in range(4)
)

# With pgvector's default of 64 a search has to look at nearly twice as many candidates to find as
# much: docs/benchmarks/scale.md. An index takes half as long again to build.
HNSW = {"m": 16, "ef_construction": 128}
# Every search would read through what an index has put off; who publishes can wait instead.
GIN = {"fastupdate": False}


def hnsw(table: str) -> Index:
    """Return the index of a table's column `embedding`, by cosine distance."""
    return Index(
        f"ix_{table}_embedding_hnsw",
        "embedding",
        postgresql_using="hnsw",
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
        postgresql_with=HNSW,
    )


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        str: Text,
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text),
        dict[str, Any]: JSONB,
    }


class Adapter(Base):
    """One LoRA file as one hub lists it. The same bytes elsewhere are another row."""

    __tablename__ = "adapters"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    hub: Mapped[str]
    # Which of the hub's sites, or which folder: two may list the same repository.
    endpoint: Mapped[str]
    repo: Mapped[str]
    # "" where the hub has no versions: NULLs would never be equal in the unique constraint.
    version: Mapped[str]
    file_name: Mapped[str]
    name: Mapped[str]
    author: Mapped[str]
    description: Mapped[str]
    trigger_words: Mapped[list[str]]
    tags: Mapped[list[str]]
    # The hub's word, until the file itself has been read and knows better.
    base_model: Mapped[str]
    licence: Mapped[str | None]
    mature: Mapped[bool | None]
    downloads: Mapped[int] = mapped_column(BigInteger)
    hub_created_at: Mapped[datetime]
    hub_updated_at: Mapped[datetime]
    page_url: Mapped[str]
    file_sha256: Mapped[str | None] = mapped_column(ForeignKey("files.sha256"), index=True)
    state: Mapped[str] = mapped_column(server_default="listed")
    # Why the state is 'refused', for people.
    refusal: Mapped[str | None]
    # What refused it by its header alone, unfetched: another reader, or other wishes, look again.
    refused_by: Mapped[str | None]
    first_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The last run that listed it; a full crawl marks what it did not see as gone. Numbers of runs,
    # unlike clocks, only grow.
    seen_run: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # The file and the covers as listed, so that an interrupted fetch needs no second listing.
    record: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))
    # Every listed cover was tried and is stored, or was found to be no image.
    covers_done: Mapped[bool] = mapped_column(server_default=sql("false"))
    # The base model that a person says it is for, and who says so; refreshes leave it alone.
    claimed_base_model: Mapped[str | None]
    claimed_by: Mapped[str | None]
    claimed_at: Mapped[datetime | None]
    # All that is said about it, segmented into words, for PostgreSQL cannot split Chinese: a line
    # of its name and trigger words, one of its author, one of all else.
    words: Mapped[str] = mapped_column(server_default="")

    # "raise" turns an accidental query per row into an error in the first test.
    file: Mapped["File | None"] = relationship(lazy="raise")
    covers: Mapped[list["Cover"]] = relationship(
        lazy="raise", order_by="Cover.position", passive_deletes=True
    )

    __table_args__ = (
        UniqueConstraint("hub", "endpoint", "repo", "version", "file_name"),
        CheckConstraint("state IN ('listed', 'ready', 'refused', 'gone')", name="state"),
        Index("ix_adapters_base_model_state", "base_model", "state"),
        # Those that are not ready have no listing.
        Index("ix_adapters_state_id", "state", "id", postgresql_where=sql("state <> 'ready'")),
        Index("ix_adapters_file_stem", FILE_STEM),
        Index("ix_adapters_version", "version", postgresql_where=sql("version <> ''")),
    )


class Listing(Base):
    """What a ready adapter is filtered, sorted and counted by: one narrow row for each.

    Kept by triggers on `adapters` and `files` (registry/db/listings.sql), so that whatever changes
    an adapter changes its row in the same transaction. Names to filter by are in lower case.
    """

    __tablename__ = "listings"

    adapter_id: Mapped[int] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    file_sha256: Mapped[str] = mapped_column(index=True)
    base_model: Mapped[str]
    name: Mapped[str]
    author: Mapped[str]
    hub: Mapped[str]
    tags: Mapped[list[str]]
    licence: Mapped[str | None]
    commercial: Mapped[bool]  # its licence lets pictures be sold
    trainer: Mapped[str | None]
    rank: Mapped[int]  # the median of its layers'; 0 where they have none
    size: Mapped[int] = mapped_column(BigInteger)  # bytes
    downloads: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    has_trigger_words: Mapped[bool]
    fusable: Mapped[bool]
    mature: Mapped[bool | None]
    # The same for good and in no order: whatever begins anywhere in it is a random sample.
    shuffle: Mapped[int] = mapped_column(Computed("hashint8(adapter_id)", persisted=True))

    __table_args__ = (
        Index("ix_listings_base_model", "base_model", "adapter_id"),
        Index("ix_listings_author", "author"),
        Index("ix_listings_licence", "licence"),
        Index("ix_listings_trainer", "trainer"),
        Index("ix_listings_hub", "hub"),
        Index("ix_listings_shuffle", "shuffle", "adapter_id"),
        Index("ix_listings_tags", "tags", postgresql_using="gin"),
        Index("ix_listings_name", "name", "adapter_id"),
        Index("ix_listings_downloads", "downloads", "adapter_id"),
        Index("ix_listings_created_at", "created_at", "adapter_id"),
        Index("ix_listings_updated_at", "updated_at", "adapter_id"),
        Index("ix_listings_size", "size", "adapter_id"),
        Index("ix_listings_rank", "rank", "adapter_id"),
    )


class ListingWords(Base):
    """The words of a ready adapter, to be found by; apart from its listing, which stays narrow.

    Kept by triggers on `adapters` and `listings` (registry/db/listing_words.sql).
    """

    __tablename__ = "listing_words"

    adapter_id: Mapped[int] = mapped_column(
        ForeignKey("listings.adapter_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )
    # All its words; those of its name and trigger words once more, with an = before: so PostgreSQL
    # knows how many have them there, which it would not by their weights. Likewise with an @ those
    # that only its author's name has, and with @= that name as one word.
    words_vector: Mapped[Any] = mapped_column(TSVECTOR)
    # What it may be called in full, in lower case: its name, its file's, its trigger words.
    called: Mapped[list[str]]
    # What filters ask of its listing, but for ranges: "hub=civitai", "tag=style", "fusable". In one
    # index with the words, so that rows that are filtered out are never looked at.
    facts: Mapped[list[str]]
    # Its downloads, roughly: of a common word those with the most are found without a join.
    popularity: Mapped[int] = mapped_column(SmallInteger)

    __table_args__ = (
        Index(
            "ix_listing_words_words_vector_called_facts",
            "words_vector",
            "called",
            "facts",
            postgresql_using="gin",
            postgresql_with=GIN,
        ),
    )


class VocabularyWord(Base):
    """A word that an adapter has or had: what a word that nobody uses may be a typo of."""

    __tablename__ = "vocabulary"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    word: Mapped[str] = mapped_column(index=True)

    __table_args__ = (
        Index(
            "ix_vocabulary_word_trgm",
            "word",
            postgresql_using="gin",
            postgresql_ops={"word": "gin_trgm_ops"},
            postgresql_with=GIN,
        ),
    )


class File(Base):
    """Bytes that are or were in the blob store under this hash, and what reading them said."""

    __tablename__ = "files"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    # "dropped" once it was read and is not kept; "wanted" if it is to come back.
    state: Mapped[str] = mapped_column(server_default="stored")
    # These three are NULL until the file was read.
    base_model: Mapped[str | None]
    verdict: Mapped[dict[str, Any] | None]
    read_at: Mapped[datetime | None]
    # What read it last, also when it was refused: a better reader reads it again.
    reader_version: Mapped[str | None]
    # Why that one refused it, for people; NULL where it took it. It is said of all adapters that
    # have the file, whenever they were given it.
    refusal: Mapped[str | None]
    # The hash of what follows the header; it begins with AutoV3, as sha256 begins with AutoV2.
    body_sha256: Mapped[str | None] = mapped_column(index=True)
    # encoder.sketches.fingerprint's direction and log_norm; NULL where there is none.
    fingerprint: Mapped[Any | None] = mapped_column(HalfVec(FINGERPRINT_DIM))
    log_norm: Mapped[float | None]
    # PEFT's adapter_config.json that was beside it when it was read: its alpha is nowhere else.
    peft_config: Mapped[str] = mapped_column(server_default="")

    __table_args__ = (
        CheckConstraint("state IN ('stored', 'dropped', 'wanted')", name="state"),
        Index("ix_files_state", "state", postgresql_where=sql("state <> 'stored'")),
        Index(
            "ix_files_fingerprint_hnsw",
            "fingerprint",
            postgresql_using="hnsw",
            postgresql_ops={"fingerprint": "halfvec_cosine_ops"},
            postgresql_with=HNSW,
        ),
    )


class Cover(Base):
    """An image shown for an adapter; position 0 is the first."""

    __tablename__ = "covers"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    adapter_id: Mapped[int] = mapped_column(ForeignKey("adapters.id", ondelete="CASCADE"))
    position: Mapped[int]
    sha256: Mapped[str] = mapped_column(index=True)
    thumbnail_sha256: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    # 64 bits as a signed integer, for PostgreSQL has no unsigned one.
    phash: Mapped[int] = mapped_column(BigInteger, index=True)
    prompt: Mapped[str | None]

    captions: Mapped[list["Caption"]] = relationship(lazy="raise", passive_deletes=True)

    __table_args__ = (
        UniqueConstraint("adapter_id", "position"),
        # With the whole hash, so the table is not looked at: of 1,000,000 covers, 10 ms and not 67.
        *(
            Index(f"ix_covers_phash_{place}", part, postgresql_include=["phash"])
            for place, part in enumerate(PHASH_PARTS)
        ),
    )


class Caption(Base):
    """A text about a cover: the prompt it was made with, or what a vision model saw."""

    __tablename__ = "captions"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    # The unique indexes below are of parts of the table, and no join by cover can use them.
    cover_id: Mapped[int] = mapped_column(ForeignKey("covers.id", ondelete="CASCADE"), index=True)
    text: Mapped[str]
    source: Mapped[str]
    # "prompt" of a hub; a vision model writes the others.
    kind: Mapped[str] = mapped_column(server_default="prompt")
    # Of a vision model's. A prompt is in any language, and its version is that of the cleaning.
    language: Mapped[str] = mapped_column(server_default="")
    model: Mapped[str] = mapped_column(server_default="")
    prompt_version: Mapped[str] = mapped_column(server_default="")
    # Another model or prompt has said it anew: kept, but searched no more.
    superseded: Mapped[bool] = mapped_column(server_default=sql("false"))
    # sha256 of a text is no generated column: PostgreSQL takes its encoding for changeable.
    text_md5: Mapped[str] = mapped_column(Computed("md5(text)", persisted=True), index=True)

    __table_args__ = (
        # Over the hash, because a prompt may be longer than an index entry can be (2.7 kB).
        Index(
            "uq_captions_cover_id_text",
            "cover_id",
            literal_column("md5(text)"),
            unique=True,
            postgresql_where=sql("source = 'hub'"),
        ),
        Index(
            "uq_captions_cover_id_version",
            "cover_id",
            "kind",
            "language",
            "model",
            "prompt_version",
            unique=True,
            postgresql_where=sql("source = 'vlm'"),
        ),
        CheckConstraint("source IN ('hub', 'vlm')", name="source"),
        CheckConstraint("kind IN ('prompt', 'short', 'medium', 'long')", name="kind"),
    )


class ImageCaptions(Base):
    """What a vision model saw in an image, or why it said nothing.

    By the image's hash: a cover is captioned once wherever it appears, and what that cost is
    not lost when a hub shuffles its covers. `captions` has a copy for each cover.
    """

    __tablename__ = "image_captions"

    image_sha256: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    prompt_version: Mapped[str] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(primary_key=True)
    # All three, or none where it failed.
    short: Mapped[str | None]
    medium: Mapped[str | None]
    long: Mapped[str | None]
    failures: Mapped[int] = mapped_column(server_default=sql("0"))
    # Why it failed the last time, for people.
    reason: Mapped[str | None]
    tried_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint(
            "num_nulls(short, medium, long) IN (0, 3) AND (short IS NULL) = (reason IS NOT NULL)",
            name="captioned_or_failed",
        ),
    )


class CaptionEmbedding(Base):
    """A text in a text encoder's space; two encoders coexist while one is back-filled.

    By text, not by caption: hundreds of covers share a prompt, and equal vectors would be
    neighbours of nothing but each other in the index, which hides all others.
    """

    __tablename__ = "caption_embeddings"

    text_md5: Mapped[str] = mapped_column(primary_key=True)
    text_encoder: Mapped[str] = mapped_column(primary_key=True)
    embedding: Mapped[Any] = mapped_column(HalfVec(EMBEDDING_DIM))

    __table_args__ = (
        # Declared here too, or `alembic check` would want to drop it.
        hnsw("caption_embeddings"),
    )


class DescriptionEmbedding(Base):
    """What is said of an adapter that has no captions, in a text encoder's space.

    `registry.db.descriptions` has the text, whose change the hash tells.
    """

    __tablename__ = "description_embeddings"

    adapter_id: Mapped[int] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    text_encoder: Mapped[str] = mapped_column(primary_key=True)
    text_md5: Mapped[str]
    embedding: Mapped[Any] = mapped_column(HalfVec(EMBEDDING_DIM))

    __table_args__ = (hnsw("description_embeddings"),)


class CoverEmbedding(Base):
    """A cover's picture in the space of an image encoder, which brings its own dimensions.

    An index has one number of dimensions: each encoder's is made when it has embedded many covers
    (registry/db/cover_embeddings.py).
    """

    __tablename__ = "cover_embeddings"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    image_encoder: Mapped[str] = mapped_column(primary_key=True)
    embedding: Mapped[Any] = mapped_column(HalfVec())


class CrawlRun(Base):
    """One refresh of one hub, and what came of it."""

    __tablename__ = "crawl_runs"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    hub: Mapped[str]
    endpoint: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    finished_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(server_default="running")
    # Counts by step: {"fetch": {"ok": 118, "failed": 2}, ...}
    counts: Mapped[dict[str, Any]] = mapped_column(server_default=sql("'{}'::jsonb"))
    error: Mapped[str | None]
    # How long each step took, in their order, which JSONB would not keep; and how many bytes of
    # files the hub sent.
    seconds: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=sql("'{}'::json"))
    fetched_bytes: Mapped[int] = mapped_column(BigInteger, server_default=sql("0"))
    # The step that it is at, and how far, while it runs; and when that was told.
    step: Mapped[str | None]
    done: Mapped[int | None]
    total: Mapped[int | None]
    told_at: Mapped[datetime | None]
    # Whether the hub listed all it has, without a gap: only then does what is missing say anything.
    listed_all: Mapped[bool] = mapped_column(server_default=sql("false"))

    __table_args__ = (CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),)


class CrawlCursor(Base):
    """Everything that changed at an endpoint before this moment is stored here."""

    __tablename__ = "crawl_cursors"

    hub: Mapped[str] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(primary_key=True)
    updated_since: Mapped[datetime]
