"""The references that sketches are held to, against ΔW formed in full."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.retrieval import kernels
from encoder.adapter.lora_file import LoraWeights, read
from encoder.weight_encoders.layer_batch import LayerBatch, stack_weights
from tests.encoder.builders import TINY, make_factors, write_adapter


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[LoraWeights]:
    folder = tmp_path_factory.mktemp("adapters")
    return [
        read(write_adapter(folder / f"{seed}.safetensors", make_factors(seed, rank=1 + seed)))
        for seed in range(4)
    ]


@pytest.fixture
def batch(adapters: list[LoraWeights]) -> LayerBatch:
    return stack_weights(TINY, adapters)


def test_the_exact_kernel_is_that_of_the_formed_changes(
    adapters: list[LoraWeights], batch: LayerBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "ROWS", 3)  # so that four adapters need two blocks
    slow = np.zeros((4, 4))
    for name in TINY.block_layers:
        deltas = torch.stack([adapter.layers[name].delta().flatten() for adapter in adapters])
        gram = deltas @ deltas.T
        slow += (gram / gram.diag().mean()).numpy()

    np.testing.assert_allclose(kernels.weight_kernel(TINY, batch), slow, rtol=1e-4, atol=1e-3)


def test_probes_see_the_changes_direction_and_not_its_strength(
    adapters: list[LoraWeights], batch: LayerBatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    probes = {
        name: torch.randn(2, d_in, generator=generator)
        for name, (_, d_in) in TINY.block_layers.items()
    }
    slow = torch.zeros(4, 4)
    for name, probe in probes.items():
        answers = torch.stack(
            [probe @ (100 * adapter.layers[name].delta()).T for adapter in adapters]
        )
        flat = F.layer_norm(answers, answers.shape[-1:], eps=1e-12).flatten(1)
        gram = flat @ flat.T
        slow += gram / gram.diag().mean()

    found = kernels.probe_kernel(TINY, batch, probes)

    np.testing.assert_allclose(found, slow.numpy(), rtol=1e-3, atol=1e-2)
