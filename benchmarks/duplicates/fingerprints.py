"""Whether a fingerprint knows an adapter again however it is written, and no other for it.

Every adapter of the zoo is written anew in all the ways below, read, and compared with the
original; all originals are compared with each other. Between the largest distance of the first
kind and the smallest of the second lies the tolerance.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.duplicates.rewriting import METADATA, Factors, factors_of, truncated, write_peft
from benchmarks.files.reading import DOUBLE, SINGLE
from benchmarks.results import DOCS, RESULTS, write_results
from benchmarks.tables import table
from demo.paths import BUILD
from encoder.adapter.lora_file import read
from encoder.arrays import Doubles
from encoder.sketches.fingerprint import TOLERANCE, Fingerprint, distance, fingerprint

# The ratio of the largest to the smallest singular value of R in A -> RA, B -> BR⁻¹. Rounding
# grows with it: files with R further from a rotation lose digits and are other adapters.
CONDITION = 10.0


def refactor(factors: Factors, generator: torch.Generator, condition: float) -> Factors:
    """Return the same products of other factors."""
    found = {}
    for name, (down, up) in factors.items():
        rank = len(down)
        left, right = (
            torch.linalg.qr(torch.randn(rank, rank, generator=generator)).Q for _ in range(2)
        )
        values = torch.logspace(0, 1, rank, base=condition)
        basis, inverse = (left * values) @ right, right.T @ (left / values).T
        found[name] = (basis @ down, up @ inverse)
    return found


def fuse(factors: Factors, parts: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return one layer for projections that are computed as one: downs stacked, ups apart."""
    down = torch.cat([factors[part][0] for part in parts])
    return down, torch.block_diag(*(factors[part][1] for part in parts))


def modules_of(factors: Factors) -> dict[str, tuple[str, ...]]:
    """The modules of FLUX's own code that the layers belong to, by "double_blocks.0.img_mlp_0"."""
    found = {}
    for block in {name.partition(".attn")[0].split(".")[0] for name in factors}:
        stem, modules = ("double_blocks", DOUBLE)
        if block.startswith("single"):
            stem, modules = ("single_blocks", SINGLE)
        for index in sorted({int(n.split(".")[1]) for n in factors if n.startswith(f"{block}.")}):
            for module, parts in modules.items():
                names = tuple(f"{block}.{index}.{part}" for part in parts)
                if all(name in factors for name in names):
                    found[f"{stem}.{index}.{module}"] = names
    return found


def write_kohya(path: Path, factors: Factors, dtype: torch.dtype) -> None:
    """Write fused projections with an alpha of half the rank."""
    tensors = {}
    for module, parts in modules_of(factors).items():
        down, up = fuse(factors, parts)
        stem = f"lora_unet_{module.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = down.to(dtype).contiguous()
        tensors[f"{stem}.lora_up.weight"] = (2 * up).to(dtype).contiguous()
        tensors[f"{stem}.alpha"] = torch.tensor(len(down) / 2)
    save_file(tensors, path, METADATA)


def write_bfl(path: Path, factors: Factors, dtype: torch.dtype) -> None:
    """Write fused projections under the names that ComfyUI and BFL's own code use."""
    own = {
        "img_attn_qkv": "img_attn.qkv",
        "txt_attn_qkv": "txt_attn.qkv",
        "img_attn_proj": "img_attn.proj",
        "txt_attn_proj": "txt_attn.proj",
        "img_mlp_0": "img_mlp.0",
        "img_mlp_2": "img_mlp.2",
        "txt_mlp_0": "txt_mlp.0",
        "txt_mlp_2": "txt_mlp.2",
        "img_mod_lin": "img_mod.lin",
        "txt_mod_lin": "txt_mod.lin",
        "modulation_lin": "modulation.lin",
    }
    tensors = {}
    for module, parts in modules_of(factors).items():
        down, up = fuse(factors, parts)
        block, index, name = module.split(".")
        stem = f"diffusion_model.{block}.{index}.{own.get(name, name)}"
        tensors[f"{stem}.lora_A.weight"] = down.to(dtype).contiguous()
        tensors[f"{stem}.lora_B.weight"] = up.to(dtype).contiguous()
    save_file(tensors, path, METADATA)


Write = Callable[[Path, Factors, torch.Generator], object]
REWRITINGS: dict[str, Write] = {
    "alpha folded, float16": lambda p, f, g: write_peft(p, f, torch.float16),
    "float32": lambda p, f, g: write_peft(p, f, torch.float32),
    "bfloat16": lambda p, f, g: write_peft(p, f, torch.bfloat16),
    "rotated, float32": lambda p, f, g: write_peft(p, refactor(f, g, 1.0), torch.float32),
    "refactored, float16": lambda p, f, g: write_peft(p, refactor(f, g, CONDITION), torch.float16),
    "kohya, fused, float16": lambda p, f, g: write_kohya(p, f, torch.float16),
    "BFL's names, fused, float32": lambda p, f, g: write_bfl(p, f, torch.float32),
    "all at once: kohya, refactored, bfloat16": lambda p, f, g: write_kohya(
        p, refactor(f, g, CONDITION), torch.bfloat16
    ),
}


def scale(factors: Factors, strength: float) -> Factors:
    return {name: (down, strength * up) for name, (down, up) in factors.items()}


def drop_block(factors: Factors) -> Factors:
    return {n: pair for n, pair in factors.items() if not n.startswith("transformer_blocks.0.")}


# What is made of an adapter and is not the same; how far it is taken to be.
RELATIVES: dict[str, Callable[[Factors], Factors]] = {
    "95 % strength": lambda f: scale(f, 0.95),
    "70 % strength": lambda f: scale(f, 0.7),
    "a rank less": lambda f: truncated(f, lambda rank: rank - 1),
    "the first block left out": drop_block,
}


def compare(
    paths: list[Path], console: Console
) -> tuple[list[Fingerprint], dict[str, list[float]]]:
    """Return the originals' fingerprints, and the distances of everything made of them."""
    originals, distances = [], {name: list[float]() for name in [*REWRITINGS, *RELATIVES]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        for index, original in enumerate(track(paths, "Rewriting", console=console)):
            weights = read(original)
            originals.append(fingerprint(weights))
            factors = factors_of(weights)
            for name, write in REWRITINGS.items():
                write(path, factors, torch.Generator().manual_seed(index))
                distances[name].append(distance(originals[-1], fingerprint(read(path))))
            for name, change in RELATIVES.items():
                write_peft(path, change(factors), torch.float32)
                distances[name].append(distance(originals[-1], fingerprint(read(path))))
    return originals, distances


def distances_between(prints: list[Fingerprint]) -> Doubles:
    """Return the distances of all pairs of different adapters, (pairs,)."""
    rows = [np.array([distance(a, b) for b in prints[i + 1 :]]) for i, a in enumerate(prints)]
    return np.concatenate(rows)


def draw(path: Path, same: Doubles, others: Doubles, relatives: Mapping[str, list[float]]) -> None:
    bins = np.logspace(-5, 0.5, 111)
    figure, axes = plt.subplots(figsize=(8, 3.6), dpi=120)
    axes.hist(np.maximum(same, bins[0]), bins, label=f"the same adapter ({len(same):,})")
    axes.hist(others, bins, label=f"two adapters ({len(others):,})")
    axes.axvline(TOLERANCE, color="black", linestyle="--", label=f"tolerance {TOLERANCE}")
    for name, values in relatives.items():
        middle = float(np.median(values))
        axes.axvline(middle, color="grey", linewidth=0.8)
        axes.text(
            middle / 1.04, 0.96, name, rotation=90, ha="right", va="top", fontsize=7,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="distance of fingerprints (1e-5 and less as one)",
        ylabel="pairs",
    )
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=3, frameon=False, fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def summarise(values: list[float]) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "smallest": min(values),
        "largest": max(values),
        "same": float(np.mean(np.array(values) <= TOLERANCE)),
    }


def to_markdown(results: dict[str, dict[str, float]], adapters: int) -> str:
    text = (
        f"All {adapters:,} adapters of the zoo, each written and read in every way; 'same' is the "
        f"share within the tolerance of {TOLERANCE}. ![distances](../images/fingerprints.png)\n\n"
    )
    rows = [
        [
            name,
            *(f"{row[key]:.2g}" for key in ("median", "smallest", "largest")),
            f"{row['same']:.1%}",
        ]
        for name, row in results.items()
    ]
    head = ["compared with the original", "median distance", "smallest", "largest", "same"]
    return text + table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=BUILD / "zoo")
    parser.add_argument("--limit", type=int, help="only so many adapters")
    parser.add_argument("--output", type=Path, default=RESULTS / "fingerprints.json")
    parser.add_argument("--picture", type=Path, default=DOCS / "images/fingerprints.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted((options.zoo / "adapters").glob("*.safetensors"))[: options.limit]
    originals, distances = compare(paths, Console(stderr=True))
    others = distances_between(originals)
    same = np.concatenate([distances[name] for name in REWRITINGS])
    draw(options.picture, same, others, {name: distances[name] for name in RELATIVES})
    results = {name: summarise(values) for name, values in distances.items()}
    results[f"another adapter ({len(others):,} pairs)"] = summarise(others.tolist())
    write_results(options.output, results, to_markdown(results, len(paths)))


if __name__ == "__main__":
    main()
