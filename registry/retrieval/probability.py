"""How likely an adapter does what was asked for, and when the answer is that nothing fits.

Constants are learned by `python -m benchmarks.search.tuning`; docs/search.md explains them.
"""

import numpy as np

from encoder.arrays import Doubles

# A hit fits with probability 1 / (1 + exp(-odds)); odds = FIT_SLOPE * evidence + FIT_LEAD * lead
# + FIT_OFFSET, where lead is the logarithm of its share among all that was found and something
# with the evidence NOTHING: a lone adapter leads nobody, and may still be a stranger. FIT_SILENT
# comes to the odds where no word of the question is written anywhere, as in another language.
FIT_SLOPE, FIT_LEAD, FIT_SILENT, FIT_OFFSET = 0.198, 0.0483, 1.14, -0.32
NOTHING = -10.0
# Below this the best hit is taken for a stranger, and the answer is that nothing fits. Where
# the constants were learned it has the best balanced accuracy (asked for what is here, and for
# what was taken away or is far off).
LEAST_FIT = 0.47


def fit(found: Doubles, *, silent: bool = False) -> Doubles:
    """Return the probability (adapters,) that each does what was asked for, by its evidence.

    `silent`: words were asked, and match nothing at all.
    """
    if not len(found):
        return found
    lead = found - np.logaddexp.reduce([NOTHING, *found])
    odds = FIT_SLOPE * found + FIT_LEAD * lead + FIT_OFFSET + FIT_SILENT * silent
    probability: Doubles = 1 / (1 + np.exp(-odds))
    return probability
