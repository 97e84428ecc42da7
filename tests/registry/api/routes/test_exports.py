"""Recipes taken elsewhere over HTTP: written, packed, sent."""

import io
import json
import re
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from benchmarks.comfyui.server import comfyui
from registry.db.images import FinishedImage
from registry.db.models import Adapter, File
from registry.fusion.exports.adapters import exported
from registry.fusion.recipe import Recipe
from registry.service import Registry
from tests.registry.api.conftest import add_file
from tests.registry.fusion.test_recipe import recipe_json
from tests.registry.fusion.test_sending import BASE, FILES, RECIPE


def recipe_of(registry: Registry, *ids: int, **values: Any) -> Recipe:
    cards = registry.cards(ids)
    used = [{"name": one.name, "sha256": one.file_sha256, "strength": 0.5} for one in cards]
    return Recipe.from_json(recipe_json(adapters=used, base=BASE, **values))


@pytest.mark.parametrize(
    ("to", "kind", "begins"),
    [
        ("a1111", "text/plain", b"saber \\(fate\\) <lora:fox-"),
        ("diffusers", "text/x-python", b'"""The adapters at plain'),
        ("comfyui", "application/json", b'{\n "last_node_id"'),
        ("comfyui-api", "application/json", b'{\n "1"'),
    ],
)
def test_a_recipe_is_written_for_other_programs(
    client: TestClient, to: str, kind: str, begins: bytes
) -> None:
    answer = client.post(f"/v1/recipes/export?to={to}", content=RECIPE.to_json())

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="autolora')
    assert answer.content.startswith(begins)


def test_a_form_and_a_png_carry_a_recipe_as_well(client: TestClient) -> None:
    as_form = client.post(
        "/v1/recipes/export?to=a1111", files={"recipe": ("recipe.json", RECIPE.to_json())}
    )
    plain = client.post("/v1/recipes/export?to=a1111", content=RECIPE.to_json())

    assert as_form.status_code == 200
    assert as_form.content == plain.content


def test_what_cannot_be_exported_says_why(client: TestClient) -> None:
    own = recipe_json(base=BASE | {"name": "demo-flux-tiny"})
    refused = client.post("/v1/recipes/export?to=a1111", content=own)
    nothing = client.post("/v1/recipes/export?to=a1111", content=b"{}")
    unknown = client.post("/v1/recipes/export?to=photoshop", content=RECIPE.to_json())

    assert (refused.status_code, nothing.status_code, unknown.status_code) == (409, 422, 422)
    assert "no other program draws with it" in refused.json()["detail"]
    assert "not a recipe" in nothing.json()["detail"]


def test_files_come_as_a_zip_under_the_names_of_the_exports(
    client: TestClient, registry: Registry
) -> None:
    """Announced with its length, and with where each file is from."""
    ids = [add_file(registry, 1, "Red fox!"), add_file(registry, 2, "水彩")]
    with registry.sessions.begin() as session:
        session.execute(update(Adapter).values(page_url="https://hub.test/fox", licence="mit"))
    recipe = recipe_of(registry, *ids, warnings=["licences differ"])

    answer = client.post("/v1/recipes/files", content=recipe.to_json())

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        names = [each.file for each in exported(recipe)]
        assert packed.namelist() == ["README.txt", *names]
        for each in exported(recipe):
            stored = registry.file(each.used.sha256).read_bytes()
            assert packed.read(each.file) == stored
        told = packed.read("README.txt").decode()
    assert all(f"\n{name}\n" in told for name in names)
    assert told.count("modelscope, by someone: https://hub.test/fox") == 2
    assert told.count("licence   mit") == 2
    assert "Note: licences differ." in told


def test_a_file_that_is_not_here_is_refused_before_anything_is_sent(
    client: TestClient, registry: Registry
) -> None:
    kept, dropped, refused = (add_file(registry, seed, f"fox {seed}") for seed in (1, 2, 3))
    recipe = recipe_of(registry, kept, dropped)
    hostile = recipe_of(registry, refused)
    sha256 = recipe.adapters[1].sha256
    registry.blobs.path(sha256).unlink()
    with registry.sessions.begin() as session:
        session.execute(update(File).where(File.sha256 == sha256).values(state="dropped"))
        session.execute(update(Adapter).where(Adapter.id == refused).values(refusal="a pickle"))

    not_kept = client.post("/v1/recipes/files", content=recipe.to_json())
    unknown = client.post("/v1/recipes/files", content=RECIPE.to_json())
    withheld = client.post("/v1/recipes/files", content=hostile.to_json())

    assert (not_kept.status_code, unknown.status_code, withheld.status_code) == (404, 404, 404)
    assert "not kept here" in not_kept.json()["detail"]


def add_image(registry: Registry, recipe: Recipe | None) -> int:
    """Add an image as if it had been drawn here."""
    (image,) = registry.images.ask([{"prompt": "a fox"}])
    registry.images.begin(image.id)
    told = None if recipe is None else json.loads(recipe.to_json())
    assert registry.images.finish(image.id, FinishedImage(b"png", b"webp", told))
    return image.id


def test_an_image_that_was_made_here_is_taken_elsewhere_from_its_page(
    client: TestClient, registry: Registry
) -> None:
    image = add_image(registry, recipe_of(registry, add_file(registry, 1, "fox")))
    page = client.get(f"/images/{image}").text
    links = re.findall(rf'href="(/v1/images/{image}/(?:export|files)[^"]*)"', page)
    written = [client.get(link) for link in links]

    assert [answer.status_code for answer in written] == [200] * 4
    kinds = [answer.headers["content-type"].partition(";")[0] for answer in written]
    assert kinds == ["text/x-python", "application/json", "application/json", "application/zip"]
    assert "&lt;lora:fox-" in page
    assert f"/images/{image}/send" not in page


def test_an_image_is_sent_to_comfyui_from_its_page(client: TestClient, registry: Registry) -> None:
    image = add_image(registry, RECIPE)
    with comfyui(FILES) as server:
        registry.settings.comfyui_url = server.url
        assert f'action="/images/{image}/send"' in client.get(f"/images/{image}").text
        told = client.post(f"/images/{image}/send")
    gone = client.post(f"/images/{image}/send")

    assert "ComfyUI has taken it" in told.text
    assert len(server.taken) == 1
    assert gone.status_code == 502


def test_a_page_offers_only_what_there_is(client: TestClient, registry: Registry) -> None:
    own = RECIPE.base.model_copy(update={"name": "demo-flux-tiny"})
    image = add_image(registry, RECIPE.model_copy(update={"base": own}))
    sheet = add_image(registry, None)

    assert "/export?to=" not in client.get(f"/images/{image}").text
    assert "/files" not in client.get(f"/images/{sheet}").text
    refused = client.get(f"/v1/images/{sheet}/files")
    assert (refused.status_code, "has no recipe" in refused.text) == (422, True)


def test_a_recipe_is_sent_to_the_comfyui_of_the_settings(
    client: TestClient, registry: Registry
) -> None:
    unset = client.post("/v1/recipes/send", content=RECIPE.to_json())
    with comfyui(FILES) as server:
        registry.settings.comfyui_url = server.url
        sent = client.post("/v1/recipes/send", content=RECIPE.to_json())
        del server.nodes["VAEDecode"]
        refused = client.post("/v1/recipes/send", content=RECIPE.to_json())
    gone = client.post("/v1/recipes/send", content=RECIPE.to_json())

    assert (unset.status_code, sent.status_code) == (409, 200)
    assert "REGISTRY_COMFYUI_URL" in unset.json()["detail"]
    assert unset.json()["type"] == "urn:autolora:problem:comfyui-not-set"
    assert sent.json() == {"prompt_id": "prompt-1", "number": 1.0}
    assert json.dumps(server.taken[0]["prompt"]).count("LoraLoaderModelOnly") == 1
    assert (refused.status_code, gone.status_code) == (502, 502)
    assert "VAEDecode does not exist" in refused.json()["detail"]
    assert "does not answer" in gone.json()["detail"]
