"""When a folder that changes is refreshed."""

from pathlib import Path

import pytest
from watchfiles import Change

from registry.api.folder_keeper import MOST_UNSETTLED_SECONDS, Changing, _changed

MINE, OTHER = Path("/mine"), Path("/home/.cache/other")


def test_a_folder_is_refreshed_when_nothing_in_it_changes_any_more() -> None:
    changing = Changing(lambda: 0.0)

    assert changing.settled([MINE]) == []
    assert changing.settled([MINE, OTHER]) == []
    assert changing.settled([OTHER]) == [MINE]
    assert changing.settled([]) == [OTHER]
    assert changing.settled([]) == []


def test_one_in_which_something_always_changes_is_refreshed_now_and_then() -> None:
    clock = iter(
        [0.0, MOST_UNSETTLED_SECONDS, MOST_UNSETTLED_SECONDS + 1, MOST_UNSETTLED_SECONDS + 2]
    )
    changing = Changing(lambda: next(clock))

    told = [changing.settled([MINE]) for _ in range(3)]

    assert told == [[], [], [MINE]]
    assert changing.settled([]) == [MINE], "it changed since"


@pytest.mark.parametrize(
    ("path", "folders"),
    [
        ("/mine/a.safetensors", [MINE]),
        ("/home/.cache/other/new/a.png", [OTHER]),
        ("/mine/.5c2e.partial", []),
        ("/mine/.git/index", []),
        ("/elsewhere/a", []),
    ],
)
def test_what_is_hidden_in_a_folder_is_no_change_of_it(path: str, folders: list[Path]) -> None:
    assert _changed([MINE, OTHER], [(Change.modified, path)]) == folders
