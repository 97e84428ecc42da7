"""ComfyUI's graphs: what they were asked to draw, and which of their nodes were used."""

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from crawler.hub_json import as_dict, as_list

# ComfyUI's inputs that lead away from words, beside those to the other side of a sampler.
ASIDE = {"model", "clip", "vae", "latent_image", "samples", "pixels", "image", "noise"}
# Words that go into it say nothing: it makes zeros of them.
ZEROS = "ConditioningZeroOut"
# The inputs of ComfyUI's nodes that hold words.
WORDS = ("text", "text_g", "clip_l", "t5xxl", "prompt", "value", "string", "wildcard_text")
MOST_NODES = 10_000

Node = Mapping[str, Any]


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
    found = dict.fromkeys(_words_above(nodes, positive, without="negative"))
    return ", ".join(found)


def negative_of_graph(graph: Any) -> str:
    """Return the words that lead to the negative side of a sampler."""
    if not isinstance(graph, dict) or len(graph) > MOST_NODES:
        return ""
    nodes = {str(k): n for k, n in graph.items() if isinstance(n, dict)}
    sides = [link for node in nodes.values() for link in _links(node, only={"negative"})]
    return ", ".join(dict.fromkeys(_words_above(nodes, sides, without="positive")))


def nodes_used(nodes: Mapping[str, Node], is_loader: Callable[[Node], bool]) -> list[Node]:
    """Return the nodes that lead to more than a loader; all where none does.

    ComfyUI runs what leads to an output, and which nodes are outputs no graph says. But a loader
    is none: one that feeds nothing is loose, and so is what feeds loose ones only.
    """
    feeding = {link for node in nodes.values() for link in _links(node)}
    waiting = [k for k, node in nodes.items() if k not in feeding and not is_loader(node)]
    used: set[str] = set()
    while waiting:
        number = waiting.pop()
        if number in nodes and number not in used:
            used.add(number)
            waiting += _links(nodes[number])
    return [node for k, node in nodes.items() if k in used] or [*nodes.values()]


def graph_of_workflow(workflow: Any) -> Any:
    """Write the graph that ComfyUI's editor saves as the one that it runs."""
    if not isinstance(workflow, dict):
        return None
    links: dict[Any, str] = {}
    for link in as_list(workflow.get("links")):
        if isinstance(link, list) and len(link) >= 4 and isinstance(link[0], int):
            links[link[0]] = str(link[1])
    graph = {}
    for node in as_list(workflow.get("nodes")):
        if not isinstance(node, dict):
            continue
        inputs: dict[str, Any] = {}
        for slot in as_list(node.get("inputs")):
            number = slot.get("link") if isinstance(slot, dict) else None
            if isinstance(number, int) and number in links:
                inputs[str(slot.get("name"))] = [links[number], 0]
        texts = [value for value in as_list(node.get("widgets_values")) if isinstance(value, str)]
        if texts:
            inputs.setdefault("text", texts[0])
        graph[str(node.get("id"))] = {"class_type": node.get("type"), "inputs": inputs}
    return graph


def _words_above(nodes: Mapping[str, Node], starts: list[str], *, without: str) -> Iterator[str]:
    """Yield the words of the text encoders that links lead to, each node looked at once.

    `without` is the other side of a sampler: ControlNets and pipes have both.
    """
    aside = ASIDE | {without}
    seen: set[str] = set()
    waiting = [(start, False) for start in reversed(starts)]
    while waiting:
        number, in_words = waiting.pop()
        node = nodes.get(number)
        if node is None or number in seen or node.get("class_type") == ZEROS:
            continue
        seen.add(number)
        is_encoder = _is_encoder(node)
        if is_encoder or in_words:
            inputs = as_dict(node.get("inputs"))
            texts = (inputs.get(name) for name in WORDS)
            yield from (t.strip() for t in texts if isinstance(t, str) and t.strip())
            waiting += [(link, True) for link in reversed(_links(node, only=set(WORDS)))]
        else:
            waiting += [(link, False) for link in reversed(_links(node, aside=aside))]


def _links(
    node: Node, *, only: Container[str] | None = None, aside: Container[str] = ()
) -> list[str]:
    """Return the numbers of the nodes that feed a node, through the inputs that matter."""
    return [
        str(value[0])
        for name, value in as_dict(node.get("inputs")).items()
        if isinstance(value, list) and len(value) == 2
        and (name in only if only is not None else name not in aside)
    ]  # fmt: skip


def _is_encoder(node: Node) -> bool:
    return "textencode" in str(node.get("class_type")).lower().replace("_", "").replace(" ", "")
