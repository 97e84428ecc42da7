"""Everything that can be wrong with an adapter's file, a sketch or a checkpoint."""

from collections.abc import Sequence
from pathlib import Path

from crawler.errors import AutoLoraError
from crawler.foreign_text import one_line


class EncoderError(AutoLoraError):
    """Any failure of this package."""


class LoraFileError(EncoderError):
    """An adapter's file cannot be used; names the file and the cause."""

    def __init__(self, file: str | Path, cause: str) -> None:
        self.file, self.cause = str(file), one_line(cause)
        super().__init__(f"{Path(file).name}: {cause}")


class NotSafetensorsError(LoraFileError):
    """The bytes are another format (pickle, zip, web page…); nothing of it was read."""


class HeaderError(LoraFileError):
    """The safetensors header contradicts itself, the format or the file's size."""


class UnsupportedLoraError(LoraFileError):
    """A sound file, in a dialect or of a kind that cannot be read exactly."""


class BadWeightsError(LoraFileError):
    """The numbers or shapes in the file cannot be a LoRA that works."""


class BaseWeightNeededError(EncoderError):
    """What a layer changes cannot be told without the weight that it changes."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the change that {kind} makes depends on the base's weight")


class UnknownClaimError(EncoderError):
    """What somebody says that an adapter is for has no name here."""

    def __init__(self, words: str, near: Sequence[str]) -> None:
        hint = f"did you mean {' or '.join(near)}?" if near else "`flux.1-dev` is one, `pony` too."
        super().__init__(f"no base model known here is called {words[:100]!r}; {hint}")


class SketchError(EncoderError):
    """A sketch cannot be made, or its bytes are not a sketch of this version."""


class TextEncoderError(EncoderError):
    """What REGISTRY_TEXT_ENCODER names cannot be loaded."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(
            f"the text encoder {name!r} cannot be loaded: {cause.rstrip('.')}. Correct "
            "REGISTRY_TEXT_ENCODER; unset, it is the bundled one."
        )


class ImageEncoderError(EncoderError):
    """What REGISTRY_IMAGE_ENCODER names cannot be used."""

    def __init__(self, folder: Path, cause: str) -> None:
        super().__init__(
            f"{folder} is no image encoder that can be used: {cause}. REGISTRY_IMAGE_ENCODER is "
            "the folder of a CLIP or SigLIP model with safetensors, or unset."
        )


class FingerprintError(EncoderError):
    """A fingerprint cannot be taken, or its bytes are not one of this version."""


class CheckpointError(EncoderError):
    """An encoder's checkpoint is damaged, or not one of ours."""


class TrainingDataError(EncoderError):
    """An encoder cannot be trained on this data."""


class CaptionError(EncoderError):
    """An image has no captions, by its own fault or that of the answer about it; says why."""


class CaptionerError(EncoderError):
    """What writes captions cannot be used, and no image is at fault; says what to do."""
