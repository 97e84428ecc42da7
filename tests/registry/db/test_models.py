"""The schema: what Alembic makes is what the models say, and the indexes are used."""

import pytest
from alembic import command
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.migrate import alembic_config, last_revision, migrate, newest_revision
from registry.db.models import Adapter, CaptionEmbedding
from tests.builders import add_adapter, add_encoder, axis


def test_migrations_make_what_the_models_declare(engine: Engine) -> None:
    with engine.connect() as connection:
        command.check(alembic_config(connection))


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    """Every start of the registry migrates."""
    migrate(engine)
    with engine.connect() as connection:
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
        assert version == newest_revision() == last_revision()


@pytest.mark.parametrize(
    ("table", "index"),
    [
        (WeightEmbedding, "ix_weight_embeddings_embedding_hnsw"),
        (CaptionEmbedding, "ix_caption_embeddings_embedding_hnsw"),
    ],
)
def test_cosine_search_uses_the_hnsw_index(
    session: Session, table: type[WeightEmbedding | CaptionEmbedding], index: str
) -> None:
    """`alembic check` does not see a wrong operator class; the planner does."""
    session.execute(text("SET LOCAL enable_sort = off"))
    session.execute(text("SET LOCAL enable_seqscan = off"))
    query = select(table).order_by(table.embedding.cosine_distance(axis(0))).limit(5)
    compiled = query.compile(session.get_bind(), compile_kwargs={"literal_binds": True})

    rows = session.connection().exec_driver_sql(f"EXPLAIN {compiled}")

    plan = "\n".join(rows.scalars())

    assert f"Index Scan using {index}" in plan


def test_words_are_searched_by_their_index(session: Session) -> None:
    found = add_adapter(session, words="ice cat 冰 猫")
    add_adapter(session, words="fire dog")
    query = text(
        "SELECT adapter_id FROM listing_words WHERE words_vector @@ plainto_tsquery('simple', '猫')"
    )

    assert session.scalars(query).all() == [found.id]


def test_trigrams_know_chinese_signs(session: Session) -> None:
    """Under the locale "C" pg_trgm drops them and similar words are never found."""
    assert session.scalar(text("SELECT cardinality(show_trgm('冰猫')) > 0"))


def test_only_one_encoder_of_a_base_model_is_active(session: Session) -> None:
    """Search compares with one encoder's embeddings; of two it would see a mixture."""
    add_encoder(session, base_model="sdxl-1.0")
    add_encoder(session, base_model="sdxl-1.0", active=False)
    add_encoder(session, base_model="flux.1-dev")

    with pytest.raises(IntegrityError, match="uq_encoders_base_model_active"):
        add_encoder(session, base_model="sdxl-1.0")


def test_a_session_of_a_test_leaves_nothing(session: Session, engine: Engine) -> None:
    add_adapter(session, embedding=axis(0), captions=[("a cat", axis(1))])
    session.commit()

    with Session(engine) as other:
        assert other.scalars(select(Adapter)).all() == []
        assert other.scalars(select(Encoder)).all() == []


def test_equal_texts_have_one_embedding(session: Session) -> None:
    """Hundreds of covers share a prompt; as many equal vectors would spoil the index."""
    for _ in range(3):
        add_adapter(session, captions=[("masterpiece", axis(1))])

    assert len(session.scalars(select(CaptionEmbedding)).all()) == 1


def test_sketches_are_stored_as_they_are(session: Session) -> None:
    """`alembic check` does not see it: they do not compress, and trying is what costs."""
    query = text(
        "SELECT attstorage::text FROM pg_attribute "
        "WHERE attrelid = 'sketches'::regclass AND attname = 'data'"
    )

    assert session.scalar(query) == "e"
