"""Pictures -> embeddings, by a model that the user brings: CLIP, SigLIP, or their like."""

import hashlib
import json
import re
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from encoder.errors import ImageEncoderError
from encoder.text_encoder import normalise

# Of a file of weights, what its name is made of: to hash gigabytes at every start takes too long.
SAMPLE_BYTES = 2**20
# What the index of pgvector takes (https://github.com/pgvector/pgvector#half-vectors).
MOST_DIM = 4000
_SIGNS = re.compile(r"[^A-Za-z0-9._-]+")


class ImageEncoder:
    """A model's folder as transformers saves it: config, preprocessor, and safetensors.

    Nothing is loaded before a picture is first encoded, and then nothing from anywhere else: no
    hub is asked, no pickle is read, and no code of the folder is run.
    """

    def __init__(self, folder: Path) -> None:
        """Raises:
        ImageEncoderError: the folder holds no such model.
        """
        self._folder = folder
        self._loading = threading.Lock()
        self.name = _name_of(folder)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoImageProcessor, AutoModel
        except ImportError as error:
            raise ImageEncoderError(
                self._folder, "transformers is not installed; it comes with the extra `fusion`"
            ) from error
        try:
            options = {"local_files_only": True, "trust_remote_code": False}
            # Without torchvision, which only transformers' other kind of processor needs.
            read_processor: Any = AutoImageProcessor.from_pretrained
            processor = read_processor(self._folder, backend="pil", **options)
            network = AutoModel.from_pretrained(self._folder, use_safetensors=True, **options)
        # Whatever transformers raises for a stranger's folder; the text says what.
        except Exception as error:
            raise ImageEncoderError(self._folder, str(error)) from error
        return processor, network.eval()

    def encode(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Return embeddings (len(images), dim), float32, each of length 1.

        Raises:
            ImageEncoderError: the model cannot be loaded, or makes no embeddings of pictures.
        """
        import torch

        with self._loading:
            processor, network = self._loaded
        pixels = processor(images=list(images), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            # Of a model for texts as well, the side that pictures are for.
            if hasattr(network, "get_image_features"):
                made = network.get_image_features(pixel_values=pixels)
            else:
                made = network(pixel_values=pixels)
        embeddings = made if isinstance(made, torch.Tensor) else _pooled(made)
        if embeddings is None or embeddings.ndim != 2 or embeddings.shape[1] > MOST_DIM:
            raise ImageEncoderError(self._folder, "it makes no single vector of a picture")
        return normalise(embeddings.float().cpu().numpy())


def _pooled(made: Any) -> Any:
    embeds = getattr(made, "image_embeds", None)
    return embeds if embeds is not None else getattr(made, "pooler_output", None)


def _name_of(folder: Path) -> str:
    """Return a name that another model has not, by the folder's and samples of what is in it."""
    try:
        config = (folder / "config.json").read_bytes()
        kind = json.loads(config).get("model_type")
        weights = sorted(folder.glob("*.safetensors"))
        if not weights or not isinstance(kind, str):
            raise ImageEncoderError(folder, "it needs a config.json and *.safetensors")
        digest = hashlib.sha256(config)
        for path in weights:
            size = path.stat().st_size
            digest.update(f"{path.name} {size}".encode())
            with path.open("rb") as file:
                digest.update(file.read(SAMPLE_BYTES))
                file.seek(max(0, size - SAMPLE_BYTES))
                digest.update(file.read(SAMPLE_BYTES))
    except (OSError, ValueError, AttributeError) as error:
        raise ImageEncoderError(folder, str(error)) from error
    return f"{_SIGNS.sub('-', kind)}-{digest.hexdigest()[:12]}"
