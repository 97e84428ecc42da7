"""What the path of a file says of it: names for people, and words to search for."""

from pathlib import PurePosixPath

# What libraries call every adapter that they save (diffusers, PEFT, DiffSynth-Studio, sd-scripts).
GENERIC = {
    "pytorch_lora_weights", "adapter_model", "diffusion_pytorch_model", "model",
    "adapter", "lora", "lora_weights", "last",
}  # fmt: skip


def is_generic(stem: str) -> bool:
    """Whether a file's name says nothing of what is in it."""
    return stem.lower() in GENERIC


def path_words(name: str) -> tuple[str, ...]:
    """Return the parts of a path that say something: `styles/ink.safetensors` is styles, ink."""
    return tuple(p for p in PurePosixPath(name).with_suffix("").parts if not is_generic(p))
