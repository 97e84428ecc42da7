"""A registry over the tests' database and a folder of its own."""

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy.orm import Session, sessionmaker

from encoder.checkpoint import save_encoder
from encoder.ridge import QuarterMatrix, RidgeEncoder, TextSpace
from registry.config import Settings
from registry.service import Registry
from tests.builders import TEXT_ENCODER, add_encoder


@pytest.fixture
def registry(
    settings: Settings, database_url: str, sessions: sessionmaker[Session]
) -> Iterator[Registry]:
    with Registry(settings.model_copy(update={"database_url": database_url})) as registry:
        yield registry


def add_real_encoder(registry: Registry, base_model: str = "demo-flux-tiny") -> str:
    """Register and activate an encoder whose index space is the text encoder's own.

    So an adapter with a sentence's embedding is what that sentence finds by weights.
    """
    nothing = np.zeros((1, 1), np.float32)
    encoder = RidgeEncoder(
        name=f"ridge-{base_model}",
        base_model=base_model,
        text_encoder=TEXT_ENCODER,
        sketch_version="1",
        family=base_model,
        layer_scales=nothing[0],
        means=nothing[0],
        down=QuarterMatrix.of(nothing),
        up=np.zeros((1, 512), np.float32),
        text=TextSpace(np.zeros(512, np.float32)),
    )
    registry.settings.home.mkdir(exist_ok=True)
    path = registry.settings.home / f"{encoder.name}.safetensors"
    save_encoder(encoder, path)
    checkpoint = registry.blobs.put_file(path)
    with registry.sessions.begin() as session:
        add_encoder(session, name=encoder.name, base_model=base_model, checkpoint_sha256=checkpoint)
    return encoder.name


def embed(registry: Registry, text: str) -> list[float]:
    return [float(value) for value in registry.text_encoder.encode([text])[0]]
