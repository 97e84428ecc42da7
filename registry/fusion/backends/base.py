"""What fusion needs of a base model, whichever library runs it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL.Image import Image
from torch import nn

from crawler.hashed_file import hash_file
from registry.fusion.device_cache import DeviceCache
from registry.fusion.guidance import UnpromptedPasses
from registry.fusion.options import GuideFrom, PreviewCallback, StepCallback


@dataclass(frozen=True)
class Sampling:
    """How an image is drawn; with the prompt and the weights it fixes every pixel."""

    seed: int = 0
    steps: int = 20
    guidance: float = 3.0
    width: int | None = None  # the base's own size when not given
    height: int | None = None
    negative: str = ""


@dataclass(frozen=True)
class Defaults:
    """What a base draws best with."""

    steps: int
    guidance: float
    guide_from: GuideFrom = "fused"  # where adapters are gated


class Backend(Protocol):
    """A base model that draws images, into whose transformer adapters are attached."""

    @property
    def name(self) -> str:
        """Name the implementation, for recipes."""
        ...

    @property
    def base_model(self) -> str:
        """Name the family, as adapters do: "flux.1-dev"."""
        ...

    @property
    def transformer(self) -> nn.Module: ...

    @property
    def cache(self) -> DeviceCache:
        """Adapters that are on the device already."""
        ...

    @property
    def lock(self) -> threading.Lock:
        """Held by whoever attaches adapters: a transformer runs one set at a time."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """The width and height drawn when none is asked for."""
        ...

    @property
    def defaults(self) -> Defaults: ...

    def unprompted_passes(self, guidance: float) -> UnpromptedPasses | None:
        """Return how passes are run that do not know the prompt; None if there are none."""
        ...

    def generate(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        progress: StepCallback | None = None,
        preview: PreviewCallback | None = None,
    ) -> list[Image]:
        """Draw one image a prompt, all from the same noise; the same again for a seed.

        `preview` is shown the first one meanwhile, where that costs next to nothing.
        """
        ...

    def free(self) -> None:
        """Give back what the transformer holds on the device, where it is offloaded."""
        ...

    def file_hashes(self) -> dict[str, str]:
        """Return the sha256 of every file the base was loaded from, by relative path."""
        ...

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that shape the pixels."""
        ...


def hash_files(folder: Path, pattern: str) -> dict[str, str]:
    """Return the sha256 of the files of a base's folder, by path relative to it."""
    return {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.glob(pattern))
        if path.is_file() and is_of_base(path.relative_to(folder).as_posix())
    }


def is_of_base(name: str) -> bool:
    """Whether a file of its folder is the base's, not another program's: `.git`, `.DS_Store`."""
    return not any(part.startswith(".") for part in name.split("/"))
