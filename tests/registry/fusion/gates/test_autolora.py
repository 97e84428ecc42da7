"""The gates against a slow reading of the formula, and their file."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from registry.fusion.gates.autolora import AutoLoraGates, FusionGate
from registry.fusion.gates.file import load_gates, save_gates


def slow_fuse(gate: FusionGate, base: Tensor, outputs: Tensor) -> Tensor:
    """The formula, one number at a time."""

    def hats(row: list[float], weight: Tensor, bias: Tensor) -> list[float]:
        mean = sum(row) / len(row)
        spread = math.sqrt(sum((v - mean) ** 2 for v in row) / len(row) + 1e-5)
        return [(v - mean) / spread * weight[k].item() + bias[k].item() for k, v in enumerate(row)]

    fused = base.clone()
    for place in range(len(base)):
        row = base[place].tolist()
        base_hat = hats(row, gate.norm_base.weight, gate.norm_base.bias)
        for output in outputs[:, place].tolist():
            hat = hats(output, gate.norm_lora.weight, gate.norm_lora.bias)
            for k, value in enumerate(output):
                logit = (
                    gate.w_base[k] * base_hat[k]
                    + gate.w_lora[k] * hat[k]
                    + gate.w_cross[k] * base_hat[k] * hat[k]
                    + gate.bias[k]
                ).item()
                fused[place, k] += gate.w_out[k].item() * value / (1 + math.exp(-logit))
    return fused


def random_gate(dim: int) -> FusionGate:
    gate = FusionGate(dim, "paper").requires_grad_(False)
    for parameter in gate.parameters():
        parameter.copy_(torch.randn(parameter.shape))
    return gate


@pytest.mark.parametrize("count", [1, 2, 5])
def test_gate_follows_the_formula(count: int) -> None:
    torch.manual_seed(count)
    gate, base, outputs = random_gate(6), torch.randn(4, 6), torch.randn(count, 4, 6)
    torch.testing.assert_close(gate(base, outputs), slow_fuse(gate, base, outputs))


def test_gate_of_no_adapters_is_the_base() -> None:
    base = torch.randn(2, 3, 6)
    assert torch.equal(random_gate(6)(base, torch.empty(0, 2, 3, 6)), base)


def test_gate_ignores_the_order_of_adapters_and_those_that_say_nothing() -> None:
    gate, base, outputs = random_gate(6), torch.randn(4, 6), torch.randn(3, 4, 6)
    fused = gate(base, outputs)
    torch.testing.assert_close(gate(base, outputs.flip(0)), fused)
    torch.testing.assert_close(gate(base, torch.cat([outputs, torch.zeros(2, 4, 6)])), fused)


def test_open_gate_starts_near_the_plain_sum() -> None:
    base, outputs = torch.randn(4, 6), torch.randn(2, 4, 6)
    share = torch.sigmoid(torch.tensor(2.0))
    torch.testing.assert_close(FusionGate(6)(base, outputs), base + share * outputs.sum(0))


def test_gates_come_back_from_their_file(tmp_path: Path) -> None:
    gates = AutoLoraGates({"blocks.0.to_q": 6, "blocks.1.net.0.proj": 8}, "demo-flux-tiny", "paper")
    gates.details = {"steps": 7, "数据": "动物"}
    save_gates(gates, tmp_path / "gates.safetensors")

    loaded = load_gates(tmp_path / "gates.safetensors", "demo-flux-tiny")

    assert isinstance(loaded, AutoLoraGates)
    assert loaded.layers == gates.layers == ["blocks.0.to_q", "blocks.1.net.0.proj"]
    assert (loaded.base_model, loaded.details) == ("demo-flux-tiny", gates.details)
    assert loaded.sha256 == gates.sha256
    assert loaded.covers("blocks.0.to_q")
    assert not loaded.covers("blocks.0.to_k")
    for mine, theirs in zip(gates.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert not theirs.requires_grad
