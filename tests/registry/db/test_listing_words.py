"""The words to be found by follow what adapters say, in the same transaction."""

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from registry.db.models import File, ListingWords, VocabularyWord
from tests.builders import add_adapter


def test_words_of_names_are_marked(session: Session) -> None:
    """One in the name counts more than one in the description."""
    add_adapter(session, name="Neon Fox", words="neon fox night", trigger_words=["zx"])

    vector = session.scalars(select(ListingWords.words_vector)).one()

    assert vector == "'=fox' '=neon' 'fox' 'neon' 'night'"


def test_words_that_only_an_author_is_called_are_marked(session: Session) -> None:
    """They say nothing of what the adapter does, but one that stands elsewhere as well does."""
    add_adapter(session, words="neon\nneoncat neon cat 猫\nnight 猫", author="Neon Cat 猫")

    vector = session.scalars(select(ListingWords.words_vector)).one()

    marked = [word for word in vector.split() if word.startswith(("'=", "'@"))]
    assert marked == ["'=neon'", "'@=neoncat'", "'@cat'", "'@neoncat'"]


def test_what_it_may_be_called_in_full_is_kept(session: Session) -> None:
    add_adapter(
        session, name="Neon Fox", file_name="a/Neon_v2.safetensors", trigger_words=["ZX fox", "By"]
    )

    called = session.scalars(select(ListingWords.called)).one()

    assert called == ["neon fox", "neon_v2", "zx fox", "by"]


def test_words_change_and_go_with_their_adapter(session: Session) -> None:
    adapter = add_adapter(session, name="fox", words="fox")

    adapter.words = "\n\nwolf"
    session.flush()
    assert session.scalars(select(ListingWords.words_vector)).one() == "'wolf'"
    adapter.state = "gone"
    session.flush()
    assert session.scalars(select(ListingWords)).all() == []
    adapter.state = "ready"
    session.flush()
    session.expire_all()
    assert session.scalars(select(ListingWords.words_vector)).one() == "'wolf'"


def test_the_vocabulary_has_every_word_once(session: Session) -> None:
    add_adapter(session, words="fox night 狐狸")
    add_adapter(session, words="fox day")

    words = session.scalars(select(VocabularyWord.word)).all()

    assert sorted(words) == ["day", "fox", "night", "狐狸"]


def test_a_touch_of_the_downloads_leaves_words_alone(session: Session) -> None:
    """Every night brings the downloads of all adapters; indexing their words takes hours."""
    adapter = add_adapter(session, words="fox", downloads=1000)
    place = text("SELECT ctid::text FROM listing_words")
    before = session.scalar(place)

    adapter.downloads += 1
    session.flush()

    assert session.scalar(place) == before


def test_many_more_downloads_make_words_more_popular(session: Session) -> None:
    adapter = add_adapter(session, words="fox", downloads=0)
    assert session.scalars(select(ListingWords.popularity)).one() == 0

    adapter.downloads = 1023
    session.flush()

    assert session.scalars(select(ListingWords.popularity)).one() == 40


def test_facts_follow_adapters_and_files(session: Session) -> None:
    """Words are filtered by facts alone: one that is stale hides an adapter, or shows it."""
    adapter = add_adapter(session, author="Ann", tags=["Red"], licence="MIT", words="fox")
    told = select(ListingWords.facts)
    before = {"base_model=demo-flux-tiny", "author=ann", "hub=modelscope", "licence=mit"}
    told_before = before | {"commercial", "tag=red", "fusable", "popularity=0"}
    assert set(session.scalars(told).one()) == told_before

    adapter.author, adapter.tags, adapter.licence = "Bob", [], None
    adapter.base_model, adapter.hub, adapter.mature = "pony", "civitai", True
    adapter.downloads = 15
    session.flush()
    after = {"base_model=pony", "author=bob", "hub=civitai", "mature", "popularity=2"}
    assert set(session.scalars(told).one()) == after | {"fusable"}

    session.execute(update(File).values(verdict={"trainer": "Kohya", "fusable": False}))
    adapter.trigger_words = ["zx"]
    session.flush()
    assert set(session.scalars(told).one()) == after | {"trainer=kohya", "trigger_words"}
