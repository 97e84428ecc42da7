"""The words that a picture was asked for."""

from crawler.hub_text import MAX_PROMPT, clean_text, without_calls, without_escapes
from crawler.pictures.graphs import graph_of_workflow, prompt_of_graph
from crawler.pictures.parameters import facts_of_civitai, prompt_of_parameters
from crawler.pictures.texts import PictureTexts


def prompt_of(texts: PictureTexts) -> str:
    """Return the words that a picture was asked for, "" where it does not say."""
    if own := _prompt_of_recipe(texts):
        return clean_text(own, MAX_PROMPT)
    words = (
        _prompt_of_civitai(texts.parameters)
        or prompt_of_parameters(texts.parameters)
        or prompt_of_graph(texts.graph)
        or prompt_of_graph(graph_of_workflow(texts.workflow))
    )
    return without_escapes(clean_text(without_calls(words), MAX_PROMPT))


def _prompt_of_recipe(texts: PictureTexts) -> str:
    prompt = texts.recipe.get("prompt") if isinstance(texts.recipe, dict) else None
    return prompt if isinstance(prompt, str) else ""


def _prompt_of_civitai(parameters: str) -> str:
    """Return the prompt of its JSON, which is its metadata, or a graph of ComfyUI's."""
    facts = facts_of_civitai(parameters)
    prompt = facts.get("prompt")
    return prompt if isinstance(prompt, str) and prompt else prompt_of_graph(facts)
