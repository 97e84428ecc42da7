"""Covers that are drawn here: for whom, how they are told apart, and when they go."""

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import select, update
from torch import OutOfMemoryError

from crawler.sources.folder import FolderSource
from encoder.threads import threads
from registry.blobs import BlobStore
from registry.db import drawn_covers
from registry.db.blob_names import named_blobs
from registry.db.drawn_covers import MOST_FAILURES, DrawnCover
from registry.db.holds import hold
from registry.db.models import Adapter, Caption, Cover
from registry.fusion.errors import BaseModelError, GatesMismatchError, GenerationCancelledError
from registry.fusion.options import StepCallback
from registry.refresh.cover_drawing import HELD_AS, CoverDrawing, words_of
from registry.refresh.pipeline import Pipeline, StepProgress
from registry.retrieval.covers import CoverLink
from registry.service import Registry
from registry.shared_blobs import SharedBlobStore
from tests.crawler.builders import image_bytes
from tests.encoder.builders import make_factors, write_adapter


@pytest.fixture
def drawing(registry: Registry, base_folder: Path) -> Iterator[CoverDrawing]:
    registry.settings.base_models["demo-flux-tiny"] = base_folder
    with threads(1):
        yield registry.cover_drawing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two adapters without a cover and one that has one."""
    folder = tmp_path / "loras"
    folder.mkdir()
    for seed, name in enumerate(("ink_fox", "snow-owl", "seen")):
        write_adapter(folder / f"{name}.safetensors", make_factors(seed))
    (folder / "ink_fox.json").write_text(json.dumps({"trigger_words": ["zqx"]}))
    (folder / "seen.preview.png").write_bytes(image_bytes())
    return folder


def refresh(
    registry: Registry,
    folder: Path,
    draw_covers: int = 10,
    progress: StepCallback | None = None,
    blobs: BlobStore | None = None,
) -> list[StepProgress]:
    settings = registry.settings.model_copy(update={"draw_covers": draw_covers})
    pipeline = Pipeline(
        registry.sessions,
        blobs or registry.blobs,
        settings,
        registry.text_encoder,
        registry.maker.studio,
        progress,
    )
    return list(pipeline.refresh(FolderSource(folder)))


def told(progress: list[StepProgress]) -> list[str]:
    """Return what the step of drawing said of each adapter, "" where it was drawn."""
    outcomes = [step.outcome for step in progress if step.step.name == "draw"]
    return [outcome.message for outcome in outcomes if outcome is not None]


def ids(registry: Registry) -> dict[str, int]:
    with registry.sessions() as session:
        rows = session.execute(select(Adapter.file_name, Adapter.id))
        return {row.file_name.removesuffix(".safetensors"): row.id for row in rows}


def link(registry: Registry, name: str) -> CoverLink | None:
    [card] = registry.cards([ids(registry)[name]])
    return card.covers[0] if card.covers else None


def test_adapters_without_a_cover_are_drawn_one_and_it_says_so(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    progress = refresh(registry, folder)

    assert told(progress) == ["", ""]
    fox = registry.adapter(ids(registry)["ink_fox"])
    [cover] = fox.covers
    assert cover.recipe is not None
    assert (cover.recipe["seed"], cover.recipe["prompt"]) == (0, "ink fox")
    assert cover.prompt == "ink fox, zqx"
    assert [used["sha256"] for used in cover.recipe["adapters"]] == [fox.card.file_sha256]
    drawn, seen = link(registry, "snow-owl"), link(registry, "seen")
    assert drawn is not None
    assert seen is not None
    assert (drawn.drawn, seen.drawn) == (True, False)
    files = registry.cover(fox.card.id, 0)
    assert registry.blobs.exists(files.sha256)
    assert registry.blobs.exists(files.thumbnail_sha256)
    assert told(refresh(registry, folder)) == [], "once is enough"


def test_what_is_drawn_here_teaches_nothing(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    """Captions, learning and likeness read `covers`, which has none of them."""
    refresh(registry, folder)

    with registry.sessions() as session:
        covers = list(session.scalars(select(Cover.adapter_id)))
        captions = list(session.scalars(select(Caption.text)))
        kept = {blob.sha256 for blob in named_blobs(session)}
    assert covers == [ids(registry)["seen"]]
    assert not any("fox" in text or "owl" in text for text in captions)
    assert set(registry.cover(ids(registry)["ink_fox"], 0)) <= kept, "a backup has them"


def test_a_refresh_draws_so_many_and_the_next_goes_on(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    first, second = refresh(registry, folder, 1), refresh(registry, folder, 1)

    assert [step.total for step in first if step.step.name == "draw"] == [1, 1]
    assert told(first) == told(second) == [""]
    assert link(registry, "ink_fox")
    assert link(registry, "snow-owl")


def test_nothing_is_drawn_unless_it_is_wanted(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    progress = refresh(registry, folder, 0)

    assert "draw" not in {step.step.name for step in progress}
    assert link(registry, "ink_fox") is None


def test_a_cover_of_its_own_takes_the_place_of_a_drawn_one(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    refresh(registry, folder)
    (folder / "ink_fox.preview.png").write_bytes(image_bytes())

    refresh(registry, folder)

    own = link(registry, "ink_fox")
    assert own is not None
    assert not own.drawn
    with registry.sessions() as session:
        assert list(session.scalars(select(DrawnCover.adapter_id))) == [ids(registry)["snow-owl"]]


def test_another_file_is_drawn_anew(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    refresh(registry, folder)
    before = link(registry, "ink_fox")
    write_adapter(folder / "ink_fox.safetensors", make_factors(77))

    refresh(registry, folder, 0)
    between = link(registry, "ink_fox")
    refresh(registry, folder)
    after = link(registry, "ink_fox")

    assert between is None, "it shows what the old file draws"
    assert before is not None
    assert after is not None
    assert before.sha256 != after.sha256


def test_one_that_cannot_be_drawn_keeps_no_other_and_is_given_up(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    refresh(registry, folder, 0)
    [card] = registry.cards([ids(registry)["ink_fox"]])
    assert card.file_sha256 is not None
    registry.blobs.path(card.file_sha256).unlink()

    first, *others = [told_alone(drawing) for _ in range(MOST_FAILURES + 1)]

    assert sorted(ok for ok, _ in first) == [False, True]
    [reason] = [message for ok, message in first if not ok]
    assert card.file_sha256[:12] in reason
    assert [len(outcomes) for outcomes in others] == [1] * (MOST_FAILURES - 1) + [0]
    assert link(registry, "ink_fox") is None
    assert link(registry, "snow-owl")


def told_alone(drawing: CoverDrawing) -> list[tuple[bool, str]]:
    return [(one.ok, one.message) for one in drawing.draw_waiting(drawing.wanted())]


def test_a_base_that_is_broken_is_told_of_once_and_no_adapter_is_to_blame(
    registry: Registry, drawing: CoverDrawing, folder: Path, tmp_path: Path
) -> None:
    registry.settings.base_models["demo-flux-tiny"] = tmp_path / "nowhere"

    progress = refresh(registry, folder)

    [message] = told(progress)
    assert "nowhere" in message
    with registry.sessions() as session:
        assert list(session.scalars(select(DrawnCover.adapter_id))) == []


def test_a_base_that_is_broken_keeps_no_other_base_from_its_adapters(
    registry: Registry, drawing: CoverDrawing, folder: Path, tmp_path: Path
) -> None:
    """It is told of last, when the others are drawn."""
    refresh(registry, folder, 0)
    registry.settings.base_models["sdxl-1.0"] = tmp_path / "nowhere"
    with registry.sessions.begin() as session:
        of_another = update(Adapter).where(Adapter.file_name == "ink_fox.safetensors")
        session.execute(of_another.values(base_model="sdxl-1.0"))

    outcomes = drawing.draw_waiting(drawing.wanted())

    assert next(outcomes).message == ""
    with pytest.raises(BaseModelError, match="nowhere"):
        next(outcomes)
    assert link(registry, "snow-owl")
    assert failures(registry) == {"snow-owl": 0}


def test_a_full_device_is_told_of_once_and_the_adapter_comes_after_the_others(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    """So one that alone needs more than there is keeps nobody from the rest."""
    refresh(registry, folder, 0)

    def fill(done: int, total: int) -> None:
        raise OutOfMemoryError("CUDA out of memory")

    [message] = told(refresh(registry, folder, progress=fill))

    assert message.startswith("out of memory")
    assert failures(registry) == {"ink_fox": 0}
    assert told(refresh(registry, folder, 1)) == [""]
    assert link(registry, "ink_fox") is None
    assert link(registry, "snow-owl")
    assert told_alone(drawing) == [(True, "")]
    assert link(registry, "ink_fox")


def failures(registry: Registry) -> dict[str, int]:
    with registry.sessions() as session:
        counts = {one.adapter_id: one.failures for one in session.scalars(select(DrawnCover))}
    return {name: counts[at] for name, at in ids(registry).items() if at in counts}


def test_gates_of_another_base_are_told_of_once_and_no_adapter_is_to_blame(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    def mismatch(done: int, total: int) -> None:
        raise GatesMismatchError("flux.1-dev", "demo-flux-tiny")

    [message] = told(refresh(registry, folder, progress=mismatch))

    assert message.startswith("the gates are for")
    assert failures(registry) == {}


def test_a_bucket_that_is_away_is_told_of_once_and_no_adapter_is_to_blame(
    registry: Registry, drawing: CoverDrawing, folder: Path, tmp_path: Path
) -> None:
    refresh(registry, folder, 0)
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    url = bucket.as_uri()
    away = SharedBlobStore(registry.settings.blobs, url)
    bucket.rmdir()
    bucket.touch()

    progress = refresh(registry, folder, blobs=away)

    [message] = told(progress)
    assert message.startswith(f"the blob store {url} answers")
    assert failures(registry) == {}


def test_without_a_base_the_step_says_what_is_missing(registry: Registry, folder: Path) -> None:
    registry.settings.base_models.clear()

    refresh(registry, folder)

    [run] = registry.runs(limit=1)
    assert [entry["step"] for entry in run.counts["skipped"] if entry["step"] == "draw"] == ["draw"]


def test_two_never_draw_the_same(registry: Registry, drawing: CoverDrawing, folder: Path) -> None:
    """What another process is at is left to it."""
    refresh(registry, folder, 0)
    with registry.sessions() as session:
        engine = session.get_bind().engine

    with hold(engine, HELD_AS, [str(ids(registry)["ink_fox"])]):
        assert told_alone(drawing) == [(True, "")]
    assert link(registry, "ink_fox") is None
    assert told_alone(drawing) == [(True, "")]


def test_whoever_stops_it_loses_nothing(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    refresh(registry, folder, 0)
    wanted = drawing.wanted()

    with closing(drawing.draw_waiting(wanted)) as outcomes:
        assert len(list(islice(outcomes, 1))) == 1

    assert drawing.count_waiting(wanted) == 1
    assert len(told_alone(drawing)) == 1


def test_who_ends_it_at_a_step_blames_no_adapter(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    """A cover takes minutes; who stops a server does not wait for the last step."""
    refresh(registry, folder, 0)
    wanted = drawing.wanted()

    def end(done: int, total: int) -> None:
        raise GenerationCancelledError

    with pytest.raises(GenerationCancelledError):
        list(drawing.draw_waiting(wanted, progress=end))

    assert drawing.count_waiting(wanted) == 2
    with registry.sessions() as session:
        assert list(session.scalars(select(DrawnCover.adapter_id))) == []


def test_what_a_listing_says_of_a_picture_that_is_not_to_be_had_is_drawn(
    registry: Registry, drawing: CoverDrawing, folder: Path
) -> None:
    refresh(registry, folder, 0)
    fox = ids(registry)["ink_fox"]
    with registry.sessions.begin() as session:
        adapter = session.get_one(Adapter, fox)
        covers = [{"url": "gone.mp4", "prompt": "masterpiece, a fox <lora:x:1>"}]
        adapter.record = adapter.record | {"covers": covers}

    with registry.sessions() as session:
        assert drawn_covers.find_prompt(session, fox) == "a fox"
        assert drawn_covers.find_prompt(session, ids(registry)["snow-owl"]) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ink_fox", "ink fox"),
        ("snow-owl", "snow owl"),
        ("Glass_Of_Milk_LoRA v1.2", "Glass Of Milk"),
        ("1980s poster", "1980s poster"),
        ("水墨狐狸_lora", "水墨狐狸"),
        ("my_lora_34", "zqx"),
        ("epoch 41", "zqx"),
    ],
)
def test_names_of_files_are_read_as_words(name: str, words: str) -> None:
    """What says nothing of a picture is left out, and trigger words stand in."""
    assert words_of(name, ["zqx"]) == words
    assert words_of("lora_1", []) == "lora_1"
