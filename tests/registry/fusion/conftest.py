from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from registry.fusion.backends.pipeline import PipelineBackend, load_backend
from tests.registry.fusion.builders import BASE_MODEL, save_tiny_base


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_tiny_base(folder)
    return folder


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
