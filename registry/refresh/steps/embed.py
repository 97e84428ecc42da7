"""Sketches -> weight embeddings, by every encoder that serves or is to serve."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from registry.db.encoder_models import Encoder
from registry.db.encoders import (
    active_encoders,
    candidates,
    count_missing,
    find_registered,
    register_encoder,
)
from registry.db.promotion import promote
from registry.errors import EncoderRejectedError, PromotionError
from registry.refresh.backfill import BATCH, PAGE, embed_files, list_hashes, load_registered
from registry.refresh.problems import reported
from registry.refresh.step import RefreshContext, SharedStep, StepOutcome
from registry.retrieval.calibration import calibrate

if TYPE_CHECKING:
    from encoder.weight_encoders.checkpoint import WeightEncoder


class EmbedStep(SharedStep):
    """Embeds by active encoders and by those of the settings; one outcome a file.

    An encoder of the settings that never served is promoted when it has embedded all and meets
    the thresholds; else there is one more outcome, which says why not.
    """

    name = "embed"
    title = "Encoding weights"
    queue = "embed"
    page, job = PAGE, BATCH

    def __init__(self, context: RefreshContext) -> None:
        super().__init__(context)
        # The hashes of the settings' checkpoints, once they are registered.
        self._configured: set[str] = set()
        # By id; None is one that could not be loaded, which is said once.
        self._loaded: dict[int, WeightEncoder | None] = {}

    def prepare(self) -> Iterator[StepOutcome]:
        """Register the settings' checkpoints that are not known yet; yield refusals.

        They fail the run: a person has to mend them.
        """
        checkpoint = self.context.checkpoint
        if checkpoint is None:
            return
        # A folder of none is a path like any other, which is no checkpoint.
        paths = sorted(checkpoint.glob("*.safetensors")) or [checkpoint]
        for path in paths:
            try:
                with self.context.sessions.begin() as session:
                    known = find_registered(session, path) if path.is_file() else None
                    # Registered anew, a checkpoint that the blob store has lost is there again.
                    if known and not self.context.blobs.exists(known.checkpoint_sha256):
                        known = None
                    encoder = known or register_encoder(session, self.context.blobs, path)
                    self._configured.add(encoder.checkpoint_sha256)
            except EncoderRejectedError as error:
                yield StepOutcome(path.name, False, reported(error), of_setting=True)

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return sum(count_missing(session, encoder) for encoder in self._to_serve(session))

    def list_keys(self, size: int) -> Iterator[list[str]]:
        with self.context.sessions() as session:
            encoders = self._to_serve(session)
        for encoder in encoders:
            for hashes in list_hashes(self.context.sessions, encoder, size):
                yield [f"{encoder.id} {sha256}" for sha256 in hashes]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        by_encoder: dict[int, list[str]] = defaultdict(list)
        for key in keys:
            number, sha256 = key.split()
            by_encoder[int(number)].append(sha256)
        for encoder_id, hashes in by_encoder.items():
            with self.context.sessions() as session:
                encoder = session.get(Encoder, encoder_id)
            if encoder is None:
                continue
            if encoder_id not in self._loaded:
                yield from self._load(encoder)
            loaded = self._loaded[encoder_id]
            if loaded is not None:
                yield from embed_files(self.context.sessions, encoder, loaded, hashes)

    def _load(self, encoder: Encoder) -> Iterator[StepOutcome]:
        """Load an encoder for all tasks to come; yield why it cannot be."""
        self._loaded[encoder.id] = None
        try:
            self._loaded[encoder.id] = load_registered(self.context.blobs, encoder)
        except EncoderRejectedError as error:
            yield StepOutcome(encoder.name, False, str(error))

    def finish(self) -> Iterator[StepOutcome]:
        yield from self._promote_candidates()
        self._calibrate()

    def _to_serve(self, session: Session) -> list[Encoder]:
        waiting = candidates(session, self._configured)
        return active_encoders(session) + [encoder for encoder in waiting if not encoder.active]

    def _promote_candidates(self) -> Iterator[StepOutcome]:
        with self.context.sessions() as session:
            waiting = [encoder.name for encoder in candidates(session, self._configured)]
        for name in waiting:
            try:
                with self.context.sessions.begin() as session:
                    promote(session, name)
            except PromotionError as error:
                yield StepOutcome(name, False, reported(error))

    def _calibrate(self) -> None:
        """Measure anew what similarities mean: the index has grown."""
        with self.context.sessions.begin() as session:
            for encoder in active_encoders(session):
                # One that cannot be loaded was reported when it was to embed.
                with suppress(EncoderRejectedError):
                    loaded = load_registered(self.context.blobs, encoder)
                    encoder.calibration = calibrate(session, encoder, loaded).to_json()
