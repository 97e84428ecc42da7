"""What adapters do to a few fixed noises: the signal that weights might be taught to foretell."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.retrieval.kernels import PROBE_PROMPT, PROBE_TIMES
from demo.base import velocity
from demo.zoo import GROUP, AdapterGroup
from encoder.adapter.lora_file import LoraWeights
from encoder.arrays import Floats
from encoder.text_encoder import load_text_encoder
from registry.fusion.backends.prompt import PromptEncoder

NOISES = 2  # at every time


@torch.no_grad()
def behaviours(base: Path, adapters: Sequence[LoraWeights]) -> Floats:
    """Return by how much each adapter moves the base's answers, (n, answers)."""
    from diffusers import FluxTransformer2DModel

    transformer = FluxTransformer2DModel.from_pretrained(base / "transformer").eval()
    count = NOISES * len(PROBE_TIMES)
    noise = torch.randn(count, 16, 64, generator=torch.Generator().manual_seed(0))
    times = torch.tensor(PROBE_TIMES).repeat(NOISES)
    tokens, pooled = PromptEncoder(load_text_encoder()).encode([PROBE_PROMPT] * count)
    alone = velocity(transformer, noise, (tokens, pooled), times)
    rank = max(layer.rank for adapter in adapters for layer in adapter.layers.values())
    moved = []
    starts = range(0, len(adapters), GROUP)
    for start in track(starts, "Behaviour", console=Console(stderr=True)):
        members = adapters[start : start + GROUP]
        group = AdapterGroup(transformer, rank, list(range(len(members))))
        for name in group.layers:
            for place, adapter in enumerate(members):
                fill(group, name, place, adapter)
        n = len(members)
        with group.attached():
            answers = velocity(
                transformer,
                noise.repeat(n, 1, 1),
                (tokens.repeat(n, 1, 1), pooled.repeat(n, 1)),
                times.repeat(n),
            )
        moved.append((answers.view(n, *alone.shape) - alone).flatten(1))
    return torch.cat(moved).numpy()


def fill(group: AdapterGroup, name: str, place: int, adapter: LoraWeights) -> None:
    """Put a layer of an adapter into a group; a missing one changes nothing."""
    down, up = group.down[name][place], group.up[name][place]
    down.zero_()
    up.zero_()
    layer = adapter.layers.get(name)
    if layer is not None:
        own_down, own_up = layer.factors()
        down[: layer.rank] = own_down.float()
        up[:, : layer.rank] = own_up.float() * layer.scale
