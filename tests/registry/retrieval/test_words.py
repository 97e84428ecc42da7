"""What people wrote about an adapter, against real PostgreSQL."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from registry.db.models import Adapter
from registry.retrieval import common_words, statements
from registry.retrieval.every_word import literal_adapters
from registry.retrieval.filters import Filters
from registry.retrieval.fitness import AUTHORED, ELSEWHERE
from registry.retrieval.word_terms import TRANSLATED
from registry.retrieval.words import ask_exact, matching_adapters
from registry.text.request_frames import what_is_asked
from registry.text.word_segmentation import segment, segment_places
from tests.builders import add_adapter

ANY = Filters()


def add_written(session: Session, name: str, **what_matters: Any) -> Adapter:
    """Add an adapter with its words as the pipeline stores them."""
    named = [name, *what_matters.get("trigger_words", [])]
    said = [*what_matters.get("tags", []), what_matters.get("description", "")]
    places = [" ".join(named), what_matters.get("author", ""), " ".join(said)]
    return add_adapter(session, name=name, words=segment_places(*places), **what_matters)


def found(session: Session, asked: str, filters: Filters = ANY) -> list[int]:
    return [
        match.adapter_id for match in matching_adapters(session, asked, filters=filters, limit=10)
    ]


def test_a_chinese_word_is_found_inside_a_sentence(session: Session) -> None:
    """PostgreSQL takes a Chinese sentence for one word; segmentation must not."""
    cat = add_written(session, "可爱猫咪", description="一只由冰雕成的小猫")
    add_written(session, "城市夜景", description="赛博朋克风格的城市")

    assert found(session, "冰雕的猫") == [cat.id]
    assert found(session, "赛博朋克") != [cat.id]


@pytest.mark.parametrize(
    ("name", "asked"), [("可爱猫咪", "貓"), ("霓虹燈下的貓", "猫"), ("龍", "龙")]
)
def test_traditional_and_simplified_characters_find_each_other(
    session: Session, name: str, asked: str
) -> None:
    named = add_written(session, name)
    add_written(session, "城市夜景")

    assert found(session, asked) == [named.id]


def test_a_typo_still_finds_the_adapter(session: Session) -> None:
    watercolor = add_written(session, "Watercolor portraits")
    add_written(session, "Charcoal")

    assert found(session, "watercolr") == [watercolor.id]


@pytest.mark.parametrize("asked", ["gibli", "ghobli", "ghilbi", "hrose"])
def test_a_slip_in_a_short_word_still_finds_the_adapter(session: Session, asked: str) -> None:
    """Its trigrams are too few to be told from a stranger's."""
    ghibli = add_written(session, "Ghibli skies with a horse")
    add_written(session, "Charcoal")

    assert found(session, asked) == [ghibli.id]


@pytest.mark.parametrize("asked", ["silouhette", "dinasour", "Dinasour silouhette"])
def test_two_slips_in_a_long_word_still_find_the_adapter(session: Session, asked: str) -> None:
    """Its trigrams are too few, too."""
    dinosaur = add_written(session, "Dinosaur silhouettes")
    add_written(session, "Silkscreen dinner")

    assert found(session, asked) == [dinosaur.id]


def test_a_poor_likeness_hides_no_word_with_two_slips(session: Session) -> None:
    transparent = add_written(session, "Transparent glass")
    add_written(session, "Transp")

    assert found(session, "transpernt")[0] == transparent.id


@pytest.mark.parametrize("asked", ["asdfqwer", "qwrtz 123", "silxxxhette", "dinner party"])
def test_nonsense_is_no_two_slips(session: Session, asked: str) -> None:
    add_written(session, "Dinosaur silhouettes asdfrewq")

    assert found(session, asked) == []


def test_a_long_word_that_somebody_uses_elsewhere_is_no_two_slips(session: Session) -> None:
    add_written(session, "Perpetual", base_model="flux.1")
    add_written(session, "Perceptual", base_model="sdxl-1.0")

    assert found(session, "perceptual", filters=Filters(("flux.1",))) == []


def test_a_word_that_somebody_uses_elsewhere_is_no_slip(session: Session) -> None:
    """There is no bottle for this base model; battles are no answer."""
    add_written(session, "Battle", base_model="flux.1")
    add_written(session, "Bottle", base_model="sdxl-1.0")

    assert found(session, "bottle", filters=Filters(("flux.1",))) == []


@pytest.mark.parametrize("asked", ["机甲娘", "国潮", "国朝机甲", "甲娘"])
def test_words_that_no_dictionary_has_are_found_by_their_signs(
    session: Session, asked: str
) -> None:
    """Names are invented daily, cut anywhere, and mistyped by one sign."""
    mecha = add_written(session, "国潮机甲娘")
    add_written(session, "水墨山水")

    assert found(session, asked) == [mecha.id]


def test_a_word_that_somebody_uses_is_no_typo(session: Session) -> None:
    add_written(session, "Dragoon")
    dragon = add_written(session, "Dragon")

    assert found(session, "dragon") == [dragon.id]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("Red Heart", "réd hëart"), ("Café Noir", "cafe noir"), ("Café Noir", "CAFÉ"),
        ("Grey fox", "gray fox"), ("Gray fox", "grey"), ("Watercolour", "watercolor"),
        ("Watercolor", "watercolour"), ("Stylized armor", "stylised armour"),
        ("Jewelry", "jewellery"), ("City centre", "city center"),
    ],
)  # fmt: skip
def test_spellings_of_a_word_find_each_other(session: Session, name: str, asked: str) -> None:
    """As if they were the same word: no typo, which would count half."""
    named = add_written(session, name)
    add_written(session, "Charcoal")

    [match] = matching_adapters(session, asked, filters=ANY, limit=5)

    assert match.adapter_id == named.id
    assert match.score >= ELSEWHERE - 1e-6
    assert literal_adapters(session, asked, filters=ANY, after=0, without=(), limit=5) == [named.id]


def test_all_spellings_of_a_word_are_found(session: Session) -> None:
    both = [add_written(session, name).id for name in ("Grey fox", "Gray fox")]
    typo = add_written(session, "Greyz fox")

    scores = {
        match.adapter_id: match.score
        for match in matching_adapters(session, "grey fox", filters=ANY, limit=5)
    }

    assert [scores[id_] for id_ in both] == [pytest.approx(1)] * 2
    assert scores[typo.id] < 0.7


def test_a_spelling_that_somebody_uses_is_no_typo_of_another(session: Session) -> None:
    gray = add_written(session, "Gray")
    add_written(session, "Greys")
    add_written(session, "Colouri")
    color = add_written(session, "Color")

    assert set(found(session, "color colour")) == {color.id}
    assert gray.id in found(session, "gray")


@pytest.mark.parametrize("name", ["Lineart", "Line art", "Line-Art", "LineArt", "line_art"])
@pytest.mark.parametrize("asked", ["lineart", "line art", "line-art", "LineArt", "line_art"])
def test_words_find_each_other_joined_and_apart(session: Session, name: str, asked: str) -> None:
    named = add_written(session, name)
    add_written(session, "Charcoal art")

    matches = matching_adapters(session, asked, filters=ANY, limit=5)

    assert matches[0].adapter_id == named.id
    assert matches[0].score == pytest.approx(1)


@pytest.mark.parametrize(
    "spellings",
    [
        ("Z Image Turbo", "Z-Image-Turbo", "z_image turbo", "zimage turbo"),
        ("Hand drawn", "hand-drawn", "HandDrawn", "handdrawn"),
        ("One Piece", "one-piece", "OnePiece"),
    ],
)
def test_names_of_words_that_say_nothing_find_each_other(
    session: Session, spellings: Sequence[str]
) -> None:
    named = [add_written(session, name).id for name in spellings]
    add_written(session, "Turbo hand piece")

    for asked in spellings[:2]:
        matches = matching_adapters(session, asked, filters=ANY, limit=5)

        assert {match.adapter_id for match in matches[: len(named)]} == {*named}, asked
        assert matches[0].score == pytest.approx(1)


def test_halves_of_a_word_count_less_than_a_typo_where_they_are_no_name(session: Session) -> None:
    typo = add_written(session, "Pixelartz")
    halves = add_written(session, "Fox", description="an art of one pixel")

    assert found(session, "pixelart") == [typo.id, halves.id]


def test_a_word_that_somebody_uses_is_not_cut(session: Session) -> None:
    whole = add_written(session, "Sunflower")
    add_written(session, "Sun on a flower")

    assert found(session, "sunflower") == [whole.id]


def test_labels_are_not_looked_for(session: Session) -> None:
    """As many sites take them."""
    adapter = add_written(session, "Fox", author="nightkiln", tags=["red"])
    add_written(session, "Author tag")

    for asked in ("author:nightkiln", "@nightkiln", "作者：nightkiln", "by:nightkiln tag:red"):
        assert found(session, what_is_asked(asked)) == [adapter.id]


@pytest.mark.parametrize("part", ["é", "line art ", "grey ", "aé-", "word", "author:"])
def test_long_questions_of_other_spellings_are_answered(session: Session, part: str) -> None:
    add_written(session, "fox")

    found(session, what_is_asked(part * 1000))
    literal_adapters(session, part * 1000, filters=ANY, after=0, without=(), limit=5)


def test_typos_count_less_than_whole_words(session: Session) -> None:
    typo = add_written(session, "Watercolor")
    whole = add_written(session, "Castle")

    assert found(session, "castle watercolr") == [whole.id, typo.id]


def test_a_word_in_the_name_beats_one_in_the_description(session: Session) -> None:
    """Descriptions mention what an adapter is not about."""
    mention = add_written(session, "Castle", description="no fox was harmed")
    fox = add_written(session, "Fox", description="in a castle garden")

    assert found(session, "fox") == [fox.id, mention.id]


def test_a_rare_word_counts_more_than_a_common_one(session: Session) -> None:
    """On a hub everything is a style; few things are foxes."""
    for colour in ("red", "blue", "green", "grey"):
        add_written(session, f"{colour} style")
    fox = add_written(session, "fox drawing")

    assert found(session, "fox style")[0] == fox.id


def test_scores_are_shares_of_the_question(session: Session) -> None:
    add_written(session, "fox castle")
    add_written(session, "fox")

    scores = [
        match.score
        for match in matching_adapters(session, "a fox in the castle", filters=ANY, limit=5)
    ]

    assert scores[0] == pytest.approx(1.0)
    assert 0 < scores[1] < 0.5


@pytest.mark.parametrize(
    "asked", ["find me a fox", "which lora does a fox", "any good fox lora? 🙏"]
)
def test_words_that_only_ask_take_no_share_of_a_question(session: Session, asked: str) -> None:
    fox = add_written(session, "Fox")
    add_written(session, "A doe", description="It does good")

    [match] = matching_adapters(session, asked, filters=ANY, limit=10)

    assert (match.adapter_id, match.score) == (fox.id, 1.0)


@pytest.mark.parametrize("asked", ["", "the of 的", "!?%_\\'\"", "\x00", "cat & | ! ( <-> :*"])
def test_odd_questions_find_nothing_and_break_nothing(session: Session, asked: str) -> None:
    """The box takes anything, tsquery operators and LIKE wildcards included."""
    add_written(session, "fox")

    assert found(session, asked) == []


def test_filters_hold_for_words(session: Session) -> None:
    """Every filter alone leaves exactly the adapter it names."""
    add_written(session, "fox plain")
    sdxl = add_written(session, "fox sdxl", base_model="sdxl-1.0")
    ann = add_written(session, "fox ann", author="ann")
    tagged = add_written(session, "fox tagged", tags=["animal", "red"])
    free = add_written(session, "fox free", licence="Apache-2.0")
    civitai = add_written(session, "fox civitai", hub="civitai")

    assert found(session, "fox", Filters(base_models=("sdxl-1.0",))) == [sdxl.id]
    assert found(session, "fox", Filters(authors=("ann",))) == [ann.id]
    assert found(session, "fox", Filters(tags=("red", "animal"))) == [tagged.id]
    assert found(session, "fox", Filters(licences=("apache-2.0",))) == [free.id]
    assert found(session, "fox", Filters(hubs=("civitai",))) == [civitai.id]


@pytest.mark.parametrize("state", ["listed", "refused", "gone"])
def test_only_ready_adapters_are_found(session: Session, state: str) -> None:
    add_written(session, "fox", state=state, trigger_words=["fxx"])

    assert found(session, "fox") == []
    assert ask_exact(session, "fxx", filters=ANY, limit=5)() == []


def test_exact_trigger_word_and_name(session: Session) -> None:
    """Who types one of these in full knows what they want."""
    fox = add_written(session, "Fire Fox", trigger_words=["zx_fox", "by ann"])
    add_written(session, "Fire Foxes", trigger_words=["zx_foxes"])

    for asked in ("ZX_fox", " by Ann ", "fire fox"):
        assert ask_exact(session, asked, filters=ANY, limit=5)() == [fox.id]
    assert ask_exact(session, "zx", filters=ANY, limit=5)() == []


def test_a_file_is_found_by_its_name_whatever_its_trainer_called_it(session: Session) -> None:
    """Its path is among its words; the suffix may be left out."""
    name = "chars/Char_Game_Name.safetensors"
    char = add_adapter(
        session, name="run7", file_name=name, words=segment("run7 chars Char_Game_Name")
    )
    other = "Char_Other.safetensors"
    add_adapter(session, name="run8", file_name=other, words=segment("run8 Char_Other"))

    for asked in ("Char_Game_Name", "char_game_name.safetensors", "Char_Game_Name.safe"):
        assert ask_exact(session, asked, filters=ANY, limit=5)() == [char.id]
    assert ask_exact(session, "chars", filters=ANY, limit=5)() == []
    [match] = matching_adapters(session, "game name", filters=ANY, limit=5)
    assert match.adapter_id == char.id


def count_anew(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let words that more than three adapters have pass for common."""
    monkeypatch.setattr(common_words, "MANY", 3)
    monkeypatch.setattr(statements, "_believed", WeakKeyDictionary())
    session.execute(text("ANALYZE listings, listing_words"))


def add_common(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Add adapters with a word that passes for common; return those named by it, and the rest."""
    named = [add_written(session, f"Neon {n}", downloads=2**n).id for n in range(10)]
    said = [
        add_written(session, f"Night {n}", description="neon", downloads=2 ** (n + 5)).id
        for n in range(10)
    ]
    count_anew(session, monkeypatch)
    return named[::-1] + said[::-1]


def test_all_that_have_a_common_word_can_be_reached(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written there is never withheld; the more popular come first, in names before."""
    everyone = add_common(session, monkeypatch)

    matches = matching_adapters(session, "neon", filters=ANY, limit=20)

    assert [match.adapter_id for match in matches] == everyone
    assert [match.score for match in matches] == [1.0] * 10 + [pytest.approx(0.6)] * 10
    assert found(session, "neon") == everyone[:10]


def test_a_rare_word_beside_a_common_one_decides(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_common(session, monkeypatch)
    fox = add_written(session, "Neon fox")

    assert found(session, "neon fox")[0] == fox.id


def test_of_common_words_all_count_more_than_one(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least popular one has both, and would not be among the first by either."""
    both = add_written(session, "Neon wood")
    for number in range(10):
        add_written(session, f"Wood {number}", downloads=number + 1)
    add_common(session, monkeypatch)

    matches = matching_adapters(session, "neon wood", filters=ANY, limit=3)

    assert matches[0].adapter_id == both.id


def test_candidates_of_other_signals_are_scored_too(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few of those that have a common word are looked at; but whoever has it, has it."""
    last = add_common(session, monkeypatch)[-1]
    stranger = add_written(session, "fox")

    matches = matching_adapters(session, "neon", filters=ANY, limit=2, also=[last, stranger.id])

    assert [match.adapter_id for match in matches[2:]] == [last]


@pytest.mark.parametrize("bears", [slice(None), slice(0, None, 3), slice(0, 30)])
def test_of_a_common_word_the_most_popular_are_found(
    session: Session, monkeypatch: pytest.MonkeyPatch, bears: slice
) -> None:
    """Those that are popular are looked at first, and all where too few of them have the word."""
    everyone = [add_written(session, f"Fox {n}", downloads=16 ** (n // 10)).id for n in range(60)]
    for adapter in session.scalars(select(Adapter).where(Adapter.id.in_(everyone[bears]))):
        adapter.name, adapter.words = "Neon", "neon"
    session.flush()
    count_anew(session, monkeypatch)

    assert common_words.facts_of_popular(session, ANY, bearers=30, wanted=2) == [
        f"popularity={step}" for step in reversed(range(8, 12))
    ]
    assert common_words.facts_of_popular(session, ANY, bearers=30, wanted=20) == []
    matches = matching_adapters(session, "neon", filters=ANY, limit=2)
    assert [match.adapter_id for match in matches] == everyone[bears][-2:]


def test_of_common_spellings_all_are_looked_for(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The popular of both, and who has one of them with the rest of the question."""
    grey = [add_written(session, f"Grey {n}", downloads=n + 20).id for n in range(10)]
    gray = [add_written(session, f"Gray {n}", downloads=n).id for n in range(10)]
    wood = [add_written(session, f"Wood {n}", downloads=n + 50).id for n in range(10)]
    both = add_written(session, "Gray wood").id
    count_anew(session, monkeypatch)

    assert set(found(session, "gray")[:10]) & {*grey}
    everyone = [
        match.adapter_id for match in matching_adapters(session, "grey", filters=ANY, limit=40)
    ]
    assert {*grey, *gray, both} == set(everyone)
    assert found(session, "grey wood")[0] == both
    assert set(found(session, "grey wood")[1:]) <= {*grey, *wood, *gray}


@pytest.mark.parametrize("asked", ["lineart", "line art"])
def test_common_words_are_found_joined_and_apart(
    session: Session, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    name = "Line art" if asked == "lineart" else "Lineart"
    named = {add_written(session, f"{name} {n}", downloads=n).id for n in range(8)}
    for n in range(8):
        add_written(session, f"Fox {n}", description="a line", downloads=100)
    count_anew(session, monkeypatch)

    assert named <= set(found(session, asked))


def test_a_typo_of_a_common_word_finds_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        add_written(session, f"Watercolor {number}", downloads=number)
    count_anew(session, monkeypatch)

    assert len(found(session, "watercolr")) == 10


def test_half_of_a_doubled_word_is_not_what_was_asked_for(session: Session) -> None:
    """哦哦 is nonsense; that somebody ends a name with 哦 does not answer it."""
    half = add_written(session, "扁平矢量爱你哦")
    whole = add_written(session, "哦哦")

    matches = matching_adapters(session, "哦哦", filters=ANY, limit=5)

    scores = {match.adapter_id: match.score for match in matches}
    assert scores[whole.id] == pytest.approx(1)
    assert scores[half.id] < 0.3


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("剪影", "Black Silhouette"), ("狐狸", "Fox LoRA"), ("线稿", "Fine Line Art"),
        ("silhouette", "黑色剪影"), ("fox", "狐狸"), ("line art", "黑色线稿"),
        ("cyberpunk", "赛博朋克城市"), ("赛博朋克", "Cyberpunk City"), ("厚涂", "Impasto"),
        ("像素画", "Pixel Art"), ("低多边形", "Low Poly"),
    ],
)  # fmt: skip
def test_words_are_found_in_the_other_language(session: Session, asked: str, name: str) -> None:
    """Hubs are named in one and asked in the other; a word of the same language is nearer."""
    named = add_adapter(session, name=name, words=segment(name)).id
    add_adapter(session, name="wolf", words="wolf")
    own = add_adapter(session, name=asked, words=segment(asked)).id

    first, second = matching_adapters(session, asked, filters=ANY, limit=5)

    assert (first.adapter_id, second.adapter_id) == (own, named)
    assert first.score > second.score == pytest.approx(TRANSLATED, abs=0.01)


def test_both_words_of_a_translation_are_wanted(session: Session) -> None:
    for name in ("Red Line", "Folk Art"):
        add_adapter(session, name=name, words=segment(name))

    assert matching_adapters(session, "线稿", filters=ANY, limit=5) == []


def test_a_part_of_an_authors_name_says_nothing_of_what_an_adapter_does(session: Session) -> None:
    """Who is called Neon Cat does no cats; but what is by Neon Cat is found by that name."""
    by_author = add_written(session, "v2", author="Neon Cat")
    told = add_written(session, "Fluffy", author="ann", description="a cat on a sofa")

    for asked in ("cat", "a cat"):
        first, second = matching_adapters(session, asked, filters=ANY, limit=10)
        assert (first.adapter_id, first.score) == (told.id, ELSEWHERE)
        assert (second.adapter_id, second.score) == (by_author.id, AUTHORED)
    for asked in ("neon cat", "NeonCat", "neon-cat", "by Neon Cat"):
        best = matching_adapters(session, asked, filters=ANY, limit=10)[0]
        assert best.adapter_id == by_author.id, asked
        assert best.score == 1.0, asked
    assert matching_adapters(session, "dog by neon cat", filters=ANY, limit=10)[0].adapter_id == (
        by_author.id
    )


def test_a_part_of_an_authors_name_that_is_no_word_names_the_author(session: Session) -> None:
    by_lykon = add_written(session, "v2", author="Lykon_AI")

    [match] = matching_adapters(session, "lykon", filters=ANY, limit=10)

    assert (match.adapter_id, match.score) == (by_lykon.id, ELSEWHERE)


def test_a_chinese_author_is_found_in_full_and_does_no_cats(session: Session) -> None:
    by_author = add_written(session, "v2", author="像素猫")

    [of_part] = matching_adapters(session, "像素", filters=ANY, limit=10)
    [in_full] = matching_adapters(session, "像素猫", filters=ANY, limit=10)

    assert of_part.score <= AUTHORED
    assert in_full.adapter_id == by_author.id
    assert in_full.score == 1.0


def test_an_authors_name_is_not_translated(session: Session) -> None:
    """像素猫 is somebody, and draws no cats."""
    add_adapter(session, name="v2", author="像素猫", words=segment("v2 像素猫"))
    cat = add_adapter(session, name="小猫", words=segment("小猫")).id

    found = matching_adapters(session, "cat", filters=ANY, limit=5)

    assert [match.adapter_id for match in found] == [cat]
