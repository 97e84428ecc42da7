"""The layers of a network, read off its modules, and the compact form they are kept in.

A network is a few kinds of blocks repeated many times. Its tree of modules is kept as nested
JSON in which equal neighbours share one entry ("0..18") and parameters are shapes ("3072x64").
"""

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from encoder.base_models.facts import Facts

# Parameter name -> shape; a linear layer's weight has 2 sides, a convolution's 4.
Parameters = dict[str, tuple[int, ...]]
Tree = dict[str, Any]

REPEATED = re.compile(r"(\d+)\.\.(\d+)")


def read_all_parameters(facts: Facts) -> Parameters:
    """Return the parameters of a base model's network, and of what adapters change beside it."""
    parameters = read_parameters(facts.architecture, facts.config)
    for name, network in facts.beside.items():
        beside = read_parameters(network["architecture"], network["config"])
        parameters |= {f"{name}.{parameter}": shape for parameter, shape in beside.items()}
    return parameters | {f"{name}.weight": shape for name, shape in facts.more_layers.items()}


def read_parameters(architecture: str, config: Mapping[str, Any]) -> Parameters:
    """Build a class without its weights; return its parameters in module order.

    Those are the weights of linear layers and convolutions, and every vector (biases, weights
    of norms); adapters change no other kind.

    Raises:
        ValueError: neither diffusers nor transformers has such a class, or the config is not
            one of it.
    """
    import torch

    parameters = {}
    for name, module in _build(architecture, config).named_modules():
        layered = isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        for kind, parameter in module.named_parameters(recurse=False):
            if parameter.dim() == 1 or (layered and kind == "weight"):
                parameters[f"{name}.{kind}"] = tuple(parameter.shape)
    return parameters


def _build(architecture: str, config: Mapping[str, Any]) -> Any:
    import diffusers
    import torch
    import transformers

    try:
        with torch.device("meta"):
            if network := getattr(diffusers, architecture, None):
                return network(**config)
            if network := getattr(transformers, architecture, None):
                return network(network.config_class(**config))
    except TypeError as error:
        raise ValueError(f"not a config of {architecture}: {error}") from error
    raise ValueError(f"diffusers {diffusers.__version__} has no class {architecture!r}")


def pack(parameters: Mapping[str, tuple[int, ...]]) -> Tree:
    """Return parameters as the tree of their modules, repeated blocks once."""
    tree: Tree = {}
    for name, shape in parameters.items():
        *modules, kind = name.split(".")
        node = tree
        for module in modules:
            node = node.setdefault(module, {})
        node[kind] = "x".join(map(str, shape))
    return _join(tree)


def unpack(tree: Tree) -> Parameters:
    """Return what `pack` was given, in the same order."""
    return dict(_walk(tree, "", whole=True))


def unpack_first(tree: Tree) -> Parameters:
    """Return the first of equal neighbours only: one block of each kind, in little time."""
    return dict(_walk(tree, "", whole=False))


def _join(tree: Tree) -> Tree:
    """Merge runs of equal numbered neighbours."""
    entries = [(name, _join(x) if isinstance(x, dict) else x) for name, x in tree.items()]
    joined = {}
    for _, group in groupby(enumerate(entries), key=lambda item: _alike(*item)):
        run = [entry for _, entry in group]
        (first, node), last = run[0], run[-1][0]
        joined[first if first == last else f"{first}..{last}"] = node
    return joined


def _alike(place: int, entry: tuple[str, Any]) -> tuple[object, str]:
    """Equal for neighbours that count up by one and hold the same."""
    name, node = entry
    return (place - int(name) if name.isdecimal() else name, str(node))


def _walk(tree: Tree, prefix: str, *, whole: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, node in tree.items():
        run = REPEATED.fullmatch(name)
        first, last = (int(run[1]), int(run[2])) if run else (0, 0)
        names = map(str, range(first, last + 1 if whole else first + 1)) if run else (name,)
        for member in names:
            if isinstance(node, dict):
                yield from _walk(node, f"{prefix}{member}.", whole=whole)
            else:
                yield f"{prefix}{member}", tuple(map(int, node.split("x")))
