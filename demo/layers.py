"""The layers of a transformer that adapters change, and hooks on them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn


def block_layers(transformer: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of the blocks by name, in the family's order."""
    return {
        name: layer
        for name, layer in transformer.named_modules()
        if isinstance(layer, nn.Linear) and "transformer_blocks" in name
    }


@contextmanager
def hooked(
    layers: Mapping[str, nn.Linear], hook: Callable[[str, Tensor, Tensor], Tensor]
) -> Iterator[None]:
    """While inside, let `hook` make a layer's output of its name, its input and its output."""

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda _, inputs, output: hook(name, inputs[0], output)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(hook_of(name)).remove)
        yield
