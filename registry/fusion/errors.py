"""Errors of fusion: each names the adapter, layer or file, and says what to do."""

from collections.abc import Sequence
from pathlib import Path

from crawler.counted import counted
from registry.errors import RegistryError


class FusionError(RegistryError):
    """An image cannot be made as asked."""


class AdapterRefusedError(FusionError):
    """An adapter must not be loaded into this base."""

    def __init__(self, adapter: str, reason: str) -> None:
        super().__init__(f"adapter {adapter!r} cannot be fused: {reason}")
        self.adapter = adapter


class FamilyMismatchError(AdapterRefusedError):
    """An adapter was trained on another base model."""

    def __init__(self, adapter: str, got: str, expected: str) -> None:
        super().__init__(
            adapter, f"it was trained on {got!r}, and {expected!r} is loaded; choose one for that"
        )


class NotFusableError(AdapterRefusedError):
    """The verdict on an adapter's file says that it must not be fused."""


class CorruptAdapterError(AdapterRefusedError):
    """An adapter holds NaN or infinite weights."""

    def __init__(self, adapter: str, layer: str) -> None:
        super().__init__(
            adapter, f"layer {layer!r} holds NaN or infinite weights; fetch the file again"
        )


class LayerMismatchError(FusionError):
    """A layer of an adapter does not fit the transformer."""


class AlreadyAttachedError(FusionError):
    """A transformer runs adapters already; two attachments would add up unseen."""

    def __init__(self, layer: str) -> None:
        super().__init__(f"layer {layer!r} has adapters attached already; detach them first")


class CompiledBaseError(FusionError):
    """A compiled transformer would overlook its adapters."""

    def __init__(self) -> None:
        super().__init__(
            "the base was compiled without looking at hooks, so adapters would do nothing; "
            "compile it with registry.fusion.compiled.compile_base"
        )


class MissingGateError(FusionError):
    """Gates do not cover a layer that an adapter changes."""

    def __init__(self, layers: Sequence[str]) -> None:
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        super().__init__(
            f"no gate for layer {', '.join(layers[:3])}{more}; use gates trained for this base, "
            "or mode 'average'"
        )
        self.layers = tuple(layers)


class GatesFileError(FusionError):
    """A file of gates cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"gates {path}: {reason}; train them anew or point to another file")


class GatesMismatchError(FusionError):
    """Gates were trained on another base than the one loaded."""

    def __init__(self, got: str, expected: str) -> None:
        super().__init__(f"the gates are for {got!r}, and {expected!r} is loaded")


class GateDataError(FusionError):
    """A manifest of training data for gates cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"manifest {path} {reason}; docs/training.md says what it holds")


class GatePictureError(FusionError):
    """A picture that gates are trained on cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"picture {path} cannot be read: {reason}; mend it, or take it out of the manifest"
        )


class BaseModelError(FusionError):
    """A folder does not hold a base model that a backend can run."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"base model in {folder}: {reason}")


class DeviceMemoryError(FusionError):
    """The device has no room for the base, the adapters or the image."""

    def __init__(self, width: int, height: int, adapters: int) -> None:
        super().__init__(
            f"out of memory at {width}x{height} pixels with {counted(adapters, 'adapter')}; "
            "draw smaller, load fewer adapters, or set REGISTRY_OFFLOAD=model (or =layers, "
            "slower still)"
        )


class SamplingError(FusionError):
    """An image cannot be drawn in this size or in so many steps."""


class ImageNameError(FusionError):
    """The name of a PNG would say that it is another kind of picture."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: images are PNGs, which carry recipes; end its name in .png")


class GenerationCancelledError(FusionError):
    """Raise it in a progress callback to stop a generation; the base is left clean."""

    def __init__(self) -> None:
        super().__init__("generation was cancelled")


class RecipeError(FusionError):
    """A recipe cannot be read, or its ingredients are not the ones at hand."""


class ExportError(FusionError):
    """A recipe cannot be written for another program."""


class ComfyUIError(FusionError):
    """ComfyUI does not draw what was sent to it."""


class ComfyUINotSetError(ComfyUIError):
    """No address of a ComfyUI is known."""

    def __init__(self) -> None:
        super().__init__(
            "no ComfyUI is known here; set REGISTRY_COMFYUI_URL to its address, such as "
            "http://127.0.0.1:8188."
        )


class ComfyUIUnreachableError(ComfyUIError):
    """Nothing answers at ComfyUI's address, or something else does."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"ComfyUI at {url} does not answer ({cause}); see that it runs, and that "
            "REGISTRY_COMFYUI_URL is its address."
        )


class ComfyUIMissingFilesError(ComfyUIError):
    """ComfyUI lacks files that a workflow loads."""

    def __init__(self, url: str, files: Sequence[str]) -> None:
        super().__init__(
            f"ComfyUI at {url} lacks {', '.join(files)}; put them into its models folder "
            "(`autolora export RECIPE --files FILE.zip` packs adapters under these names)."
        )
        self.files = tuple(files)


class ComfyUIRefusedError(ComfyUIError):
    """ComfyUI refuses a workflow."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"ComfyUI at {url} refuses the workflow: {reason}")
