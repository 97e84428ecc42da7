"""Four adapters on a hub on loopback, and what refreshes them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope import serve
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder
from encoder.training.dataset import Dataset
from encoder.training.train import fit_ridge
from encoder.weight_encoders.checkpoint import save_encoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.refresh.pipeline import Pipeline
from tests.crawler.builders import add_entry
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.refresh.pipeline.facts import NAMES

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, text_encoder: TextEncoder) -> Path:
    """A weight encoder really trained, on a few adapters of random numbers."""
    folder = tmp_path_factory.mktemp("training")
    paths = [write_adapter(folder / f"{n}.safetensors", make_factors(n)) for n in range(14)]
    splits = ["train"] * 10 + ["validation"] * 2 + ["held-out"] * 2
    dataset = Dataset(paths, [[f"thing number {n}"] for n in range(14)], splits)
    encoder = fit_ridge(dataset, text_encoder, name="tiny-ridge", base_model="demo-flux-tiny")
    # Random numbers teach nothing; what is promoted has to look as if they did.
    metrics = {"validation": {"mrr": 0.7}, "adapters": {"validation": 120}}
    save_encoder(replace(encoder, metrics=metrics), folder / "encoder.safetensors")
    return folder / "encoder.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Four adapters with a cover each, changed a day apart."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        entry = add_entry(folder, name)
        write_adapter(folder / entry["file"], make_factors(100 + number))
    with serve(folder) as hub:
        yield hub


@pytest.fixture
def source(hub: Hub) -> Iterator[ModelScopeSource]:
    with ModelScopeSource(hub.endpoint) as source:
        yield source


@pytest.fixture
def settings(settings: Settings, checkpoint: Path) -> Settings:
    return settings.model_copy(update={"encoder_checkpoint": checkpoint})


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blobs)


@pytest.fixture
def pipeline(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    settings: Settings,
    text_encoder: TextEncoder,
) -> Pipeline:
    return Pipeline(sessions, blobs, settings, text_encoder)
