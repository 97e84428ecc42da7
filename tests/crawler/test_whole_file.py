"""What is there whole or not at all."""

from pathlib import Path

import pytest

from crawler.whole_file import check_writable, written_whole


def write_half(path: Path, error: BaseException) -> None:
    with written_whole(path) as partial:
        partial.write_text("half")
        raise error


def test_what_was_there_is_there_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "zoo.json"
    path.write_text("before")

    with written_whole(path) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"

    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_was_not_finished_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "zoo.json"
    path.write_text("before")

    with pytest.raises(type(error)):
        write_half(path, error)

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_begun_raises_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_half(tmp_path / "absent" / "zoo.json", KeyboardInterrupt())


def test_where_nothing_can_be_written_is_known_before(tmp_path: Path) -> None:
    """And trying leaves nothing of its own, and what another is writing."""
    path = tmp_path / "zoo.json"
    check_writable(path)
    assert list(tmp_path.iterdir()) == []
    with written_whole(path) as partial:
        partial.write_text("half")
        check_writable(path)
    assert path.read_text() == "half"
    for cannot in (tmp_path / "absent" / "zoo.json", tmp_path / f"{'x' * 250}.json"):
        with pytest.raises(OSError, match=r"No such file|too long"):
            check_writable(cannot)
