"""How likely what was found does what was asked for."""

from itertools import pairwise

import numpy as np

from registry.retrieval.probability import fit


def test_silent_words_are_judged_otherwise_but_in_the_same_order() -> None:
    """Where no word matches, as in another language, evidence is less for all alike."""
    strength = np.array([3.0, 12.0, -2.0])

    heard, silent = fit(strength), fit(strength, silent=True)

    assert (silent > heard).all()
    assert silent.argsort().tolist() == heard.argsort().tolist()


def test_the_fit_grows_with_the_evidence() -> None:
    fitting = fit(np.array([-5.0, 0.0, 3.0, 4.0, 12.0])).tolist()

    assert all(less < more for less, more in pairwise(fitting))
