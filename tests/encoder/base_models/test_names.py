"""The crawler and the encoder name base models alike, though neither imports the other."""

import pytest

from crawler.base_models import SPELLINGS, normalise_base_model
from encoder.base_models.families import BASE_MODELS, name_claim
from encoder.base_models.names import CLAIMS, VARIANTS


def test_every_name_that_hubs_words_get_is_known_to_the_encoder() -> None:
    assert set(SPELLINGS) <= set(BASE_MODELS)


def test_words_of_hubs_and_trainers_mean_the_same_family() -> None:
    """ "FLUX_1" is ModelScope's for FLUX.1-dev and sd-scripts' for any FLUX.1."""
    words = {word for spellings in (*SPELLINGS.values(), *CLAIMS.values()) for word in spellings}
    both = {word for word in words if name_claim(word)} & {
        word for word in words if normalise_base_model([word]) != "unknown"
    }

    assert len(both) > 40
    for word in both:
        hub, trainer = normalise_base_model([word]), name_claim(word)
        assert trainer is not None
        assert hub == trainer or (BASE_MODELS[hub] and BASE_MODELS[hub] == BASE_MODELS[trainer])


@pytest.mark.parametrize("family", VARIANTS)
def test_every_variant_has_a_word(family: str) -> None:
    assert set(VARIANTS[family]) <= {*SPELLINGS, *CLAIMS}
