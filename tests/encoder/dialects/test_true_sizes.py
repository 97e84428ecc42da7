"""Files of the real networks, by their headers: nothing is as large as it says."""

import pytest

from encoder.adapter.keys_to_layers import module_shapes, targets_of
from encoder.adapter.lora_file import inspect
from encoder.adapter.safetensors_header import Header, TensorInfo
from encoder.base_models.families import FAMILIES, Family

# Naming -> the prefix, and whether dots become underscores.
NAMINGS = {
    "bfl": (("lora_unet_", True), ("diffusion_model.", False), ("base_model.model.", False)),
    "sgm": (("lora_unet_", True),),
    "diffsynth": (("", False),),
    "xlabs": (("", False),),
    "fused": (("transformer.", False),),
    **dict.fromkeys(
        (
            "z-image", "chroma", "krea", "hidream-o1", "sd3", "anima", "wan", "hunyuan", "ltx",
            "lumina", "ideogram", "pixart", "auraflow", "minimax-h3", "mochi",
        ),
        (("lora_unet_", True), ("diffusion_model.", False)),
    ),
    "diffusers": (("lora_unet_", True), ("transformer.", False), ("lycoris_", True)),
}  # fmt: skip
# Of these, others have every layer: Chroma's blocks are FLUX.1's and HunyuanVideo's, those of
# LTX-Video 13B are LTX-2's, of Wan 2.1 14B its own for pictures', of PixArt Sigma Alpha's.
ALIKE = {
    ("chroma", "bfl"), ("ltx-video-13b", "ltx"),
    *((name, naming) for name, naming in (
        ("wan-2.1-14b", "wan"), ("wan-2.1-14b", "diffusers"),
        ("pixart-sigma", "pixart"), ("pixart-sigma", "diffusers"),
    )),
}  # fmt: skip
CASES = [
    (family, naming, *prefix)
    for family in FAMILIES
    for naming, prefixes in NAMINGS.items()
    for prefix in prefixes
    if any(target.convention == naming for target in targets_of(family, False).values())
]


def write_header(family: Family, naming: str, prefix: str, flat: bool) -> tuple[Header, set[str]]:
    """A header of LoRAs of every layer that has a name in the convention."""
    shapes = module_shapes(family)
    tensors: dict[str, TensorInfo] = {}
    changed: set[str] = set()
    suffixes = ("down", "up") if naming == "xlabs" else ("lora_down", "lora_up")
    for alias, target in targets_of(family, False).items():
        own = target.convention == naming and ".processor.to_" not in alias
        if not own or any(len(shapes[module]) == 1 for module in target.modules):
            continue
        if naming == "diffsynth" and "qkv" not in alias and alias.startswith("blocks"):
            continue  # its older names of the same layers
        if changed.intersection(target.modules):
            continue
        changed.update(target.modules)
        _, inputs, *kernel = shapes[target.modules[0]]
        outputs = sum(shapes[module][0] for module in target.modules)
        stem = prefix + (alias.replace(".", "_") if flat else alias)
        sizes = ((4, inputs, *kernel), (outputs, 4, *[1] * len(kernel)))
        for suffix, size in zip(suffixes, sizes, strict=True):
            tensors[f"{stem}.{suffix}.weight"] = TensorInfo("F16", size, 0, 0)
    return Header(tensors, {}, 8), changed


@pytest.mark.parametrize(
    ("family", "naming", "prefix", "flat"), CASES, ids=lambda value: getattr(value, "name", None)
)
def test_a_header_of_the_real_size_tells_the_family(
    family: Family, naming: str, prefix: str, flat: bool
) -> None:
    header, changed = write_header(family, naming, prefix, flat)
    verdict = inspect(header, "adapter.safetensors")

    assert verdict.unmatched == ()
    assert verdict.layers == len(changed)
    assert verdict.names == naming
    # XLabs and DiffSynth change layers that FLUX.1's relatives have as well.
    alike = (family.name, naming) in ALIKE or naming in ("xlabs", "diffsynth", "fused")
    assert verdict.family == family.name or alike
    assert verdict.family in (family.name, None)
