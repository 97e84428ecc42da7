"""Step 3: files -> verdicts, fingerprints and sketches."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from encoder.errors import LoraFileError
from registry.db import adapters, pending
from registry.db.models import File, Sketch
from registry.errors import BlobNotFoundError
from registry.refresh.step import Step, StepOutcome, one_line

if TYPE_CHECKING:
    from encoder.sketches.sketch import Sketch as MadeSketch

# Files taken from the list at once.
PAGE = 64


class ReadStep(Step):
    """Reads and sketches files; one outcome a file. A bad file refuses its adapters."""

    name = "read"
    title = "Reading files"

    def remaining(self) -> int:
        with self.context.sessions() as session:
            return pending.count_to_read(session, reader_version())

    def run(self) -> Iterator[StepOutcome]:
        version, after = reader_version(), ""
        while True:
            with self.context.sessions() as session:
                page = pending.list_to_read(session, version, after, PAGE)
            if not page:
                return
            for file in page:
                yield self._read(file, version)
            after = page[-1].sha256

    def _read(self, file: pending.PendingFile, version: str) -> StepOutcome:
        blobs, sessions = self.context.blobs, self.context.sessions
        if not blobs.exists(file.sha256):
            with sessions.begin() as session:
                adapters.forget_file(session, file.sha256)
            return StepOutcome(file.adapter, False, str(BlobNotFoundError(file.sha256)))
        try:
            facts, sketch = read_and_sketch(blobs.path(file.sha256))
        except LoraFileError as error:
            # The cause without the file's name, which is its hash in the store.
            reason = " ".join(error.cause.split())
            with sessions.begin() as session:
                adapters.refuse(session, file.sha256, reason, version)
            return StepOutcome(file.adapter, False, f"refused: {reason}")
        except Exception as error:
            # Any: a stranger's file must not stop the others. It is reported, and stays to do.
            return StepOutcome(file.adapter, False, one_line(error))
        with sessions.begin() as session:
            facts |= {"reader_version": version}
            session.execute(update(File).where(File.sha256 == file.sha256).values(facts))
            adapters.accept(session, file.sha256)
            if sketch is not None:
                row = {"file_sha256": file.sha256, "version": sketch.version}
                session.execute(
                    insert(Sketch).values(**row, data=sketch.to_bytes()).on_conflict_do_nothing()
                )
        return StepOutcome(file.adapter, message=facts["verdict"]["sketch_refusal"] or "")


def read_and_sketch(path: Path) -> tuple[dict[str, Any], "MadeSketch | None"]:
    """Return the columns of `files` for an adapter's file, and its sketch.

    There is no sketch where none can be made: of a base model whose layers are not known,
    for example. Such an adapter is found by its captions and words only, and
    `verdict["sketch_refusal"]` says why.

    Raises:
        LoraFileError: the file cannot be used.
    """
    from encoder.adapter.file_hashes import hash_body
    from encoder.adapter.lora_file import open_adapter
    from encoder.errors import FingerprintError, SketchError
    from encoder.sketches.fingerprint import Fingerprinter
    from encoder.sketches.sketch import SKETCH_VERSION, Sketcher
    from encoder.threads import one_thread

    opened = open_adapter(path)
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
