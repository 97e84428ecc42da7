"""AutoLoraGates learn to keep adapters from disturbing each other, and survive being stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from encoder.training.workers import Workers
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.rivals import FLOOR, RivalGates
from registry.fusion.training.adapter_bank import AdapterBank
from registry.fusion.training.train import GateBatch, GateTraining, shyness, train_gates
from tests.registry.fusion.builders import BASE_MODEL, block_layers, make_small_flux, make_weights

STEPS = 30


@pytest.fixture
def training() -> GateTraining:
    """Four adapters that are loud enough to spoil a small base, in pairs and alone."""
    transformer = make_small_flux()
    layers = block_layers(transformer)
    loud = [make_weights(transformer, layers, seed=k, rank=2, scale=4.0) for k in range(4)]
    bank = AdapterBank(loud)

    def batch(step: int) -> GateBatch:
        torch.manual_seed(step)
        return GateBatch(
            latents=torch.randn(8, 4, 64),
            tokens=torch.randn(8, 3, 12),
            pooled=torch.randn(8, 12),
            image_ids=torch.zeros(4, 3),
            sets=torch.randint(4, (2, 1 + step % 2)),
        )

    validation = [batch(1000), batch(1001)]
    return GateTraining(transformer, bank, batch, STEPS, 0.2, validation, validate_every=10)


def new_gates(training: GateTraining) -> AutoLoraGates:
    return AutoLoraGates.for_transformer(training.transformer, BASE_MODEL)


def test_training_lowers_the_loss_of_sets_it_has_not_seen(training: GateTraining) -> None:
    steps = []
    curve = train_gates(
        new_gates(training), training, progress=lambda step, loss: steps.append(step)
    )
    assert steps == list(range(1, STEPS + 1))
    assert [row["step"] for row in curve] == [0, 10, 20, 30]
    # A random base predicts no noise at all, so most of the loss (about 2.4) must stay.
    assert curve[-1]["n=1"] < curve[0]["n=1"] - 0.05
    assert curve[-1]["n=2"] < curve[0]["n=2"] - 0.05
    assert curve[-1]["training"] < curve[1]["training"] - 0.02


def test_gates_learn_on_a_base_of_another_precision(training: GateTraining) -> None:
    """Bases of graphics cards are in bfloat16, gates in float32."""
    gates = new_gates(training)
    before = [own.detach().clone() for own in gates.parameters()]
    training.transformer.bfloat16()

    curve = train_gates(gates, replace(training, steps=10))

    assert all(own.dtype == torch.float32 for own in gates.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, gates.parameters(), strict=True))
    assert curve[-1]["n=2"] < curve[0]["n=2"]


def test_training_leaves_the_transformer_alone(training: GateTraining) -> None:
    before = {name: tensor.clone() for name, tensor in training.transformer.state_dict().items()}
    train_gates(new_gates(training), training)
    after = training.transformer.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(part._forward_hooks for part in training.transformer.modules())


def test_resumed_training_equals_uninterrupted(training: GateTraining, tmp_path: Path) -> None:
    whole, resumed = new_gates(training), new_gates(training)
    curve = train_gates(whole, training)

    def stop(step: int, loss: float) -> None:
        if step == 25:  # after the checkpoint at 20
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_gates(resumed, training, tmp_path / "state", stop)
    resumed = new_gates(training)
    again = train_gates(resumed, training, tmp_path / "state")

    # The last validation and all gates agree to the bit.
    assert again[-1]["n=2"] == curve[-1]["n=2"]
    assert [row["step"] for row in again] == [row["step"] for row in curve]
    for mine, theirs in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_state_that_is_damaged_is_left_with_a_warning(
    training: GateTraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = replace(training, steps=2, validation=())
    train_gates(new_gates(training), short, tmp_path / "state")
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:1000])

    curve = train_gates(new_gates(training), short, tmp_path / "state")

    assert "state cannot be read; this one begins anew" in caplog.text
    assert [row["step"] for row in curve] == [0, 2]


def test_a_training_on_something_else_begins_anew_and_says_so(
    training: GateTraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The state beside the output is of other gates, however like these it looks."""
    short = replace(training, steps=2, validation=(), trained_on="one base")
    train_gates(new_gates(training), short, tmp_path / "state")
    assert "begins anew" not in caplog.text

    elsewhere = replace(short, trained_on="another base")
    curve = train_gates(again := new_gates(training), elsewhere, tmp_path / "state")

    assert "begins anew" in caplog.text
    assert [row["step"] for row in curve] == [0, 2]
    train_gates(afresh := new_gates(training), elsewhere)
    for pair in zip(again.parameters(), afresh.parameters(), strict=True):
        assert torch.equal(*pair)


def test_more_processes_begin_anew(training: GateTraining, tmp_path: Path) -> None:
    """Going on, they would take some batches twice and others never."""
    short = replace(training, steps=2, validation=())
    train_gates(new_gates(training), short, tmp_path / "state")
    two, done = Workers(), []
    two.count = 2

    def progress(step: int, loss: float) -> None:
        done.append(step)

    train_gates(new_gates(training), short, tmp_path / "state", progress, two)
    assert done == [1, 2]


def test_gates_of_another_kind_begin_anew(training: GateTraining, tmp_path: Path) -> None:
    """Both are called gates.safetensors where nobody says otherwise."""
    short = replace(training, steps=2, validation=())
    train_gates(new_gates(training), short, tmp_path / "state")
    rivals = RivalGates.for_transformer(training.transformer, BASE_MODEL)
    curve = train_gates(rivals, short, tmp_path / "state")
    assert [row["step"] for row in curve] == [0, 2]


def test_bold_training_holds_back_less_of_what_images_are_about(training: GateTraining) -> None:
    def train(boldness: float) -> float:
        def batch(step: int) -> GateBatch:
            drawn = training.batch(2 * step + 1)
            third = torch.full((2, 1), 3)
            return replace(
                drawn, sets=torch.cat([drawn.sets, third], 1), asked=2, boldness=boldness
            )

        gates = RivalGates.for_transformer(training.transformer, BASE_MODEL)
        train_gates(gates, replace(training, batch=batch, validation=()))
        return shyness(gates, batch(99), torch.full((8,), 0.5)).item()

    assert train(1.0) < train(0.0) - 0.02


def test_shyness_counts_what_is_asked_for_only(training: GateTraining) -> None:
    gates = RivalGates.for_transformer(training.transformer, BASE_MODEL)
    batch = replace(training.batch(1), relevance=torch.tensor([[0.0, -9.0]]).expand(8, 2))
    # The second gives way to the first, of which any rival takes a little.
    time, little = torch.full((8,), 0.5), (1 - 1 / (1 + FLOOR)) ** 2
    assert shyness(gates, batch, time).item() == pytest.approx(little, abs=1e-6)
    both = (little + 1) / 2
    assert shyness(gates, replace(batch, asked=2), time).item() == pytest.approx(both, abs=1e-4)
