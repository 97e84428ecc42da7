"""The pictures beside a file, and the prompts that programs write into those they draw."""

import json
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from crawler.hub_text import MAX_PROMPT, clean_text, without_calls

KINDS = (".png", ".jpg", ".jpeg", ".webp")
# In the order in which web UIs look for a preview.
PREVIEWS = tuple(f"{infix}{kind}" for infix in (".preview", "") for kind in KINDS)
# EXIF's tags for what JPEG and WebP carry in place of PNG's text chunks.
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
# Where the settings begin in web UIs' `parameters`, after the prompt.
SETTINGS = ("\nNegative prompt:", "\nSteps:")
# ComfyUI's inputs that lead away from the words that were asked for.
ASIDE = {"negative", "model", "clip", "vae", "latent_image", "samples", "pixels", "image", "noise"}
# The inputs of ComfyUI's nodes that hold words.
WORDS = ("text", "text_g", "clip_l", "t5xxl", "prompt", "value", "string", "wildcard_text")
MOST_NODES = 10_000

Node = Mapping[str, Any]


def read_prompt(path: Path) -> str:
    """Return the prompt that a picture was drawn with, "" where it does not say.

    A picture that cannot be opened says nothing: it is told of when it is taken as a cover.
    """
    try:
        # Pillow warns of pictures with very many pixels, which are not decoded here.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            texts = {k: v for k, v in image.info.items() if isinstance(v, str)}
            parameters = texts.get("parameters") or _user_comment(image)
    except (
        UnidentifiedImageError, Image.DecompressionBombError,
        OSError, ValueError, SyntaxError, ArithmeticError, LookupError, struct.error,
    ):  # fmt: skip
        return ""
    words = (
        prompt_of_parameters(parameters)
        or prompt_of_graph(_json(texts.get("prompt")))
        or prompt_of_graph(graph_of_workflow(_json(texts.get("workflow"))))
    )
    return clean_text(without_calls(words), MAX_PROMPT)


def prompt_of_parameters(parameters: str) -> str:
    """Return what a web UI was asked for, of all that it writes down."""
    if "Steps:" not in parameters and "Negative prompt:" not in parameters:
        return ""
    # The first line may already be of settings, where there was no prompt.
    text = "\n" + parameters
    ends = [at for at in map(text.find, SETTINGS) if at >= 0]
    return text[: min(ends, default=len(text))].strip()


def prompt_of_graph(graph: Any) -> str:
    """Return the words that lead to the positive side of a sampler in ComfyUI's graph.

    The graph maps the numbers of nodes to {"class_type": …, "inputs": {…}}; an input that is a
    pair [node, output] is a link.
    """
    if not isinstance(graph, dict) or len(graph) > MOST_NODES:
        return ""
    nodes = {str(k): n for k, n in graph.items() if isinstance(n, dict)}
    positive = [link for node in nodes.values() for link in _links(node, only={"positive"})]
    if not positive:
        # Guiders of newer bases have one side only.
        positive = [
            link
            for node in nodes.values()
            if "guider" in str(node.get("class_type")).lower()
            for link in _links(node, only={"conditioning"})
        ]
    encoders = [k for k, node in nodes.items() if _is_encoder(node)]
    if not positive and len(encoders) == 1:
        positive = encoders
    found = dict.fromkeys(_words_above(nodes, positive))
    return ", ".join(found)


def graph_of_workflow(workflow: Any) -> Any:
    """Write the graph that ComfyUI's editor saves as the one that it runs."""
    if not isinstance(workflow, dict):
        return None
    links: dict[Any, str] = {}
    for link in _list(workflow.get("links")):
        if isinstance(link, list) and len(link) >= 4 and isinstance(link[0], int):
            links[link[0]] = str(link[1])
    graph = {}
    for node in _list(workflow.get("nodes")):
        if not isinstance(node, dict):
            continue
        inputs: dict[str, Any] = {}
        for slot in _list(node.get("inputs")):
            number = slot.get("link") if isinstance(slot, dict) else None
            if isinstance(number, int) and number in links:
                inputs[str(slot.get("name"))] = [links[number], 0]
        texts = [value for value in _list(node.get("widgets_values")) if isinstance(value, str)]
        if texts:
            inputs.setdefault("text", texts[0])
        graph[str(node.get("id"))] = {"class_type": node.get("type"), "inputs": inputs}
    return graph


def _words_above(nodes: Mapping[str, Node], starts: list[str]) -> Iterator[str]:
    """Yield the words of the text encoders that links lead to, each node looked at once."""
    seen: set[str] = set()
    waiting = [(start, False) for start in reversed(starts)]
    while waiting:
        number, in_words = waiting.pop()
        node = nodes.get(number)
        if node is None or number in seen:
            continue
        seen.add(number)
        is_encoder = _is_encoder(node)
        if is_encoder or in_words:
            inputs = _inputs(node)
            texts = (inputs.get(name) for name in WORDS)
            yield from (t.strip() for t in texts if isinstance(t, str) and t.strip())
            waiting += [(link, True) for link in reversed(_links(node, only=set(WORDS)))]
        else:
            waiting += [(link, False) for link in reversed(_links(node))]


def _links(node: Node, only: set[str] | None = None) -> list[str]:
    """Return the numbers of the nodes that feed a node, through the inputs that matter."""
    return [
        str(value[0])
        for name, value in _inputs(node).items()
        if isinstance(value, list) and len(value) == 2
        and (name in only if only is not None else name not in ASIDE)
    ]  # fmt: skip


def _is_encoder(node: Node) -> bool:
    return "textencode" in str(node.get("class_type")).lower().replace("_", "").replace(" ", "")


def _inputs(node: Node) -> Mapping[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _user_comment(image: Image.Image) -> str:
    comment = image.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT)
    if isinstance(comment, str):
        return comment
    if not isinstance(comment, bytes):
        return ""
    kind, text = comment[:8], comment[8:]
    # Exif leaves the order of bytes open; web UIs write the large end first.
    return text.decode("utf-16-be" if kind == b"UNICODE\0" else "utf-8", "ignore")


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
