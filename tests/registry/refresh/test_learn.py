"""The index trains an encoder of its own, which serves only where it finds more."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from encoder.adapter.quarter_matrix import QuarterMatrix
from encoder.adapter.two_bit_matrix import TwoBitMatrix
from encoder.sketches.sketch import Sketch, default_layout
from encoder.training.beliefs import learn_whom_to_believe
from encoder.training.progress import silent
from encoder.training.train import SketchedAdapters
from encoder.weight_encoders.autolora import family_of
from encoder.weight_encoders.checkpoint import save_encoder
from encoder.weight_encoders.concepts import Concepts
from encoder.weight_encoders.ridge import RidgeEncoder
from registry.db.encoder_models import Encoder, EncoderPromotion, SketchBasis, WeightEmbedding
from registry.db.encoder_models import Sketch as StoredSketch
from registry.db.encoders import count_missing, find_active, get_encoder, register_encoder
from registry.db.examples import list_examples, load_sketches
from registry.db.models import File
from registry.db.pending import PendingFile
from registry.db.promotion import promote
from registry.db.records import record_to_json
from registry.errors import DiskFullError, NotEnoughToLearnError, PromotionError
from registry.refresh import bases, learn
from registry.refresh.backfill import backfill, load_registered
from registry.refresh.reading import load_basis
from registry.refresh.steps.read import read_stored
from registry.service import Registry
from tests.builders import TEXT_ENCODER, add_adapter, axis
from tests.encoder.builders import planted_factors, write_adapter
from tests.registry.db.test_records import make_record

FAMILY = family_of("demo-flux-tiny")
LAYOUT = default_layout(FAMILY)
AUTHORS = 60


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are about what is worth it, not about what can be computed."""
    monkeypatch.setattr(learn, "FEWEST_ADAPTERS", 60)
    monkeypatch.setattr(learn, "FEWEST_HELD_BACK", 10)


def unit(values: Any) -> Any:
    return values / np.linalg.norm(values)


def add_taught(
    session: Session, count: int, *, tells: bool = True, seed: int = 0, authors: int = AUTHORS
) -> None:
    """Add adapters whose sketches tell what their captions say, or nothing at all."""
    world, rng = np.random.default_rng(0), np.random.default_rng(seed + 1)
    topics = world.normal(size=(8, 512))
    directions = world.normal(size=(8, int(LAYOUT.sizes.sum()))).astype(np.float32) / 50
    for number in range(count):
        mixture = rng.normal(size=8)
        said = [unit(mixture @ topics + rng.normal(size=512) * 3) for _ in range(2)]
        own = mixture if tells else rng.normal(size=8)
        noise = rng.normal(size=directions.shape[1]) * 0.6
        values = (own @ directions + noise).astype(np.float16)
        layers = len(LAYOUT.shapes)
        sketch = Sketch(
            LAYOUT,
            FAMILY.name,
            values,
            np.zeros(layers, np.float32),
            np.ones(layers, np.bool_),
        )
        adapter = add_adapter(
            session,
            author=f"author {number % authors}",
            captions=[
                (f"caption {seed} {number} {k}", text.tolist()) for k, text in enumerate(said)
            ],
        )
        assert adapter.file_sha256 is not None
        session.add(
            StoredSketch(
                file_sha256=adapter.file_sha256, version=LAYOUT.version, data=sketch.to_bytes()
            )
        )


def test_the_first_encoder_serves_where_weights_tell_what_captions_say(registry: Registry) -> None:
    """And another one that finds no more is not promoted."""
    with registry.sessions.begin() as session:
        add_taught(session, 100)

    lesson = registry.learn("demo-flux-tiny")

    assert lesson.encoder == "demo-flux-tiny-learned"
    assert lesson.gain is None
    assert lesson.mrr.low > 0.2
    with registry.sessions() as session:
        active = find_active(session, "demo-flux-tiny")
        assert active is not None
        assert active.name == lesson.encoder
        assert active.metrics["adapters"]["train"] == lesson.trained_on
        embedded = session.scalars(select(WeightEmbedding.file_sha256)).all()
        assert len(embedded) == 100

    again = registry.learn("demo-flux-tiny")

    assert again.encoder is None
    assert again.gain is not None
    assert again.gain.mean == 0.0
    assert f"more than {lesson.encoder}" in again.outcome
    with registry.sessions() as session:
        assert session.scalars(select(EncoderPromotion.kind)).all() == ["promoted"]


def test_a_file_that_tells_nothing_keeps_no_encoder_from_serving(registry: Registry) -> None:
    """Nor its adapter from being shown: it is found by captions and words."""
    with registry.sessions.begin() as session:
        add_taught(session, 100)
        [*_, last] = session.scalars(select(StoredSketch).order_by(StoredSketch.file_sha256))
        sketch = Sketch.from_bytes(last.data)
        nothing = replace(sketch, mask=np.zeros_like(sketch.mask))
        last.data = nothing.to_bytes()
        silent = last.file_sha256

    lesson = registry.learn("demo-flux-tiny")

    assert lesson.encoder == "demo-flux-tiny-learned"
    with registry.sessions() as session:
        assert count_missing(session, require_active(session)) == 0
        assert silent in session.scalars(select(WeightEmbedding.file_sha256)).all()


def test_sketches_that_a_disk_has_no_room_for_are_said_so(
    registry: Registry, small_disk: Path
) -> None:
    """Mapped into memory they would kill the process, of which nobody would know why."""
    with registry.sessions.begin() as session:
        add_taught(session, 100)
    assert 2 * 100 * LAYOUT.sizes.sum() > 2**20
    learner = learn.Learner(registry.sessions, registry.blobs, registry.text_encoder, small_disk)
    with pytest.raises(DiskFullError, match="no space left"):
        learner.learn("demo-flux-tiny", silent)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_nothing_serves_where_weights_tell_nothing(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_taught(session, 100, tells=False)

    lesson = registry.learn("demo-flux-tiny")

    assert lesson.encoder is None
    assert "a random order has" in lesson.outcome
    with registry.sessions() as session:
        assert session.scalars(select(Encoder)).all() == []


def test_an_encoder_that_learned_more_replaces_the_active_one_and_can_be_taken_back(
    registry: Registry,
) -> None:
    with registry.sessions.begin() as session:
        add_taught(session, 90)
    first = registry.learn("demo-flux-tiny")
    assert first.encoder is not None
    with registry.sessions.begin() as session:
        add_taught(session, 240, seed=1)

    second = registry.learn("demo-flux-tiny")

    assert second.gain is not None
    assert second.gain.low > 0
    assert second.encoder is not None
    assert second.encoder != first.encoder
    with registry.sessions() as session:
        before = get_encoder(session, first.encoder)
    # It lacks what came since it was replaced.
    list(backfill(registry.sessions, registry.blobs, before))
    assert registry.roll_back("demo-flux-tiny") == first.encoder
    assert registry.roll_back("demo-flux-tiny") is None
    with registry.sessions() as session:
        assert find_active(session, "demo-flux-tiny") is None
    with pytest.raises(PromotionError, match="no encoder is active"):
        registry.roll_back("demo-flux-tiny")


def test_an_encoder_that_may_not_serve_leaves_nothing_behind(registry: Registry) -> None:
    """Each night would train another, and embed the whole index by it."""
    with registry.sessions.begin() as session:
        add_taught(session, 90)
    first = registry.learn("demo-flux-tiny")
    with registry.sessions.begin() as session:
        add_taught(session, 240, seed=1)
        # It is found by its weights, and has no sketch that another encoder could read.
        add_adapter(session, embedding=axis(0))

    with pytest.raises(PromotionError, match="was learned and is given up"):
        registry.learn("demo-flux-tiny")

    with registry.sessions() as session:
        assert session.scalars(select(Encoder.name)).all() == [first.encoder]
        assert len(session.scalars(select(WeightEmbedding.file_sha256)).all()) == 91
        assert require_active(session).name == first.encoder


def test_what_the_bases_gradients_say_is_kept_by_an_encoder_that_learned_more(
    registry: Registry, tmp_path: Path
) -> None:
    with registry.sessions.begin() as session:
        add_taught(session, 90)
    registry.learn("demo-flux-tiny")
    with registry.sessions() as session:
        first = load_registered(registry.blobs, require_active(session))
    assert isinstance(first, RidgeEncoder)
    rng, size = np.random.default_rng(5), int(LAYOUT.sizes.sum())
    concepts = Concepts(
        np.zeros(size, np.float32),
        np.arange(64, dtype=np.int32),
        TwoBitMatrix.of(rng.normal(size=(60, 64)).astype(np.float32)),
        QuarterMatrix.of(rng.normal(size=(60, 512)).astype(np.float32)),
        np.array([0, 20], np.int32),
    )
    with registry.sessions() as session:
        taught = examples_of(session)
    spoken_encoder = learn_whom_to_believe(first, taught, concepts, concepts)
    save_encoder(
        replace(spoken_encoder, name="spoken", metrics={}), tmp_path / "spoken.safetensors"
    )
    with registry.sessions.begin() as session:
        spoken = register_encoder(session, registry.blobs, tmp_path / "spoken.safetensors")
    list(backfill(registry.sessions, registry.blobs, spoken))
    with registry.sessions.begin() as session:
        promote(session, "spoken", reason="a test")
        add_taught(session, 300, seed=1)

    second = registry.learn("demo-flux-tiny")

    assert second.encoder is not None
    with registry.sessions() as session:
        active = require_active(session)
        kept = load_registered(registry.blobs, active)
    assert active.name == second.encoder
    assert isinstance(kept, RidgeEncoder)
    assert kept.known is not None
    np.testing.assert_array_equal(kept.known.concepts.keys.packed, concepts.keys.packed)
    assert active.metrics["learned_on_from"] == "spoken"

    third = registry.learn("demo-flux-tiny")

    # From the same start and the same adapters comes the same: not from what was learned of them.
    assert third.encoder is None
    assert third.gain is not None
    assert third.gain.mean == 0.0


def examples_of(session: Session) -> SketchedAdapters:
    examples = list_examples(session, ["demo-flux-tiny"], LAYOUT.version, TEXT_ENCODER)
    captions = {example.sha256: example.captions for example in examples}
    loaded = list(load_sketches(session, list(captions), LAYOUT.version))
    return SketchedAdapters(
        [Sketch.from_bytes(data) for _, data in loaded], [captions[own] for own, _ in loaded]
    )


def require_active(session: Session) -> Encoder:
    active = find_active(session, "demo-flux-tiny")
    assert active is not None
    return active


def test_too_little_is_said_to_be_too_little(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        add_taught(session, 20)

    with pytest.raises(
        NotEnoughToLearnError, match=r"20 adapters of demo-flux-tiny.*by 20 authors"
    ) as few:
        registry.learn("demo-flux-tiny")
    # 115 by one author are not enough either: the two counts tell which is.
    counts = re.search(r"(\d+) to learn from and (\d+) by authors that are held", str(few.value))
    assert counts is not None
    assert sum(map(int, counts.groups())) == 20
    with pytest.raises(NotEnoughToLearnError, match="no layers are known"):
        registry.learn("nothing known")
    with pytest.raises(NotEnoughToLearnError, match=r"0 adapters of flux\.1 "):
        registry.learn("Flux.1 D")


def test_few_authors_do_not_tell_how_certain_a_gain_is(registry: Registry) -> None:
    """Theirs are alike: drawn again, one author's adapters are the same ones each time."""
    with registry.sessions.begin() as session:
        add_taught(session, 100, authors=20)

    with pytest.raises(NotEnoughToLearnError, match=r"one in five, 4 of them; 60, and 10 by 8,"):
        registry.learn("demo-flux-tiny")


def test_what_has_something_in_common_is_one_group(registry: Registry) -> None:
    """An author's series, the same tensors by another one, and an adapter trained on a little."""
    rng = np.random.default_rng(0)
    change = rng.normal(size=256)
    facts = {
        "series 1": ("ann", "b1", None),
        "series 2": (" ANN ", "b2", None),
        "the same tensors": ("bob", "b2", change),
        "trained on": ("", "b3", change + rng.normal(size=256) / 20),
        "another": ("cid", "b4", rng.normal(size=256)),
        "nobody's": ("", "b5", None),
    }
    with registry.sessions.begin() as session:
        for name, (author, body, fingerprint) in facts.items():
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            add_adapter(
                session,
                file_sha256=sha256,
                author=author,
                captions=[(name, unit(rng.normal(size=512)).tolist())],
            )
            file = session.get_one(File, sha256)
            file.body_sha256 = body
            file.fingerprint = None if fingerprint is None else fingerprint.tolist()
            session.add(StoredSketch(file_sha256=sha256, version=LAYOUT.version, data=b""))
    with registry.sessions() as session:
        examples = list_examples(session, ["demo-flux-tiny"], LAYOUT.version, TEXT_ENCODER)

    group = {example.sha256: example.group for example in examples}
    named = {name: group[hashlib.sha256(name.encode()).hexdigest()] for name in facts}
    assert {named[name] for name in list(facts)[:4]} == {"author ann"}
    assert len(set(named.values())) == 3


def test_a_group_keeps_its_name_while_its_files_come(registry: Registry) -> None:
    """The name decides who is held back: what was learned from is never judged by later."""
    names = set()
    for epoch, digit in enumerate("8c40"):
        with registry.sessions.begin() as session:
            sha256 = digit * 64
            caption = f"epoch {epoch}", axis(epoch)
            add_adapter(
                session,
                file_sha256=sha256,
                hub="folder",
                repo=f"loras/ink-{10 - epoch:06d}",
                author="",
                captions=[caption],
            )
            session.add(StoredSketch(file_sha256=sha256, version=LAYOUT.version, data=b""))
        with registry.sessions() as session:
            examples = list_examples(session, ["demo-flux-tiny"], LAYOUT.version, TEXT_ENCODER)
        assert len(examples) == epoch + 1
        names |= {example.group for example in examples}

    assert names == {"run folder loras/ink"}


def test_stages_of_a_run_and_versions_of_a_repository_are_one_group(registry: Registry) -> None:
    """Files of a folder name no author, and one epoch is hardly another adapter than the next."""
    repos = {
        ("folder", "loras/Ink-000010"): 0,
        ("folder", "loras/ink-000020"): 0,
        ("folder", "loras/ink"): 0,
        ("folder", "loras/ink_v1.5-step00000500"): 0,
        ("folder", "loras/runs/fox/checkpoint-500/adapter"): 1,
        ("folder", "loras/runs/fox/checkpoint-1000/adapter"): 1,
        ("folder", "loras/runs/owl/checkpoint-500/adapter"): 2,
        ("folder", "loras/other/ink"): 3,
        ("folder", "loras/style 12"): 4,
        ("folder", "loras/style 13"): 5,
        ("civitai", "77"): 6,
        ("civitai", "78"): 7,
        ("folder", "loras/v1"): 8,
        ("folder", "loras/v2"): 9,
        ("folder", "loras/dev2"): 10,
        ("folder", "loras/dev3"): 11,
    }
    rng = np.random.default_rng(0)
    expected: dict[str, int] = {}
    with registry.sessions.begin() as session:
        for (hub, repo), run in repos.items():
            for version in ("1", "2") if hub == "civitai" else ("",):
                caption = f"{repo} {version}", unit(rng.normal(size=512)).tolist()
                author = f"author {repo} {version}" if version else ""
                facts: dict[str, Any] = {"hub": hub, "repo": repo, "version": version}
                sha256 = add_adapter(
                    session, captions=[caption], author=author, **facts
                ).file_sha256
                assert sha256 is not None
                session.add(StoredSketch(file_sha256=sha256, version=LAYOUT.version, data=b""))
                expected[sha256] = run
    with registry.sessions() as session:
        examples = list_examples(session, ["demo-flux-tiny"], LAYOUT.version, TEXT_ENCODER)

    runs_of: dict[str, set[int]] = {}
    for example in examples:
        runs_of.setdefault(example.group, set()).add(expected[example.sha256])
    assert sorted(map(sorted, runs_of.values())) == [[run] for run in range(12)]


def add_taught_files(registry: Registry, folder: Path, count: int) -> list[str]:
    """Add adapters with files, that change what few inputs do, which tells what captions say."""
    world, rng = np.random.default_rng(0), np.random.default_rng(1)
    topics = world.normal(size=(4, 512))
    hashes = []
    for number in range(count):
        mixture = rng.normal(size=4)
        path = write_adapter(folder / f"{number}.safetensors", planted_factors(mixture, number))
        hashes.append(registry.blobs.put_file(path))
        said = [unit(mixture @ topics + rng.normal(size=512)).tolist() for _ in range(2)]
        author = f"author {number % AUTHORS}"
        record = replace(make_record("demo-flux-tiny"), author=author)
        with registry.sessions.begin() as session:
            add_adapter(
                session,
                author=author,
                captions=[(f"caption {number} {k}", text) for k, text in enumerate(said)],
                file_sha256=hashes[-1],
                record=record_to_json(record),
            )
    files = [PendingFile(sha256, "an adapter") for sha256 in hashes]
    assert all(o.ok for o in read_stored(registry.sessions, registry.blobs, files, "1"))
    return hashes


def versions_of(registry: Registry, sha256: str) -> set[str]:
    with registry.sessions() as session:
        query = select(StoredSketch.version).where(StoredSketch.file_sha256 == sha256)
        return set(session.scalars(query))


def test_an_index_learns_the_basis_of_its_sketches_from_its_files(
    registry: Registry, tmp_path: Path
) -> None:
    *hashes, late = add_taught_files(registry, tmp_path, 95)
    assert versions_of(registry, hashes[0]) == {LAYOUT.version}

    lesson = registry.learn("demo-flux-tiny", new_basis=True)

    assert lesson.encoder is not None
    assert lesson.sketches != LAYOUT.version
    assert f"learned from sketches {lesson.sketches}" in lesson.outcome
    assert versions_of(registry, hashes[0]) == {LAYOUT.version, lesson.sketches}
    with registry.sessions() as session:
        assert get_encoder(session, lesson.encoder).sketch_version == lesson.sketches
        assert len(session.scalars(select(WeightEmbedding.file_sha256)).all()) == 95

    # What is read from now on is sketched in it at once.
    with registry.sessions.begin() as session:
        session.execute(delete(StoredSketch).where(StoredSketch.file_sha256 == late))
    read_stored(registry.sessions, registry.blobs, [PendingFile(late, "an adapter")], "1")
    assert versions_of(registry, late) == {LAYOUT.version, lesson.sketches}

    # It is not learned anew before the index has grown, and the active encoder is compared.
    again = registry.learn("demo-flux-tiny")
    assert again.sketches == lesson.sketches
    assert again.gain is not None


def test_a_basis_that_the_blob_store_lost_is_learned_anew_and_keeps_no_file_from_being_read(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As of a family that the package has no basis for.
    monkeypatch.setattr("encoder.sketches.basis.find_basis", lambda _: None)
    monkeypatch.setattr(bases, "FEWEST_FILES", 60)
    *_, late = add_taught_files(registry, tmp_path, 95)
    learned = registry.learn("demo-flux-tiny").sketches
    assert learned != LAYOUT.version
    with registry.sessions.begin() as session:
        basis = session.scalars(select(SketchBasis.basis_sha256)).one()
        session.execute(delete(StoredSketch).where(StoredSketch.file_sha256 == late))
    registry.blobs.path(basis).unlink()
    load_basis.cache_clear()

    read = read_stored(registry.sessions, registry.blobs, [PendingFile(late, "an adapter")], "1")

    assert [outcome.ok for outcome in read] == [True]
    assert versions_of(registry, late) == {LAYOUT.version}
    assert registry.learn("demo-flux-tiny").sketches == learned
    assert registry.blobs.exists(basis)
    assert versions_of(registry, late) == {LAYOUT.version, learned}


def test_a_basis_is_not_used_where_files_are_not_kept(registry: Registry, tmp_path: Path) -> None:
    hashes = add_taught_files(registry, tmp_path, 12)
    with registry.sessions.begin() as session:
        add_taught(session, 90)
        session.execute(update(File).where(File.sha256.not_in(hashes)).values(state="dropped"))

    lesson = registry.learn("demo-flux-tiny", new_basis=True)

    assert lesson.encoder is not None
    assert lesson.sketches == LAYOUT.version
    assert "90 files are not kept" in lesson.outcome
