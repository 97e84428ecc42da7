"""Files as trainers write them, small, with the change that each stands for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tests.encoder.dialects.kinds import Pen, Written
from tests.encoder.dialects.networks import Changes, Shapes, network_of


@dataclass
class Sample:
    """A file to be, and what it does to diffusers' network by parameter name."""

    architecture: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    changes: Changes = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        path = folder / "adapter.safetensors"
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, path, metadata=self.metadata or None)
        return path


# Module of the trainer's network -> the name before the dot of the suffix.
Stem = Callable[[str], str]


def flat(prefix: str) -> Stem:
    return lambda module: prefix + module.replace(".", "_")


def dotted(prefix: str) -> Stem:
    return lambda module: prefix + module


def write_all(
    sample: Sample,
    modules: Mapping[str, tuple[int, ...]],
    stem: Stem,
    write: Callable[[tuple[int, ...]], Written],
    to_diffusers: Callable[[Changes], Changes] = dict,
) -> Sample:
    """Write every module; the changes go through `to_diffusers` together."""
    changes: Changes = {}
    for module, shape in modules.items():
        written = write(shape)
        for suffix, tensor in written.tensors.items():
            sample.tensors[f"{stem(module)}.{suffix}"] = tensor
        if written.change is not None:
            changes[f"{module}.weight"] = written.change
        if written.outcome is not None:
            base = network_of(sample.architecture).get_submodule(module).weight.detach().double()
            changes[f"{module}.weight"] = written.outcome(base) - base
        if written.bias is not None:
            changes[f"{module}.bias"] = written.bias
    sample.changes |= to_diffusers(changes)
    return sample


def only(shapes: Shapes, *endings: str) -> Shapes:
    """The modules whose names end so."""
    return {name: shape for name, shape in shapes.items() if name.endswith(endings)}


def text_encoder(sample: Sample, prefix: str, names: Iterable[str], width: int) -> Sample:
    """A text encoder's part, of which the reader leaves out all."""
    pen = Pen(9)
    for name in names:
        written = pen.lora((width, width))
        for suffix, tensor in written.tensors.items():
            sample.tensors[f"{prefix}{name}.{suffix}"] = tensor
    return sample
