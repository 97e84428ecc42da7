"""How alike two adapters are, computed exactly: the references that sketches are held to."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder.arrays import Floats
from encoder.base_models.families import Family
from encoder.weight_encoders.layer_batch import LayerBatch, kinds_of

# Adapters compared at once with all others: bounds memory to some 100 MB.
ROWS = 128
PROBES = 8
# The prompt says nothing of what an adapter is about; the times are those when it is decided.
PROBE_PROMPT, PROBE_TIMES = "an icon", (1.0, 0.9, 0.75, 0.6)


def factors_by_layer(family: Family, adapters: LayerBatch) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield every layer's place, down (n, rank, d_in) and up (n, d_out, rank); kind by kind."""
    assert adapters.up is not None
    for kind in kinds_of(family):
        for column, place in enumerate(kind.places):
            yield place, adapters.down[kind.name][:, column], adapters.up[kind.name][:, column]


def weight_kernel(family: Family, adapters: LayerBatch) -> Floats:
    """Return <ΔW_a, ΔW_b> summed over layers, each divided by its mean energy: (n, n).

    Through the factors: <B A, B' A'> = sum((A A'ᵀ) * (Bᵀ B')).
    """
    total = torch.zeros(len(adapters), len(adapters))
    for place, down, up in factors_by_layer(family, adapters):
        magnitude = adapters.log_magnitudes[:, place].exp() * adapters.mask[:, place]
        energy = magnitude.square().mean()
        total += product_of_grams(down * magnitude[:, None, None], up.mT) / energy
    return total.numpy()


def product_of_grams(down: Tensor, up: Tensor) -> Tensor:
    """Return sum((A_a A_bᵀ) * (B_aᵀ B_b)) for all pairs, (n, n), from (n, rank, width) each."""
    n, rank, _ = down.shape
    kernel = torch.empty(n, n)
    flat_down, flat_up = down.flatten(0, 1), up.flatten(0, 1)
    for start in range(0, n, ROWS):
        stop = min(n, start + ROWS)
        rows, columns = slice(start * rank, stop * rank), slice(start * rank, None)
        grams = flat_down[rows] @ flat_down[columns].T
        grams *= flat_up[rows] @ flat_up[columns].T
        block = grams.view(stop - start, rank, n - start, rank).sum((1, 3))
        kernel[start:stop, start:] = block
        kernel[start:, start:stop] = block.T
    return kernel


def probe_kernel(family: Family, adapters: LayerBatch, probes: Mapping[str, Tensor]) -> Floats:
    """Compare what adapters answer to `probes` (by layer, (probes, d_in)), normalised: (n, n)."""
    names = list(family.block_layers)
    total = torch.zeros(len(adapters), len(adapters))
    for place, down, up in factors_by_layer(family, adapters):
        answers = torch.einsum("pi,nri->npr", probes[names[place]], down) @ up.mT
        flat = F.layer_norm(answers, answers.shape[-1:], eps=1e-12).flatten(1)
        flat = flat * adapters.mask[:, place, None]
        total += flat @ flat.T / flat.square().sum(1).mean()
    return total.numpy()


@torch.no_grad()
def base_activations(folder: Path, family: Family) -> dict[str, Tensor]:
    """Return inputs that the base's own layers see: their mean and some of them, by layer."""
    from diffusers import FluxTransformer2DModel

    from demo.base import velocity
    from encoder.text_encoder import load_text_encoder
    from registry.fusion.backends.prompt import PromptEncoder

    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer").eval()
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0].reshape(-1, inputs[0].shape[-1])

        transformer.get_submodule(name).register_forward_pre_hook(keep)

    for name in family.block_layers:
        watch(name)
    count = len(PROBE_TIMES)
    noise = torch.randn(count, 16, 64, generator=torch.Generator().manual_seed(0))
    prompt = PromptEncoder(load_text_encoder()).encode([PROBE_PROMPT] * count)
    velocity(transformer, noise, prompt, torch.tensor(PROBE_TIMES))
    probes = {}
    for name, inputs in seen.items():
        picked = torch.linspace(0, len(inputs) - 1, min(PROBES - 1, len(inputs))).long()
        probes[name] = torch.cat([inputs.mean(0, keepdim=True), inputs[picked]])
    return probes
