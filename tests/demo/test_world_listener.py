"""Gradients that are sketched while they go by."""

import torch
from torch import Tensor, nn

from demo.world.listener import Listener
from encoder.sketches.basis import Basis


class Model(nn.Module):
    """Two layers, the first of which sees nothing that a gradient is wanted of."""

    def __init__(self) -> None:
        super().__init__()
        self.modulation = nn.Linear(3, 4)
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.layer(torch.tanh(x * self.modulation(time)[:, None]))
        return out


def test_each_concept_gets_the_step_downhill_of_its_own_samples_as_a_basis_sees_it() -> None:
    torch.manual_seed(0)
    model = Model()
    layers = {"modulation": model.modulation, "layer": model.layer}
    basis = Basis([torch.eye(3)[:2].half(), torch.randn(2, 4).half()])
    x, time = torch.randn(6, 5, 4), torch.randn(6, 3)
    listener = Listener(layers, basis, count=2)

    model.requires_grad_(False)  # as a base is
    for _ in range(2):  # what is heard is added up
        with listener.attached():
            model(x.clone().requires_grad_(True), time).square().sum().backward()

    model.requires_grad_(True)
    expected = []
    for own in (slice(0, 3), slice(3, 6)):
        model.zero_grad()
        model(x[own], time[own]).square().sum().backward()
        parts = [
            -2 * layer.weight.grad @ inputs.float().T
            for layer, inputs in zip(layers.values(), basis.inputs, strict=True)
            if layer.weight.grad is not None
        ]
        expected.append(torch.cat([part.flatten() for part in parts]))
    torch.testing.assert_close(torch.from_numpy(listener.sketches()), torch.stack(expected))
