from pathlib import Path

import numpy as np
import pytest

from encoder.errors import CheckpointError
from encoder.training.train import fit_ridge, sketch_files
from encoder.weight_encoders.checkpoint import load_encoder, save_encoder
from tests.encoder.builders import write_adapter
from tests.encoder.conftest import SyntheticZoo


def test_a_loaded_ridge_encoder_gives_what_the_saved_one_gave(
    zoo: SyntheticZoo, tmp_path: Path
) -> None:
    """Only float16 lies between them; the embeddings stored before stay valid."""
    encoder = fit_ridge(zoo.dataset, zoo.text_encoder, name="test", base_model="demo-flux-tiny")
    sketches = sketch_files(zoo.dataset.paths[:8])
    save_encoder(encoder, tmp_path / "encoder.safetensors")

    loaded = load_encoder(tmp_path / "encoder.safetensors")

    assert loaded.metrics == encoder.metrics
    np.testing.assert_allclose(loaded.encode(sketches), encoder.encode(sketches), atol=2e-3)
    queries = zoo.text_encoder.encode(["red cat"])
    np.testing.assert_array_equal(loaded.encode_query(queries), encoder.encode_query(queries))
    save_encoder(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "encoder.safetensors"
    ).read_bytes()


def test_an_adapter_is_not_mistaken_for_an_encoder(tmp_path: Path) -> None:
    """Both are safetensors; the wrong path in a setting is a likely slip."""
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors is no encoder"):
        load_encoder(write_adapter(tmp_path / "adapter.safetensors"))
