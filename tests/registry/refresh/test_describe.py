"""What is said of adapters: embedded, kept up, and found by."""

import json
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from crawler.sources.folder import FolderSource
from registry.db.encoder_models import Encoder, WeightEmbedding
from registry.db.models import Adapter, DescriptionEmbedding
from registry.refresh.pipeline import Pipeline
from registry.refresh.steps.describe import DescribeStep
from registry.refresh.steps.publish import PublishStep
from registry.service import Registry
from tests.builders import add_captions, add_encoder
from tests.encoder.builders import make_factors, write_adapter
from tests.registry.conftest import embed

FACTS = {
    "watercolor": {"name": "Watercolor", "tags": ["style", "painting"]},
    "crochet": {"name": "Crochet", "tags": ["yarn", "craft"], "trigger_words": ["crochet"]},
    "mecha": {"name": "Mecha", "tags": ["robot"], "description": "Robots of steel"},
    "origami": {"name": "Origami", "tags": ["paper", "folded"]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "loras"
    folder.mkdir()
    for seed, (stem, facts) in enumerate(FACTS.items()):
        write_adapter(folder / f"{stem}.safetensors", make_factors(seed))
        (folder / f"{stem}.json").write_text(json.dumps(facts))
    return folder


def refresh(registry: Registry, folder: Path) -> list[str]:
    """Refresh; return the adapters that were described."""
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    progress = pipeline.refresh(FolderSource(folder))
    outcomes = [
        step.outcome for step in progress if isinstance(step.step, DescribeStep) and step.outcome
    ]
    assert all(outcome.ok for outcome in outcomes)
    return [outcome.adapter for outcome in outcomes]


def stored(registry: Registry) -> dict[str, str]:
    """Return the hash of what is said of each adapter, by name."""
    with registry.sessions() as session:
        rows = session.execute(
            select(Adapter.name, DescriptionEmbedding.text_md5).join(
                DescriptionEmbedding, DescriptionEmbedding.adapter_id == Adapter.id
            )
        )
        return {row.name: row.text_md5 for row in rows}


def first(registry: Registry, text: str) -> str:
    return registry.search(text).results[0].card.name


@pytest.mark.parametrize(
    ("text", "name"),
    [("水彩", "Watercolor"), ("折纸", "Origami"), ("knitted wool", "Crochet"), ("机甲", "Mecha")],
)
def test_adapters_without_captions_are_found_in_other_words(
    registry: Registry, folder: Path, text: str, name: str
) -> None:
    assert len(refresh(registry, folder)) == len(FACTS)

    assert first(registry, text) == name


@pytest.mark.parametrize("name", ["x", "v1", "a2", "my_lora", "LoRA-12", "0001"])
def test_a_name_that_says_nothing_is_no_description(
    registry: Registry, folder: Path, name: str
) -> None:
    """It would be the nearest to whatever nobody here has heard of."""
    refresh(registry, folder)
    (folder / "mecha.json").write_text(json.dumps({"name": name}))

    assert refresh(registry, folder) == []
    assert stored(registry).keys() == {"Watercolor", "Crochet", "Origami"}


@pytest.mark.parametrize("name", ["Ink", "猫", "Flora", "Loran 1"])
def test_a_short_name_that_says_something_is_one(
    registry: Registry, folder: Path, name: str
) -> None:
    (folder / "mecha.json").write_text(json.dumps({"name": name}))
    refresh(registry, folder)

    assert name in stored(registry)


def test_the_next_refresh_describes_what_is_said_otherwise_and_nothing_else(
    registry: Registry, folder: Path
) -> None:
    refresh(registry, folder)
    before = stored(registry)
    assert refresh(registry, folder) == []

    (folder / "mecha.json").write_text(json.dumps({"name": "Mecha", "tags": ["dinosaur"]}))

    assert len(refresh(registry, folder)) == 1
    after = stored(registry)
    assert {name for name in before if before[name] != after[name]} == {"Mecha"}
    assert first(registry, "恐龙") == "Mecha"


def test_captions_and_what_is_said_both_find_an_adapter(registry: Registry, folder: Path) -> None:
    """A prompt names what somebody drew, and seldom what the adapter does."""
    refresh(registry, folder)
    Image.new("RGB", (32, 32), (40, 90, 10)).save(folder / "origami.png")
    facts = FACTS["origami"] | {"prompt": "masterpiece, a car on a road"}
    (folder / "origami.json").write_text(json.dumps(facts))

    refresh(registry, folder)

    assert "Origami" in stored(registry)
    assert first(registry, "折纸") == first(registry, "汽车") == "Origami"


def test_what_captions_and_weights_tell_of_is_not_described(
    registry: Registry, folder: Path
) -> None:
    refresh(registry, folder)
    with registry.sessions.begin() as session:
        origami, crochet = (
            session.scalars(select(Adapter).where(Adapter.name == name)).one()
            for name in ("Origami", "Crochet")
        )
        add_captions(session, origami, [("a car", embed(registry, "a car"))])
        encoder = add_encoder(session, base_model=origami.base_model)
        for adapter in (origami, crochet):
            session.add(
                WeightEmbedding(
                    file_sha256=adapter.file_sha256,
                    encoder_id=encoder.id,
                    embedding=embed(registry, "a car"),
                )
            )

    assert refresh(registry, folder) == []
    assert stored(registry).keys() == {"Watercolor", "Crochet", "Mecha"}

    with registry.sessions.begin() as session:
        session.get_one(Encoder, encoder.id).active = False

    assert len(refresh(registry, folder)) == 1
    assert "Origami" in stored(registry)


def test_what_was_interrupted_before_it_is_done_by_the_next_refresh(
    registry: Registry, folder: Path
) -> None:
    pipeline = Pipeline(registry.sessions, registry.blobs, registry.settings, registry.text_encoder)
    for step in pipeline.refresh(FolderSource(folder)):
        if isinstance(step.step, PublishStep) and step.outcome is not None:
            break
    assert stored(registry) == {}

    assert len(refresh(registry, folder)) == len(FACTS)


def test_what_is_said_goes_with_the_adapter(registry: Registry, folder: Path) -> None:
    refresh(registry, folder)

    with registry.sessions.begin() as session:
        session.delete(session.scalars(select(Adapter).where(Adapter.name == "Mecha")).one())

    assert "Mecha" not in stored(registry)
