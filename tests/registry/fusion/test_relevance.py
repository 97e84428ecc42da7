"""How far a prompt favours adapters: by how much each leads in the part where it does most."""

import math

import pytest
import torch

from registry.fusion.relevance import relevance_of


def test_a_lead_is_that_over_the_nearest_other_in_the_best_part() -> None:
    similarities = torch.tensor(
        [
            [0.3, 0.1, 0.0],  # the whole prompt
            [0.2, -0.1, 0.1],
            [0.0, 0.6, 0.1],
        ]
    )
    torch.testing.assert_close(relevance_of(similarities), torch.tensor([0.2, 0.5, -0.1]))


def test_equals_lead_by_nothing_and_who_is_alone_by_all() -> None:
    assert relevance_of(torch.full((2, 2), 0.4)).tolist() == [0, 0]
    assert relevance_of(torch.tensor([[-0.2], [0.4]])).tolist() == pytest.approx([0.4])


def test_adapters_that_are_not_known_are_nobodys_rivals() -> None:
    nan = math.nan
    found = relevance_of(torch.tensor([[0.3, nan, 0.1], [0.2, nan, 0.4]]))
    assert found[[0, 2]].tolist() == pytest.approx([0.2, 0.2])
    assert found[1].isnan()
    assert relevance_of(torch.tensor([[nan, 0.3]]))[1] == pytest.approx(0.3)
    assert relevance_of(torch.full((2, 3), nan)).isnan().all()
