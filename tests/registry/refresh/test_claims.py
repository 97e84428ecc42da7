"""What people and hubs say that a file is for, where its layers allow several."""

import json
import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from crawler.sources.folder import FolderSource
from encoder.base_models.families import find_family
from encoder.errors import UnknownClaimError
from registry.api.app import create_app
from registry.db.encoder_models import Sketch
from registry.db.models import Adapter, File
from registry.db.reading_facts import NOTHING, Reading
from registry.db.readings import store_readings
from registry.errors import AdapterNotFoundError
from registry.refresh.pipeline import Pipeline
from registry.service import Registry
from tests.encoder.builders import TINY_METADATA, Factors, make_factors, write_adapter
from tests.registry.fusion.builders import save_tiny_base

FLUX, SDXL = (find_family(name) for name in ("flux.1", "sdxl-1.0"))
# Qwen-Image has these layers as well: nothing but a claim tells whose they are.
QUERIES = [f"transformer_blocks.{index}.attn.to_q" for index in range(3)]
LATER_SECONDS = 10


def queries() -> Factors:
    assert FLUX is not None
    return make_factors(names=QUERIES, family=FLUX)


def unet_queries() -> Factors:
    assert SDXL is not None
    return make_factors(names=[name for name in SDXL.layers if "attn2.to_k" in name], family=SDXL)


def refresh(registry: Registry, folder: Path) -> None:
    registry.settings.home.mkdir(exist_ok=True)
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    list(pipeline.refresh(FolderSource(folder)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def write(folder: Path, name: str, factors: Factors, **sidecar: object) -> Path:
    path = write_adapter(folder / f"{name}.safetensors", factors, metadata={})
    if sidecar:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def ids(registry: Registry) -> dict[str, int]:
    with registry.sessions() as session:
        return {row.name: row.id for row in session.execute(select(Adapter.name, Adapter.id))}


def sketches(registry: Registry) -> int:
    with registry.sessions() as session:
        return len(session.scalars(select(Sketch.version)).all())


def test_a_persons_claim_makes_an_adapter_fusable_and_stays(
    registry: Registry, folder: Path
) -> None:
    path = write(folder, "queries", queries())
    refresh(registry, folder)
    adapter_id = ids(registry)["queries"]
    before = registry.adapter(adapter_id)
    assert (before.card.base_model, before.card.fusable) == ("unknown", False)

    said = registry.claim(adapter_id, "FLUX.1 dev", "ann")

    assert (said.card.base_model, said.card.fusable, said.card.state) == (
        "flux.1-dev",
        True,
        "ready",
    )
    assert said.claim is not None
    assert (said.claim.base_model, said.claim.who) == ("flux.1-dev", "ann")
    assert said.verdict is not None
    assert said.verdict["said_by"] == "ann says 'flux.1-dev'"
    assert sketches(registry) == 1
    # Another sidecar, another time, another reading of the file: it still holds.
    path.with_suffix(".json").write_text(
        json.dumps({"name": "queries", "base_model": "Qwen-Image"})
    )
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + LATER_SECONDS))
    refresh(registry, folder)
    after = registry.adapter(adapter_id)
    assert (after.card.base_model, after.card.fusable) == ("flux.1-dev", True)
    assert after.verdict is not None
    assert "folder lists it for 'qwen-image'" in after.verdict["evidence"]

    taken_back = registry.claim(adapter_id, None)

    assert taken_back.claim is None
    assert taken_back.card.base_model == "qwen-image"


def test_what_is_said_while_a_file_is_read_is_heard_by_the_next_refresh(
    registry: Registry, folder: Path
) -> None:
    """A refresh stores files in groups: minutes may lie between reading one and storing it."""
    write(folder, "queries", queries())
    refresh(registry, folder)
    adapter_id = ids(registry)["queries"]
    with registry.sessions() as session:
        file = session.scalars(select(File)).one()
    columns = {"base_model": "unknown", "verdict": file.verdict, "reader_version": "1"}
    registry.claim(adapter_id, "FLUX.1 dev", "ann")

    with registry.sessions.begin() as session:
        store_readings(session, [Reading(file.sha256, NOTHING, columns)])
    refresh(registry, folder)

    card = registry.adapter(adapter_id).card
    assert (card.base_model, card.fusable) == ("flux.1-dev", True)


def test_a_sidecar_or_a_card_decides_where_no_person_has_spoken(
    registry: Registry, folder: Path
) -> None:
    write(folder, "queries", queries(), base_model="flux.1-dev")
    refresh(registry, folder)

    detail = registry.adapter(ids(registry)["queries"])

    assert (detail.card.base_model, detail.card.fusable) == ("flux.1-dev", True)
    assert detail.verdict is not None
    assert detail.verdict["said_by"] == "folder lists it for 'flux.1-dev'"


def test_what_layers_rule_out_is_noted_and_not_believed(registry: Registry, folder: Path) -> None:
    write(folder, "queries", queries(), base_model="SDXL 1.0")
    write(folder, "keys", unet_queries(), base_model="SD 1.5")
    refresh(registry, folder)
    named = ids(registry)

    assert registry.adapter(named["queries"]).card.base_model == "unknown"
    keys = registry.adapter(named["keys"])
    assert (keys.card.base_model, keys.card.fusable) == ("sdxl-1.0", True)
    said = registry.claim(named["keys"], "flux.1-dev", "ann")

    assert said.card.base_model == "sdxl-1.0"
    assert said.card.fusable
    assert said.verdict is not None
    assert said.verdict["evidence"][1:] == [
        "ann says 'flux.1-dev', which its layers rule out",
        "folder lists it for 'sd-1.5', which its layers rule out",
    ]
    assert registry.claim(named["keys"], "pony", "ann").card.base_model == "pony"


def test_a_claim_that_makes_no_sense_changes_nothing(registry: Registry, folder: Path) -> None:
    write(folder, "queries", queries())
    refresh(registry, folder)
    adapter_id = ids(registry)["queries"]

    with pytest.raises(UnknownClaimError, match=r"did you mean flux\.1-dev"):
        registry.claim(adapter_id, "flux.1-dve", "ann")
    with pytest.raises(AdapterNotFoundError):
        registry.claim(999, "flux.1-dev", "ann")
    assert registry.adapter(adapter_id).claim is None


def test_the_same_bytes_listed_again_bring_what_their_card_says(
    registry: Registry, folder: Path
) -> None:
    write(folder, "bare", queries())
    refresh(registry, folder)
    write(folder, "named", queries(), base_model="flux.1-dev")
    refresh(registry, folder)

    named = ids(registry)
    assert {registry.adapter(id_).card.base_model for id_ in named.values()} == {"flux.1-dev"}


def test_alpha_of_pefts_config_is_that_of_the_adapter(registry: Registry, folder: Path) -> None:
    """It lies beside the file, and the blob store keeps the file alone."""
    path = write_adapter(
        folder / "adapter_model.safetensors", make_factors(), prefix="base_model.model."
    )
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "r": 2}))
    refresh(registry, folder)

    [adapter_id] = ids(registry).values()
    detail = registry.adapter(adapter_id)

    assert detail.verdict is not None
    assert detail.verdict["scales"] == [4, 4]
    sha256 = detail.card.file_sha256
    assert sha256 is not None
    assert json.loads(registry.peft_config(sha256)) == {"lora_alpha": 8, "r": 2}
    # Another alpha is another strength, and read at the next refresh.
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 2, "r": 2}))
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + LATER_SECONDS))
    with registry.sessions() as session:
        strong = session.get_one(File, sha256).log_norm
    refresh(registry, folder)
    with registry.sessions() as session:
        weak = session.get_one(File, sha256).log_norm
    assert strong is not None
    assert weak is not None
    assert strong - weak == pytest.approx(1.386, abs=0.01)


def test_an_image_is_drawn_with_the_alpha_of_pefts_config(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    save_tiny_base(base)
    registry.settings.base_models["demo-flux-tiny"] = base
    for name, alpha in (("weak", 1), ("strong", 8)):
        (folder / name).mkdir()
        path = folder / name / "adapter_model.safetensors"
        # Other bytes, or both would be one file, and that has one config.
        write_adapter(path, make_factors(), metadata=TINY_METADATA | {"comment": name})
        config = {"lora_alpha": alpha, "r": 2}
        (folder / name / "adapter_config.json").write_text(json.dumps(config))
    refresh(registry, folder)
    by_repo = {}
    with registry.sessions() as session:
        for row in session.execute(select(Adapter.repo, Adapter.id)):
            by_repo[row.repo.split("/")[1]] = row.id

    def draw(name: str, strength: float) -> bytes:
        drawn = registry.maker.fuse(
            "a fox", adapters=[by_repo[name]], strengths=[strength], mode="sum", steps=2
        )
        return drawn.image.tobytes()

    assert draw("weak", 8.0) == draw("strong", 1.0)
    assert draw("weak", 1.0) != draw("strong", 1.0)


def test_the_api_and_the_page_take_a_claim(registry: Registry, folder: Path) -> None:
    write(folder, "queries", queries())
    refresh(registry, folder)
    [adapter_id] = ids(registry).values()
    url = f"/v1/adapters/{adapter_id}/claim"
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        said = client.put(url, json={"base_model": "flux.1-dev", "who": "ann"}).json()
        wrong = client.put(url, json={"base_model": "flux.1-dve"})
        page = client.get(f"/adapters/{adapter_id}").text
        other_site = client.post(
            f"/adapters/{adapter_id}/claim",
            data={"base_model": "pony"},
            headers={"Origin": "https://evil.example"},
        )
        posted = client.post(
            f"/adapters/{adapter_id}/claim",
            data={"base_model": "qwen-image", "who": "ben"},
            follow_redirects=False,
        )
        changed = client.get(f"/v1/adapters/{adapter_id}").json()
        taken_back = client.delete(url).json()

    assert (said["base_model"], said["fusable"]) == ("flux.1-dev", True)
    assert (said["claim"]["base_model"], said["claim"]["who"]) == ("flux.1-dev", "ann")
    assert wrong.status_code == 422
    assert "did you mean" in wrong.json()["detail"]
    assert "ann says: flux.1-dev." in page
    assert other_site.status_code == 403
    assert posted.status_code == 303
    assert changed["base_model"] == "qwen-image"
    assert (taken_back["claim"], taken_back["base_model"]) == (None, "unknown")


def test_who_claims_is_kept_without_what_a_database_cannot_keep(
    registry: Registry, folder: Path
) -> None:
    write(folder, "queries", queries())
    refresh(registry, folder)
    [adapter_id] = ids(registry).values()
    asked = {"base_model": "flux.1-dev", "who": "a\0nn"}
    with TestClient(create_app(registry), base_url="http://127.0.0.1") as client:
        said = client.put(f"/v1/adapters/{adapter_id}/claim", json=asked).json()
        client.post(f"/adapters/{adapter_id}/claim", data=asked | {"who": "be\0n"})
        posted = client.get(f"/v1/adapters/{adapter_id}").json()

    assert said["claim"]["who"] == "a\ufffdnn"
    assert posted["claim"]["who"] == "be\ufffdn"
