"""More like these, less like those: added and subtracted in every space that has vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy.orm import Session

from encoder.text_encoder import TextEncoder
from registry.db.models import FINGERPRINT_DIM, Adapter, File
from registry.errors import AdapterNotFoundError
from registry.retrieval.encoder_spaces import ServingEncoder
from registry.retrieval.errors import LikenessError
from registry.retrieval.filters import Filters
from registry.retrieval.given_values import MOST_LIKES, Likes
from registry.retrieval.likeness import (
    LESS,
    Alike,
    Spaces,
    direction_of,
    search_alike,
)
from registry.retrieval.spaces import CaptionSpace, WeightSpace
from registry.retrieval.strangers import GIBBERISH, PHRASES
from tests.builders import TEXT_ENCODER, active_encoder, add_adapter, add_encoder, axis

Vectors = npt.NDArray[np.float32]


# One for each search, told apart by what it is: what is measured of one is kept.
@dataclass(eq=False)
class AxisText(TextEncoder):
    """Texts by the axis that a test gives them; others lie on one of their own."""

    axes: dict[str, int] = field(default_factory=dict)
    name: str = TEXT_ENCODER
    dim: int = 512

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.array([axis(self.axes.get(text, 500)) for text in texts], np.float32)


class Plain:
    """An encoder whose space is the text encoder's own."""

    def encode_query(self, embeddings: Vectors) -> Vectors:
        return embeddings

    def encode_question(self, embeddings: Vectors) -> Vectors:
        return np.asarray(self.encode_query(embeddings[:1])[0])

    def encode_caption_query(self, embeddings: Vectors) -> Vectors:
        return embeddings


def mixed(**parts: float) -> list[float]:
    """A unit vector with parts along axes: `mixed(a1=1, a2=1)` lies between both."""
    vector = np.zeros(512)
    for name, part in parts.items():
        vector[int(name[1:])] = part
    return [float(value) for value in vector / np.linalg.norm(vector)]


def alike(
    session: Session,
    text: str = "",
    *,
    like: Sequence[Adapter] = (),
    unlike: Sequence[Adapter] = (),
    unlike_text: str = "",
    filters: Filters | None = None,
    axes: dict[str, int] | None = None,
    encoders: Sequence[str] | None = None,
) -> Alike:
    names = [active_encoder(session, "demo-flux-tiny").name] if encoders is None else encoders
    spaces = Spaces(
        [WeightSpace(ServingEncoder(name, Plain())) for name in names],
        CaptionSpace(AxisText(axes or {})),
    )
    likes = Likes(tuple(one.id for one in like), tuple(one.id for one in unlike), unlike_text)
    return search_alike(session, text, likes, filters or Filters(), 10, spaces)


def ids(found: Alike) -> list[int]:
    return [hit.adapter_id for hit in found.hits]


def similarity(found: Alike, adapter: Adapter) -> float:
    hit = found.hits[ids(found).index(adapter.id)]
    return hit.signals["weights"] or 0.0


def strangers(session: Session, count: int = 12) -> None:
    """What is usual in a space: without others nothing stands out."""
    for number in range(100, 100 + count):
        add_adapter(session, embedding=axis(number))


def test_like_two_finds_the_third(session: Session) -> None:
    strangers(session)
    one = add_adapter(session, embedding=mixed(a1=1, a2=0.3))
    two = add_adapter(session, embedding=mixed(a1=1, a3=0.3))
    third = add_adapter(session, embedding=mixed(a1=1, a4=0.3))

    found = alike(session, like=[one, two])

    assert ids(found)[0] == third.id
    assert found.hits[0].score > 0.9
    assert found.hits[1].score < 0.1
    assert not {one.id, two.id} & set(ids(found))
    assert "weights" in found.compared_by


def test_what_is_unlike_goes_down(session: Session) -> None:
    strangers(session)
    both = add_adapter(session, embedding=mixed(a1=1, a2=1))
    wanted = add_adapter(session, embedding=mixed(a1=1, a3=0.5))
    unwanted = add_adapter(session, embedding=mixed(a2=1, a4=0.5))
    against = add_adapter(session, embedding=mixed(a2=1, a5=0.5))

    before, after = alike(session, like=[both]), alike(session, like=[both], unlike=[against])

    assert set(ids(before)[:3]) == {wanted.id, unwanted.id, against.id}
    assert ids(after)[0] == wanted.id
    assert similarity(after, unwanted) < 0.3 < 0.6 < similarity(before, unwanted)


def test_near_copies_of_what_is_unlike_are_no_answer(session: Session) -> None:
    """Somebody who does not want a thing does not want it retrained either."""
    strangers(session)
    liked = add_adapter(session, embedding=mixed(a1=1, a2=0.4))
    unliked = add_adapter(session, embedding=mixed(a1=1, a3=0.4))
    retrained = add_adapter(session, embedding=mixed(a1=1, a3=0.42))

    assert retrained.id in ids(alike(session, like=[liked]))
    assert retrained.id not in ids(alike(session, like=[liked], unlike=[unliked]))


def test_copies_of_what_is_given_are_no_answer(session: Session) -> None:
    strangers(session)
    liked = add_adapter(session, embedding=axis(1))
    again = add_adapter(session, file_sha256=liked.file_sha256)

    assert again.id not in ids(alike(session, like=[liked]))


def test_copies_among_the_answers_are_one(session: Session) -> None:
    strangers(session)
    liked = add_adapter(session, embedding=axis(1))
    other = add_adapter(session, embedding=mixed(a1=1, a2=0.5))
    again = add_adapter(session, file_sha256=other.file_sha256)

    found = alike(session, like=[liked])

    assert ids(found)[0] == other.id
    assert found.hits[0].also == (again.id,)


def test_texts_are_added_and_subtracted_too(session: Session) -> None:
    strangers(session)
    liked = add_adapter(session, embedding=axis(1))
    with_fox = add_adapter(session, embedding=mixed(a1=1, a2=1))
    with_cat = add_adapter(session, embedding=mixed(a1=1, a3=1))
    axes = {"fox": 2, "cat": 3}

    added = alike(session, "fox", like=[liked], axes=axes)
    taken = alike(session, like=[liked], unlike_text="fox", axes=axes)

    assert ids(added)[0] == with_fox.id
    assert ids(taken)[0] == with_cat.id
    assert added.hits[0].score > 0.5


# Phrases have nothing to do with each other, gibberish lies together.
NONSENSE = {said: 100 + n for n, said in enumerate(PHRASES)} | dict.fromkeys(GIBBERISH, 400)


def test_nonsense_adds_nothing_to_what_adapters_have_in_common(session: Session) -> None:
    """It lies beside everything, so that neighbours would stand out more from strangers."""
    strangers(session)
    liked = add_adapter(session, embedding=axis(1))
    both = add_adapter(session, embedding=mixed(a1=1, a2=1))
    axes = NONSENSE | {"asdfqwer": 400, "fox": 2}

    alone = alike(session, like=[liked], axes=axes)
    beside = alike(session, "asdfqwer", like=[liked], axes=axes)
    taken = alike(session, like=[liked], unlike_text="asdfqwer", axes=axes)
    with_fox = alike(session, "fox", like=[liked], axes=axes)

    assert [hit.score for hit in beside.hits] == [hit.score for hit in alone.hits]
    assert ids(taken) == ids(alone)
    assert similarity(with_fox, both) > similarity(alone, both) == similarity(beside, both)


def test_nonsense_is_asked_for_where_it_is_all(session: Session) -> None:
    strangers(session)
    unliked = add_adapter(session, embedding=axis(1))
    axes = NONSENSE | {"asdfqwer": 400}

    assert alike(session, "asdfqwer", unlike=[unliked], axes=axes).hits


def test_captions_lead_to_other_base_models(session: Session) -> None:
    """Their weights have nothing in common; what their covers show has."""
    strangers(session)
    tiny = add_adapter(session, embedding=axis(50), captions=[("ink", axis(1))])
    sdxl = add_encoder(session, base_model="sdxl-1.0")
    by_captions = add_adapter(session, base_model="sdxl-1.0", captions=[("brush", axis(1))])
    by_weights = add_adapter(
        session, base_model="sdxl-1.0", embedding=mixed(a1=1, a2=0.3), encoder=sdxl
    )
    add_adapter(session, base_model="sdxl-1.0", embedding=axis(9), encoder=sdxl)

    names = [active_encoder(session, "demo-flux-tiny").name, sdxl.name]
    filters = Filters(("sdxl-1.0",))
    found = alike(session, like=[tiny], filters=filters, encoders=names)

    # One as its own captions say, one as the captions of what was given ask for.
    assert set(ids(found)[:2]) == {by_captions.id, by_weights.id}
    assert set(found.compared_by) == {"weights", "captions"}
    assert found.unknown == ()


def test_fingerprints_tell_where_nothing_else_does(session: Session) -> None:
    def fingerprinted(*parts: float) -> Adapter:
        adapter = add_adapter(session)
        direction = np.zeros(FINGERPRINT_DIM)
        direction[: len(parts)] = parts
        file = session.get_one(File, adapter.file_sha256)
        file.fingerprint = (direction / np.linalg.norm(direction)).tolist()
        file.log_norm = 0.0
        session.flush()
        return adapter

    liked, kin = fingerprinted(1, 0.2), fingerprinted(1, 0, 1)
    for place in range(3, 9):
        fingerprinted(*[0] * place, 1)
    bare = add_adapter(session)

    found = alike(session, like=[liked, bare], encoders=[])

    assert ids(found)[0] == kin.id
    assert found.compared_by == ("fingerprints",)
    assert found.unknown == (bare.id,)


def test_nothing_is_known_of_what_is_given(session: Session) -> None:
    bare = add_adapter(session)
    strangers(session)

    found = alike(session, like=[bare])

    assert (found.hits, found.compared_by, found.unknown) == ([], (), (bare.id,))


def test_filters_hold(session: Session) -> None:
    strangers(session)
    liked = add_adapter(session, embedding=axis(1))
    add_adapter(session, embedding=mixed(a1=1, a2=0.1))
    by_ann = add_adapter(session, embedding=mixed(a1=1, a2=0.5), author="ann")

    found = alike(session, like=[liked], filters=Filters(authors=("Ann",)))

    assert ids(found) == [by_ann.id]


def test_literal_words_of_the_text_come_in(session: Session) -> None:
    strangers(session)
    liked = add_adapter(session, embedding=axis(1))
    named = add_adapter(session, name="zorblax", embedding=axis(7))

    assert named.id in ids(alike(session, "zorblax", like=[liked]))


@pytest.mark.parametrize(
    ("likes", "words"),
    [
        (Likes(like=tuple(range(1, MOST_LIKES + 2))), "11 adapters"),
        (Likes(like=(1,), unlike=tuple(range(2, MOST_LIKES + 3))), "11 adapters"),
        (Likes(like=(1, 2), unlike=(2,)), "adapter 2 is given both"),
        (Likes(unlike=(1,)), "nothing what like"),
        (Likes(unlike_text="fox"), "nothing what like"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(likes: Likes, words: str) -> None:
    with pytest.raises(LikenessError, match=words):
        likes.check("")


def test_an_adapter_that_is_not_there(session: Session) -> None:
    strangers(session, 1)
    spaces = Spaces([], CaptionSpace(AxisText()))
    with pytest.raises(AdapterNotFoundError, match="999"):
        search_alike(session, "", Likes(like=(999,)), Filters(), 10, spaces)


def test_a_direction_is_the_mean_less_a_share() -> None:
    """Against the formula, written out."""
    numbers = np.random.default_rng(0)
    like = [numbers.normal(size=8).astype(np.float32) * 3 for _ in range(3)]
    unlike = [numbers.normal(size=8).astype(np.float32) for _ in range(2)]

    def plain_mean(vectors: list[Vectors]) -> Vectors:
        total = sum((one / np.linalg.norm(one) for one in vectors), np.zeros(8, np.float32))
        return total / np.linalg.norm(total)

    expected = plain_mean(like) - LESS * plain_mean(unlike)
    found = direction_of(like, unlike)

    assert found is not None
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    assert direction_of([], unlike) is None
