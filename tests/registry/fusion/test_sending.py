"""A recipe goes to ComfyUI as that asks for it; here to a server that answers as ComfyUI does."""

import json
from typing import Any

import httpx
import pytest

from benchmarks.comfyui.server import comfyui
from registry.fusion.errors import (
    ComfyUIMissingFilesError,
    ComfyUIRefusedError,
    ComfyUIUnreachableError,
)
from registry.fusion.exports.adapters import exported
from registry.fusion.exports.export import export
from registry.fusion.exports.sending import MOST_ANSWER_BYTES, send
from registry.fusion.recipe import Recipe
from tests.registry.fusion.test_recipe import recipe_json

BASE = {"name": "flux.1-dev", "backend": "diffusers-flux", "files": {}}
RECIPE = Recipe.from_json(recipe_json(base=BASE, full_prompt="saber (fate)"))
FILES = {
    "loras": [each.file for each in exported(RECIPE)],
    "diffusion_models": ["flux1-dev.safetensors"],
    "text_encoders": ["clip_l.safetensors", "t5xxl_fp16.safetensors"],
    "vae": ["ae.safetensors"],
}


def test_comfyui_takes_the_workflow_and_its_images_will_carry_it() -> None:
    with comfyui(FILES) as server:
        sent = send(RECIPE, server.url + "/")

    assert (sent.prompt_id, sent.number) == ("prompt-1", 1)
    (taken,) = server.taken
    assert taken["prompt"] == json.loads(export(RECIPE, "comfyui-api"))
    told = taken["extra_data"]["extra_pnginfo"]
    assert told["workflow"] == json.loads(export(RECIPE, "comfyui"))


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_comfyui_is_asked_through_no_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """It runs on this machine or beside it, where a proxy for the world does not reach."""
    monkeypatch.setenv("ALL_PROXY", proxy)

    with comfyui(FILES) as server:
        assert send(RECIPE, server.url).prompt_id == "prompt-1"


def test_files_that_comfyui_lacks_are_named() -> None:
    with (
        comfyui(FILES | {"loras": [], "vae": ["other.safetensors"]}) as server,
        pytest.raises(ComfyUIMissingFilesError) as raised,
    ):
        send(RECIPE, server.url)

    assert set(raised.value.files) == {"ae.safetensors", FILES["loras"][0]}
    assert "--files" in str(raised.value)


def test_a_node_that_comfyui_lacks_is_named() -> None:
    with comfyui(FILES) as server:
        del server.nodes["FluxGuidance"]
        with pytest.raises(ComfyUIRefusedError, match="node FluxGuidance does not exist"):
            send(RECIPE, server.url)


def test_a_fault_of_another_kind_is_told_as_comfyui_tells_it() -> None:
    with comfyui(FILES) as server:
        server.nodes["KSampler"]["input"]["required"]["more"] = ["INT", {}]
        with pytest.raises(ComfyUIRefusedError, match="KSampler: Required input is missing: more"):
            send(RECIPE, server.url)


def test_an_address_where_nothing_answers_is_named_without_its_login() -> None:
    with comfyui(FILES) as server:
        url = server.url.replace("http://", "http://me:secret@")
    with pytest.raises(ComfyUIUnreachableError, match="REGISTRY_COMFYUI_URL") as raised:
        send(RECIPE, url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (httpx.Response(200, json={"detail": "hello"}), "no ComfyUI"),
        (httpx.Response(200, json=[1]), "no ComfyUI"),
        (httpx.Response(200, json={"prompt_id": "\x1b[2J", "number": 1}), "no ComfyUI"),
        (httpx.Response(200, json={"prompt_id": "7\n", "number": 1}), "no ComfyUI"),
        (httpx.Response(502, html="<p>bad gateway"), "status 502, and no JSON"),
        (httpx.Response(200, content=b"[" * 200_000), "no JSON"),
        (httpx.Response(200, content=b" " * (MOST_ANSWER_BYTES + 1)), "does not end"),
        (httpx.Response(200, headers={"Content-Encoding": "gzip, gzip"}), "not asked for"),
        # It could lead anywhere.
        (httpx.Response(302, headers={"Location": "http://192.0.2.1/"}), "status 302"),
    ],
)
def test_what_is_no_comfyui_is_told_from_one(answer: httpx.Response, cause: str) -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer

    with pytest.raises(ComfyUIUnreachableError, match=cause):
        send(RECIPE, "http://comfy.test", httpx.MockTransport(handle))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "errors",
    [{"error": "no prompt", "node_errors": []}, {"node_errors": {"1": None}}, {"error": {}}, {}],
)
def test_answers_of_other_shapes_are_refusals_too(errors: Any) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(400, json=errors))
    with pytest.raises(ComfyUIRefusedError, match=r"refuses the workflow: ."):
        send(RECIPE, "http://comfy.test", transport)
