import dataclasses
from pathlib import Path

import numpy as np
import pytest

from encoder.arrays import Floats
from encoder.errors import TrainingDataError
from encoder.sketches.sketch import Sketch
from encoder.training.beliefs import KnownArt, learn_whom_to_believe
from encoder.training.concepts import Gradients, fit_concepts, fit_looks
from encoder.training.learn_on import largest_that_ties, learn_on
from encoder.training.train import (
    SketchedAdapters,
    encode_captions,
    fit_ridge_to_sketches,
    measure_retrieval,
    sketch_files,
)
from encoder.weight_encoders.checkpoint import load_encoder, save_encoder
from encoder.weight_encoders.concepts import Concepts, unit_layers
from encoder.weight_encoders.ridge import RidgeEncoder
from tests.encoder.conftest import COLOURS, SyntheticZoo

RNG = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Taught:
    """The synthetic zoo, and an encoder that was trained on half of its colours."""

    sketches: list[Sketch]
    captions: list[Floats]
    splits: list[str]
    encoder: RidgeEncoder
    strangers: list[int]  # training adapters of the other colours

    def of(self, places: list[int]) -> SketchedAdapters:
        return SketchedAdapters(
            [self.sketches[i] for i in places], [self.captions[i] for i in places]
        )

    def found(self, encoder: RidgeEncoder) -> float:
        """Return the MRR of unseen adapters of all colours."""
        figures = measure_retrieval(encoder, self.sketches, self.captions, self.splits, "held-out")
        return figures["mrr"]

    def apart(self, encoder: RidgeEncoder) -> float:
        """Return how much nearer unseen adapters are to their own captions than to others'."""
        unseen = [i for i, split in enumerate(self.splits) if split == "held-out"]
        said = np.stack([encoder.encode_query(self.captions[i]).mean(axis=0) for i in unseen])
        alike = encoder.encode([self.sketches[i] for i in unseen]) @ said.T
        return float(np.diagonal(alike).mean() - alike.mean())


@pytest.fixture(scope="module")
def taught(zoo: SyntheticZoo) -> Taught:
    sketches = sketch_files(zoo.dataset.paths)
    captions = encode_captions(zoo.dataset.captions, zoo.text_encoder)
    seen: list[int] = []
    strangers: list[int] = []
    for place in zoo.dataset.indices("train"):
        colour = zoo.dataset.captions[place][0].split()[0]
        (seen if colour in COLOURS[:3] else strangers).append(place)
    encoder = fit_ridge_to_sketches(
        SketchedAdapters([sketches[i] for i in seen], [captions[i] for i in seen]),
        name="first",
        base_model="demo-flux-tiny",
        text_encoder=zoo.text_encoder.name,
    )
    return Taught(sketches, captions, list(zoo.dataset.splits), encoder, strangers)


def vocabulary(taught: Taught, zoo: SyntheticZoo, told: list[str], *, looks: bool) -> Concepts:
    """Concepts whose gradients are the mean changes of adapters that have their word."""
    every = zoo.dataset.indices("train")
    sizes = taught.sketches[0].layout.sizes
    values = np.stack([taught.sketches[i].values for i in every]).astype(np.float32)
    values = unit_layers(values, sizes) - unit_layers(values, sizes).mean(axis=0)
    has = [[word in zoo.dataset.captions[i][0] for i in every] for word in told]
    means = np.stack([values[own].mean(axis=0) for own in np.array(has)])
    halves = means.repeat(2, axis=0) + RNG.normal(0, 0.1, (2 * len(told), int(sizes.sum())))
    gradients = Gradients(
        [[word] for word in told], unit_layers(means, sizes), halves.astype(np.float32)
    )
    fit = fit_looks if looks else fit_concepts
    return fit(gradients, [taught.sketches[i] for i in every], zoo.text_encoder, 1.0)


@pytest.fixture(scope="module")
def vocabularies(taught: Taught, zoo: SyntheticZoo) -> tuple[Concepts, Concepts]:
    things = sorted({said[0].split()[1] for said in zoo.dataset.captions})
    return (
        vocabulary(taught, zoo, things, looks=False),
        vocabulary(taught, zoo, list(COLOURS), looks=True),
    )


def test_an_encoder_learns_others_and_does_not_forget(taught: Taught) -> None:
    before = taught.found(taught.encoder)
    known = [i for i, split in enumerate(taught.splits) if split == "train"]
    known = [i for i in known if i not in taught.strangers]

    after = learn_on(taught.encoder, taught.of(taught.strangers), name="second")

    assert after.name == "second"
    assert taught.found(after) > before + 0.1
    said = [taught.encoder.encode_query(taught.captions[i]).mean(axis=0) for i in known]
    own = after.encode([taught.sketches[i] for i in known])
    first = taught.encoder.encode([taught.sketches[i] for i in known])
    assert (own * said).sum() > 0.8 * (first * said).sum()


def believing(
    taught: Taught, vocabularies: tuple[Concepts, Concepts], encoder: RidgeEncoder
) -> RidgeEncoder:
    unseen = [i for i, split in enumerate(taught.splits) if split == "validation"]
    return learn_whom_to_believe(encoder, taught.of(unseen), *vocabularies)


def test_concepts_and_looks_speak_where_the_ridge_has_not_learned(
    taught: Taught, vocabularies: tuple[Concepts, Concepts], tmp_path: Path
) -> None:
    told = believing(taught, vocabularies, taught.encoder)
    save_encoder(told, tmp_path / "told.safetensors")
    again = load_encoder(tmp_path / "told.safetensors")

    assert isinstance(again, RidgeEncoder)
    assert taught.apart(again) > taught.apart(taught.encoder)
    np.testing.assert_allclose(
        again.encode(taught.sketches[:4]), told.encode(taught.sketches[:4]), atol=2e-3
    )


def test_of_art_that_the_ridge_knows_it_is_believed_as_far_as_is_usual_there(
    taught: Taught, vocabularies: tuple[Concepts, Concepts], tmp_path: Path
) -> None:
    """What it has not seen of the colours that it was trained on is told from other colours."""
    train = [i for i, split in enumerate(taught.splits) if split == "train"]
    seen = [i for i in train if i not in taught.strangers]
    others, abroad = taught.strangers[::2], taught.strangers[1::2]
    art = KnownArt(
        [taught.sketches[i] for i in seen[::2]],
        [taught.sketches[i] for i in others],
        taught.of(seen[1::2]),
    )

    told = learn_whom_to_believe(taught.encoder, taught.of(abroad), *vocabularies, art)

    save_encoder(told, tmp_path / "told.safetensors")
    again = load_encoder(tmp_path / "told.safetensors")
    np.testing.assert_allclose(
        again.encode(taught.sketches[:4]), told.encode(taught.sketches[:4]), atol=2e-3
    )
    assert told.known is not None
    home = told.known.beliefs.home
    assert home is not None
    # The ridge, which comes first, is believed more where it has learned, concepts are not.
    ridge_at_home, ridge_elsewhere = home.usual[0], told.known.beliefs.usual[0]
    assert ridge_at_home > ridge_elsewhere


def test_nonsense_is_believed_less_than_what_is_true(
    taught: Taught, vocabularies: tuple[Concepts, Concepts]
) -> None:
    things, colours = vocabularies
    order = np.roll(np.arange(things.keys.rows), 3)
    texts = type(things.texts).of(things.texts.dense()[order])
    wrong = dataclasses.replace(things, texts=texts)

    right, misled = (
        believing(taught, (own, colours), taught.encoder).known for own in (things, wrong)
    )

    assert right is not None
    assert misled is not None
    assert misled.beliefs.usual[1] < right.beliefs.usual[1] - 0.1


def test_what_was_known_is_kept_by_who_learns_on(
    taught: Taught, vocabularies: tuple[Concepts, Concepts]
) -> None:
    first = believing(taught, vocabularies, taught.encoder)

    second = learn_on(first, taught.of(taught.strangers), name="more")

    assert second.known is first.known
    assert taught.found(second) >= taught.found(first)


def test_of_penalties_that_tie_the_largest_is_taken() -> None:
    found = {0.1: [0.5, 0.6, 0.7], 1.0: [0.52, 0.58, 0.66], 10.0: [0.3, 0.4, 0.5]}

    assert largest_that_ties(found) == 1.0
    assert largest_that_ties({penalty: [own[0]] * 3 for penalty, own in found.items()}) == 1.0


def test_too_few_to_learn_on_with_are_refused(taught: Taught) -> None:
    with pytest.raises(TrainingDataError, match="too few"):
        learn_on(taught.encoder, taught.of(taught.strangers[:6]), name="second")
