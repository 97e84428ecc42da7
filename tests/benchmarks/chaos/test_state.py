"""What counts as a difference between two registries."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.chaos.state import State, differences, read_state
from registry.blobs import BlobStore
from registry.config import Settings
from tests.builders import add_adapter, axis

EMPTY: State = {"adapters": {}}


@pytest.fixture
def database(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have homes use the database of all tests: `settings` has cleared the environment before."""
    monkeypatch.setenv("REGISTRY_DATABASE_URL", database_url)


def test_nothing_differs_from_itself() -> None:
    state: State = {"adapters": {"alice/cat@": {"state": "ready", "rank": 4.0}}}

    assert list(differences(state, state)) == []


def test_missing_other_and_changed_things_are_named() -> None:
    expected: State = {"adapters": {"cat": {"state": "ready"}, "dog": {"state": "ready"}}}
    found: State = {"adapters": {"cat": {"state": "gone"}, "fox": {"state": "ready"}}}

    assert list(differences(found, expected)) == [
        "adapters: cat is state 'gone', not 'ready'",
        "adapters: dog is missing",
        "adapters: fox should not be there",
    ]
    assert list(differences(EMPTY, expected)) != []


@pytest.mark.parametrize(
    ("found", "same"), [([0.6, 0.8], True), ([0.8, 0.6], False), ([0.6], False)]
)
def test_embeddings_are_compared_by_their_numbers(found: list[float], same: bool) -> None:
    expected: State = {"weight embeddings": {"file": {"embedding": [0.6001, 0.7999]}}}

    wrong = list(differences({"weight embeddings": {"file": {"embedding": found}}}, expected))

    assert (wrong == []) == same


def test_a_registry_is_read_whole_and_blobs_are_held_against_it(
    settings: Settings, sessions: sessionmaker[Session], database: None
) -> None:
    """One blob is needed and missing, one is there and needed by nothing, a partial file stays."""
    with sessions.begin() as session:
        adapter = add_adapter(session, embedding=axis(0), captions=[("a cat", axis(1))])
        needed = adapter.file_sha256
    BlobStore(settings.blobs).put_bytes(b"nobody's")
    partial = settings.home / "downloads" / "abc.incomplete"
    partial.parent.mkdir()
    partial.write_bytes(b"half")

    state = read_state(settings.home)

    assert len(state["adapters"]) == len(state["files"]) == len(state["captions"]) == 1
    assert len(state["weight embeddings"]) == len(state["covers"]) == 1
    assert needed in state["blobs that are missing"]
    assert len(state["blobs that nothing needs"]) == 1
    assert state["blobs with other bytes"] == {}
    assert list(state["partial files"]) == ["downloads/abc.incomplete"]


def test_other_bytes_under_a_blobs_name_are_seen(settings: Settings, database: None) -> None:
    blobs = BlobStore(settings.blobs)
    path = blobs.path(blobs.put_bytes(b"a cat"))
    path.chmod(0o600)
    path.write_bytes(b"a dog")

    assert list(read_state(settings.home)["blobs with other bytes"]) == [path.name]
