"""Files that an encoder embeds while others work on the same index."""

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from encoder.sketches.sketch import Layout
from encoder.sketches.sketch import Sketch as MadeSketch
from registry.db.encoder_models import Sketch, WeightEmbedding
from registry.db.encoder_removals import remove_encoder
from registry.refresh.backfill import embed_files
from registry.service import Registry
from tests.builders import add_adapter, add_encoder, axis

if TYPE_CHECKING:
    from encoder.weight_encoders.checkpoint import WeightEncoder


class RemovedMeanwhile:
    """Encodes all alike, and is removed while it does."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry, self.name = registry, name

    def encode(self, sketches: list[MadeSketch]) -> npt.NDArray[np.float32]:
        with self.registry.sessions.begin() as session:
            remove_encoder(session, self.name)
        return np.array([axis(0) for _ in sketches], np.float32)


def test_a_backfill_ends_when_its_encoder_is_removed(registry: Registry) -> None:
    """In one line: nobody waits for what it would have embedded."""
    sketch = MadeSketch(
        Layout("1", ((1, 1),)),
        "flux",
        np.ones(1, np.float16),
        np.zeros(1, np.float32),
        np.ones(1, np.bool_),
    )
    with registry.sessions.begin() as session:
        sha256 = add_adapter(session).file_sha256
        session.add(Sketch(file_sha256=sha256, version="1", data=sketch.to_bytes()))
        encoder = add_encoder(session, name="given up", active=False)
    assert sha256 is not None
    loaded = cast("WeightEncoder", RemovedMeanwhile(registry, "given up"))

    [outcome] = embed_files(registry.sessions, encoder, loaded, [sha256])

    assert (outcome.adapter, outcome.ok, outcome.message) == (
        "given up",
        False,
        "it was removed meanwhile",
    )
    with registry.sessions() as session:
        assert session.query(WeightEmbedding).count() == 0
