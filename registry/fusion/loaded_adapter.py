"""Adapters ready to be fused, with what a recipe keeps of them."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from encoder.adapter.gram import DamagedLayerError, check_finite
from encoder.base_models.facts import related_base_models
from registry.fusion.backends.base import Backend
from registry.fusion.errors import (
    AdapterRefusedError,
    CorruptAdapterError,
    FamilyMismatchError,
    NotFusableError,
)
from registry.fusion.gates.interface import Gates
from registry.fusion.relevance import relevance_of

if TYPE_CHECKING:
    from encoder.adapter.lora_file import LoraWeights

# A recipe's strengths have this bound, and scales of its adapters, too.
MOST_SCALE = 1000.0
WHOLE_HASH = re.compile(r"[0-9a-f]{64}")
# What a verdict counts beside text encoders.
OTHER_PARTS = {"transformer", "unet", "embeddings"}


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter ready to be fused, with the facts a recipe keeps."""

    name: str
    sha256: str
    weights: "LoraWeights"
    strength: float = 1.0
    # Cosines of the prompt's parts with the adapter's weights, the same parts for all adapters.
    similarities: Sequence[float] | None = None
    embedding: Sequence[float] | None = None  # of the weights, in the prompts' space
    trigger_words: tuple[str, ...] = ()
    licence: str | None = None
    id: int | None = None

    def autov3(self) -> str | None:
        """Return the hash by which A1111 [1] and Civitai know the file; None where there is none.

        The one that its trainer wrote into it counts, and else that of its tensors.

        - [1] NetworkOnDisk in extensions-builtin/Lora/network.py of
          https://github.com/AUTOMATIC1111/stable-diffusion-webui
        """
        written = self.weights.metadata.get("sshs_model_hash", "")
        if WHOLE_HASH.fullmatch(written):
            return written[:12]
        return None if self.weights.file is None else self.weights.file.hash_body()[:12]

    def config_scale(self) -> float | None:
        """Return what PEFT's config multiplies all layers by; None where tensors say it.

        None as well where layers differ in that, or where it is more than a recipe holds.
        """
        scales = {layer.scale for layer in self.weights.layers.values()}
        if not self.weights.config or len(scales) != 1:
            return None
        scale = scales.pop()
        return scale if abs(scale) <= MOST_SCALE else None

    def text_encoders(self) -> tuple[str, ...]:
        """Return the text encoders that its file changes, which is left out."""
        return tuple(part for part in self.weights.verdict.parts if part not in OTHER_PARTS)


def check_adapters(adapters: Sequence[LoadedAdapter], backend: Backend) -> None:
    """Refuse what must not be fused, before anything is drawn.

    Raises:
        AdapterRefusedError: an adapter is of another family, not fusable, corrupt, or twice.
    """
    seen: set[str] = set()
    for adapter in adapters:
        weights = adapter.weights
        if weights.base_model not in related_base_models(backend.base_model):
            raise FamilyMismatchError(adapter.name, weights.base_model, backend.base_model)
        if not weights.verdict.fusable:
            raise NotFusableError(adapter.name, "; ".join(weights.verdict.reasons))
        if not math.isfinite(adapter.strength):
            raise AdapterRefusedError(adapter.name, f"its strength is {adapter.strength}")
        if adapter.sha256 in seen:
            raise AdapterRefusedError(adapter.name, "it is given twice; raise its strength")
        seen.add(adapter.sha256)
        if adapter.sha256 in backend.cache or weights.file is not None:
            continue  # looked at before; of a file, by the reader
        for name, layer in weights.layers.items():
            try:
                for tensor in layer.tensors():
                    check_finite(tensor)
            except DamagedLayerError as error:
                raise CorruptAdapterError(adapter.name, name) from error


def distinct_names(adapters: Sequence[LoadedAdapter]) -> list[str]:
    """Return adapters' names, with the start of the file's hash where several are called so."""
    called = Counter(adapter.name for adapter in adapters)
    return [
        f"{adapter.name} ({adapter.sha256[:8]})" if called[adapter.name] > 1 else adapter.name
        for adapter in adapters
    ]


def relevance_by_adapter(adapters: Sequence[LoadedAdapter]) -> list[float | None]:
    """Return how far the prompt favours each adapter over the others; None where unknown."""
    parts = max((len(adapter.similarities or ()) for adapter in adapters), default=0)
    if not parts:
        return [None] * len(adapters)
    unknown = [math.nan] * parts
    table = torch.tensor([adapter.similarities or unknown for adapter in adapters])
    return [None if math.isnan(lead) else lead for lead in relevance_of(table.T).tolist()]


def leanings_by_adapter(
    adapters: Sequence[LoadedAdapter], gates: Gates | None
) -> list[tuple[float, ...]]:
    """Return what the gates' questions say of each adapter's embedding; nothing if unknown.

    Raises:
        GatesMismatchError: the embeddings are of another space than the gates' questions.
    """
    return [
        ()
        if gates is None or adapter.embedding is None
        else tuple(gates.leanings(torch.tensor(adapter.embedding)).tolist())
        for adapter in adapters
    ]


def not_exported(adapters: Sequence[LoadedAdapter]) -> list[str]:
    """Say in words of which adapters other programs make more or less than is made here."""
    return [
        f"how strong {adapter.name} is stands in {adapter.weights.config}, which most other "
        "programs do not read"
        for adapter in adapters
        if adapter.weights.config and adapter.config_scale() is None
    ]
