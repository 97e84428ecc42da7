"""A shape is cut and reshaped as a tensor is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from encoder.adapter.header_tensor import HeaderTensor

CHANGES: list[Callable[[Any], Any]] = [
    lambda t: t[2:],
    lambda t: t[slice(1, 3)],
    lambda t: t[:100],
    lambda t: t[0],
    lambda t: t[1:, 2],
    lambda t: t[:, :, None, None],
    lambda t: t.flatten(),
    lambda t: t.flatten(1),
    lambda t: t.reshape(6, 4),
    lambda t: t.reshape(*t.shape[:2], 1, 1),
    lambda t: t.T,
    lambda t: t.roll(2, 0),
    lambda t: t.float() * 0.5,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_shape_changes_as_a_tensor_does(change: Callable[[Any], Any]) -> None:
    ours, theirs = change(HeaderTensor((4, 6))), change(torch.empty(4, 6, device="meta"))

    assert ours.shape == tuple(theirs.shape)
    assert (ours.ndim, ours.numel(), len(ours)) == (theirs.ndim, theirs.numel(), len(theirs))
    assert ours.is_meta == theirs.is_meta
