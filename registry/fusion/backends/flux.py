"""FLUX through diffusers: real FLUX.1 folders, and the miniature world's tiny base."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.utils import logging as diffusers_logging
from PIL.Image import Image
from torch import nn
from transformers.utils import logging as transformers_logging

from encoder.text_encoder import TextEncoder, load_text_encoder
from registry.fusion.backends.base import Progress, Sampling, hash_files
from registry.fusion.backends.prompt import PromptEncoder
from registry.fusion.errors import BaseModelError, SamplingError

PARTS = ("transformer", "vae", "scheduler")
# Never pickles; and float32 whatever the files hold, which a CPU is fastest in.
HOW = {"use_safetensors": True, "dtype": torch.float32}


class FluxBackend:
    """FluxPipeline in float32 on the CPU, with or without text encoders of its own."""

    name = "diffusers-flux"

    def __init__(
        self,
        pipeline: Any,
        folder: Path,
        base_model: str,
        prompt_encoder: PromptEncoder | None,
    ) -> None:
        """Wrap a pipeline loaded from `folder`.

        `prompt_encoder` stands in for CLIP and T5 where the base was trained with it.
        """
        self.base_model = base_model
        self.lock = threading.Lock()
        self._pipeline = pipeline
        self._folder = folder
        self._prompt_encoder = prompt_encoder
        pipeline.set_progress_bar_config(disable=True)

    @property
    def transformer(self) -> nn.Module:
        transformer: nn.Module = self._pipeline.transformer
        return transformer

    @property
    def size(self) -> tuple[int, int]:
        side = int(self._pipeline.vae.config.sample_size)
        return side, side

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, progress: Progress | None = None
    ) -> list[Image]:
        """Draw one image a prompt, all from the same noise; the same again for a seed.

        A guidance of 1 or less means none. Distilled bases take guidance as an input and
        ignore it as a factor, so for them a negative prompt has no effect.

        Raises:
            SamplingError: the size or the number of steps is impossible.
        """
        width, height = sampling.width or self.size[0], sampling.height or self.size[1]
        self._check(width, height, sampling.steps)
        generators = [torch.Generator().manual_seed(sampling.seed) for _ in prompts]

        def step_end(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if progress is not None:
                progress(step + 1, sampling.steps)
            return tensors

        try:
            images: list[Image] = self._pipeline(
                **self._text_inputs(list(prompts), sampling.negative),
                **self._guidance(sampling.guidance),
                num_inference_steps=sampling.steps,
                width=width,
                height=height,
                generator=generators,
                callback_on_step_end=step_end,
                callback_on_step_end_tensor_inputs=[],
            ).images
        finally:
            # The pipeline does this itself, but not when a callback stops it.
            self.free()
        return images

    def free(self) -> None:
        self._pipeline.maybe_free_model_hooks()

    def _check(self, width: int, height: int, steps: int) -> None:
        # Two pixels of the latent to a token.
        unit = 2 * self._pipeline.vae_scale_factor
        if width < unit or height < unit or width % unit or height % unit:
            raise SamplingError(f"{width}x{height} pixels: use multiples of {unit}")
        if steps < 1:
            raise SamplingError(f"{steps} steps: use 1 or more")

    def _guidance(self, guidance: float) -> dict[str, float]:
        if self._pipeline.transformer.config.guidance_embeds:
            return {"guidance_scale": guidance, "true_cfg_scale": 1.0}
        return {"true_cfg_scale": guidance}

    def _text_inputs(self, prompts: list[str], negative: str) -> dict[str, Any]:
        if self._prompt_encoder is None:
            return {"prompt": prompts, "negative_prompt": [negative] * len(prompts)}
        tokens, pooled = self._prompt_encoder.encode([*prompts, negative])
        return {
            "prompt_embeds": tokens[:-1],
            "pooled_prompt_embeds": pooled[:-1],
            "negative_prompt_embeds": tokens[-1:].expand_as(tokens[:-1]),
            "negative_pooled_prompt_embeds": pooled[-1:].expand_as(pooled[:-1]),
        }

    def file_hashes(self) -> dict[str, str]:
        return self._file_hashes

    @cached_property
    def _file_hashes(self) -> dict[str, str]:
        # Read once a process: a 12B base takes about half a minute.
        return hash_files(self._folder, "*/*")

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("torch", "diffusers", "transformers")}


def load_flux(
    folder: Path, base_model: str, text_encoder: TextEncoder | None = None
) -> FluxBackend:
    """Load a FLUX base from a diffusers folder.

    A folder with model_index.json brings its own text encoders. One with nothing but
    transformer, vae and scheduler was trained on a sentence encoder's embeddings:
    `text_encoder`, or else the bundled one.

    Raises:
        BaseModelError: the folder is absent, incomplete, or not FLUX.
    """
    check_folder(folder)
    complete = (folder / "model_index.json").exists()
    try:
        with quiet():
            pipeline = load_complete(folder) if complete else load_bare(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise BaseModelError(folder, f"cannot be loaded: {error}") from error
    if complete:
        return FluxBackend(pipeline, folder, base_model, None)
    encoder = PromptEncoder(text_encoder or load_text_encoder())
    return FluxBackend(pipeline, folder, base_model, encoder)


def load_complete(folder: Path) -> Any:
    # Imported here, under `quiet`: FluxPipeline is what warns.
    from diffusers import FluxPipeline

    return FluxPipeline.from_pretrained(folder, local_files_only=True, **HOW)


def load_bare(folder: Path) -> Any:
    from diffusers import FluxPipeline

    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer", **HOW)
    vae = AutoencoderKL.from_pretrained(folder / "vae", **HOW)
    return FluxPipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep both libraries' bars, and words about an absent torchvision, off stderr."""
    verbosity = transformers_logging.get_verbosity()
    bars = [
        part for part in (diffusers_logging, transformers_logging) if part.is_progress_bar_enabled()
    ]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    for part in bars:
        part.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for part in bars:
            part.enable_progress_bar()


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no FLUX base, before anything large is read."""
    for part in PARTS:
        if not (folder / part).is_dir():
            raise BaseModelError(folder, f"has no {part}/; point to a diffusers folder")
    try:
        kind = json.loads((folder / "transformer/config.json").read_text())["_class_name"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BaseModelError(folder, f"transformer/config.json is no config: {error}") from error
    if kind != "FluxTransformer2DModel":
        raise BaseModelError(folder, f"is a {kind}; only FLUX is supported")
