"""Gates of every kind, loaded by what their file says."""

from pathlib import Path

from registry.fusion.errors import GatesFileError
from registry.fusion.gates.autolora import Gates
from registry.fusion.gates.diffsynth import PublishedGates, is_published
from registry.fusion.gates.file import read_gates
from registry.fusion.gates.rivals import RivalGates

AnyGates = Gates | RivalGates | PublishedGates
KINDS: dict[str, type[Gates] | type[RivalGates]] = {kind.kind: kind for kind in (Gates, RivalGates)}


def load_gates(path: Path, base_model: str) -> AnyGates:
    """Load the gates that a file holds, ours or DiffSynth's (which name no base model).

    Raises:
        GatesFileError: the file is absent, damaged, or something else.
    """
    if is_published(path):
        return PublishedGates.load(path, base_model)
    kind = read_gates(path).kind
    if kind not in KINDS:
        raise GatesFileError(path, f"holds gates of the unknown kind {kind!r}")
    return KINDS[kind].load(path)
