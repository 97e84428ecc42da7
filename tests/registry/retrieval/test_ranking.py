"""The ranking is pure, so every claim about it is instant."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.retrieval.fitness import LITERAL, PERHAPS
from registry.retrieval.probability import LEAST_FIT
from registry.retrieval.ranking import (
    MODELS,
    RIVALS,
    Calibration,
    Facts,
    Scale,
    SearchHit,
    SignalModel,
    evidence,
    rank,
)
from registry.retrieval.terms import SIGNALS, Signal

MEAN, SPREAD = 0.1, 0.1
CALIBRATION = Calibration(weights=(MEAN, SPREAD), captions=(MEAN, SPREAD))
PLAIN = Scale(CALIBRATION, (MEAN, SPREAD), gibberish=1.0)
# Of an adapter that has nothing to do with the question, and of the right one.
STRANGE, RIGHT = 0.1, 0.9


def ranked(
    scores: dict[Signal, dict[int, float]],
    scale: Scale = PLAIN,
    *,
    exact: Collection[int] = (),
    unheard: Collection[int] = (),
    said: Mapping[int, float] = {},
    downloads: Mapping[int, int] = {},
    positions: Mapping[Signal, Mapping[int, int]] | None = None,
) -> list[SearchHit]:
    """All adapters in one space."""
    every = {id_ for own in (*scores.values(), said) for id_ in own}.union(exact)
    facts = {
        id_: Facts(
            exact=id_ in exact,
            unheard=id_ in unheard,
            said=said.get(id_),
            downloads=downloads.get(id_, 0),
        )
        for id_ in every
    }
    return rank(scores, defaultdict(lambda: scale), facts, positions)


def ids(scores: dict[Signal, dict[int, float]], downloads: Mapping[int, int] = {}) -> list[int]:
    return [hit.adapter_id for hit in ranked(scores, downloads=downloads)]


def surest(scores: dict[Signal, dict[int, float]], scale: Scale = PLAIN) -> float:
    """The probability by which an image takes the best, or none."""
    return max(hit.surety for hit in ranked(scores, scale))


def test_what_all_signals_find_leads_and_fits() -> None:
    hits = ranked({"weights": {7: 0.6, 8: 0.2}, "captions": {7: RIGHT, 8: 0.3}, "words": {7: 1.0}})

    assert [hit.adapter_id for hit in hits] == [7, 8]
    assert [hit.band for hit in hits] == ["fits", "probably not"]
    assert hits[0].surety > 0.7


def test_a_wrong_name_does_not_outweigh_weights_and_pictures() -> None:
    """Names are whims: 1 is called what 2 does. Both are shown, and 2 is taken for an image."""
    words = {1: 1.0, 2: 0.0}

    hits = ranked({"weights": {1: STRANGE, 2: 0.6}, "captions": {1: 0.2, 2: 0.8}, "words": words})

    assert max(hits, key=lambda hit: hit.surety).adapter_id == 2
    assert all(hit.score >= PERHAPS for hit in hits)


def test_an_image_is_made_with_what_name_and_pictures_agree_on() -> None:
    """Of art that it does not know, an encoder finds others nearer."""
    others = dict.fromkeys(range(2, 40), 0.2)
    weights = {1: STRANGE, **others}
    agreed = ranked({"weights": weights, "captions": {1: 0.55, 2: 0.2}, "words": {1: 1.0}})
    named = ranked({"weights": weights, "captions": {1: 0.15, 2: 0.2}, "words": {1: 1.0}})

    taken, left = ({hit.adapter_id: hit.surety for hit in hits}[1] for hits in (agreed, named))
    assert taken >= LEAST_FIT > left


def test_missing_captions_speak_against_nobody() -> None:
    """Most adapters of a hub have no prompt on their covers."""
    scores: dict[Signal, dict[int, float]] = {
        "weights": {1: 0.7, 2: STRANGE, 3: 0.2},
        "captions": {2: 0.3, 3: 0.35},
    }

    assert ids(scores)[0] == 1


def test_an_adapter_without_captions_is_not_punished_where_one_is_meant() -> None:
    """It is neither surer nor less sure than one whose captions say nothing either way."""
    middling = MEAN + SPREAD * MODELS["captions"].doubt

    none, some = ranked({"weights": {1: 0.6, 2: 0.6}, "captions": {2: middling}})

    assert none.surety == pytest.approx(some.surety)


def test_a_whole_name_is_not_overruled_by_similar_weights() -> None:
    """`fox` is called fox; that the wolf's weights come nearer is the encoder's mistake."""
    assert ids({"weights": {1: 0.5, 2: 0.6}, "words": {1: 1.0, 2: 0.1}}) == [1, 2]


def test_adapters_of_one_name_are_told_apart_by_their_weights() -> None:
    """Of all that are called fox, the one that draws foxes."""
    weights = {1: 0.2, 2: 0.3, 3: 0.7, 4: 0.1}

    assert ids({"weights": weights, "words": dict.fromkeys(weights, 1.0)}) == [3, 2, 1, 4]


def test_one_of_many_is_less_surely_the_one_that_is_meant() -> None:
    """A question for an adapter that was taken away finds its relatives, all alike."""
    one = surest({"words": {1: 0.6, 2: 0.1}, "captions": {1: 0.5, 2: 0.2}})
    many = surest({"words": dict.fromkeys(range(8), 0.6), "captions": dict.fromkeys(range(8), 0.5)})

    assert one > many


@pytest.mark.parametrize("count", [2, 8, 40])
def test_good_ones_do_not_eat_one_anothers_probability(count: int) -> None:
    """Who asks for neon asks for a kind of thing: whatever is neon fits."""
    [one] = ranked({"words": {0: 1.0}, "captions": {0: RIGHT}})
    many = ranked(
        {"words": dict.fromkeys(range(count), 1.0), "captions": dict.fromkeys(range(count), RIGHT)}
    )

    assert all(hit.score == pytest.approx(one.score) for hit in many)
    assert one.band == "fits"


def test_a_signal_that_is_not_there_does_not_lower_the_surety() -> None:
    """A base model without an encoder is searched by the other signals as well as can be."""
    alone = surest({"captions": {1: RIGHT}})
    both = surest({"captions": {1: RIGHT}, "weights": {1: STRANGE}})

    assert alone > both >= 0
    assert alone >= LEAST_FIT


def test_strangers_do_not_fit() -> None:
    hits = ranked({"weights": {1: 0.15, 2: 0.2}, "captions": {1: 0.2, 2: 0.1}})

    assert {hit.band for hit in hits} == {"probably not"}
    assert all(hit.surety < LEAST_FIT for hit in hits)


def test_a_lone_stranger_does_not_fit_either() -> None:
    """It leads all that was found, for there is nothing else."""
    [hit] = ranked({"weights": {1: STRANGE}, "captions": {1: STRANGE}, "words": {}})

    assert hit.band == "probably not"
    assert hit.surety < LEAST_FIT


def test_what_literally_answers_a_question_is_never_probably_something_else() -> None:
    """However far others are ahead by their weights, and however many."""
    strong = dict.fromkeys(range(2, 60), 0.95)

    hits = ranked({"weights": {1: -0.5} | strong, "captions": strong, "words": {1: LITERAL}})

    assert next(hit for hit in hits if hit.adapter_id == 1).score >= PERHAPS


def test_what_means_nothing_finds_less() -> None:
    """Gibberish lies near very short words in a text encoder's space, whatever is indexed."""
    scores: dict[Signal, dict[int, float]] = {"captions": {1: 0.7, 2: 0.2}, "words": {}}

    [sense, *_] = ranked(scores)
    [nonsense, *_] = ranked(scores, Scale(CALIBRATION, (MEAN, SPREAD), gibberish=6.0))

    assert nonsense.score < sense.score


def test_another_family_may_lie_nearer_as_a_whole() -> None:
    """Similarities mean what unrelated adapters of the family do not have."""
    scores: dict[Signal, dict[int, float]] = {"weights": {1: 0.8}, "captions": {1: 0.8}}
    close = Scale(Calibration((0.7, 0.1), (0.7, 0.1)), (0.7, 0.1), gibberish=1.0)

    assert surest(scores) >= LEAST_FIT > surest(scores, close)
    assert ranked(scores)[0].score > ranked(scores, close)[0].score


def test_spaces_are_compared_by_what_is_much_in_each() -> None:
    """Every base model has its own encoder: .5 is little in one, and much in another."""
    wide = Scale(Calibration((0.0, 0.2), (0.0, 0.2)), (0.0, 0.2), gibberish=1.0)
    narrow = Scale(Calibration((0.0, 0.05), (0.0, 0.05)), (0.0, 0.05), gibberish=1.0)

    hits = rank(
        {"weights": {1: 0.5, 2: 0.5}, "captions": {1: 0.5, 2: 0.5}},
        {1: wide, 2: narrow},
        {1: Facts(), 2: Facts()},
    )

    assert [hit.adapter_id for hit in hits] == [2, 1]


def test_exact_matches_come_first_even_from_outside_every_list() -> None:
    hits = ranked({"captions": {1: RIGHT, 2: STRANGE}}, exact={5, 2})

    assert [hit.exact for hit in hits] == [True, True, False]
    assert {hit.adapter_id for hit in hits[:2]} == {2, 5}
    assert hits[0].score == 1


def test_popularity_only_breaks_ties() -> None:
    """A million downloads do not make a fox of a dog."""
    same = {1: 0.5, 2: 0.5, 3: 0.51}

    assert ids({"captions": same}, downloads={1: 5, 2: 10**9}) == [3, 2, 1]
    assert ids({"captions": same}) == [3, 1, 2]


def test_hits_report_scores_and_positions_of_every_signal() -> None:
    positions: dict[Signal, dict[int, int]] = {"weights": {4: 1}}

    [first, _] = ranked({"weights": {4: 0.9, 3: 0.5}, "words": {4: 1.0}}, positions=positions)

    assert first.signals == {"weights": 0.9, "captions": None, "words": 1.0}
    assert first.positions == {"weights": 1, "captions": None, "words": None}


def test_nothing_found_is_an_empty_page() -> None:
    assert ranked({}) == ranked({"words": {}}) == []


def test_calibrations_survive_the_database() -> None:
    assert Calibration.from_json(CALIBRATION.to_json()) == CALIBRATION
    assert Calibration.from_json(None) == Calibration()


@given(
    st.dictionaries(
        st.sampled_from(["weights", "captions", "words"]),
        st.dictionaries(st.integers(1, 30), st.floats(-1, 1)),
    ),
    st.sets(st.integers(25, 35)),
)
def test_ranking_loses_nothing_and_orders_strictly(
    scores: dict[Signal, dict[int, float]], exact: set[int]
) -> None:
    """The same index must always answer the same, and a better signal never does harm."""
    hits = ranked(scores, exact=exact)

    assert {hit.adapter_id for hit in hits} == {i for own in scores.values() for i in own} | exact
    assert [hit.exact for hit in hits] == sorted((hit.exact for hit in hits), reverse=True)
    assert all(0 <= hit.score <= 1 for hit in hits)
    assert ranked(scores, exact=exact) == hits


def slow_evidence(model: SignalModel, z: list[float | None]) -> list[float]:
    """SignalModel.evidence, one adapter after another."""
    powers = [math.exp(model.slope * (value - model.doubt)) for value in z if value is not None]
    everything = 1 + sum(sorted(powers, reverse=True)[:RIVALS])
    found = []
    for value in z:
        power = 1.0 if value is None else math.exp(model.slope * (value - model.doubt))
        ratio = (model.floor + power / everything) / (model.floor + 1 / everything)
        found.append(model.weight * math.log(ratio))
    return found


similarities = st.lists(st.none() | st.floats(-3, 12), min_size=1, max_size=30)


@given(st.sampled_from(SIGNALS), similarities)
def test_evidence_equals_its_slow_version(signal: Signal, z: list[float | None]) -> None:
    model = MODELS[signal]

    found = model.evidence(np.array([math.nan if value is None else value for value in z]))

    assert found == pytest.approx(slow_evidence(model, z))


@given(st.sampled_from(SIGNALS), similarities, st.floats(0, 5), st.integers(0, 29))
def test_no_adapter_falls_by_a_better_score(
    signal: Signal, z: list[float | None], more: float, which: int
) -> None:
    """Neither its evidence, nor what it leads others by."""
    which %= len(z)
    before = np.array([math.nan if value is None else value for value in z])
    after = before.copy()
    after[which] += more
    model = MODELS[signal]

    gained = model.evidence(after) - model.evidence(before)

    assert gained[which] >= -1e-9
    assert all(gained[which] >= gained - 1e-9)


@pytest.mark.parametrize("signal", SIGNALS)
def test_no_signal_says_more_than_its_floor_allows(signal: Signal) -> None:
    """Names can lie: however sure a signal is, two others can outvote it."""
    model = MODELS[signal]

    best, worst = model.evidence(np.array([1000.0, -1000.0]))

    assert best - worst <= model.weight * math.log(1 + 1 / model.floor) + 1e-9


def test_words_that_match_nothing_are_silent_and_words_not_asked_are_not() -> None:
    weights = {1: 0.9, 2: 0.2}

    asked = surest({"weights": weights, "words": {}})
    elsewhere = surest({"weights": weights, "words": {3: 0.0}})
    alone = surest({"weights": weights})

    assert asked > elsewhere
    assert alone == pytest.approx(elsewhere, abs=0.2)


def test_evidence_is_judged_by_each_ones_calibration() -> None:
    other = Calibration(weights=(0.5, 0.1), captions=(0.5, 0.1))

    mine, its = evidence({"weights": {1: 0.9, 2: 0.9}}, [1, 2], [CALIBRATION, other])

    assert mine > its


def test_what_is_said_speaks_for_adapters_by_itself() -> None:
    said = {1: 0.5, 2: 0.2}

    hits = ranked({"weights": {3: STRANGE}, "captions": {}, "words": {}}, said=said)

    bands = {hit.adapter_id: hit.band for hit in hits}
    assert bands == {1: "fits", 2: "probably not", 3: "probably not"}
    assert [hit.adapter_id for hit in hits if hit.surety >= LEAST_FIT] == [1]


def test_no_image_is_made_with_what_is_only_the_nearest_by_what_is_said() -> None:
    said = {1: 0.35, 2: 0.2, 3: 0.1}

    hits = ranked({"captions": {}, "words": {}}, said=said)

    assert hits[0].adapter_id == 1
    assert max(hit.surety for hit in hits) < LEAST_FIT


def test_no_image_is_made_with_what_probably_does_not_fit_by_captions_alone() -> None:
    """A prompt names what somebody drew: the nearest to a cat is a cat in some look."""
    scores: dict[Signal, dict[int, float]] = {"captions": {1: 0.55, 2: 0.2, 3: 0.1}, "words": {}}

    first, *_ = ranked(scores)
    weighed, *_ = ranked({**scores, "weights": {1: RIGHT, 2: STRANGE, 3: STRANGE}})

    assert first.adapter_id == weighed.adapter_id == 1
    assert first.band != "fits"
    assert first.surety < LEAST_FIT <= weighed.surety


def test_what_is_said_counts_less_where_it_has_some_of_the_questions_words() -> None:
    """A blue heart lies near a red one, and words tell which of them is asked for."""
    said = {1: 0.5, 2: 0.5}
    scores: dict[Signal, dict[int, float]] = {"captions": {}, "words": {2: 0.3}}

    hits = {hit.adapter_id: hit for hit in ranked(scores, said=said)}

    assert hits[1].band == "fits"
    assert hits[2].band == "perhaps"
    assert ranked(scores)[0].score < hits[2].score < hits[1].score


def test_what_has_most_words_of_a_question_and_is_nearest_to_it_fits() -> None:
    """Who asks for a stained glass window means the Stained Glass Portrait."""
    said = {1: 0.65, 2: 0.55}
    scores: dict[Signal, dict[int, float]] = {"words": {1: 0.8, 2: 0.8}}

    near, far = ranked(scores, said=said)
    [alone] = ranked({"words": {2: 0.3}}, said={2: 0.3})
    weighed = ranked({**scores, "weights": {1: STRANGE, 2: STRANGE}}, said=said)

    assert (near.adapter_id, near.band, far.band) == (1, "fits", "perhaps")
    assert alone.band != "fits"
    assert weighed[0].band != "fits"


def test_what_is_said_is_shown_where_no_caption_is_nearer() -> None:
    hits = ranked({"captions": {1: 0.3, 2: 0.6}, "words": {}}, said={1: 0.5, 2: 0.5, 3: 0.4})

    assert {hit.adapter_id: hit.signals["captions"] for hit in hits} == {1: 0.5, 2: 0.6, 3: 0.4}


def test_what_is_said_takes_nothing_from_who_has_captions() -> None:
    scores: dict[Signal, dict[int, float]] = {"captions": {1: RIGHT}, "words": {1: 1.0}}

    alone, both = ranked(scores), ranked(scores, said={2: 0.5})

    assert (both[0].adapter_id, both[0].score) == (1, alone[0].score)
    assert both[1].signals["captions"] == 0.5


def test_an_adapter_named_in_another_script_is_not_behind_one_that_has_the_word() -> None:
    """Both do neon; 霓虹 stands in the name of the first, the other is named in English."""
    scores: dict[Signal, dict[int, float]] = {
        "weights": {1: 0.6, 2: 0.6},
        "captions": {1: RIGHT, 2: RIGHT},
        "words": {1: 1.0},
    }

    heard, unheard = (
        {hit.adapter_id: hit for hit in ranked(scores, unheard=u)} for u in ((), (2,))
    )

    assert heard[2].band == "probably not"
    assert unheard[2].band == "fits"
    assert unheard[1].score == heard[1].score
    assert unheard[2].mute
    assert not unheard[1].mute


def test_a_word_of_the_question_does_no_harm_to_one_named_in_another_script() -> None:
    scores: dict[Signal, dict[int, float]] = {
        "weights": {1: 0.6, 2: 0.6},
        "captions": {1: RIGHT, 2: RIGHT},
        "words": {1: 1.0, 2: 0.0},
    }
    some: dict[Signal, dict[int, float]] = {**scores, "words": {1: 1.0, 2: 0.3}}

    without, with_some = (
        {hit.adapter_id: hit.score for hit in ranked(own, unheard=(2,))} for own in (scores, some)
    )

    assert with_some[2] >= without[2]


def test_what_nothing_is_known_of_puts_nobody_behind_and_comes_after() -> None:
    """A folder of bare files beside adapters that an encoder knows, and a question of neither."""
    scores: dict[Signal, dict[int, float]] = {
        "weights": {1: 0.35, 2: STRANGE}, "captions": {1: STRANGE, 2: 0.05}, "words": {2: 0.25}
    }  # fmt: skip
    bare = dict.fromkeys(range(10, 20), 0.05)

    before, after = ranked(scores), ranked(scores, said=bare)

    assert [hit.adapter_id for hit in after[:2]] == [hit.adapter_id for hit in before]
    for old, now in zip(before, after[:2], strict=True):
        assert now.score == pytest.approx(old.score, abs=1e-3)
    assert max(hit.score for hit in after[2:]) < min(hit.score for hit in before)
