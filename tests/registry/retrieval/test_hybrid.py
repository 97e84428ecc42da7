"""All signals together, as the registry asks them."""

import numpy as np
import numpy.typing as npt
import pytest

from encoder.text_encoder import load_text_encoder
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.models import File
from registry.retrieval.encoder_spaces import ServingEncoder, Space
from registry.retrieval.errors import (
    CalledAdapterError,
    EmptyQueryError,
    NothingIndexedError,
    UnknownBaseModelError,
    UnknownFilterValueError,
)
from registry.retrieval.filters import Filters
from registry.retrieval.finder import NONE_LEFT
from registry.retrieval.given_values import Likes, Paging
from registry.retrieval.hybrid import SearchQuery, search
from registry.retrieval.results import Similar
from registry.service import Registry
from registry.text.prompt_phrases import texts_of
from registry.text.word_segmentation import segment, segment_places
from tests.builders import TEXT_ENCODER, active_encoder, add_adapter, add_encoder
from tests.registry.conftest import add_real_encoder, embed, save_checkpoint


def test_weights_find_what_nobody_described(registry: Registry) -> None:
    """The point of the whole: no name, no tag, no caption, and still found."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = add_adapter(session, name="v2", embedding=embed(registry, "a fox"))
        add_adapter(session, name="v3", embedding=embed(registry, "a steam locomotive"))

    page = registry.search("狐狸")

    assert page.results[0].card.id == fox.id
    hit = page.results[0].hit
    assert hit.positions == {"weights": 1, "captions": None, "words": None}
    assert hit.signals["weights"] == pytest.approx(0.9, abs=0.15)
    assert page.notes == ()


def test_every_signal_is_reported(registry: Registry) -> None:
    """A person sees why: scores and positions of weights, captions and words."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        add_adapter(
            session, name="fox", words=segment("fox"), embedding=fox, captions=[("a fox", fox)]
        )
        add_adapter(session, name="bare", words="bare")

    [result] = registry.search("a fox").results

    assert result.hit.band == "fits"
    assert result.hit.positions == {"weights": 1, "captions": 1, "words": 1}
    assert all(score == pytest.approx(1, abs=1e-2) for score in result.hit.signals.values())
    assert result.hit.score > 0.8


@pytest.mark.parametrize(
    ("asked", "named", "foreign", "other"),
    [
        ("狐狸", "狐狸", "Foxes", "狼"),
        ("fox", "Fox LoRA", "狐狸 LoRA", "wolf"),
        ("fox", "fox", "狐狸-flux-v2", "wolf"),
    ],
)
def test_what_is_named_in_another_script_fits_beside_what_has_the_word(
    registry: Registry, asked: str, named: str, foreign: str, other: str
) -> None:
    """No word of the question can stand in its name, whatever its weights do."""
    add_real_encoder(registry)
    fox = embed(registry, asked)
    with registry.sessions.begin() as session:
        ids = [
            add_adapter(
                session, name=name, words=segment(name), embedding=fox, captions=[(name, fox)]
            ).id
            for name in (named, foreign, other)
        ]

    bands = {result.card.id: result.hit.band for result in registry.search(asked).results}

    assert [bands[id_] for id_ in ids] == ["fits", "fits", "probably not"]


@pytest.mark.parametrize(
    ("author", "asked", "is_author"),
    [
        ("quiet fox", "Quiet Fox", True),
        ("quiet fox", "@quiet fox", True),
        ("安静狐狸", "安静狐狸", True),
        ("quiet fox", "a quiet fox", False),
        ("fox", "fox", False),
        ("lora", "loras", False),
    ],
)
def test_who_asks_with_an_authors_name_mostly_means_that_author(
    registry: Registry, author: str, asked: str, is_author: bool
) -> None:
    """Whatever the adapters do, which the name does not say; others have it in theirs."""
    add_real_encoder(registry)
    fox, engine = embed(registry, asked), embed(registry, "a steam locomotive")
    with registry.sessions.begin() as session:
        by_author = add_adapter(
            session,
            name="v2",
            author=author,
            words=segment_places("v2", author, ""),
            embedding=engine,
            captions=[("a steam locomotive", engine)],
        )
        alike = add_adapter(session, name="v3", embedding=fox, captions=[(asked, fox)])
        named = add_adapter(
            session,
            name=f"my {asked}",
            words=segment(f"my {asked}"),
            embedding=fox,
            captions=[(f"my {asked}", fox)],
        )

    hits = {result.card.id: result.hit for result in registry.search(asked).results}

    assert hits[named.id].band == "fits"
    assert (hits[by_author.id].band == "fits") == is_author
    assert hits[by_author.id].score > hits[alike.id].score or not is_author


@pytest.mark.parametrize("others_have_it", [False, True])
def test_an_author_who_is_called_by_a_word_is_meant_where_nobody_else_has_it(
    registry: Registry, others_have_it: bool
) -> None:
    add_real_encoder(registry)
    fox, engine = embed(registry, "inkfish"), embed(registry, "a steam locomotive")
    with registry.sessions.begin() as session:
        by_author = add_adapter(
            session,
            name="v2",
            author="inkfish",
            words=segment_places("v2", "inkfish", ""),
            embedding=engine,
            captions=[("a steam locomotive", engine)],
        )
        add_adapter(session, name="v3", embedding=fox, captions=[("a squid", fox)])
        if others_have_it:
            words = segment_places("v4", "", "an inkfish")
            add_adapter(session, name="v4", words=words, embedding=fox)

    hits = {result.card.id: result.hit for result in registry.search("Inkfish").results}

    assert (hits[by_author.id].band == "fits") == (not others_have_it)


class OnlyAnimals:
    """An encoder to which a text is how far it is about foxes, and nothing else."""

    def __init__(self, fox: list[float]) -> None:
        self.fox = np.array([fox], np.float32)

    def encode_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return embeddings

    def encode_question(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(self.encode_query(embeddings[:1])[0])

    def encode_caption_query(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        aimed: npt.NDArray[np.float32] = embeddings @ self.fox.T * self.fox
        return aimed


@pytest.mark.parametrize("told", [True, False])
def test_captions_compare_as_the_encoder_has_it(registry: Registry, told: bool) -> None:
    """What makes captions differ that are about the same thing should not count."""
    fox, question = embed(registry, "a fox"), "a photo of a fox in the snow at night"
    with registry.sessions.begin() as session:
        night = "a photo of a car in the snow at night"
        add_adapter(session, captions=[(night, embed(registry, night))])
        animal = add_adapter(session, captions=[("a fox", fox)])
        hits = search(
            session,
            SearchQuery(question, Filters(("demo-flux-tiny",)), signals=("captions",)),
            load_text_encoder(TEXT_ENCODER),
            [Space(ServingEncoder("animals", OnlyAnimals(fox)) if told else None)],
        )

    assert (hits[0].adapter_id == animal.id) == told


class HearsParts(OnlyAnimals):
    """An encoder that looks for the last part of a question."""

    def encode_question(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(embeddings[-1])


def test_an_encoder_hears_what_is_asked_for_and_how(registry: Registry) -> None:
    fox, name = embed(registry, "a fox"), add_real_encoder(registry)
    with registry.sessions.begin() as session:
        add_adapter(session, embedding=embed(registry, "a castle at night"))
        animal = add_adapter(session, embedding=fox)
        hits = search(
            session,
            SearchQuery("a castle at night, as a fox", Filters(), signals=("weights",)),
            load_text_encoder(TEXT_ENCODER),
            [Space(ServingEncoder(name, HearsParts(fox)))],
        )

    assert hits[0].adapter_id == animal.id


def test_scores_outside_a_signals_candidates_are_filled_in(registry: Registry) -> None:
    """Found by its name alone among hundreds, it still has weights to compare."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        for _ in range(120):
            add_adapter(session, name="x", words="x", embedding=fox)
        named = add_adapter(
            session, name="fox", words="fox", embedding=embed(registry, "a tax form")
        )

    [first, *_] = registry.search("fox", paging=Paging(limit=3)).results

    assert first.card.id == named.id
    assert first.hit.positions["weights"] is None
    assert first.hit.signals["weights"] == pytest.approx(0.2, abs=0.2)


def test_no_signal_leaks_another_base_model(registry: Registry) -> None:
    """An SDXL adapter that fits in every way is still useless for the tiny base."""
    add_real_encoder(registry)
    fox = embed(registry, "a fox")
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", words="fox", embedding=fox, captions=[("a fox", fox)])
        encoder = session.query(Encoder).one()
        for base_model in ("sdxl-1.0", "flux.1-dev"):
            add_adapter(
                session,
                name="fox",
                words="fox",
                trigger_words=["fox"],
                base_model=base_model,
                embedding=fox,
                encoder=encoder,
                captions=[("a fox", fox)],
            )

    for base_model in ("demo-flux-tiny", "sdxl-1.0", "flux.1-dev"):
        page = registry.search("a red fox", Filters((base_model,)))
        assert [result.card.base_model for result in page.results] == [base_model]


def test_all_base_models_are_searched_at_once(registry: Registry) -> None:
    """One has an encoder, the others none: each result says what it is for."""
    add_real_encoder(registry)
    fox = embed(registry, "a fox")
    names = ["demo-flux-tiny", "flux.1-dev", "sdxl-1.0"]
    with registry.sessions.begin() as session:
        for name in names:
            add_adapter(session, base_model=name, name="x", captions=[("a fox", fox)])
            add_adapter(session, base_model=name, name="red fox", words="red fox",
                        captions=[("a fox", fox)])  # fmt: skip

    page = registry.search("a fox")

    assert {result.card.name for result in page.results[:3]} == {"red fox"}
    assert {result.card.base_model for result in page.results[:3]} == set(names)
    assert all(result.hit.band == "fits" for result in page.results[:3])
    assert page.base_models == ()
    assert set(page.found) == set(names)


def test_what_leaves_its_variant_open_is_asked_by_one_encoder(registry: Registry) -> None:
    """Another of the family puts it elsewhere, by queries of its own."""
    add_real_encoder(registry, "flux.1-dev")
    fox, train = embed(registry, "a fox"), embed(registry, "a steam locomotive")
    with registry.sessions.begin() as session:
        dev = active_encoder(session, "flux.1-dev")
        open_name = add_adapter(session, base_model="flux.1", embedding=fox, encoder=dev)
        add_adapter(session, base_model="flux.1-dev", embedding=train, encoder=dev)
    [alone, _] = registry.search("a fox").results
    path = save_checkpoint(registry, "negated", "flux.1-schnell", negated=True)
    checkpoint = registry.blobs.put_file(path)
    with registry.sessions.begin() as session:
        schnell = add_encoder(
            session, name="negated", base_model="flux.1-schnell", checkpoint_sha256=checkpoint
        )
        add_adapter(session, base_model="flux.1-schnell", embedding=train)
        session.add(
            WeightEmbedding(file_sha256=open_name.file_sha256, encoder_id=schnell.id, embedding=fox)
        )

    [first, *_] = registry.search("a fox").results

    assert first.card.id == alone.card.id == open_name.id
    assert first.hit.signals["weights"] == alone.hit.signals["weights"]


def test_an_exact_name_in_another_base_model_comes_first(registry: Registry) -> None:
    """Who knows its name wants to be told where it is."""
    with registry.sessions.begin() as session:
        fox = embed(registry, "ohwx fox")
        add_adapter(session, name="a", words="fox", captions=[("ohwx fox", fox)])
        other = add_adapter(session, name="ohwx fox", words="ohwx fox", base_model="sdxl-1.0")

    first, second = registry.search("ohwx fox", Filters(("demo-flux-tiny",))).results

    assert (first.card.id, first.hit.exact, first.hit.elsewhere) == (other.id, True, True)
    assert not second.hit.elsewhere
    # Where no base model is asked for, none is another.
    assert not registry.search("ohwx fox").results[0].hit.elsewhere


def test_a_pasted_prompt_finds_the_files_that_it_calls_for(registry: Registry) -> None:
    """What web UIs are to load is no word of the picture, and neither is how much words weigh."""
    with registry.sessions.begin() as session:
        ghibli = add_adapter(session, name="Studio style", file_name="style/ghibli_v2.safetensors")
        details = add_adapter(session, name="more_details")
        sky = add_adapter(session, name="blue sky over hills")
        add_adapter(session, name="best quality masterpiece")

    pasted = "masterpiece, best quality, (blue sky:1.2), <lora:ghibli_v2:0.8><lora:more_details:.5>"
    page = registry.search(pasted)
    only = registry.search("<lora:ghibli_v2:0.8>")

    found = [(result.card.id, result.hit.exact) for result in page.results[:3]]
    assert found == [(ghibli.id, True), (details.id, True), (sky.id, False)]
    assert page.text == pasted
    assert (only.results[0].card.id, only.results[0].hit.exact) == (ghibli.id, True)


def test_what_a_picture_was_to_be_without_is_not_found_by_its_pasted_data(
    registry: Registry,
) -> None:
    add_real_encoder(registry)
    sha256 = "68bbf6e368" + 54 * "0"
    with registry.sessions.begin() as session:
        fox = add_adapter(session, name="v1", embedding=embed(registry, "a fox"))
        train = add_adapter(session, name="steam train", embedding=embed(registry, "steam train"))
        ink = add_adapter(session, name="Ink", file_name="0446.safetensors", file_sha256=sha256)
    settings = "\nNegative prompt: steam train\nSteps: 20, Sampler: Euler a, CFG scale: 7"

    page = registry.search(f"(a fox:1.2){settings}")
    [choice] = registry.choose(f"(a fox:1.2){settings}")
    hashed = registry.search(f'a fox, <lora:x:1>{settings}, Lora hashes: "x: 68bbf6e368"')

    assert page.results[0].card.id == choice.card.id == fox.id
    assert choice.part == "fox"
    assert [r.hit.band for r in page.results if r.card.id == train.id] == ["probably not"]
    assert [r.card.id for r in hashed.results[:2]] == [ink.id, fox.id]


def test_what_a_prompt_calls_for_is_chosen_at_the_strength_that_it_says(
    registry: Registry,
) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        ink = add_adapter(session, name="Ink", file_name="ink-v2.safetensors")
        add_adapter(session, name="fox", embedding=embed(registry, "a fox"))

    [choice] = registry.choose("a fox, <lora:Ink-V2:0.6>")

    assert (choice.card.id, choice.card.strength) == (ink.id, 0.6)
    with pytest.raises(CalledAdapterError, match="<lora:gone>, and no adapter here"):
        registry.choose("a fox, <lora:gone:1>")


def test_the_same_name_here_comes_before_that_elsewhere(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for base_model in ("sdxl-1.0", "demo-flux-tiny"):
            add_adapter(session, name="ohwx fox", words="ohwx fox", base_model=base_model)

    results = registry.search("ohwx fox", Filters(("demo-flux-tiny",))).results

    assert [result.hit.elsewhere for result in results] == [False, True]


def test_an_exact_trigger_word_wins(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for _ in range(3):
            like = embed(registry, "ohwx fox")
            add_adapter(session, name="ohwx", words="ohwx fox", captions=[("ohwx fox", like)])
        exact = add_adapter(
            session, name="v7", words=segment("ohwx fox"), trigger_words=["ohwx fox"]
        )

    [first, *others] = registry.search("OHWX fox").results

    assert (first.card.id, first.hit.exact) == (exact.id, True)
    assert not any(other.hit.exact for other in others)


def test_without_an_encoder_the_page_says_so(registry: Registry) -> None:
    """Half an answer must not look like a whole one."""
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", words="fox")

    page = registry.search("fox")

    assert len(page.results) == 1
    # Every search repeats it, so that it is a line of 80 columns.
    assert "no encoder for demo-flux-tiny" in page.notes[0]
    assert len(page.notes[0]) < 80


def test_many_base_models_without_an_encoder_are_one_line(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for base_model in ("flux.1", "pony", "sd-1.5", "sdxl-1.0", "z-image"):
            add_adapter(session, name="fox", words="fox", base_model=base_model)

    [note] = registry.search("fox").notes

    assert "no encoder for flux.1, pony, sd-1.5 and 2 more (`autolora doctor`)." in note


def test_an_encoder_for_another_text_encoder_is_not_used(registry: Registry) -> None:
    """Its queries would land anywhere in the space."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        add_adapter(session, embedding=embed(registry, "fox"))
        session.query(Encoder).one().text_encoder = "bge-m3"

    page = registry.search("fox")

    assert page.results == ()
    assert "reads bge-m3" in page.notes[0]


def test_the_default_base_model_is_one_that_can_draw(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        for _ in range(3):
            add_adapter(session, base_model="sdxl-1.0")
        add_adapter(session)

    assert registry.default_base_model() == "sdxl-1.0"
    registry.settings.base_models["demo-flux-tiny"] = registry.settings.home
    assert registry.default_base_model() == "demo-flux-tiny"


def test_questions_that_cannot_be_answered(registry: Registry) -> None:
    with pytest.raises(EmptyQueryError):
        registry.choose("  ")
    with pytest.raises(NothingIndexedError):
        registry.search("  ")
    with pytest.raises(NothingIndexedError, match="autolora refresh"):
        registry.search("fox")
    with registry.sessions.begin() as session:
        add_adapter(session)
    with pytest.raises(UnknownBaseModelError, match="Ready are: demo-flux-tiny"):
        registry.search("fox", Filters(("sd-1.5",)))


def test_what_cannot_be_fused_is_found_but_not_chosen(registry: Registry) -> None:
    """One bad file among the hits must not cost the image."""
    with registry.sessions.begin() as session:
        best = add_adapter(session, name="fox", words="fox")
        second = add_adapter(session, name="red fox", words="red fox")
        session.get_one(File, best.file_sha256).verdict = {"loadable": True, "fusable": False}

    assert [result.card.fusable for result in registry.search("fox").results] == [False, True]
    assert [choice.card.id for choice in registry.choose("fox")] == [second.id]


def test_text_that_postgresql_cannot_hold_is_searched_without_it(registry: Registry) -> None:
    """NUL from a URL, half a surrogate pair from JSON."""
    with registry.sessions.begin() as session:
        fox = add_adapter(session, name="fox", words="fox")

    assert registry.search("fox\0 \ud800").results[0].card.id == fox.id
    with pytest.raises(UnknownFilterValueError, match="no adapter has the author"):
        registry.search("fox", filters=Filters(authors=("\0",)))
    with pytest.raises(UnknownFilterValueError, match="no adapter has the tag"):
        registry.browse(Filters(tags=("\udfff",)))


def test_similar_ranks_by_weights_and_leaves_itself_out(registry: Registry) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = add_adapter(session, embedding=embed(registry, "a fox"))
        wolf = add_adapter(session, embedding=embed(registry, "a wolf"))
        train = add_adapter(session, embedding=embed(registry, "a steam locomotive"))
        bare = add_adapter(session)

    similar = registry.similar(fox.id)

    assert similar.compared_by == "encoder"
    assert [result.card.id for result in similar.results] == [wolf.id, train.id]
    assert registry.similar(bare.id) == Similar("nothing")


def test_similar_finds_the_whole_family(registry: Registry) -> None:
    """Variants share their layers, and an encoder; only the picture's style tells them apart."""
    add_real_encoder(registry, "sdxl-1.0")
    with registry.sessions.begin() as session:
        encoder = active_encoder(session, "sdxl-1.0")
        pony, sdxl = (
            add_adapter(
                session, base_model=name, encoder=encoder, embedding=embed(registry, "a fox")
            ).id
            for name in ("pony", "sdxl-1.0")
        )

    assert [result.card.id for result in registry.similar(pony).results] == [sdxl]
    assert [result.card.id for result in registry.similar(sdxl).results] == [pony]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("sd-1.5", {"sd-1.5", "sd-1.4", "sd-1.5-inpainting"}),
        ("sd-1.5-inpainting", {"sd-1.5-inpainting"}),
        # Whose variant nobody names may be any.
        ("flux.1-dev", {"flux.1-dev", "flux.1"}),
        ("flux.1", {"flux.1-dev", "flux.1", "flux.1-schnell"}),
    ],
)
def test_a_search_in_a_family_finds_its_variants(
    registry: Registry, asked: str, found: set[str]
) -> None:
    names = ["sd-1.5", "sd-1.4", "sd-1.5-inpainting", "flux.1", "flux.1-dev", "flux.1-schnell"]
    with registry.sessions.begin() as session:
        for name in names:
            add_adapter(session, base_model=name, name="a red fox", words="a red fox")

    page = registry.search("red fox", Filters((asked,)))

    assert {result.card.base_model for result in page.results} == found
    cards = registry.browse(Filters((asked,))).cards
    assert {card.base_model for card in cards} == found


def test_an_adapter_of_a_sibling_is_not_chosen_for_an_image(registry: Registry) -> None:
    """Pony's adapters do little good on SDXL, though they load; a person may still take one."""
    with registry.sessions.begin() as session:
        for name in ("pony", "sdxl-1.0"):
            add_adapter(session, base_model=name, name="red fox", words="red fox",
                        captions=[("a red fox", embed(registry, "a red fox"))])  # fmt: skip

    chosen = registry.choose("a red fox", base_model="sdxl-1.0")

    assert {choice.card.base_model for choice in chosen} == {"sdxl-1.0"}


def test_a_choice_says_how_similar_its_weights_are_to_the_prompt(registry: Registry) -> None:
    """Fusion may listen more to the adapter that the prompt is about."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = add_adapter(session, name="fox", embedding=embed(registry, "a fox"))
        bare = add_adapter(session, name="bare")

    [choice] = registry.choose("a fox", 1)
    choices = registry.named_adapters("a fox", [fox.id, bare.id])

    assert choice.card.id == fox.id
    assert choice.similarities is not None
    assert choice.similarities[0] == pytest.approx(1, abs=1e-2)
    assert choices[0].similarities == choice.similarities
    assert choices[1].similarities is None
    assert choices[0].embedding == choice.embedding
    assert choice.embedding is not None
    assert np.linalg.norm(choice.embedding) == pytest.approx(1, abs=1e-3)
    assert choices[1].embedding is None


def test_trigger_words_that_fusing_adds_are_parts_of_the_prompt(registry: Registry) -> None:
    """Who names an adapter wants it, whatever the prompt says of it."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = add_adapter(
            session, name="x", trigger_words=["a fox"], embedding=embed(registry, "a fox")
        )

    [unsaid] = registry.named_adapters("a steam locomotive", [fox.id])
    [said] = registry.named_adapters("a steam locomotive and a fox", [fox.id])

    assert unsaid.similarities is not None
    assert said.similarities is not None
    assert unsaid.similarities[-1] == pytest.approx(1, abs=1e-2)
    assert max(unsaid.similarities[:-1]) < 0.8
    # It is there already, and is not said twice.
    assert len(said.similarities) == len(texts_of("a steam locomotive and a fox"))


def test_a_prompt_of_two_things_is_about_both(registry: Registry) -> None:
    """Each is compared with the part that names it, not with all that is said beside it."""
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = add_adapter(session, name="fox", embedding=embed(registry, "a fox"))
        train = add_adapter(session, name="train", embedding=embed(registry, "a steam locomotive"))

    choices = registry.named_adapters("a fox and a steam locomotive", [fox.id, train.id])

    similarities = [np.array(one.similarities) for one in choices]
    assert [one.max() for one in similarities] == pytest.approx([1, 1], abs=0.1)
    # Not the same part, and neither is the whole.
    assert 0 < similarities[0].argmax() != similarities[1].argmax() > 0


@pytest.mark.parametrize(
    "asked", ["帮我找一个能画狐狸的模型", "我想要一张狐狸的图", "有沒有狐狸的lora？"]
)
def test_a_request_finds_as_surely_as_what_it_asks_for(registry: Registry, asked: str) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        fox = embed(registry, "a fox")
        add_adapter(session, name="v2", words=segment("狐狸"), embedding=fox)
        add_adapter(session, name="v3", embedding=embed(registry, "a steam locomotive"))

    [plain, *_] = registry.search("狐狸").results
    [first, *_] = registry.search(asked).results

    assert first.card.id == plain.card.id
    assert first.hit.signals == plain.hit.signals


def test_what_is_not_wanted_goes_behind(registry: Registry) -> None:
    """By its words and by its weights, and whoever has the words of both is not listed before."""
    add_real_encoder(registry)
    neon, both = embed(registry, "neon"), embed(registry, "a neon heart")
    with registry.sessions.begin() as session:
        sign = add_adapter(session, name="neon sign", words="neon sign", embedding=neon).id
        named = add_adapter(session, name="neon heart", words="neon heart", embedding=both).id
        bare = add_adapter(session, name="v2", words="v2", embedding=both).id

    page = registry.search("neon, not hearts", paging=Paging(limit=1))
    rest = registry.search("neon, not hearts", paging=Paging(limit=5, cursor=page.next))

    assert [result.card.id for result in page.results] == [sign]
    assert page.results[0].hit.band == "fits"
    assert {result.card.id: result.hit.band for result in rest.results} == {
        named: "probably not",
        bare: "probably not",
    }
    assert page.notes == ("Read as “neon”, and without “hearts”.",)


def test_pages_that_literally_match_leave_out_what_is_not_wanted(registry: Registry) -> None:
    """Behind what was ranked everything follows that has every word of what is wanted."""
    with registry.sessions.begin() as session:
        plain = [add_adapter(session, name="fox", words="fox").id for _ in range(150)]
        for _ in range(150):
            add_adapter(session, name="neon fox", words="neon fox")

    found: list[int] = []
    cursor = None
    while len(found) < len(plain):
        page = registry.search("fox -neon", paging=Paging(limit=50, cursor=cursor))
        found += [result.card.id for result in page.results]
        cursor = page.next
        assert page.results

    assert sorted(found) == plain


def test_what_says_to_be_without_it_has_it_in_its_name_and_not_in_its_pictures(
    registry: Registry,
) -> None:
    with registry.sessions.begin() as session:
        for name in ("Teacup Without Handle", "Teacup With Handle"):
            add_adapter(session, name=name, words=segment(name))

    bands = {one.card.name: one.hit.band for one in registry.search("teacup, no handle").results}

    assert bands == {"Teacup Without Handle": "fits", "Teacup With Handle": "probably not"}


def test_a_name_that_says_what_it_is_not_is_found_by_it(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        named = add_adapter(session, name="Cat Without Hat", words=segment("Cat Without Hat"))
        add_adapter(session, name="cat", words="cat")

    first = registry.search("cat without hat").results[0]

    assert first.card.id == named.id
    assert first.hit.exact


def test_likes_are_unlike_what_a_text_does_not_want(registry: Registry) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        cat = add_adapter(session, name="a", embedding=embed(registry, "a cat")).id
        for name, text in (("b", "a cat drawn in neon"), ("c", "a cat in watercolour")):
            add_adapter(session, name=name, embedding=embed(registry, text))

    page = registry.search("cat, not neon", likes=Likes(like=(cat,)))

    assert page.results[0].card.name == "c"
    assert page.notes == ("Read as “cat”, and without “neon”.",)
    assert page.text == "cat, not neon"


@pytest.mark.parametrize("nothing", [" ", "\0"])
def test_texts_that_say_nothing_ask_for_nothing(registry: Registry, nothing: str) -> None:
    fox = embed(registry, "fox")
    with registry.sessions.begin() as session:
        first, second = (
            add_adapter(session, name="fox", words="fox", captions=[("fox", fox)]).id
            for _ in range(2)
        )

    plain = registry.search("fox", likes=Likes(unlike_text=nothing))
    listed = registry.search(nothing, likes=Likes(unlike_text=nothing))
    alike = registry.search(nothing, likes=Likes(like=(first,)))

    assert plain.results == registry.search("fox").results
    assert {card.id for card in listed.listed} == {first, second}
    assert [result.card.id for result in alike.results] == [second]


def test_an_image_is_not_made_with_what_its_prompt_is_without(registry: Registry) -> None:
    add_real_encoder(registry)
    with registry.sessions.begin() as session:
        session.add(File(sha256="f" * 64, size=1, verdict={"fusable": True}))
        for name in ("cat", "hat"):
            add_adapter(
                session, name=name, words=name, embedding=embed(registry, f"a {name}"),
                trigger_words=[name],
            )  # fmt: skip
    chosen = registry.choose("a cat, no hat", k=2)

    assert [choice.card.name for choice in chosen] == ["cat"]


def test_where_filters_leave_nothing_the_answer_says_so(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, name="fox", words="fox")

    page = registry.search("fox", filters=Filters(min_size=10**12))

    assert page.results == ()
    assert page.notes[-1] == NONE_LEFT
    assert NONE_LEFT not in registry.search("fox").notes
    # Compared with it, and nothing found: of the adapter no more is known than its name.
    assert registry.search("zebra").results == ()
    assert NONE_LEFT not in registry.search("zebra").notes


def test_no_is_a_word_of_its_own(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_adapter(session, name="Casino Handle", words="casino handle")

    [result] = registry.search("casino, not handle").results

    assert result.hit.band == "probably not"
