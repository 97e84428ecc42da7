"""Send a recipe to a ComfyUI that runs, by its HTTP API [1].

- [1] https://docs.comfy.org/development/comfyui-server/comms_routes
"""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crawler.addresses import without_login
from crawler.errors import SourceError
from crawler.foreign_text import one_line
from crawler.hub_json import as_dict, pieces
from registry.fusion.errors import (
    ComfyUIMissingFilesError,
    ComfyUIRefusedError,
    ComfyUIUnreachableError,
)
from registry.fusion.exports.export import export
from registry.fusion.recipe import Recipe

TIMEOUT_SECONDS = 30.0
# Its errors quote lists of files, of 20 at most.
MOST_ANSWER_BYTES = 1_000_000
# What its nodes call the files that they load.
FILE_INPUTS = {
    "lora_name", "unet_name", "ckpt_name", "vae_name", "clip_name", "clip_name1", "clip_name2",
}  # fmt: skip
Answered = Mapping[str, Any]


class SentPrompt(BaseModel):
    """What ComfyUI says of a workflow that it took: its id, and its place in the queue."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    # Its own is a UUID. Printed on a terminal, other signs might act there.
    prompt_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,100}$")]
    number: float


def send(recipe: Recipe, url: str, transport: httpx.BaseTransport | None = None) -> SentPrompt:
    """Have the ComfyUI at `url` draw a recipe, and return what it calls that.

    Raises:
        ExportError: it is not known to run the base.
        ComfyUIUnreachableError: nothing answers there, or what answers is no ComfyUI.
        ComfyUIMissingFilesError: it lacks files that the workflow loads.
        ComfyUIRefusedError: it lacks a node, or refuses the workflow otherwise.
    """
    workflow = json.loads(export(recipe, "comfyui"))
    asked = {
        "prompt": json.loads(export(recipe, "comfyui-api")),
        # Its images carry what its editor opens.
        "extra_data": {"extra_pnginfo": {"workflow": workflow}},
    }
    status, answer = _post(url, asked, transport)
    url = without_login(url)
    if status == httpx.codes.OK:
        try:
            return SentPrompt.model_validate(answer)
        except ValidationError as error:
            raise ComfyUIUnreachableError(url, "what answers is no ComfyUI") from error
    faults = list(_faults(answer))
    missing = [fault["extra_info"]["received_value"] for fault in faults if _is_missing_file(fault)]
    if missing:
        raise ComfyUIMissingFilesError(url, [one_line(str(name), 200) for name in missing])
    words = [_words(fault) for fault in (as_dict(answer.get("error")), *faults)]
    said = "; ".join(filter(None, words)) or f"status {status}"
    raise ComfyUIRefusedError(url, one_line(said, 500))


def _post(
    url: str, asked: Mapping[str, Any], transport: httpx.BaseTransport | None
) -> tuple[int, Answered]:
    """Ask, and return the status and what is answered, as far as it is an object of JSON."""
    data, shown = bytearray(), without_login(url)
    try:
        with (
            # It leads to no other address than the one that was set, and through no proxy: most
            # of the time it is on this machine.
            httpx.Client(
                headers={"Accept-Encoding": "identity"},
                timeout=TIMEOUT_SECONDS,
                transport=transport,
                trust_env=False,
            ) as client,
            client.stream("POST", f"{url.rstrip('/')}/prompt", json=asked) as response,
        ):
            for chunk in pieces(response, "it"):
                data += chunk
                if len(data) > MOST_ANSWER_BYTES:
                    raise ComfyUIUnreachableError(shown, "its answer does not end")
    except (httpx.HTTPError, httpx.InvalidURL, SourceError) as error:
        raise ComfyUIUnreachableError(shown, str(error) or type(error).__name__) from error
    try:
        return response.status_code, as_dict(json.loads(data))
    except (ValueError, RecursionError) as error:
        cause = f"status {response.status_code}, and no JSON"
        raise ComfyUIUnreachableError(shown, cause) from error


def _faults(answer: Answered) -> Iterator[Answered]:
    """Yield the errors of every node, each with its type of node."""
    for node in as_dict(answer.get("node_errors")).values():
        errors = as_dict(node).get("errors")
        for error in errors if isinstance(errors, list) else ():
            yield {**as_dict(error), "class_type": as_dict(node).get("class_type")}


def _is_missing_file(fault: Answered) -> bool:
    about = as_dict(fault.get("extra_info"))
    return (
        fault.get("type") == "value_not_in_list"
        and about.get("input_name") in FILE_INPUTS
        and "received_value" in about
    )


def _words(fault: Answered) -> str:
    parts = (fault.get(name) for name in ("class_type", "message", "details"))
    return ": ".join(part for part in parts if isinstance(part, str) and part)
