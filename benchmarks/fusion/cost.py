"""What fusing costs: time of a denoising step, peak memory, time to attach and to let go.

Against the base alone, diffusers with PEFT, and gates run one adapter after the other in
Python. All on the same weights in the same process, in an order that turns with every round;
what is published are medians and ratios of them, which other work on the machine blurs less.
"""

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.memory import memory_bytes
from benchmarks.results import RESULTS, write_results
from benchmarks.tables import table
from demo.base import make_transformer
from encoder.adapter.layers import Layer, LoraLayer
from encoder.adapter.lora_file import LoraWeights, open_adapter, read
from encoder.base_models.families import FAMILIES, Family
from registry.fusion.attach import attach
from registry.fusion.device_cache import DeviceAdapter, DeviceCache, load_onto
from registry.fusion.gates.autolora import AutoLoraGates
from registry.fusion.gates.rivals import RivalGates
from registry.fusion.loaded_adapter import LoadedAdapter, check_adapters

COUNTS = (1, 2, 3, 8)
# What is timed, with its heading; the loop runs AutoLoRA's gates one adapter after the other.
KINDS = {
    "gated": "gated",
    "autolora": "AutoLoRA's gates",
    "loop": "the same, in a loop",
    "sum": "plain sum, ours",
    "peft": "plain sum, PEFT",
}
CACHED = 50
RANK = 16
# Base: tokens of the image, of the text, and their width.
SIZES = {"tiny": (64, 8, 512), "middle": (1024, 64, 512)}


def make_base(name: str) -> Any:
    """Make the miniature world's base, or one with FLUX.1's proportions at a third of its width."""
    torch.manual_seed(0)
    if name == "tiny":
        base: Any = make_transformer()
    else:
        base = FluxTransformer2DModel(
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=64,
            num_attention_heads=16,
            joint_attention_dim=512,
            pooled_projection_dim=512,
            axes_dims_rope=(8, 28, 28),
        )
    return base.eval().requires_grad_(False)


def make_inputs(name: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    places, words, width = SIZES[name]
    return {
        "hidden_states": torch.randn(1, places, 64),
        "encoder_hidden_states": torch.randn(1, words, width),
        "pooled_projections": torch.randn(1, width),
        "timestep": torch.tensor([0.5]),
        "img_ids": torch.randn(places, 3),
        "txt_ids": torch.zeros(words, 3),
    }


def layers_of(base: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [
        (name, part)
        for name, part in base.named_modules()
        if isinstance(part, nn.Linear) and "transformer_blocks." in name
    ]


def draw_tensors(base: nn.Module, seed: int) -> dict[str, Tensor]:
    """Draw an adapter as PEFT saves it."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, linear in layers_of(base):
        down = torch.randn(RANK, linear.in_features, generator=generator)
        up = torch.randn(linear.out_features, RANK, generator=generator)
        tensors[f"transformer.{name}.lora_A.weight"] = down / linear.in_features**0.5
        tensors[f"transformer.{name}.lora_B.weight"] = up * 0.01
    return tensors


def as_weights(base: nn.Module, tensors: dict[str, Tensor]) -> LoraWeights:
    """Read drawn tensors as an adapter; the verdict is not looked at here."""
    layers: dict[str, Layer] = {
        name: LoraLayer(
            tensors[f"transformer.{name}.lora_A.weight"],
            tensors[f"transformer.{name}.lora_B.weight"],
            1.0,
        )
        for name, _ in layers_of(base)
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save_file(tensors, path)
        known = read(path)
    return LoraWeights(layers, known.base_model, (), None, {}, known.verdict)


@contextmanager
def attach_in_a_loop(
    base: nn.Module, adapters: Sequence[LoraWeights], gates: AutoLoraGates
) -> Iterator[None]:
    """Gate one adapter after the other: what our one product for all of them replaces."""
    with ExitStack() as hooks:
        for name, linear in layers_of(base):
            own = [adapter.layers[name].factors() for adapter in adapters]
            gate = gates[name]

            def fuse(
                _: nn.Module,
                inputs: tuple[Tensor, ...],
                output: Tensor,
                own: Any = own,
                gate: Any = gate,
            ) -> Tensor:
                said = [F.linear(F.linear(inputs[0], down), up) for down, up in own]
                return gate(output, torch.stack(said))  # type: ignore[no-any-return]

            hooks.callback(linear.register_forward_hook(fuse).remove)
        yield


class Bench:
    """A base with everything that is compared on it."""

    def __init__(self, name: str, most: int = max(COUNTS)) -> None:
        self.base, self.twin = make_base(name), make_base(name)
        self.inputs = make_inputs(name)
        self.gates = RivalGates.for_transformer(
            self.base, "benchmark", torch.randn(2, 512)
        ).requires_grad_(False)
        self.autolora = AutoLoraGates.for_transformer(self.base, "benchmark").requires_grad_(False)
        self.tensors = [draw_tensors(self.base, seed) for seed in range(most)]
        self.weights = [as_weights(self.base, tensors) for tensors in self.tensors]
        self.loaded: list[DeviceAdapter] = [load_onto(weights) for weights in self.weights]
        self.peft_loaded = 0

    def run(self, transformer: Any) -> Tensor:
        with torch.no_grad():
            output: Tensor = transformer(**self.inputs, return_dict=False)[0]
        return output

    def peft(self, count: int) -> None:
        """Have diffusers run the first `count` adapters in the twin."""
        for k in range(self.peft_loaded, count):
            self.twin.load_lora_adapter(self.tensors[k], prefix="transformer", adapter_name=f"a{k}")
        self.peft_loaded = max(self.peft_loaded, count)
        self.twin.set_adapters([f"a{k}" for k in range(count)], [1.0] * count)

    def variant(self, kind: str, count: int) -> tuple[Any, AbstractContextManager[object]]:
        """Return the transformer that runs a variant, and what to be inside of meanwhile."""
        some = [(one, 1.0) for one in self.loaded[:count]]
        if kind == "peft":
            self.peft(count)
            return self.twin, nullcontext()
        context: dict[str, Callable[[], AbstractContextManager[object]]] = {
            "base": nullcontext,
            "gated": lambda: attach(
                self.base, some, self.gates, relevance=torch.linspace(0.1, 0.6, count)
            ),
            "autolora": lambda: attach(self.base, some, self.autolora),
            "sum": lambda: attach(self.base, some, mode="sum"),
            "loop": lambda: attach_in_a_loop(self.base, self.weights[:count], self.autolora),
        }
        return self.base, context[kind]()


def time_steps(name: str, rounds: int) -> dict[str, float]:
    """Return median seconds of a step, by variant."""
    bench = Bench(name)
    variants = [("base", 0)] + [(kind, n) for n in COUNTS for kind in KINDS]
    seconds: dict[tuple[str, int], list[float]] = {variant: [] for variant in variants}
    for turn in range(rounds + 1):  # the first only warms up
        shift = turn % len(variants)
        for kind, count in variants[shift:] + variants[:shift]:
            transformer, context = bench.variant(kind, count)
            with context:
                bench.run(transformer) if name == "tiny" else None  # warm caches
                start = time.perf_counter()
                bench.run(transformer)
                took = time.perf_counter() - start
            if turn:
                seconds[kind, count].append(took)
    return {f"{kind} {count}": statistics.median(took) for (kind, count), took in seconds.items()}


def families_of(name: str, base: Any) -> Sequence[Family]:
    """Return the families known; the middle base is of none that is shipped."""
    if name == "tiny":
        return FAMILIES
    return (*FAMILIES, Family.from_config(name, "FluxTransformer2DModel", base.config))


def read_quickly(path: Path, families: Sequence[Family]) -> LoraWeights:
    return open_adapter(path, families).read_quickly()


def load_as_fused(
    read_files: Mapping[Path, LoraWeights], cache: DeviceCache
) -> list[DeviceAdapter]:
    """Check adapters and bring them onto the device, as `registry.fuse` does."""
    adapters = [LoadedAdapter(path.name, path.name, own) for path, own in read_files.items()]
    backend: Any = SimpleNamespace(base_model=adapters[0].weights.base_model, cache=cache)
    check_adapters(adapters, backend)
    return [cache.get(one.sha256, one.weights) for one in adapters]


class Clock:
    """Seconds by what took them, each time."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def note(self, what: str, start: float) -> float:
        """Keep the time since `start`; returns when the next thing starts."""
        self._seconds.setdefault(what, []).append(time.perf_counter() - start)
        return time.perf_counter()

    def medians(self) -> dict[str, float]:
        return {what: statistics.median(took) for what, took in self._seconds.items()}


def time_attaching(name: str, rounds: int) -> dict[str, float]:
    """Return median seconds of attaching three adapters and of letting them go, ours and PEFT's."""
    from diffusers import FluxPipeline

    bench, clock = Bench(name, most=3), Clock()
    diffusers_logging.set_verbosity_error()
    pipe: Any = FluxPipeline(None, None, None, None, None, None, bench.twin)
    families = families_of(name, bench.base)
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{k}.safetensors" for k in range(CACHED)]
        for k, path in enumerate(files):
            save_file(draw_tensors(bench.base, k), path)
        kept = {path: read(path, families) for path in files}
        full = DeviceCache(2**34)
        for path, weights in kept.items():
            full.get(path.name, weights)
        for turn in range(rounds):
            chosen = files[turn % 7 : turn % 7 + 3]
            start = time.perf_counter()
            quickly = {path: read_quickly(path, families) for path in chosen}
            attach_three(bench, quickly, DeviceCache(2**34), clock, "0 cached", start)
            start = time.perf_counter()
            known = {path: kept[path] for path in chosen}
            attach_three(bench, known, full, clock, f"{CACHED} cached", start)
            load_with_peft(pipe, chosen, clock, f"r{turn}")
        set_with_peft(pipe, files, clock, rounds)
    return clock.medians()


def attach_three(
    bench: Bench,
    weights: Mapping[Path, LoraWeights],
    cache: DeviceCache,
    clock: Clock,
    what: str,
    start: float,
) -> None:
    """Attach adapters and let them go; reading them began at `start`."""
    some = load_as_fused(weights, cache)
    with attach(bench.base, [(one, 1.0) for one in some], bench.gates):
        start = clock.note(f"attach, {what}", start)
    clock.note(f"detach, {what}", start)


def load_with_peft(pipe: Any, files: Sequence[Path], clock: Clock, prefix: str) -> None:
    """Have diffusers load adapters, run them, and let them go."""
    names = [f"{prefix}-{k}" for k in range(len(files))]
    start = time.perf_counter()
    for path, name in zip(files, names, strict=True):
        pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name=name)
    pipe.set_adapters(names, [1.0] * len(names))
    start = clock.note("PEFT load + set", start)
    pipe.delete_adapters(names)
    clock.note("PEFT delete", start)


def set_with_peft(pipe: Any, files: Sequence[Path], clock: Clock, rounds: int) -> None:
    """Have diffusers run three adapters of many that it holds."""
    for k, path in enumerate(files):
        pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name=f"kept{k}")
    for turn in range(rounds):
        start = time.perf_counter()
        pipe.set_adapters([f"kept{turn % 7 + k}" for k in range(3)], [1.0] * 3)
        clock.note(f"PEFT set, {len(files)} loaded", start)


def peak_memory(name: str, kind: str, count: int) -> float:
    """Return the peak resident MB of a process that runs one variant, and nothing else."""
    words = ["--one", name, kind, str(count)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fusion.cost", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def run_one(name: str, kind: str, count: int) -> None:
    """Run one variant, loaded as its users would, and print the peak of memory in MB."""
    bench = Bench(name, most=count)
    if kind == "peft":
        bench.base, bench.weights, bench.loaded = nn.Identity(), [], []
    else:
        bench.twin, bench.tensors = None, []
        if kind != "loop":
            bench.weights = []
    transformer, context = bench.variant(kind, count)
    with context:
        for _ in range(2):
            bench.run(transformer)
    print(memory_bytes("VmHWM") / 2**20)


def to_markdown(results: dict[str, Any]) -> str:
    """Write what was measured; memory last, which may not be known yet."""
    parts = []
    for name, steps in results["steps"].items():
        base = steps["base 0"]
        parts.append(
            f"One step of the {name} base takes {base * 1000:.0f} ms alone. As multiples of it:\n"
        )
        rows = [
            [
                str(n),
                *(f"{steps[f'{kind} {n}'] / base:.2f}" for kind in KINDS),
                f"{steps[f'gated {n}'] / steps[f'peft {n}']:.2f}",
            ]
            for n in COUNTS
        ]
        parts.append(table(["adapters", *KINDS.values(), "gated / PEFT"], rows))
    for name, took in results["attaching"].items():
        peft = took["PEFT load + set"]
        parts.append(f"Attaching three adapters of rank {RANK} to the {name} base, from files:\n")
        rows = [[what, f"{s * 1000:.1f}", f"{s / peft:.3f}"] for what, s in took.items()]
        parts.append(table(["what", "ms", "of PEFT's load + set"], rows))
    parts.append("Peak memory of a process (middle base):\n")
    parts.append(table(["what", "MB"], [[w, f"{mb:.0f}"] for w, mb in results["memory"].items()]))
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("BASE", "KIND", "COUNT"))
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", "Already found a `peft_config`")
    torch.set_num_threads(1)
    if asked.one:
        name, kind, count = asked.one
        run_one(name, kind, int(count))
        return
    output = RESULTS / "fusion_cost.json"
    results: dict[str, Any] = {"steps": {}, "attaching": {}, "memory": {}}
    for name in SIZES:
        results["steps"][name] = time_steps(name, asked.rounds)
        results["attaching"][name] = time_attaching(name, asked.rounds)
        write_results(output, results, to_markdown(results))
    for kind, count in (("base", 0), *((kind, n) for n in (3, 8) for kind in KINDS)):
        results["memory"][f"{kind} {count}".removesuffix(" 0")] = peak_memory("middle", kind, count)
    write_results(output, results, to_markdown(results))


if __name__ == "__main__":
    main()
