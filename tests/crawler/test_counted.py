"""Numbers in words."""

from crawler.counted import counted


def test_of_one_thing_there_is_no_plural() -> None:
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(1, "file is", "files are") == "1 file is"
    assert counted(1200, "file is", "files are") == "1,200 files are"
