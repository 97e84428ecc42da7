"""Workflows that ComfyUI opens: nodes, and links between their slots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from encoder.base_models.facts import ComfyFiles, Pipeline
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
    recipe: Recipe, pipeline: Pipeline, adapters: Sequence[tuple[str, float]], note: str
) -> dict[str, Any]:
    """Return a workflow that loads adapters, (file, strength), one after the other.

    Raises:
        ExportError: ComfyUI is not known to run the base.
    """
    flow = Workflow()
    if pipeline.comfyui is None:
        raise ExportError(f"ComfyUI is not known to run {recipe.base.name}")
    model, clip, vae = _load_base(flow, pipeline.comfyui, recipe.base.name)
    for file, strength in adapters:
        # Our adapters leave the text encoder alone.
        model, clip = flow.add("LoraLoader", [file, strength, 0.0], model=model, clip=clip)
    (positive,) = flow.add("CLIPTextEncode", [recipe.full_prompt], clip=clip)
    (negative,) = flow.add("CLIPTextEncode", [recipe.negative_prompt], clip=clip)
    guidance = recipe.guidance
    if pipeline.takes_guidance:
        (positive,) = flow.add("FluxGuidance", [guidance], conditioning=positive)
        guidance = 1.0
    empty = "EmptyLatentImage" if pipeline.comfyui.checkpoint else "EmptySD3LatentImage"
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


def _load_base(flow: Workflow, files: ComfyFiles, base_model: str) -> list[Slot]:
    """Add the nodes that load model, text encoders and autoencoder."""
    if files.checkpoint:
        return flow.add("CheckpointLoaderSimple", [files.checkpoint])
    network = files.network or f"{base_model.replace('.', '', 1)}.safetensors"  # flux1-dev
    (model,) = flow.add("UNETLoader", [network, "default"])
    loader = "DualCLIPLoader" if len(files.text_encoders) == 2 else "CLIPLoader"
    (clip,) = flow.add(loader, [*files.text_encoders, files.text_type, "default"])
    (vae,) = flow.add("VAELoader", [files.vae])
    return [model, clip, vae]
