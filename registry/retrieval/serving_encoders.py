"""Which weight encoder answers for a base model, and why none does."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from registry.blobs import BlobStore
from registry.db.encoder_models import Encoder
from registry.db.encoders import find_active
from registry.errors import EncoderLostError, EncoderUnreadableError
from registry.retrieval.encoder_spaces import ServingEncoder
from registry.retrieval.opening import ActiveEncoder
from registry.retrieval.ranking import LEAST_TELLING, Calibration

if TYPE_CHECKING:
    from encoder.weight_encoders.checkpoint import WeightEncoder


class ServingEncoders:
    """Active encoders, each loaded once. Safe to share between threads."""

    def __init__(self, text_encoder: str, blobs: BlobStore) -> None:
        self._text_encoder = text_encoder
        self._blobs = blobs
        self._lock = threading.Lock()
        # Those loaded so far, by the hash of their checkpoint.
        self._loaded: dict[str, WeightEncoder] = {}

    def find(self, session: Session, base_model: str) -> tuple[ServingEncoder | None, str | None]:
        """Return the active encoder of a base model, or why the weights take no part.

        Looked up in the database each time, so that a promotion shows at once.
        """
        return self.serving(find_active(session, base_model), base_model)

    def serving(
        self, active: Encoder | ActiveEncoder | None, base_model: str
    ) -> tuple[ServingEncoder | None, str | None]:
        """Return the encoder that is active for a base model, or why weights take no part."""
        if active is None:
            return None, no_encoder([base_model])
        if active.text_encoder != self._text_encoder:
            return None, (
                f"Weights were not compared: encoder {active.name} reads "
                f"{active.text_encoder}, not {self._text_encoder}. "
                "Set REGISTRY_TEXT_ENCODER."
            )
        calibration = Calibration.from_json(active.calibration)
        if calibration.telling < LEAST_TELLING:
            return None, (
                f"Weights were not compared: encoder {active.name} does not tell adapters of "
                f"{base_model} apart."
            )
        return ServingEncoder(active.name, self.load(active), calibration), None

    def load(self, active: Encoder | ActiveEncoder) -> "WeightEncoder":
        """Return the encoder of a row.

        Raises:
            EncoderLostError: its checkpoint is not there.
            EncoderUnreadableError: it is damaged, or of another version.
        """
        with self._lock:
            sha256 = active.checkpoint_sha256
            if sha256 not in self._loaded:
                self._loaded[sha256] = self._open(active)
            return self._loaded[sha256]

    def _open(self, active: Encoder | ActiveEncoder) -> "WeightEncoder":
        from encoder.errors import CheckpointError
        from encoder.weight_encoders.checkpoint import load_encoder

        if not self._blobs.exists(active.checkpoint_sha256):
            raise EncoderLostError(active.name, active.base_model)
        try:
            return load_encoder(self._blobs.path(active.checkpoint_sha256))
        except CheckpointError as error:
            raise EncoderUnreadableError(active.name, active.base_model, str(error)) from error


def no_encoder(base_models: Sequence[str]) -> str:
    """Say in one short line, of however many base models, that none has an encoder.

    Every search repeats it; what to do is said by who is asked for that.
    """
    more = f" and {len(base_models) - 3} more" if len(base_models) > 3 else ""
    names = ", ".join(base_models[:3])
    return f"Weights were not compared: no encoder for {names}{more} (`autolora doctor`)."
