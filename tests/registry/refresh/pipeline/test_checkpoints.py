"""The weight encoder that the settings name: what it embeds, and one that is none."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.refresh.pipeline import Pipeline
from tests.encoder.builders import write_adapter
from tests.registry.refresh.pipeline.facts import (
    EVERYTHING,
    NAMES,
    failures,
    get_adapter,
    last_run,
    row_counts,
    states,
)


def test_weights_are_embedded_in_the_encoders_space(
    pipeline: Pipeline,
    source: ModelScopeSource,
    sessions: sessionmaker[Session],
    hub: Hub,
    blobs: BlobStore,
) -> None:
    """What search compares with must be what the encoder makes of the file itself."""
    from encoder.adapter.lora_file import read
    from encoder.sketches.sketch import sketch
    from encoder.weight_encoders.checkpoint import load_encoder

    list(pipeline.refresh(source))

    cat = get_adapter(sessions, "cat")
    with sessions() as session:
        encoder = session.scalars(select(Encoder).where(Encoder.active)).one()
        assert cat.file_sha256 is not None
        stored = session.get_one(WeightEmbedding, (cat.file_sha256, encoder.id))
    path = hub.folder / "adapters/cat-0.safetensors"
    loaded = load_encoder(blobs.path(encoder.checkpoint_sha256))
    expected = loaded.encode([sketch(read(path))])[0]
    assert np.array(stored.embedding) @ expected == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", ["no file", "an adapter", "an empty folder"])
def test_a_checkpoint_that_is_none_fails_the_run_and_the_rest_goes_on(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    settings: Settings,
    text_encoder: TextEncoder,
    source: ModelScopeSource,
    tmp_path: Path,
    kind: str,
) -> None:
    """A person set it, and thinks that weights are searched by it."""
    wrong = tmp_path / "wrong.safetensors"
    if kind == "an adapter":
        write_adapter(wrong)
    elif kind == "an empty folder":
        wrong.mkdir()
    settings = settings.model_copy(update={"encoder_checkpoint": wrong})

    progress = list(Pipeline(sessions, blobs, settings, text_encoder).refresh(source))

    [(name, message)] = failures(progress).items()
    assert name == "wrong.safetensors"
    assert "cannot be registered" in message
    assert "REGISTRY_ENCODER_CHECKPOINT" in message
    run = last_run(sessions)
    assert (run.state, run.error) == ("failed", message)
    assert states(sessions) == dict.fromkeys(NAMES, "ready")
    assert row_counts(sessions) == EVERYTHING | {WeightEmbedding: 0}
