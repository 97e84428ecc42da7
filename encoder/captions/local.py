"""A Qwen-VL on this machine, through transformers: Qwen2-VL, 2.5-VL, 3-VL and their kin.

The image processor and the tokenizer are used one by one. transformers' own processor, which
joins them, wants torchvision for videos, of which there are none here.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL.Image import Image
from safetensors import SafetensorError

from encoder.captions.answers import parse_answer
from encoder.captions.captioner import Captions, Language
from encoder.captions.images import prepare
from encoder.captions.prompts import MAX_TOKENS, TEMPERATURE, instruction
from encoder.errors import CaptionerError, CaptionError

BATCH_SIZE = 8
# The answer is begun for the model, so that it neither chats nor thinks before it.
# So many pictures in a row, each tried alone: it is not the pictures.
FAILURES_IN_A_ROW = 5
ANSWER_START = '{"short": "'


class LocalCaptioner:
    """Runs a model from a folder in batches; it is loaded when the first image comes."""

    def __init__(
        self,
        folder: Path,
        name: str | None = None,
        *,
        device: str = "cpu",
        batch_size: int = BATCH_SIZE,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        """`name` is what the model is called in the database; by default as its folder."""
        self.name = name or folder.name
        self.batch_size = batch_size
        self._folder, self._device, self._max_tokens = folder, device, max_tokens
        # Single pictures that it failed at since it last answered.
        self._failed_alone = 0

    def close(self) -> None:
        """Let go of the model."""
        self.__dict__.pop("_model", None)

    def caption(
        self, images: Sequence[bytes], language: Language
    ) -> Iterator[tuple[int, Captions | CaptionError]]:
        """Yield captions as `Captioner` says."""
        pictures: list[tuple[int, Image]] = []
        for place, data in enumerate(images):
            try:
                pictures.append((place, prepare(data)))
            except CaptionError as error:
                yield place, error
        for start in range(0, len(pictures), self.batch_size):
            batch = pictures[start : start + self.batch_size]
            answers = self._answer([picture for _, picture in batch], language)
            for (place, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, CaptionError):
                    yield place, answer
                    continue
                try:
                    yield place, parse_answer(answer, language)
                except CaptionError as error:
                    yield place, error

    def _answer(self, pictures: Sequence[Image], language: Language) -> list[str | CaptionError]:
        """Return what the model says about each picture, from `ANSWER_START` on, or why nothing.

        Raises:
            CaptionerError: one picture is too many for its memory, or its device is lost.
        """
        import torch

        try:
            answers = self._generate(pictures, language)
        except torch.AcceleratorError as error:
            # After this no call of the process reaches the device.
            raise CaptionerError(
                f"{self.name} lost {self._device}: {_first_line(error)}. Run it again."
            ) from error
        except NotImplementedError as error:
            raise CaptionerError(
                f"{self.name} does not run on {self._device}: {_first_line(error)}."
            ) from error
        except RuntimeError as error:
            reason = _first_line(error)
            if len(pictures) == 1 and self._failed_alone == FAILURES_IN_A_ROW:
                raise CaptionerError(f"{self.name} fails at every picture: {reason}.") from error
            if len(pictures) == 1 and _is_of_memory(error):
                raise CaptionerError(
                    f"{self.name} needs more memory than {self._device} has; take a smaller model "
                    "or one behind an endpoint."
                ) from error
        else:
            self._failed_alone = 0
            return [*answers]
        if len(pictures) == 1:
            self._failed_alone += 1
            return [CaptionError(f"{self.name} failed at it: {reason}")]
        # Not before: an error that is being handled keeps all that generating held.
        _empty_cache(self._device)
        middle = len(pictures) // 2
        halves = pictures[:middle], pictures[middle:]
        return [answer for half in halves for answer in self._answer(half, language)]

    def _generate(self, pictures: Sequence[Image], language: Language) -> list[str]:
        import torch

        model = self._model
        inputs = self._make_inputs(pictures, language)
        given = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            tokens = model.generate(
                **inputs,
                max_new_tokens=self._max_tokens,
                do_sample=True,
                temperature=TEMPERATURE,
            )
        said: list[str] = self._tokenizer.batch_decode(tokens[:, given:], skip_special_tokens=True)
        return [ANSWER_START + answer for answer in said]

    def _make_inputs(self, pictures: Sequence[Image], language: Language) -> dict[str, Any]:
        """Return what the model takes: pixels, and text with a token for each part of a picture."""
        seen = self._image_processor(images=list(pictures), return_tensors="pt")
        picture_token = self._tokenizer.convert_ids_to_tokens(self._model.config.image_token_id)
        question = self._question(language)
        parts = seen["image_grid_thw"].prod(dim=1) // self._image_processor.merge_size**2
        texts = [question.replace(picture_token, picture_token * int(count)) for count in parts]
        # Generation goes on at the right end.
        text = self._tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
        is_picture = text["input_ids"] == self._model.config.image_token_id
        inputs = {**text, **seen, "mm_token_type_ids": is_picture.int()}
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items()}

    def _question(self, language: Language) -> str:
        content = [{"type": "image"}, {"type": "text", "text": instruction(language)}]
        asked = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self._chat_template,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return f"{asked}{ANSWER_START}"

    @cached_property
    def _chat_template(self) -> str:
        """How the model's conversations are written; older folders keep it in a file of its own."""
        path = self._folder / "chat_template.json"
        template = self._tokenizer.chat_template
        if template is None and path.is_file():
            template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
        if not isinstance(template, str):
            raise CaptionerError(f"{self._folder} has no chat template; it is no model to talk to.")
        return template

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder, local_files_only=True)

    @cached_property
    def _image_processor(self) -> Any:
        from transformers import AutoImageProcessor

        # With and without torchvision the same: Pillow scales.
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            self._folder, local_files_only=True, backend="pil"
        )

    @cached_property
    def _model(self) -> Any:
        """Load the model, and see that it is one of the kind that is known here.

        Raises:
            CaptionerError: it cannot be used; says why.
        """
        try:
            from transformers import AutoModelForImageTextToText
        except ImportError as error:
            raise CaptionerError(
                "captions by a model on this machine need transformers; install it with "
                "`pip install 'autolora-registry[captions]'`."
            ) from error
        try:
            with _without_bars():
                loaded: Any = AutoModelForImageTextToText.from_pretrained(
                    self._folder,
                    local_files_only=True,
                    use_safetensors=True,
                    dtype="auto",
                    output_loading_info=True,
                )
            model, report = loaded
            model.to(self._device).eval()
            known = hasattr(model.config, "image_token_id") and hasattr(
                self._image_processor, "merge_size"
            )
            assert self._tokenizer is not None
        # What transformers and torch raise for folders and devices that are not what they seem:
        # ImportError where weights are quantised by a package that is not here, AssertionError
        # by a torch without CUDA.
        except (
            OSError, ValueError, KeyError, RuntimeError, ImportError, AssertionError,
            SafetensorError,
        ) as error:  # fmt: skip
            raise CaptionerError(
                f"no vision model can be loaded from {self._folder}: {error}"
            ) from error
        if report["missing_keys"]:
            # transformers would draw them at random.
            raise CaptionerError(
                f"the model in {self._folder} lacks weights: {sorted(report['missing_keys'])[0]} "
                "and others; download it again."
            )
        if not known:
            raise CaptionerError(
                f"{self._folder} holds a {model.config.model_type}; captions are written by a "
                "Qwen-VL. Others can be served by vLLM: see docs/captions.md."
            )
        return model


def _first_line(error: RuntimeError) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(". ")


def _is_of_memory(error: RuntimeError) -> bool:
    """Whether a device is full; Apple's and processors say so in words only."""
    import torch

    said = str(error)
    is_told = "out of memory" in said or "can't allocate memory" in said
    return is_told or isinstance(error, torch.OutOfMemoryError)


def _empty_cache(device: str) -> None:
    """Give back what torch keeps of a device's memory for tensors to come."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.empty_cache()
    elif kind == "mps":
        torch.mps.empty_cache()


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers' bar off stderr, where ours is."""
    from transformers.utils import logging

    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
