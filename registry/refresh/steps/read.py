"""Step 3: files -> verdicts, fingerprints and sketches."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker

from encoder.base_models.families import find_family
from encoder.errors import LoraFileError
from registry.blobs import BlobStore
from registry.db import adapters, pending
from registry.db.claims import Beside, load_beside
from registry.db.models import File, Sketch, WeightEmbedding
from registry.errors import BlobNotFoundError
from registry.refresh.step import SharedStep, StepOutcome, one_line

if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch as MadeSketch

# Files taken from the list at once.
PAGE = 64
NOTHING = Beside((), "")


class ReadStep(SharedStep):
    """Reads and sketches files; one outcome a file. A bad file refuses its adapters."""

    name = "read"
    title = "Reading files"
    queue = "read"
    page = 16
    job = 1

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_read(session, reader_version())

    def list_keys(self, size: int) -> Iterator[list[str]]:
        after = ""
        while True:
            with self.context.sessions() as session:
                hashes = pending.keys_to_read(session, reader_version(), after, PAGE)
            if not hashes:
                return
            yield from (hashes[start : start + size] for start in range(0, len(hashes), size))
            after = hashes[-1]

    def do(self, keys: Sequence[str]) -> Iterator[StepOutcome]:
        version = reader_version()
        with self.context.sessions() as session:
            files = pending.list_to_read(session, version, keys)
        for file in files:
            yield self._read(file, version)

    def _read(self, file: pending.PendingFile, version: str) -> StepOutcome:
        return read_stored(self.context.sessions, self.context.blobs, file, version)


def read_stored(
    sessions: sessionmaker[Session], blobs: BlobStore, file: pending.PendingFile, version: str
) -> StepOutcome:
    """Read a file of the blob store, and store what it is, or why it is refused."""
    if not blobs.exists(file.sha256):
        with sessions.begin() as session:
            adapters.forget_file(session, file.sha256)
        return StepOutcome(file.adapter, False, str(BlobNotFoundError(file.sha256)))
    path = blobs.path(file.sha256)
    with sessions() as session:
        beside = load_beside(session, file.sha256)
    try:
        facts, sketch = read_and_sketch(path, beside)
    except LoraFileError as error:
        # The cause without the file's name, which is its hash in the store.
        reason = " ".join(error.cause.split())
        with sessions.begin() as session:
            adapters.refuse(session, file.sha256, reason, version, _hash_body(path))
        return StepOutcome(file.adapter, False, f"refused: {reason}")
    except Exception as error:
        # Any: a stranger's file must not stop the others. It is reported, and stays to do.
        return StepOutcome(file.adapter, False, one_line(error))
    with sessions.begin() as session:
        _store(session, file.sha256, facts | {"reader_version": version}, sketch)
    return StepOutcome(file.adapter, message=facts["verdict"]["sketch_refusal"] or "")


def _hash_body(path: Path) -> str | None:
    """Return the hash of a file's tensors; None where it is not safetensors."""
    from encoder.adapter.file_hashes import hash_adapter

    try:
        return hash_adapter(path).body_sha256
    except LoraFileError:
        return None


def _store(
    session: Session, sha256: str, facts: dict[str, Any], sketch: "MadeSketch | None"
) -> None:
    file = session.get_one(File, sha256, with_for_update=True)
    if file.base_model and find_family(file.base_model) is not find_family(facts["base_model"]):
        # What was made of it as another architecture's says nothing any more.
        session.execute(delete(Sketch).where(Sketch.file_sha256 == sha256))
        session.execute(delete(WeightEmbedding).where(WeightEmbedding.file_sha256 == sha256))
    for column, value in facts.items():
        setattr(file, column, value)
    adapters.accept(session, sha256)
    session.flush()
    adapters.settle_all(session, file)
    if sketch is not None:
        _store_sketch(session, sha256, sketch)


def _store_sketch(session: Session, sha256: str, sketch: "MadeSketch") -> None:
    data = sketch.to_bytes()
    stored = session.get(Sketch, (sha256, sketch.version))
    if stored is None:
        session.add(Sketch(file_sha256=sha256, version=sketch.version, data=data))
    elif stored.data != data:
        # Read otherwise than before: embeddings of it are those of another adapter.
        stored.data = data
        session.execute(delete(WeightEmbedding).where(WeightEmbedding.file_sha256 == sha256))


def read_and_sketch(
    path: Path, beside: Beside = NOTHING
) -> tuple[dict[str, Any], "MadeSketch | None"]:
    """Return the columns of `files` for an adapter's file, and its sketch.

    `beside` is what is known of it besides its bytes.

    There is no sketch where none can be made: of a base model whose layers are not known,
    for example. Such an adapter is found by its captions and words only, and
    `verdict["sketch_refusal"]` says why.

    Raises:
        LoraFileError: the file cannot be used.
    """
    from encoder.adapter.file_hashes import hash_body
    from encoder.adapter.lora_file import Context, open_adapter
    from encoder.errors import FingerprintError, SketchError
    from encoder.sketches.fingerprint import Fingerprinter
    from encoder.sketches.sketch import SKETCH_VERSION, Sketcher
    from encoder.threads import one_thread

    opened = open_adapter(path, context=Context(beside.claims, beside.peft_config))
    sketcher, fingerprinter = Sketcher(opened.base_model), Fingerprinter()
    with one_thread():
        # All in one pass over the weights.
        weights = opened.read(sketcher, fingerprinter)
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
        "body_sha256": hash_body(path, opened.header),
        "peft_config": beside.peft_config,
        "fingerprint": None,
        "log_norm": None,
    }
    # An adapter that changes nothing has none.
    with suppress(FingerprintError):
        taken = fingerprinter.finish(weights.vectors)
        facts |= {"fingerprint": taken.direction.tolist(), "log_norm": taken.log_norm}
    return facts, made


def reader_version() -> str:
    """What reads and sketches files here; what another one read or refused is read again."""
    from encoder.adapter.lora_file import READER_VERSION
    from encoder.sketches.fingerprint import VERSION
    from encoder.sketches.sketch import SKETCH_VERSION

    return f"{READER_VERSION} {SKETCH_VERSION} fingerprint-{VERSION}"
