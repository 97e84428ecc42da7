"""The rival is what its paper says: a function of ΔW alone."""

from pathlib import Path

import torch

from benchmarks.retrieval.w2t import W2T, canonical, stack_canonical
from encoder.adapter.lora_file import LoraWeights, read
from tests.encoder.builders import TINY, Factors, make_factors, write_adapter


def load(folder: Path, factors: Factors) -> LoraWeights:
    return read(write_adapter(folder / "a.safetensors", factors, dtype=torch.float32))


def test_canonical_parts_add_up_to_the_change() -> None:
    down, up = torch.randn(3, 5), torch.randn(7, 3)
    left, right, strengths = canonical(down, up, 0.5)

    torch.testing.assert_close(left.T @ strengths.diag() @ right, 0.5 * up @ down)
    assert (left.gather(1, left.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_embedding_depends_on_the_change_and_not_on_its_factors(tmp_path: Path) -> None:
    factors = make_factors(rank=3)
    basis = torch.randn(3, 3, generator=torch.Generator().manual_seed(9))
    other = {n: (basis @ a, b @ torch.linalg.inv(basis)) for n, (a, b) in factors.items()}
    torch.manual_seed(0)
    network = W2T(TINY, 16).eval()

    found = network(stack_canonical(TINY, [load(tmp_path, factors), load(tmp_path, other)]))

    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=0)


def test_padded_ranks_and_missing_layers_change_nothing(tmp_path: Path) -> None:
    names = list(TINY.block_layers)[5:]
    part = load(tmp_path, make_factors(1, rank=2, names=names))
    torch.manual_seed(0)
    network = W2T(TINY, 16).eval()
    for projector in network.projectors:
        torch.nn.init.ones_(projector.modulation)  # type: ignore[arg-type]

    alone = network(stack_canonical(TINY, [part]))
    beside = network(stack_canonical(TINY, [part, load(tmp_path, make_factors(2, rank=4))]))

    assert torch.isfinite(alone).all()
    torch.testing.assert_close(alone[0], beside[0], atol=1e-4, rtol=0)
