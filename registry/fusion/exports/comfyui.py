"""ComfyUI's workflows: the graph that its editor opens, and the one that it runs.

Nodes and their values are called as in nodes.py and comfy_extras/nodes_flux.py of
https://github.com/comfyanonymous/ComfyUI.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from encoder.base_models.facts import ComfyFiles, find_facts
from registry.fusion.errors import ExportError
from registry.fusion.exports.adapters import NOTE, exported, file_of
from registry.fusion.exports.escaping import for_comfyui, for_comfyui_editor
from registry.fusion.exports.programs import pipeline_of
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
    # Text encoders stay as they are, whatever else a file holds.
    "LoraLoaderModelOnly": ({"model": "MODEL"}, ("MODEL",)),
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
}
# Places in the editor: so many pixels from one column to the next, and within one; a node is as
# high as its slots and values, or its text.
COLUMN, ROW = 360, 360
ROWS = 3
SLOT, TEXT = 24, 140


@dataclass
class Node:
    """A node: its values and links by the names of its inputs."""

    kind: str
    values: Mapping[str, Any]
    links: Mapping[str, Slot]


@dataclass
class Workflow:
    """Nodes in the order in which they run; the first has the id 1."""

    nodes: list[Node] = field(default_factory=list)

    def add(self, kind: str, values: Mapping[str, Any], **links: Slot) -> list[Slot]:
        """Add a node that is linked to other nodes' slots; return its own slots."""
        wanted, outputs = PORTS[kind]
        assert links.keys() == wanted.keys()
        self.nodes.append(Node(kind, values, links))
        return [(len(self.nodes), slot) for slot in range(len(outputs))]

    def as_graph(self) -> dict[str, Any]:
        """Return what ComfyUI runs: its API format."""
        return {
            str(id_): {
                "class_type": node.kind,
                "inputs": {
                    **node.values,
                    **{name: [str(source), slot] for name, (source, slot) in node.links.items()},
                },
            }
            for id_, node in enumerate(self.nodes, start=1)
        }

    def as_editor_opens(self, note: str) -> dict[str, Any]:
        """Return what ComfyUI's editor opens and saves, with a note beside it."""
        nodes = [_node(id_, node) for id_, node in enumerate(self.nodes, start=1)]
        links: list[list[Any]] = []
        for id_, node in enumerate(self.nodes, start=1):
            for place, (name, type_) in enumerate(PORTS[node.kind][0].items()):
                source, slot = node.links[name]
                links.append([len(links) + 1, source, slot, id_, place, type_])
                nodes[id_ - 1]["inputs"][place]["link"] = len(links)
                nodes[source - 1]["outputs"][slot]["links"].append(len(links))
        nodes.append(_node(len(nodes) + 1, Node("Note", {"text": note}, {})))
        return {
            "last_node_id": len(nodes),
            "last_link_id": len(links),
            "nodes": nodes,
            "links": links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def _node(id_: int, node: Node) -> dict[str, Any]:
    """Write a node for the editor, not linked yet."""
    inputs, outputs = PORTS.get(node.kind, ({}, ()))
    column, row = divmod(id_ - 1, ROWS)
    widgets = _widgets(node)
    height = SLOT * (2 + len(inputs) + len(widgets)) + (TEXT if "text" in node.values else 0)
    return {
        "id": id_,
        "type": node.kind,
        "pos": [COLUMN * column, ROW * row],
        "size": [COLUMN - 60, height],
        "flags": {},
        "order": id_ - 1,
        "mode": 0,
        "inputs": [{"name": name, "type": type_} for name, type_ in inputs.items()],
        "outputs": [
            {"name": type_, "type": type_, "links": [], "slot_index": slot}
            for slot, type_ in enumerate(outputs)
        ],
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": widgets,
    }


def _widgets(node: Node) -> list[Any]:
    """Return a node's values as its widgets have them, which are known by their order."""
    values = list(node.values.values())
    if node.kind == "KSampler":
        # Behind the seed, the editor has what becomes of it.
        return [values[0], "fixed", *values[1:]]
    return (
        [for_comfyui_editor(value) for value in values] if node.kind == "CLIPTextEncode" else values
    )


def write_workflow(recipe: Recipe) -> str:
    """Write a workflow that ComfyUI's editor opens.

    Raises:
        ExportError: ComfyUI is not known to run the base.
    """
    return _json(draw_workflow(recipe).as_editor_opens(NOTE))


def write_graph(recipe: Recipe) -> str:
    """Write the same as ComfyUI runs it, for its HTTP API; errors as above."""
    return _json(draw_workflow(recipe).as_graph())


def _json(value: dict[str, Any]) -> str:
    # ASCII alone, so that a PNG takes it as the text that ComfyUI reads.
    return json.dumps(value, indent=1) + "\n"


def draw_workflow(recipe: Recipe) -> Workflow:
    """Return a workflow that loads a recipe's adapters one after the other."""
    pipeline = pipeline_of(recipe)
    files = pipeline.comfyui
    if files is None:
        raise ExportError(f"ComfyUI is not known to run {recipe.base.name}")
    flow = Workflow()
    model, clip, vae = _load_base(flow, files, recipe.base.name)
    for each in exported(recipe):
        values = {"lora_name": each.file, "strength_model": each.strength}
        (model,) = flow.add("LoraLoaderModelOnly", values, model=model)
    plain = partial(for_comfyui, weighs_words=files.weighs_words)
    (positive,) = flow.add("CLIPTextEncode", {"text": plain(recipe.full_prompt)}, clip=clip)
    (negative,) = flow.add("CLIPTextEncode", {"text": plain(recipe.negative_prompt)}, clip=clip)
    guidance = recipe.guidance
    if pipeline.takes_guidance:
        (positive,) = flow.add("FluxGuidance", {"guidance": guidance}, conditioning=positive)
        guidance = 1.0
    empty = "EmptyLatentImage" if files.checkpoint else "EmptySD3LatentImage"
    size = {"width": recipe.width, "height": recipe.height, "batch_size": 1}
    (latent,) = flow.add(empty, size)
    (drawn,) = flow.add(
        "KSampler",
        {
            "seed": recipe.seed,
            "steps": recipe.steps,
            # Less than 1 is no guidance here, and the negative prompt alone there.
            "cfg": max(1.0, guidance),
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
        },
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
    )
    (image,) = flow.add("VAEDecode", {}, samples=drawn, vae=vae)
    flow.add("SaveImage", {"filename_prefix": "autolora"}, images=image)
    return flow


def _load_base(flow: Workflow, files: ComfyFiles, base_model: str) -> list[Slot]:
    """Add the nodes that load model, text encoders and autoencoder.

    Files are the family's; a variant's is called after it, so that ComfyUI says that it lacks one
    rather than draw with another.
    """
    facts = find_facts(base_model)
    of_family = facts is not None and base_model == facts.name
    own = file_of(base_model.replace(".", "", 1))  # flux1-dev
    if files.checkpoint:
        checkpoint = files.checkpoint if of_family else own
        return flow.add("CheckpointLoaderSimple", {"ckpt_name": checkpoint})
    network = files.network if files.network and of_family else own
    (model,) = flow.add("UNETLoader", {"unet_name": network, "weight_dtype": "default"})
    both = len(files.text_encoders) == 2
    names = ("clip_name1", "clip_name2") if both else ("clip_name",)
    encoders = dict(zip(names, files.text_encoders, strict=True))
    (clip,) = flow.add(
        "DualCLIPLoader" if both else "CLIPLoader",
        {**encoders, "type": files.text_type, "device": "default"},
    )
    (vae,) = flow.add("VAELoader", {"vae_name": files.vae})
    return [model, clip, vae]
