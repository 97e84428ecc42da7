"""What recipes are judged by must not know those that it judges."""

import numpy as np

from benchmarks.recipes.pool import LeaveOneOutRidge
from encoder.weight_encoders.ridge import KernelRidge


def test_leaving_one_out_is_fitting_to_the_others() -> None:
    """The closed form is used for choices; if it leaked, they would be choices of noise."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((12, 30)).astype(np.float32)
    targets = rng.standard_normal((12, 5)).astype(np.float32)
    targets -= targets.mean(axis=0)
    kernel = features @ features.T
    ridge = LeaveOneOutRidge(kernel, targets)

    found = ridge.left_out(0.3)

    for left in range(12):
        others = np.delete(np.arange(12), left)
        mean = targets[others].mean(axis=0)
        slow = KernelRidge(kernel[np.ix_(others, others)], targets[others] - mean)
        # The penalty is relative to the energy, which depends on who is there.
        penalty = 0.3 * ridge.energy / slow.energy
        predicted = slow.predict(kernel[[left]][:, others], penalty)[0]
        np.testing.assert_allclose(found[left], predicted, rtol=1e-3, atol=1e-4)
