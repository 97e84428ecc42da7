"""The same adapter again, under another name, in another file."""

from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file

from registry.api.app import create_app
from registry.db.models import FINGERPRINT_DIM, File
from registry.refresh.steps.read import read_and_sketch
from registry.retrieval.duplicates import find_duplicates
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.builders import make_factors, write_adapter


def add_read(registry: Registry, path: Path, name: str) -> int:
    """Add an adapter whose file was really read; it is identified by its real hash."""
    facts, _ = read_and_sketch(path)
    sha256 = registry.blobs.put_file(path)
    with registry.sessions.begin() as session:
        adapter = add_adapter(session, name=name, words=name, file_sha256=sha256)
        for column, value in facts.items():
            setattr(session.get_one(File, sha256), column, value)
        return adapter.id


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "original.safetensors", make_factors(1))


def variants(path: Path) -> dict[str, Path]:
    """The file under another header, cast, and trained on a little; and another adapter."""
    tensors = load_file(path)
    torch.manual_seed(0)
    noisy = {
        name: value + 0.2 * value.float().std() * torch.randn_like(value)
        for name, value in tensors.items()
    }
    cast = {name: value.to(torch.bfloat16) for name, value in tensors.items()}
    made = {}
    for name, own in {"header": tensors, "cast": cast, "noisy": noisy}.items():
        made[name] = path.with_name(f"{name}.safetensors")
        save_file(own, made[name], metadata={"format": "pt", "comment": name})
    made["other"] = write_adapter(path.with_name("other.safetensors"), make_factors(2))
    return made


def test_what_was_uploaded_again_is_found(registry: Registry, original: Path) -> None:
    registry.settings.home.mkdir()
    first = add_read(registry, original, "fox")
    again = add_read(registry, original, "fox elsewhere")
    by_name = {name: add_read(registry, path, name) for name, path in variants(original).items()}

    with registry.sessions() as session:
        found = {one.adapter_id: one for one in find_duplicates(session, first)}

    assert {id_: one.kind for id_, one in found.items()} == {
        again: "file",
        by_name["header"]: "tensors",
        by_name["cast"]: "change",
        by_name["noisy"]: "near",
    }
    assert 0.8 < found[by_name["noisy"]].similarity < 0.999
    assert found[by_name["cast"]].strength == pytest.approx(1, abs=0.01)


def test_copies_share_one_card(registry: Registry, original: Path) -> None:
    """Ten re-uploads must not fill a page; other listings are named on the first."""
    registry.settings.home.mkdir()
    first = add_read(registry, original, "red fox")
    header = add_read(registry, variants(original)["header"], "red fox")
    other = add_read(registry, variants(original)["other"], "red fox")
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        results = client.get("/v1/search", params={"q": "red fox"}).json()["results"]
        duplicates = client.get(f"/v1/adapters/{first}/duplicates").json()
        page = client.get(f"/adapters/{first}").text
        autov3 = client.get(f"/v1/adapters/{first}").json()["autov3"]
        found = client.get("/v1/search", params={"q": autov3}).json()["results"]

    assert [result["adapter"]["id"] for result in results] == [first, other]
    assert [adapter["id"] for adapter in results[0]["also"]] == [header]
    assert [(one["adapter"]["id"], one["kind"]) for one in duplicates] == [(header, "tensors")]
    assert "the same tensors, another header" in page
    assert [(one["adapter"]["id"], one["exact"]) for one in found] == [(first, True)]


def test_an_adapter_that_was_not_read_is_alone(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session)
        assert find_duplicates(session, adapter.id) == []


def test_the_column_holds_a_fingerprint() -> None:
    from encoder.sketches.folding import SIZE

    assert FINGERPRINT_DIM == SIZE
