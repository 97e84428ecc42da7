"""What web UIs write down of a picture: the prompt, and the settings as one text."""

import re
from typing import Any

from crawler.hub_json import as_dict
from crawler.pictures.texts import bounded_json

# Where the settings begin in web UIs' `parameters`, after the prompt.
SETTINGS = ("\nNegative prompt:", "\nSteps:")
# A setting, as in `CFG scale: 7`.
SETTING = re.compile(r"([A-Za-z][A-Za-z ]{0,40}): ?([\w.\-]{1,40})(?=,|\s|$)", re.ASCII)
# Far more than programs write of them. Every letter may begin a name of 41, which takes a while in
# a text of some MB, and no other thread runs meanwhile.
MAX_SETTINGS = 20_000


def prompt_of_parameters(parameters: str) -> str:
    """Return what a web UI was asked for, of all that it writes down."""
    if "Steps:" not in parameters and "Negative prompt:" not in parameters:
        return ""
    # The first line may already be of settings, where there was no prompt.
    text = "\n" + parameters
    ends = [at for at in map(text.find, SETTINGS) if at >= 0]
    return text[: min(ends, default=len(text))].strip()


def negative_of_parameters(parameters: str) -> str:
    """Return what it was asked to leave out."""
    _, mark, rest = f"\n{parameters}".partition(SETTINGS[0])
    return rest.partition(SETTINGS[1])[0].strip() if mark else ""


def settings_of_parameters(parameters: str) -> dict[str, str]:
    """Return the settings by name, of those that are one word: `Steps: 20, Size: 512x512`."""
    _, mark, last = f"\n{parameters}".rpartition(SETTINGS[1])
    # The first counts: what is quoted further on may look like another.
    return dict(reversed(SETTING.findall(f"Steps:{last[:MAX_SETTINGS]}"))) if mark else {}


def facts_of_civitai(parameters: str) -> dict[str, Any]:
    """Return the JSON that Civitai's generator writes in place of settings, {} where it is none.

    What it says of a graph that it ran, `extraMetadata`, is JSON inside of it.
    """
    if not parameters.lstrip().startswith("{"):
        return {}
    facts = as_dict(bounded_json(parameters))
    more = facts.get("extraMetadata")
    return facts | as_dict(bounded_json(more) if isinstance(more, str) else None)
