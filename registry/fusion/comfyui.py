"""Workflows that ComfyUI opens: nodes, and links between their slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry.fusion.errors import ExportError
from registry.fusion.recipe import Recipe

# A node's output: the node's id and the slot.
Slot = tuple[int, int]
# The inputs that are linked, and the outputs, of each type of node, each with its own type.
PORTS: Mapping[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "CheckpointLoaderSimple": ({}, ("MODEL", "CLIP", "VAE")),
    "UNETLoader": ({}, ("MODEL",)),
    "DualCLIPLoader": ({}, ("CLIP",)),
    "CLIPLoader": ({}, ("CLIP",)),
    "VAELoader": ({}, ("VAE",)),
    "LoraLoader": ({"model": "MODEL", "clip": "CLIP"}, ("MODEL", "CLIP")),
    "CLIPTextEncode": ({"clip": "CLIP"}, ("CONDITIONING",)),
    "FluxGuidance": ({"conditioning": "CONDITIONING"}, ("CONDITIONING",)),
    "EmptyLatentImage": ({}, ("LATENT",)),
    "EmptySD3LatentImage": ({}, ("LATENT",)),
    "KSampler": (
        {
            "model": "MODEL",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
        },
        ("LATENT",),
    ),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, ("IMAGE",)),
    "SaveImage": ({"images": "IMAGE"}, ()),
    "Note": ({}, ()),
}
# The checkpoints of the bases, as ComfyUI's own examples call them.
CHECKPOINTS = {
    "sdxl": "sd_xl_base_1.0.safetensors",
    "sd": "v1-5-pruned-emaonly.safetensors",
}


@dataclass
class Workflow:
    """Nodes in the order in which they run."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)

    def add(self, kind: str, widgets: Sequence[Any], **inputs: Slot) -> list[Slot]:
        """Add a node whose `inputs` come from other nodes' slots; return its own slots."""
        id_ = len(self.nodes) + 1
        wanted, outputs = PORTS[kind]
        linked = [
            {"name": name, "type": type_, "link": self._link(inputs[name], id_, place, type_)}
            for place, (name, type_) in enumerate(wanted.items())
        ]
        self.nodes.append(
            {
                "id": id_,
                "type": kind,
                "pos": [320 * (id_ - 1), 80 * (id_ % 3)],
                "size": [300, 120],
                "flags": {},
                "order": id_ - 1,
                "mode": 0,
                "inputs": linked,
                "outputs": [
                    {"name": type_, "type": type_, "links": [], "slot_index": slot}
                    for slot, type_ in enumerate(outputs)
                ],
                "properties": {"Node name for S&R": kind},
                "widgets_values": list(widgets),
            }
        )
        return [(id_, slot) for slot in range(len(outputs))]

    def _link(self, source: Slot, node: int, place: int, type_: str) -> int:
        id_ = len(self.links) + 1
        self.links.append([id_, *source, node, place, type_])
        self.nodes[source[0] - 1]["outputs"][source[1]]["links"].append(id_)
        return id_

    def to_json(self) -> dict[str, Any]:
        return {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def draw_workflow(
    recipe: Recipe, adapters: Sequence[tuple[str, float]], note: str
) -> dict[str, Any]:
    """Return a workflow that loads adapters, (file, strength), one after the other.

    Raises:
        ExportError: ComfyUI is not known to run the base.
    """
    flow = Workflow()
    kind = recipe.base.backend.removeprefix("diffusers-")
    model, clip, vae = _load_base(flow, kind, recipe)
    for file, strength in adapters:
        # Our adapters leave the text encoder alone.
        model, clip = flow.add("LoraLoader", [file, strength, 0.0], model=model, clip=clip)
    (positive,) = flow.add("CLIPTextEncode", [recipe.full_prompt], clip=clip)
    (negative,) = flow.add("CLIPTextEncode", [recipe.negative_prompt], clip=clip)
    guidance = recipe.guidance
    if kind == "flux" and recipe.base.name != "flux.1-schnell":
        (positive,) = flow.add("FluxGuidance", [guidance], conditioning=positive)
        guidance = 1.0
    empty = "EmptyLatentImage" if kind in CHECKPOINTS else "EmptySD3LatentImage"
    (latent,) = flow.add(empty, [recipe.width, recipe.height, 1])
    (drawn,) = flow.add(
        "KSampler",
        [recipe.seed, "fixed", recipe.steps, guidance, "euler", "simple", 1.0],
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
    )
    (image,) = flow.add("VAEDecode", [], samples=drawn, vae=vae)
    flow.add("SaveImage", ["autolora"], images=image)
    flow.add("Note", [note])
    return flow.to_json()


def _load_base(flow: Workflow, kind: str, recipe: Recipe) -> list[Slot]:
    """Add the nodes that load model, text encoders and autoencoder."""
    if kind in CHECKPOINTS:
        return flow.add("CheckpointLoaderSimple", [CHECKPOINTS[kind]])
    if kind == "flux":
        name = recipe.base.name.replace(".", "", 1)  # flux1-dev
        (model,) = flow.add("UNETLoader", [f"{name}.safetensors", "default"])
        (clip,) = flow.add(
            "DualCLIPLoader",
            ["clip_l.safetensors", "t5xxl_fp16.safetensors", "flux", "default"],
        )
        (vae,) = flow.add("VAELoader", ["ae.safetensors"])
    elif kind == "qwen-image":
        (model,) = flow.add("UNETLoader", ["qwen_image_bf16.safetensors", "default"])
        (clip,) = flow.add("CLIPLoader", ["qwen_2.5_vl_7b.safetensors", "qwen_image", "default"])
        (vae,) = flow.add("VAELoader", ["qwen_image_vae.safetensors"])
    else:
        raise ExportError(f"ComfyUI is not known to run {recipe.base.name}")
    return [model, clip, vae]
