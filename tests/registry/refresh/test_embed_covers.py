"""Covers embedded in a refresh by the image encoder of the settings, and found by it."""

from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from crawler.sources.folder import FolderSource
from registry.db import cover_embeddings
from registry.db.models import Adapter, Cover, CoverEmbedding
from registry.refresh.pipeline import Pipeline, StepProgress
from registry.refresh.steps.embed_covers import EmbedCoversStep
from registry.service import Registry
from tests.crawler.builders import image_bytes
from tests.crawler.pictures.builders import encoded, opened
from tests.encoder.builders import make_factors, write_adapter
from tests.encoder.test_image_encoder import save_clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "loras"
    folder.mkdir()
    for seed in range(4):
        write_adapter(folder / f"a{seed}.safetensors", make_factors(seed))
        (folder / f"a{seed}.png").write_bytes(image_bytes(seed, (64, 64), "PNG"))
    return folder


def refresh(registry: Registry, folder: Path) -> list[StepProgress]:
    settings = registry.settings
    pipeline = Pipeline(registry.sessions, registry.blobs, settings, registry.text_encoder)
    progress = pipeline.refresh(FolderSource(folder))
    return [one for one in progress if one.step.name == "covers" and one.outcome]


def use_encoder(registry: Registry, folder: Path) -> None:
    registry.settings.image_encoder = folder


def count(registry: Registry) -> int:
    with registry.sessions() as session:
        return session.scalar(select(func.count()).select_from(CoverEmbedding)) or 0


def test_covers_are_embedded_once(registry: Registry, folder: Path, tmp_path: Path) -> None:
    assert refresh(registry, folder) == []

    use_encoder(registry, save_clip(tmp_path / "clip"))
    done = refresh(registry, folder)

    assert [one.outcome.ok for one in done if one.outcome] == [True] * 4
    assert done[-1].done == done[-1].total == 4
    assert count(registry) == 4
    assert refresh(registry, folder) == []


def test_another_encoder_embeds_beside(registry: Registry, folder: Path, tmp_path: Path) -> None:
    use_encoder(registry, save_clip(tmp_path / "one", seed=1))
    refresh(registry, folder)
    use_encoder(registry, save_clip(tmp_path / "two", seed=2))
    refresh(registry, folder)

    assert count(registry) == 8


def step_of(registry: Registry, folder: Path) -> EmbedCoversStep:
    """Return the step as a worker of these settings has it."""
    settings = registry.settings
    pipeline = Pipeline(registry.sessions, registry.blobs, settings, registry.text_encoder)
    return EmbedCoversStep(pipeline.context(FolderSource(folder), 1))


def test_workers_share_covers_and_say_when_they_are_set_to_another_encoder(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    refresh(registry, folder)
    use_encoder(registry, save_clip(tmp_path / "one", seed=1))
    here = step_of(registry, folder)
    [one, other] = here.list_keys(2)

    assert len(list(here.do(one))) == 2
    assert list(here.do(one)) == []
    use_encoder(registry, save_clip(tmp_path / "two", seed=2))
    [refused] = step_of(registry, folder).do(other)
    use_encoder(registry, tmp_path / "nowhere")
    [unusable] = step_of(registry, folder).do(other)

    assert count(registry) == 2
    assert "set it alike" in refused.message
    assert "REGISTRY_IMAGE_ENCODER" in unusable.message
    assert [len(keys) for keys in here.list_keys(2)] == [2]


def test_a_folder_without_a_model_is_told_and_stops_nothing(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    use_encoder(registry, tmp_path / "nowhere")
    (problem,) = refresh(registry, folder)

    assert problem.outcome is not None
    assert "REGISTRY_IMAGE_ENCODER" in problem.outcome.message
    with registry.sessions() as session:
        assert session.scalars(select(Adapter.state).distinct()).all() == ["ready"]

    page = registry.search_picture((folder / "a1.png").read_bytes())
    assert [result.found_by[0].way for result in page.results] == ["near cover"]
    assert "image encoder cannot be used" in page.notes[0]


@pytest.mark.parametrize("left", [None, 30])
def test_a_cover_whose_bytes_are_gone_or_cut_is_told(
    registry: Registry, folder: Path, tmp_path: Path, left: int | None
) -> None:
    refresh(registry, folder)
    with registry.sessions() as session:
        lost = session.scalars(select(Cover.sha256).limit(1)).one()
    picture = registry.blobs.path(lost)
    start = picture.read_bytes()[:left]
    picture.unlink()
    if left is not None:
        picture.write_bytes(start)

    use_encoder(registry, save_clip(tmp_path / "clip"))
    outcomes = [one.outcome for one in refresh(registry, folder) if one.outcome]

    assert sorted(outcome.ok for outcome in outcomes) == [False, True, True, True]


def test_a_picture_is_found_by_the_encoder(
    registry: Registry, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turned round it has another hash; the encoder of random weights still sees its like."""
    monkeypatch.setattr("registry.retrieval.cover_vectors.LEAST_ABOVE", -100.0)
    use_encoder(registry, save_clip(tmp_path / "clip"))
    refresh(registry, folder)
    turned = opened((folder / "a2.png").read_bytes()).rotate(90)

    page = registry.search_picture(encoded(turned, "PNG"), limit=3)

    assert len(page.results) == 3
    ways = [by for result in page.results for by in result.found_by]
    assert {by.way for by in ways} == {"image"}
    similarities = [by.similarity for by in ways]
    assert similarities == sorted(similarities, reverse=True)
    own = registry.search_picture((folder / "a2.png").read_bytes(), limit=3).results[0]
    assert [by.way for by in own.found_by] == ["near cover", "image"]
    assert own.found_by[1].similarity == pytest.approx(1, abs=1e-2)


def test_what_is_usual_is_not_alike(registry: Registry, folder: Path, tmp_path: Path) -> None:
    """Of four covers none stands out, so a stranger's picture finds nothing."""
    use_encoder(registry, save_clip(tmp_path / "clip"))
    refresh(registry, folder)

    assert registry.search_picture(image_bytes(99, (64, 64), "PNG")).results == ()


def test_many_covers_get_an_index_of_their_encoders_width(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cover_embeddings, "LEAST_INDEXED", 3)
    for name, dim in (("clip-a", 4), ("siglip-b", 6)):
        vectors = {f"{number:064d}": [float(number + 1)] + [1.0] * (dim - 1) for number in range(3)}
        cover_embeddings.store(session, name, dict(list(vectors.items())[:2]))
        cover_embeddings.build_index(session, name)
        assert not index_used(session, name, dim)
        cover_embeddings.store(session, name, vectors)
        cover_embeddings.build_index(session, name)
        cover_embeddings.build_index(session, name)
        assert index_used(session, name, dim)


def test_an_index_that_another_refresh_makes_is_left_to_it(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cover_embeddings, "LEAST_INDEXED", 1)
    with sessions.begin() as session:
        cover_embeddings.store(session, "clip-a", {"0" * 64: [1.0] * 4})
    with sessions() as one, sessions.begin() as other:
        cover_embeddings.build_index(one, "clip-a")
        # It would wait for the first, which is not done before the test.
        other.execute(text("SET LOCAL lock_timeout = '1s'"))

        cover_embeddings.build_index(other, "clip-a")

        one.rollback()


def index_used(session: Session, name: str, dim: int) -> bool:
    for setting in ("enable_sort", "enable_seqscan", "enable_bitmapscan"):
        session.execute(text(f"SET LOCAL {setting} = off"))
    plan = session.scalars(
        text(
            f"EXPLAIN SELECT sha256 FROM cover_embeddings WHERE image_encoder = '{name}' "
            f"ORDER BY embedding::halfvec({dim}) <=> :vector LIMIT 2"
        ),
        {"vector": str([1.0] * dim)},
    ).all()
    return "ix_cover_embeddings_" in "\n".join(plan)
