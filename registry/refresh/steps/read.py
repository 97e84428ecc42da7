"""Step 3: files -> verdicts, fingerprints and sketches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session, sessionmaker

from encoder.base_models.families import find_family
from encoder.errors import LoraFileError
from registry.blobs import BlobStore
from registry.db import adapters, pending
from registry.db.claims import NOTHING, Beside, load_beside
from registry.db.readings import Reading, SketchData, store_readings
from registry.errors import BlobNotFoundError
from registry.refresh.bases import load_bases
from registry.refresh.step import SharedStep, StepOutcome, one_line

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights
    from encoder.sketches.basis import Basis
    from encoder.sketches.fingerprint import Fingerprinter
    from encoder.sketches.sketch import Sketch as MadeSketch
    from encoder.sketches.sketch import Sketcher

# Files taken from the list at once.
PAGE = 64
# Files that are read and stored together, and how large they may be together: what a kill costs is
# reading these once more. A sketch of 1 MB is kept of each meanwhile.
TOGETHER, BYTES_TOGETHER = 32, 64_000_000


class ReadStep(SharedStep):
    """Reads and sketches files; one outcome a file. A bad file refuses its adapters."""

    name = "read"
    title = "Reading files"
    queue = "read"
    page = TOGETHER
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
        for group in _groups(files):
            yield from self._read(group, version)

    def _read(self, files: Sequence[pending.PendingFile], version: str) -> list[StepOutcome]:
        return read_stored(self.context.sessions, self.context.blobs, files, version)


def _groups(files: Iterable[pending.PendingFile]) -> Iterator[list[pending.PendingFile]]:
    """Part files into those that are stored together."""
    group: list[pending.PendingFile] = []
    size = 0
    for file in files:
        if group and size + file.size > BYTES_TOGETHER:
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def read_stored(
    sessions: sessionmaker[Session],
    blobs: BlobStore,
    files: Sequence[pending.PendingFile],
    version: str,
) -> list[StepOutcome]:
    """Read files of the blob store, and store what they are, or why they are refused."""

    def find(sha256: str) -> Path | None:
        return blobs.path(sha256) if blobs.exists(sha256) else None

    return read_files(sessions, find, files, version, load_bases(sessions, blobs))


def read_files(
    sessions: sessionmaker[Session],
    find: Callable[[str], Path | None],
    files: Sequence[pending.PendingFile],
    version: str,
    bases: "Mapping[str, Basis]",
) -> list[StepOutcome]:
    """Read files and store what they are; what `find` does not find is to be fetched again.

    `bases` are those that files of a family are sketched in beside the usual one.
    """
    with sessions() as session:
        beside = load_beside(session, [file.sha256 for file in files])
    outcomes: list[StepOutcome] = []
    readings: list[Reading] = []
    lost: list[str] = []
    for file in files:
        path = find(file.sha256)
        if path is None:
            lost.append(file.sha256)
            outcomes.append(StepOutcome(file.adapter, False, str(BlobNotFoundError(file.sha256))))
            continue
        try:
            reading = _read(path, file.sha256, beside.get(file.sha256, NOTHING), version, bases)
        except Exception as error:
            # Any: a stranger's file must not stop the others. It is reported, and stays to do.
            outcomes.append(StepOutcome(file.adapter, False, one_line(error)))
            continue
        readings.append(reading)
        outcomes.append(_outcome(file, reading))
    with sessions.begin() as session:
        store_readings(session, readings)
        for sha256 in lost:
            adapters.forget_file(session, sha256)
    return outcomes


def _outcome(file: pending.PendingFile, reading: Reading) -> StepOutcome:
    if reading.refusal:
        return StepOutcome(file.adapter, False, f"refused: {reading.refusal}")
    return StepOutcome(file.adapter, message=reading.columns["verdict"]["sketch_refusal"] or "")


def _read(
    path: Path, sha256: str, beside: Beside, version: str, bases: "Mapping[str, Basis]"
) -> Reading:
    by = {"reader_version": version}
    try:
        columns, made = read_and_sketch(path, beside, bases)
    except LoraFileError as error:
        # The cause without the file's name, which may be its hash in the store.
        reason = " ".join(error.cause.split())
        return Reading(sha256, beside, by | {"body_sha256": _hash_body(path)}, refusal=reason)
    sketches = [SketchData(sketch.version, sketch.to_bytes()) for sketch in made]
    return Reading(sha256, beside, columns | by, sketches)


def _hash_body(path: Path) -> str | None:
    """Return the hash of a file's tensors; None where it is not safetensors."""
    from encoder.adapter.file_hashes import hash_adapter

    try:
        return hash_adapter(path).body_sha256
    except LoraFileError:
        return None


def read_and_sketch(
    path: Path, beside: Beside = NOTHING, bases: "Mapping[str, Basis] | None" = None
) -> tuple[dict[str, Any], "list[MadeSketch]"]:
    """Return the columns of `files` for an adapter's file, and its sketches.

    `beside` is what is known of it besides its bytes. The first sketch is the usual one; one in
    its family's basis of `bases` follows, if there is one.

    There is no sketch where none can be made: of a base model whose layers are not known,
    for example. Such an adapter is found by its captions and words only, and
    `verdict["sketch_refusal"]` says why.

    Raises:
        LoraFileError: the file cannot be used.
    """
    from encoder.adapter.lora_file import Context, open_adapter
    from encoder.errors import SketchError
    from encoder.sketches.fingerprint import Fingerprinter
    from encoder.threads import one_thread

    opened = open_adapter(path, context=Context(beside.claims, beside.peft_config))
    sketchers, fingerprinter = _sketchers(opened.base_model, bases or {}), Fingerprinter()
    with one_thread():
        # All in one pass over the weights.
        weights = opened.read(*sketchers, fingerprinter)
    made, refusal = [], None
    try:
        made = [sketcher.finish() for sketcher in sketchers]
    except SketchError as error:
        refusal = str(error)
    columns = {
        "base_model": weights.verdict.base_model,
        "verdict": _verdict(weights, refusal),
        "read_at": datetime.now(UTC),
        "body_sha256": opened.file.hash_body(),
        "peft_config": beside.peft_config,
    }
    return columns | _fingerprint(fingerprinter, weights), made


def _verdict(weights: "LoraWeights", sketch_refusal: str | None) -> dict[str, Any]:
    from encoder.sketches.sketch import SKETCH_VERSION

    return {
        **weights.verdict.to_json(),
        "trigger_words": list(weights.trigger_words),
        "sketch_version": SKETCH_VERSION,
        "sketch_refusal": sketch_refusal,
    }


def _fingerprint(fingerprinter: "Fingerprinter", weights: "LoraWeights") -> dict[str, Any]:
    """Return the columns of a fingerprint; an adapter that changes nothing has none."""
    from encoder.errors import FingerprintError

    try:
        taken = fingerprinter.finish(weights.vectors)
    except FingerprintError:
        return {"fingerprint": None, "log_norm": None}
    return {"fingerprint": taken.direction.tolist(), "log_norm": taken.log_norm}


def _sketchers(base_model: str, bases: "Mapping[str, Basis]") -> "list[Sketcher]":
    """Return the usual sketcher, and one in its family's own basis if there is one."""
    from encoder.sketches.sketch import Sketcher

    family = find_family(base_model)
    own = None if family is None else bases.get(family.name)
    usual = Sketcher(base_model)
    return [usual] if own is None else [usual, Sketcher(base_model, basis=own)]


def reader_version() -> str:
    """What reads and sketches files here; what another one read or refused is read again."""
    from encoder.adapter.lora_file import READER_VERSION
    from encoder.sketches.fingerprint import VERSION
    from encoder.sketches.sketch import SKETCH_VERSION

    return f"{READER_VERSION} {SKETCH_VERSION} fingerprint-{VERSION}"
