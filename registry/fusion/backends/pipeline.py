"""Base models through diffusers' pipelines, as their files in encoder/base_models tell."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.utils import logging as diffusers_logging
from PIL import ImageOps
from PIL.Image import Image, Resampling
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from encoder.base_models.facts import Pipeline
from encoder.text_encoder import DEFAULT_TEXT_ENCODER, TextEncoder
from registry.fusion.backends.base import Defaults, Sampling, hash_files
from registry.fusion.backends.prompt import PromptEncoder
from registry.fusion.base_folder import check_steps, read_facts, read_sizes
from registry.fusion.device_cache import DeviceCache
from registry.fusion.errors import BaseModelError
from registry.fusion.guidance import UnpromptedPasses
from registry.fusion.options import PreviewCallback, StepCallback
from registry.fusion.previews import Previewer, find_painter, is_known
from registry.text.cached_encoder import load_cached_text_encoder

# Where weights wait that are not at work, on a device with little memory: nowhere, whole models
# in main memory, or all but the layer at work (slowest).
Offload = Literal["none", "model", "layers"]


# Room for adapters on the device: six of rank 16 for all layers of FLUX.1, in bfloat16.
CACHE_BYTES = 2**30


class PipelineBackend:
    """A diffusers pipeline, with or without text encoders of its own."""

    def __init__(
        self,
        pipeline: Any,
        folder: Path,
        base_model: str,
        facts: Pipeline,
        prompt_encoder: PromptEncoder | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Wrap a pipeline loaded from `folder`.

        `prompt_encoder` stands in for CLIP and T5 where the base was trained with it.
        """
        self.base_model = base_model
        self.lock = threading.Lock()
        self._pipeline = pipeline
        self._folder = folder
        self._facts = facts
        self._sizes = read_sizes(folder, base_model)
        self._prompt_encoder = prompt_encoder
        device = torch.device(pipeline._execution_device)
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        self.cache = DeviceCache(cache_bytes, device, dtype)
        pipeline.set_progress_bar_config(disable=True)

    @property
    def name(self) -> str:
        return f"diffusers-{self._facts.name}"

    @property
    def transformer(self) -> nn.Module:
        denoiser: nn.Module = getattr(self._pipeline, self._facts.denoiser)
        return denoiser

    @property
    def size(self) -> tuple[int, int]:
        return self._sizes.side, self._sizes.side

    @property
    def defaults(self) -> Defaults:
        return Defaults(self._facts.steps, self._facts.guidance, self._facts.guide_from)

    def unprompted_passes(self, guidance: float) -> UnpromptedPasses | None:
        """Return how passes are run that do not know the prompt; None if there are none."""
        factors = self._guidance(guidance)
        # Distilled bases take guidance as an input. A factor of 1 or less asks for none.
        factor = factors.get("true_cfg_scale", factors.get("guidance_scale", 1.0))
        none = factor <= self._facts.no_guidance
        return None if none or self._ignores_guidance else self._facts.unprompted

    @property
    def _ignores_guidance(self) -> bool:
        """Whether it was distilled to draw without guidance, and has no use for a factor."""
        own, network = self._pipeline.config, self.transformer.config
        distilled: bool = getattr(own, "is_distilled", False)
        return distilled or getattr(network, "time_cond_proj_dim", None) is not None

    def generate(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        progress: StepCallback | None = None,
        preview: PreviewCallback | None = None,
    ) -> list[Image]:
        """Draw one image a prompt, all from the same noise; the same again for a seed.

        A guidance of 1 or less means none. Distilled bases take guidance as an input and
        ignore it as a factor, so for them a negative prompt has no effect. `preview` is shown
        the first image meanwhile, where that costs next to nothing.

        Raises:
            SamplingError: the size or the number of steps is impossible.
        """
        width, height = sampling.width or self.size[0], sampling.height or self.size[1]
        self._sizes.check((width, height))
        check_steps(sampling.steps)
        generators = [torch.Generator().manual_seed(sampling.seed) for _ in prompts]

        def step_end(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            if progress is not None:
                # Some schedulers make more of them than they are asked for.
                progress(step + 1, self._pipeline.num_timesteps)
            return tensors

        try:
            with self._shown(preview, height):
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

    def _shown(self, preview: PreviewCallback | None, height: int) -> AbstractContextManager[None]:
        """Show `preview` an image of this height as it is drawn, if it is known how to."""
        scheduler = self._pipeline.scheduler
        paint = find_painter(self._pipeline.vae, self._facts.latents)
        if preview is None or paint is None or not is_known(scheduler):
            return nullcontext()
        return Previewer(preview, paint, height // self._sizes.unit).watch(scheduler)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Image], side: int) -> tuple[Tensor, Tensor]:
        """Return images as FLUX's latents (n, places, channels), and places' ids (places, 3).

        Of one that is no square, its middle.
        """
        self._check_trains_gates()
        vae = self._pipeline.vae
        squares = [
            ImageOps.fit(ImageOps.exif_transpose(image), (side, side), Resampling.LANCZOS)
            for image in images
        ]
        pixels = self._pipeline.image_processor.preprocess(squares, height=side, width=side)
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mean
        latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        packed = self._pipeline._pack_latents(latents, *latents.shape)
        half = [length // 2 for length in latents.shape[2:]]
        ids = self._pipeline._prepare_latent_image_ids(len(latents), *half, "cpu", torch.float32)
        return packed.float().cpu(), ids

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return FLUX's text tokens (n, words, dim) and pooled projections (n, dim)."""
        self._check_trains_gates()
        if self._prompt_encoder is not None:
            return self._prompt_encoder.encode(prompts)
        tokens, pooled, _ = self._pipeline.encode_prompt(prompt=list(prompts), prompt_2=None)
        return tokens.float().cpu(), pooled.float().cpu()

    def _check_trains_gates(self) -> None:
        if self._facts.diffusers_class != "FluxPipeline":
            raise BaseModelError(self._folder, f"is {self._facts.name}; only FLUX trains gates")

    def _guidance(self, guidance: float) -> dict[str, float]:
        """Return the pipeline's arguments for a guidance: an input of the network, or a factor."""
        if getattr(self.transformer.config, "guidance_embeds", False):
            return {"guidance_scale": guidance, "true_cfg_scale": 1.0}
        return {self._facts.guidance_argument: self._facts.guidance_value(guidance)}

    def free(self) -> None:
        self._pipeline.maybe_free_model_hooks()

    def _text_inputs(self, prompts: list[str], negative: str) -> dict[str, Any]:
        if self._prompt_encoder is None:
            avoided = negative or self._facts.empty_negative
            negatives = None if avoided is None else [avoided] * len(prompts)
            return {"prompt": prompts, **self._negative_inputs(negatives)}
        encoded = self._prompt_encoder.encode([*prompts, negative])
        # The pipeline takes embeddings as they are, to the network as well.
        device = self._pipeline._execution_device
        # Quantised weights are packed into bytes.
        dtype = next(p.dtype for p in self.transformer.parameters() if p.is_floating_point())
        tokens, pooled = (one.to(device, dtype) for one in encoded)
        return {
            "prompt_embeds": tokens[:-1],
            "pooled_prompt_embeds": pooled[:-1],
            "negative_prompt_embeds": tokens[-1:].expand_as(tokens[:-1]),
            "negative_pooled_prompt_embeds": pooled[-1:].expand_as(pooled[:-1]),
        }

    def _negative_inputs(self, negatives: list[str] | None) -> dict[str, Any]:
        if self._facts.negative_argument == "negative_prompt":
            return {"negative_prompt": negatives}
        if negatives is None:
            return {}
        with torch.no_grad():
            embeddings, *_ = self._pipeline.encode_prompt(negatives)
        return {"negative_prompt_embeds": embeddings}

    def file_hashes(self) -> dict[str, str]:
        return self._file_hashes

    @cached_property
    def _file_hashes(self) -> dict[str, str]:
        # Read once a process: a 12B base takes about half a minute.
        return hash_files(self._folder, "*/*")

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("torch", "diffusers", "transformers")}


def load_backend(
    folder: Path,
    base_model: str,
    text_encoder: TextEncoder | None = None,
    *,
    device: str = "cpu",
    offload: Offload = "none",
    cache_bytes: int = CACHE_BYTES,
) -> PipelineBackend:
    """Load a base from a diffusers folder, in float32 on a CPU and in bfloat16 elsewhere.

    A folder with model_index.json brings its own text encoders. One with nothing but
    transformer, vae and scheduler is a FLUX that was trained on a sentence encoder's
    embeddings: `text_encoder`, or else the bundled one.

    Raises:
        BaseModelError: the folder is absent, incomplete, or of a kind that is not supported; or
            the device is not here.
    """
    facts = read_facts(folder, base_model)
    complete = not facts.bare
    # Whatever the files hold: a CPU is fastest in float32, and reproduces best.
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    try:
        with quiet():
            pipeline = (load_complete if complete else load_bare)(folder, facts, dtype)
            place(pipeline, device, offload)
    except (OSError, ValueError, RuntimeError) as error:
        raise BaseModelError(folder, f"cannot be loaded: {error}") from error
    encoder = (
        None
        if complete
        else PromptEncoder(text_encoder or load_cached_text_encoder(DEFAULT_TEXT_ENCODER))
    )
    return PipelineBackend(pipeline, folder, base_model, facts, encoder, cache_bytes)


def load_complete(folder: Path, facts: Pipeline, dtype: torch.dtype) -> Any:
    # Imported here, under `quiet`: pipelines warn when they are imported.
    import diffusers

    # Never pickles, and no class but ours.
    pipeline = getattr(diffusers, facts.diffusers_class)
    return pipeline.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=dtype
    )


def load_bare(folder: Path, facts: Pipeline, dtype: torch.dtype) -> Any:
    from diffusers import FluxPipeline

    how: dict[str, Any] = {"use_safetensors": True, "dtype": dtype}
    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer", **how)
    vae = AutoencoderKL.from_pretrained(folder / "vae", **how)
    return FluxPipeline(
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
    )


def place(pipeline: Any, device: str, offload: Offload) -> None:
    """Put a pipeline on its device, or have its parts go there when they are at work."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"there is no {device} here; unset REGISTRY_DEVICE")
    if offload == "none":
        if device != "cpu":
            pipeline.to(device)
    elif device == "cpu":
        raise ValueError("there is nothing to offload from a CPU; unset REGISTRY_OFFLOAD")
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)


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
