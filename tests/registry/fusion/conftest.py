from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusers import FluxTransformer2DModel
from torch import nn

from encoder.threads import threads
from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from tests.registry.fusion.builders import BASE_MODEL


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="session")
def shared_backend(base_folder: Path) -> PipelineBackend:
    return load_backend(base_folder, BASE_MODEL)


@pytest.fixture
def backend(shared_backend: PipelineBackend) -> PipelineBackend:
    """With nothing cached: tests call different weights by the same made-up hash."""
    shared_backend.cache.clear()
    return shared_backend


@pytest.fixture
def transformer(base_folder: Path) -> nn.Module:
    """A transformer of the test's own, to be spoiled at will."""
    loaded: nn.Module = FluxTransformer2DModel.from_pretrained(base_folder / "transformer")
    return loaded.eval().requires_grad_(False)
