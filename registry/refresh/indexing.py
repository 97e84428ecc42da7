"""From files and covers here to adapters that can be found: read, caption, embed, publish."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from encoder.errors import EncoderError, LoraFileError
from encoder.text_encoder import TextEncoder
from registry.blobs import BlobStore
from registry.db import adapters, pending
from registry.db.encoders import (
    active_encoders,
    base_models_of,
    candidates,
    find_registered,
    get_encoder,
    promote,
    register_encoder,
)
from registry.db.models import (
    EMBEDDING_DIM,
    Adapter,
    Caption,
    CaptionEmbedding,
    Encoder,
    File,
    Sketch,
    WeightEmbedding,
)
from registry.errors import BlobNotFoundError, EncoderRejectedError, PromotionError
from registry.refresh.fetching import one_line
from registry.retrieval.calibration import measure

if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch as Sketched
    from encoder.weight_encoders.checkpoint import WeightEncoder

# Files read from the list, and texts or sketches encoded, at once.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step did for one adapter; when not `ok`, `message` says what and what to do."""

    adapter: str
    ok: bool = True
    message: str = ""


class Indexer:
    """The steps that need no hub. Generators: nothing is done unless they are iterated."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        blobs: BlobStore,
        text_encoder: TextEncoder,
        checkpoint: Path | None = None,
    ) -> None:
        """`checkpoint`, a file or a folder of them, is registered before embedding."""
        if text_encoder.dim != EMBEDDING_DIM:
            raise EncoderRejectedError(
                f"text encoder {text_encoder.name!r} gives {text_encoder.dim} dimensions; "
                f"{EMBEDDING_DIM} are stored. Set REGISTRY_TEXT_ENCODER to one of that width."
            )
        self._sessions = sessions
        self._blobs = blobs
        self._text_encoder = text_encoder
        self._checkpoint = checkpoint
        # The hashes of the settings' checkpoints, once they are registered.
        self._configured: set[str] = set()

    def remaining(self, step: str) -> int:
        """How many files, captions or adapters a step has to do now."""
        version, text_encoder = reader_version(), self._text_encoder.name
        with self._sessions() as session:
            match step:
                case "read":
                    return pending.count_to_read(session, version)
                case "caption":
                    return pending.count_to_caption(session, text_encoder)
                case "embed":
                    return sum(
                        pending.count_to_embed(session, encoder, base_models_of(session, encoder))
                        for encoder in self._to_serve(session)
                    )
                case "publish":
                    return pending.count_to_publish(session, version, text_encoder)
        raise ValueError(f"there is no step {step!r}")

    # Files -> verdicts and sketches

    def read(self) -> Iterator[Outcome]:
        """Read and sketch files; one outcome a file. A bad file refuses its adapters."""
        version, after = reader_version(), ""
        while True:
            with self._sessions() as session:
                page = pending.list_to_read(session, version, after, BATCH)
            if not page:
                return
            for file in page:
                yield self._read_file(file, version)
            after = page[-1].sha256

    def _read_file(self, file: pending.PendingFile, version: str) -> Outcome:
        if not self._blobs.exists(file.sha256):
            with self._sessions.begin() as session:
                adapters.forget_file(session, file.sha256)
            return Outcome(file.adapter, False, str(BlobNotFoundError(file.sha256)))
        try:
            facts, sketch = read_and_sketch(self._blobs.path(file.sha256))
        except LoraFileError as error:
            # Without the file's name: in the store that is its hash.
            reason = " ".join(error.cause.split())
            with self._sessions.begin() as session:
                adapters.refuse(session, file.sha256, reason, version)
            return Outcome(file.adapter, False, f"refused: {reason}")
        except Exception as error:
            # Any: a stranger's file must not stop the others. It is reported, and stays to do.
            return Outcome(file.adapter, False, one_line(error))
        with self._sessions.begin() as session:
            facts |= {"reader_version": version}
            session.execute(update(File).where(File.sha256 == file.sha256).values(facts))
            adapters.accept(session, file.sha256)
            if sketch is not None:
                row = {"file_sha256": file.sha256, "version": sketch.version}
                session.execute(
                    insert(Sketch).values(**row, data=sketch.to_bytes()).on_conflict_do_nothing()
                )
        return Outcome(file.adapter, message=facts["verdict"]["sketch_refusal"] or "")

    # Cover prompts -> captions and their embeddings

    def caption(self) -> Iterator[Outcome]:
        """Take prompts as captions, and embed what has no embedding; one outcome a caption."""
        self._take_prompts()
        after, name = 0, self._text_encoder.name
        while True:
            with self._sessions() as session:
                page = pending.list_to_caption(session, name, after, BATCH)
            if not page:
                return
            texts = {caption.text_md5: caption.text for caption in page}
            embeddings = self._text_encoder.encode(list(texts.values()))
            rows = [
                {"text_md5": md5, "text_encoder": name, "embedding": embedding}
                for md5, embedding in zip(texts, embeddings.tolist(), strict=True)
            ]
            with self._sessions.begin() as session:
                session.execute(insert(CaptionEmbedding).on_conflict_do_nothing(), rows)
            yield from (Outcome(caption.adapter) for caption in page)
            after = page[-1].caption_id

    def _take_prompts(self) -> None:
        prompts = pending.prompts_to_take().add_columns(literal("hub"))
        with self._sessions.begin() as session:
            session.execute(
                insert(Caption)
                .from_select(["cover_id", "text", "source"], prompts)
                .on_conflict_do_nothing()
            )

    # Sketches -> weight embeddings

    def embed(self) -> Iterator[Outcome]:
        """Embed sketches by active encoders and by those of the settings; one outcome a file.

        An encoder of the settings that never served is promoted when it has embedded all
        and meets the thresholds; else there is one more outcome, which says why not.
        """
        with self._sessions() as session:
            encoders = self._to_serve(session)
        for encoder in encoders:
            yield from self._backfill(encoder)
        yield from self._promote_candidates()
        self._calibrate()

    def backfill(self, name: str) -> Iterator[Outcome]:
        """Embed sketches by one encoder, active or not; one outcome a file.

        Raises:
            EncoderNotFoundError: there is none of this name.
        """
        with self._sessions() as session:
            encoder = get_encoder(session, name)
        yield from self._backfill(encoder)

    def remaining_for(self, name: str) -> int:
        """How many files an encoder has to embed now."""
        with self._sessions() as session:
            encoder = get_encoder(session, name)
            return pending.count_to_embed(session, encoder, base_models_of(session, encoder))

    def _to_serve(self, session: Session) -> list[Encoder]:
        waiting = candidates(session, self._configured)
        return active_encoders(session) + [encoder for encoder in waiting if not encoder.active]

    def _promote_candidates(self) -> Iterator[Outcome]:
        with self._sessions() as session:
            waiting = [encoder.name for encoder in candidates(session, self._configured)]
        for name in waiting:
            try:
                with self._sessions.begin() as session:
                    promote(session, name)
            except PromotionError as error:
                yield Outcome(name, False, one_line(error))

    def _calibrate(self) -> None:
        """Measure anew what similarities mean: the index has grown."""
        with self._sessions.begin() as session:
            for encoder in active_encoders(session):
                loaded = self._load(encoder)
                if not isinstance(loaded, Outcome):
                    encoder.calibration = measure(session, encoder, loaded).to_json()

    def _backfill(self, encoder: Encoder) -> Iterator[Outcome]:
        loaded = self._load(encoder)
        if isinstance(loaded, Outcome):
            yield loaded
        else:
            yield from self._embed_by(encoder, loaded)

    def _embed_by(self, encoder: Encoder, loaded: "WeightEncoder") -> Iterator[Outcome]:
        after = ""
        while True:
            with self._sessions() as session:
                names = base_models_of(session, encoder)
                page = pending.list_to_embed(session, encoder, names, after, BATCH)
            if not page:
                return
            outcomes, rows = [], []
            for sketch, embedding in _encode(loaded, page):
                if isinstance(embedding, str):
                    outcomes.append(Outcome(sketch.adapter, False, embedding))
                    continue
                outcomes.append(Outcome(sketch.adapter))
                key = {"file_sha256": sketch.sha256, "encoder_id": encoder.id}
                rows.append({**key, "embedding": embedding.tolist()})
            if rows:
                with self._sessions.begin() as session:
                    session.execute(insert(WeightEmbedding).on_conflict_do_nothing(), rows)
            yield from outcomes
            after = page[-1].sha256

    def register_configured(self) -> Iterator[Outcome]:
        """Register the checkpoints of the settings that are not known yet; yield refusals.

        They are promoted by `embed`.
        """
        if self._checkpoint is None:
            return
        folder = self._checkpoint.is_dir()
        paths = sorted(self._checkpoint.glob("*.safetensors")) if folder else [self._checkpoint]
        for path in paths:
            try:
                with self._sessions.begin() as session:
                    known = find_registered(session, path) if path.is_file() else None
                    encoder = known or register_encoder(session, self._blobs, path)
                    self._configured.add(encoder.checkpoint_sha256)
            except EncoderRejectedError as error:
                yield Outcome(path.name, False, one_line(error))

    def _load(self, encoder: Encoder) -> "WeightEncoder | Outcome":
        from encoder.weight_encoders.checkpoint import load_encoder

        path = self._blobs.path(encoder.checkpoint_sha256)
        if not path.is_file():
            message = (
                f"the checkpoint of encoder {encoder.name!r} is not in the blob store. "
                "Register it again."
            )
            return Outcome(encoder.name, False, message)
        try:
            return load_encoder(path)
        except EncoderError as error:
            return Outcome(encoder.name, False, f"{one_line(error)}. Register it again.")

    # All there -> ready

    def publish(self) -> Iterator[Outcome]:
        """Make adapters ready that have all they need; one outcome for each of them."""
        version, after = reader_version(), 0
        while True:
            with self._sessions.begin() as session:
                page = pending.list_to_publish(
                    session, version, self._text_encoder.name, after, BATCH
                )
                ids = {adapter.adapter_id for adapter in page}
                for encoder in active_encoders(session):
                    names = base_models_of(session, encoder)
                    ids -= pending.waiting_for_embedding(session, encoder, names, ids)
                for adapter in session.scalars(select(Adapter).where(Adapter.id.in_(ids))):
                    _publish(session, adapter)
            if not page:
                return
            yield from (Outcome(row.adapter) for row in page if row.adapter_id in ids)
            after = page[-1].adapter_id


def read_and_sketch(path: Path) -> tuple[dict[str, Any], "Sketched | None"]:
    """Return the columns of `files` for an adapter's file, and its sketch.

    There is no sketch where none can be made: of a base model whose layers are not known,
    for example. Such an adapter is found by its captions and words only, and
    `verdict["sketch_refusal"]` says why.

    Raises:
        LoraFileError: the file cannot be used.
    """
    from encoder.adapter.file_hashes import hash_adapter
    from encoder.adapter.lora_file import open_adapter
    from encoder.errors import FingerprintError, SketchError
    from encoder.sketches.fingerprint import fingerprint
    from encoder.sketches.sketch import SKETCH_VERSION, Sketcher

    opened = open_adapter(path)
    sketcher = Sketcher(opened.base_model)
    # Both in one pass over the weights.
    weights = opened.read(sketcher.add)
    made, refusal = None, None
    try:
        made = sketcher.finish()
    except SketchError as error:
        refusal = str(error)
    verdict = {
        **weights.verdict.to_json(),
        "trigger_words": list(weights.trigger_words),
        "sketch_version": SKETCH_VERSION,
        "sketch_refusal": refusal,
    }
    facts = {
        "base_model": weights.verdict.base_model,
        "verdict": verdict,
        "read_at": datetime.now(UTC),
        "body_sha256": hash_adapter(path).body_sha256,
        "fingerprint": None,
        "log_norm": None,
    }
    # An adapter that changes nothing has none.
    with suppress(FingerprintError):
        taken = fingerprint(weights)
        facts |= {"fingerprint": taken.direction.tolist(), "log_norm": taken.log_norm}
    return facts, made


def _publish(session: Session, adapter: Adapter) -> None:
    """Let what the file says correct what the hub said, and show the adapter."""
    assert adapter.file_sha256 is not None
    file = session.get_one(File, adapter.file_sha256)
    record = adapters.record_from_json(adapter.record)
    for column, value in adapters.settle(record, file).items():
        setattr(adapter, column, value)
    adapter.state, adapter.refusal = "ready", None


def _encode(
    encoder: "WeightEncoder", page: Sequence[pending.PendingSketch]
) -> Iterator[tuple[pending.PendingSketch, npt.NDArray[np.float32] | str]]:
    """Yield each sketch's embedding, or in words why it has none."""
    from encoder.sketches.sketch import Sketch as Sketched

    try:
        embeddings = encoder.encode([Sketched.from_bytes(sketch.data) for sketch in page])
    except EncoderError as error:
        if len(page) == 1:
            yield page[0], one_line(error)
            return
        # One of them is at fault; the others are encoded without it.
        for sketch in page:
            yield from _encode(encoder, [sketch])
        return
    for sketch, embedding in zip(page, embeddings, strict=True):
        finite = bool(np.isfinite(embedding).all())
        yield sketch, embedding if finite else f"encoder {encoder.name!r} gave no finite embedding"


def reader_version() -> str:
    """What reads and sketches files here; what another one read or refused is read again."""
    from encoder.adapter.lora_file import READER_VERSION
    from encoder.sketches.fingerprint import VERSION
    from encoder.sketches.sketch import SKETCH_VERSION

    return f"{READER_VERSION} {SKETCH_VERSION} fingerprint-{VERSION}"
