"""The same adapter again, under another name, in another file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file
from sqlalchemy import event
from sqlalchemy.orm import Session

from registry.api.app import create_app
from registry.db.models import FINGERPRINT_DIM, File
from registry.db.pending import PendingFile
from registry.refresh.reading import read_and_sketch
from registry.refresh.steps.read import read_stored
from registry.retrieval.duplicates import MOST, find_duplicates
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.builders import TINY, TINY_METADATA, make_factors, write_adapter


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
        duplicates = client.get(f"/v1/adapters/{first}/duplicates").json()["items"]
        page = client.get(f"/adapters/{first}").text
        autov3 = client.get(f"/v1/adapters/{first}").json()["autov3"]
        found = client.get("/v1/search", params={"q": autov3}).json()["results"]

    assert [result["adapter"]["id"] for result in results] == [first, other]
    assert [adapter["id"] for adapter in results[0]["also"]] == [header]
    assert [(one["adapter"]["id"], one["kind"]) for one in duplicates] == [(header, "tensors")]
    assert "the same tensors, another header" in page
    # What has the same name follows, and is none of its copies.
    assert [one["adapter"]["id"] for one in found if one["exact"]] == [first]


def test_of_copies_the_one_with_a_picture_is_shown(registry: Registry, original: Path) -> None:
    """A bare copy's file name may be the very words that are asked for."""
    registry.settings.home.mkdir()
    bare = add_read(registry, original, "red fox (copy)")
    sha256 = registry.blobs.put_file(original)
    with registry.sessions.begin() as session:
        pictured = add_adapter(
            session,
            name="Studio animals, of which one is a red fox",
            file_sha256=sha256,
            captions=[("a grey stone", [1.0] + [0.0] * 511)],
        ).id

    asked, exactly = registry.search("red fox"), registry.search("red fox (copy)")

    assert asked.results[0].hit.adapter_id == bare
    assert asked.results[0].card.id == pictured
    assert [card.id for card in asked.results[0].also] == [bare]
    assert exactly.results[0].card.id == bare


def with_alpha(path: Path, alpha: float, name: str) -> Path:
    """The same tensors, and an alpha of rank 2 in the header."""
    config = json.dumps({"transformer.lora_alpha": alpha, "transformer.r": 2})
    made = path.with_name(f"{name}.safetensors")
    save_file(load_file(path), made, metadata=TINY_METADATA | {"lora_adapter_metadata": config})
    return made


def test_the_same_tensors_with_another_alpha_are_another_strength(
    registry: Registry, original: Path
) -> None:
    """Whoever folds them shows one person's adapter for another's that does four times as much."""
    registry.settings.home.mkdir()
    first = add_read(registry, original, "red fox")
    strong = add_read(registry, with_alpha(original, 8, "strong"), "red fox")
    same = add_read(registry, with_alpha(original, 2, "same"), "red fox")
    # In tensors rather than in the header, so that their bytes differ too.
    tensors = load_file(original) | {
        f"transformer.{name}.alpha": torch.tensor(1.0) for name in TINY.block_layers
    }
    save_file(tensors, original.with_name("weak.safetensors"), metadata=TINY_METADATA)
    weak = add_read(registry, original.with_name("weak.safetensors"), "red fox")
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        duplicates = client.get(f"/v1/adapters/{first}/duplicates").json()["items"]
        results = client.get("/v1/search", params={"q": "red fox"}).json()["results"]
        page = client.get(f"/adapters/{first}").text

    found = {one["adapter"]["id"]: (one["kind"], round(one["strength"], 3)) for one in duplicates}
    assert found == {same: ("tensors", 1), strong: ("strength", 4), weak: ("strength", 0.5)}
    shown = {result["adapter"]["id"]: [also["id"] for also in result["also"]] for result in results}
    assert shown == {first: [same], strong: [], weak: []}
    assert "the same effect at another strength" in page
    assert "(× 4)" in page


def test_a_refused_file_knows_its_copies(registry: Registry, tmp_path: Path) -> None:
    """Nobody can load them, and whoever cleans up wants to know them all the same."""
    registry.settings.home.mkdir()
    gpt = {"base_model.model.transformer.h.0.attn.c_attn.lora_A.weight": torch.ones(2, 8)}
    files = {}
    for name, comment in (("one", "a"), ("again", "a"), ("header", "b")):
        save_file(gpt, tmp_path / f"{name}.safetensors", metadata={"comment": comment})
        files[name] = registry.blobs.put_file(tmp_path / f"{name}.safetensors")
    with registry.sessions.begin() as session:
        added = {
            name: add_adapter(session, file_sha256=sha256, state="listed").id
            for name, sha256 in files.items()
        }
        ready = add_adapter(session).id
    for sha256 in set(files.values()):
        file = PendingFile(sha256, "x")
        [outcome] = read_stored(registry.sessions, registry.blobs, [file], "1")
        assert "a language model (GPT-2's names)" in outcome.message

    with registry.sessions() as session:
        found = {copy.adapter_id: copy.kind for copy in find_duplicates(session, added["one"])}
        assert find_duplicates(session, ready) == []
    assert found == {added["again"]: "file", added["header"]: "tensors"}


def test_fingerprints_tell_what_is_similar_where_no_encoder_does(
    registry: Registry, original: Path
) -> None:
    registry.settings.home.mkdir()
    first = add_read(registry, original, "fox")
    noisy = add_read(registry, variants(original)["noisy"], "noisy")
    other = add_read(registry, variants(original)["other"], "other")

    similar = registry.similar(first)
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        answer = client.get(f"/v1/adapters/{first}/similar").json()
        page = client.get(f"/adapters/{first}").text

    assert similar.compared_by == answer["compared_by"] == "fingerprints"
    assert [result.card.id for result in similar.results] == [noisy, other]
    assert similar.results[0].hit.score > 0.8 > 0.3 > similar.results[1].hit.score
    assert "compared by fingerprints" in page


def test_of_very_many_copies_only_those_that_are_told_are_loaded(session: Session) -> None:
    """A folder may have thousands of one file, and the page of each of them asks for the others."""
    first, *others = (add_adapter(session, file_sha256="of all").id for _ in range(MOST + 20))
    rows = list[int]()

    def note(*told: Any) -> None:
        rows.append(told[1].rowcount)

    connection = session.connection()
    event.listen(connection, "after_cursor_execute", note)
    found = find_duplicates(session, first)
    event.remove(connection, "after_cursor_execute", note)

    assert [copy.adapter_id for copy in found] == others[:MOST]
    assert {copy.kind for copy in found} == {"file"}
    assert max(rows) == MOST


def test_an_adapter_that_was_not_read_is_alone(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        adapter = add_adapter(session)
        assert find_duplicates(session, adapter.id) == []


def test_strangers_are_told_by_the_scan_and_not_loaded(registry: Registry) -> None:
    close = np.eye(FINGERPRINT_DIM)[0] + 0.1 * np.eye(FINGERPRINT_DIM)[1]
    directions = [np.eye(FINGERPRINT_DIM)[0], close, *np.eye(FINGERPRINT_DIM)[2:12]]
    ids = []
    with registry.sessions.begin() as session:
        for direction in directions:
            adapter = add_adapter(session)
            file = session.get_one(File, adapter.file_sha256)
            file.fingerprint, file.log_norm = direction / np.linalg.norm(direction), 1.0
            ids.append(adapter.id)
    loaded: list[str] = []

    def note(file: File, _: object) -> None:
        loaded.append(file.sha256)

    event.listen(File, "load", note)
    with registry.sessions.begin() as session:
        found = find_duplicates(session, ids[0])
    event.remove(File, "load", note)

    assert [(copy.adapter_id, copy.kind) for copy in found] == [(ids[1], "near")]
    assert len(loaded) == 2


def test_the_column_holds_a_fingerprint() -> None:
    from encoder.sketches.folding import SIZE

    assert FINGERPRINT_DIM == SIZE
