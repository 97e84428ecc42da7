"""What a base cannot draw is refused before its weights are read."""

from pathlib import Path

import pytest

from registry.fusion.base_folder import Sizes, check_steps
from registry.fusion.errors import SamplingError
from registry.fusion.maker import Maker
from registry.service import Registry
from tests.registry.fusion.builders import BASE_MODEL, save_tiny_base


@pytest.mark.parametrize("size", [(0, 8), (8, -8), (12, 8), (4, 4), (8, 264)])
def test_a_size_that_a_base_cannot_draw_is_refused(size: tuple[int, int]) -> None:
    sizes = Sizes(unit=8, side=32)
    sizes.check((8, 256))

    with pytest.raises(SamplingError, match="pixels"):
        sizes.check(size)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_that_no_image_takes_are_refused(steps: int) -> None:
    check_steps(1)
    check_steps(1000)

    with pytest.raises(SamplingError, match="use 1 to 1000"):
        check_steps(steps)


def test_nothing_is_loaded_for_what_cannot_be_drawn(registry: Registry, tmp_path: Path) -> None:
    """Not even the weights that are missing here are looked for."""
    save_tiny_base(tmp_path)
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    registry.settings.base_models[BASE_MODEL] = tmp_path
    maker: Maker = registry.maker

    with pytest.raises(SamplingError, match="use 512 at most"):
        maker.fuse("a fox", base_model=BASE_MODEL, mode="base", size=(4096, 4096))
    with pytest.raises(SamplingError, match="multiples of 16"):
        maker.fuse("a fox", base_model=BASE_MODEL, mode="base", size=(31, 32))
    with pytest.raises(SamplingError, match="0 steps"):
        maker.fuse("a fox", base_model=BASE_MODEL, mode="base", steps=0)
