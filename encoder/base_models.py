"""The base models whose adapters can be embedded: their linear layers, computed from configs.

A family is one architecture with its sizes. Variants that shapes cannot tell apart
(FLUX.1 dev, schnell, Kontext…) share a family, so their adapters compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

# (d_out, d_in) of a linear layer.
Shape = tuple[int, int]


@dataclass(frozen=True)
class FluxFamily:
    """FLUX.1's transformer [1] at any size; fields as in its diffusers config.

    - [1] diffusers, FluxTransformer2DModel
    """

    name: str
    num_layers: int
    num_single_layers: int
    hidden: int  # num_attention_heads * attention_head_dim
    joint_attention_dim: int
    pooled_projection_dim: int
    in_channels: int
    mlp_ratio: int = 4
    # Architectures with the same attention layers at the same width.
    attention_twins: tuple[str, ...] = ()

    @cached_property
    def block_layers(self) -> Mapping[str, Shape]:
        """Linear layers of the blocks, in their order: what sketches are made of."""
        shapes: dict[str, Shape] = {}
        for index in range(self.num_layers):
            for name, shape in self._double_block().items():
                shapes[f"transformer_blocks.{index}.{name}"] = shape
        for index in range(self.num_single_layers):
            for name, shape in self._single_block().items():
                shapes[f"single_transformer_blocks.{index}.{name}"] = shape
        return shapes

    @cached_property
    def layers(self) -> Mapping[str, Shape]:
        """Every linear layer that an adapter may change, embedders included."""
        hidden = self.hidden
        embedder = "time_text_embed"
        return {
            **self.block_layers,
            "x_embedder": (hidden, self.in_channels),
            "context_embedder": (hidden, self.joint_attention_dim),
            # 256 sinusoids of the timestep, in every size of FLUX.
            f"{embedder}.timestep_embedder.linear_1": (hidden, 256),
            f"{embedder}.timestep_embedder.linear_2": (hidden, hidden),
            f"{embedder}.guidance_embedder.linear_1": (hidden, 256),
            f"{embedder}.guidance_embedder.linear_2": (hidden, hidden),
            f"{embedder}.text_embedder.linear_1": (hidden, self.pooled_projection_dim),
            f"{embedder}.text_embedder.linear_2": (hidden, hidden),
            "norm_out.linear": (2 * hidden, hidden),
            "proj_out": (self.in_channels, hidden),
        }

    def _double_block(self) -> dict[str, Shape]:
        hidden, mlp = self.hidden, self.hidden * self.mlp_ratio
        projections = ("to_q", "to_k", "to_v", "to_out.0")
        added = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
        return {
            "norm1.linear": (6 * hidden, hidden),
            "norm1_context.linear": (6 * hidden, hidden),
            **{f"attn.{name}": (hidden, hidden) for name in projections + added},
            "ff.net.0.proj": (mlp, hidden),
            "ff.net.2": (hidden, mlp),
            "ff_context.net.0.proj": (mlp, hidden),
            "ff_context.net.2": (hidden, mlp),
        }

    def _single_block(self) -> dict[str, Shape]:
        hidden, mlp = self.hidden, self.hidden * self.mlp_ratio
        return {
            "norm.linear": (3 * hidden, hidden),
            "proj_mlp": (mlp, hidden),
            "proj_out": (hidden, hidden + mlp),
            **{f"attn.{name}": (hidden, hidden) for name in ("to_q", "to_k", "to_v")},
        }


FAMILIES = (
    FluxFamily("flux.1", 19, 38, 3072, 4096, 768, 64, attention_twins=("Qwen-Image",)),
    FluxFamily("demo-flux-tiny", 2, 4, 128, 512, 512, 64),
)


@dataclass(frozen=True)
class FamilyMatch:
    """A family that a file's layers fit, and whether they fit another one as well."""

    family: FluxFamily
    certain: bool
    evidence: str


@cache
def find_family(base_model: str) -> FluxFamily | None:
    """Return the family of a base model: "flux.1-dev" and "flux.1" are of "flux.1"."""
    for family in FAMILIES:
        if base_model == family.name or base_model.startswith(f"{family.name}-"):
            return family
    return None


def match_family(shapes: Mapping[str, Shape]) -> FamilyMatch | None:
    """Tell the family from layers' names and shapes, with the evidence in words.

    Every layer must exist in the family with that very shape: HunyuanVideo shares names
    and width with FLUX.1 but has more blocks, so one block too many is enough to doubt.
    """
    for family in FAMILIES:
        if all(family.layers.get(name) == shape for name, shape in shapes.items()):
            evidence = f"all {len(shapes)} layers exist in {family.name} with these shapes"
            if family.attention_twins and not any(map(_is_telling, shapes)):
                twins = " and ".join(family.attention_twins)
                return FamilyMatch(family, False, f"{evidence}, but in {twins} as well")
            return FamilyMatch(family, True, evidence)
    return None


def _is_telling(name: str) -> bool:
    """Double blocks' attention is Qwen-Image's too, and embedders are too few to tell."""
    return name.startswith("single_transformer_blocks.") or (
        name.startswith("transformer_blocks.") and ".attn." not in name
    )
