"""One file of an adapter -> what it was read as, or why it cannot be. No database here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.base_models.families import find_family
from encoder.errors import LoraFileError
from registry.db.reading_facts import NOTHING, Beside, Reading, SketchData
from registry.refresh.problems import reported

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights
    from encoder.sketches.basis import Basis
    from encoder.sketches.fingerprint import Fingerprinter
    from encoder.sketches.sketch import Sketch as MadeSketch
    from encoder.sketches.sketch import Sketcher


@dataclass(frozen=True, slots=True)
class ReadTask:
    """A file to read, and what else its reading depends on."""

    path: Path
    sha256: str
    version: str
    # What is known of it besides its bytes.
    beside: Beside = NOTHING
    # The bases, by family, that files are sketched in beside the usual one.
    bases: Mapping[str, Path] = field(default_factory=dict)


def read_file(task: ReadTask) -> Reading | str:
    """Return what a file was read as; in one line why it could not be read, and stays to do."""
    by: dict[str, Any] = {"reader_version": task.version}
    try:
        columns, made = read_and_sketch(task.path, task.beside, task.bases)
        sketches = [SketchData(sketch.version, sketch.to_bytes()) for sketch in made]
        return Reading(task.sha256, task.beside, columns | by, sketches)
    except LoraFileError as error:
        if not task.path.exists():
            # A copy that made room for others; that says nothing of the adapter.
            return reported(error)
        # The cause without the file's name, which may be its hash in the store.
        reason = " ".join(error.cause.split())
        hashed = {"body_sha256": _hash_body(task.path)}
        return Reading(task.sha256, task.beside, by | hashed, refusal=reason)
    except Exception as error:
        # Any: a stranger's file must not stop the others.
        return reported(error)


def _hash_body(path: Path) -> str | None:
    """Return the hash of a file's tensors; None where it is not safetensors."""
    from encoder.adapter.file_hashes import hash_adapter

    try:
        return hash_adapter(path).body_sha256
    except LoraFileError:
        return None


def read_and_sketch(
    path: Path, beside: Beside = NOTHING, bases: Mapping[str, Path] | None = None
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
    from encoder.threads import threads

    opened = open_adapter(path, context=Context(beside.claims, beside.peft_config))
    sketchers, fingerprinter = _sketchers(opened.base_model, bases or {}), Fingerprinter()
    with threads(1):
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


def _sketchers(base_model: str, bases: Mapping[str, Path]) -> "list[Sketcher]":
    """Return the usual sketcher, and one in its family's own basis if there is one."""
    from encoder.sketches.sketch import Sketcher

    family = find_family(base_model)
    own = None if family is None else bases.get(family.name)
    usual = Sketcher(base_model)
    return [usual] if own is None else [usual, Sketcher(base_model, basis=load_basis(own))]


@lru_cache(maxsize=16)
def load_basis(path: Path) -> "Basis":
    """Load a basis; what lies in a blob store under its hash never changes."""
    from encoder.sketches.basis import Basis

    return Basis.load(path)


def load_reading() -> None:
    """Import all that reading takes, before there is a file to read."""
    import torch  # noqa: F401

    from encoder.adapter import lora_file  # noqa: F401
    from encoder.sketches import fingerprint, sketch  # noqa: F401


def reader_version() -> str:
    """What reads and sketches files here; what another one read or refused is read again."""
    from encoder.adapter.lora_file import READER_VERSION
    from encoder.sketches.fingerprint import VERSION
    from encoder.sketches.sketch import SKETCH_VERSION

    return f"{READER_VERSION} {SKETCH_VERSION} fingerprint-{VERSION}"
