"""Of many tries the covers are those that show best what an adapter learned."""

import torch
from torch import Tensor

from demo.covers import off_by


def picture(square: slice) -> Tensor:
    """Draw a black square on white, uint8 (1, 64, 64, 3)."""
    drawn = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
    drawn[:, square, square] = 0
    return drawn


def test_a_picture_is_compared_with_the_nearest_of_those_wanted() -> None:
    wanted = torch.cat([picture(slice(0, 16)), picture(slice(24, 48))])
    assert off_by(picture(slice(24, 48)), wanted).tolist() == [0.0]


def test_an_empty_picture_is_wholly_off_however_little_there_is_to_see() -> None:
    """Else a pale blot would be the best picture of anything small."""
    for square in (slice(0, 8), slice(0, 32)):
        off = off_by(picture(slice(0, 0)), picture(square))
        torch.testing.assert_close(off, torch.ones(1))


def test_a_small_shift_is_better_than_another_place() -> None:
    wanted = picture(slice(16, 48))
    shifted, elsewhere = off_by(
        torch.cat([picture(slice(18, 50)), picture(slice(32, 64))]), wanted
    ).tolist()
    assert 0 < shifted < elsewhere
