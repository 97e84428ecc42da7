"""Files that are read in processes beside this one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.db.reading_facts import Reading
from registry.refresh import file_readers
from registry.refresh.file_readers import FEWEST_FILES, MOST_PROCESSES, FileReaders, count_processes
from registry.refresh.reading import ReadTask, read_file
from tests.encoder.builders import make_factors, write_adapter


@pytest.fixture(scope="module")
def readers() -> Iterator[FileReaders]:
    """One process for all tests: it takes two seconds to begin."""
    readers = FileReaders(1)
    yield readers
    readers.close()


@pytest.fixture
def task(tmp_path: Path) -> ReadTask:
    path = write_adapter(tmp_path / "cat.safetensors", make_factors(seed=1))
    return ReadTask(path, "1" * 64, "a version")


def _without_time(reading: Reading | str) -> Reading:
    assert isinstance(reading, Reading)
    return replace(reading, columns={**reading.columns, "read_at": None})


def test_files_are_read_beside_as_they_are_here(readers: FileReaders, task: ReadTask) -> None:
    """Also what is refused, and why; answers come in the order of the questions."""
    broken = task.path.with_name("broken.safetensors")
    broken.write_bytes(b"no safetensors")
    tasks = [task, ReadTask(broken, "2" * 64, "a version"), task]

    beside = [_without_time(reading) for reading in readers.begin(tasks)]

    assert beside == [_without_time(read_file(task)) for task in tasks]
    assert [bool(reading.refusal) for reading in beside] == [False, True, False]


@pytest.mark.usefixtures("foreign_folder")
def test_files_are_read_by_our_own_code_wherever_that_is_run(task: ReadTask) -> None:
    readers = FileReaders(1)

    [read] = readers.begin([task])
    readers.close()

    assert isinstance(read, Reading), read


def test_a_file_that_is_gone_is_told_in_words(readers: FileReaders, task: ReadTask) -> None:
    """It is read again with the next refresh, and stops nothing."""
    gone = replace(task, path=task.path.with_name("gone.safetensors"))

    [told, read] = readers.begin([gone, task])

    assert told == read_file(gone)
    assert isinstance(told, str), "it refuses nothing"
    assert isinstance(read, Reading)


def test_a_process_that_dies_costs_one_file(readers: FileReaders, task: ReadTask) -> None:
    """The kernel kills what takes too much memory; the next file has another process."""
    list(readers.begin([task]))
    process = readers._processes[0].start()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    [told, read] = readers.begin([task, task])

    assert isinstance(told, str)
    assert "the process that read it ended (-9)" in told
    assert isinstance(read, Reading)


def test_processes_end_when_nobody_tells_them_any_more() -> None:
    """So does one whose refresh was killed: the pipe closes with it."""
    process = file_readers._start()
    assert process.stdin is not None
    process.stdin.close()

    assert process.wait(60) == 0
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize(
    ("processors", "files", "processes"),
    [
        (1, 10 * FEWEST_FILES, 0),
        (2, FEWEST_FILES - 1, 0),
        (2, FEWEST_FILES, 2),
        (64, FEWEST_FILES, MOST_PROCESSES),
    ],
)
def test_few_files_and_one_processor_need_no_processes(
    processors: int, files: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beginning takes longer than reading them here."""
    monkeypatch.setattr("os.cpu_count", lambda: processors)

    assert count_processes(files) == processes


def test_a_process_that_reads_loads_no_database() -> None:
    """SQLAlchemy and the settings took a second of a processor in each."""
    code = (
        "import sys, registry.refresh.file_readers; "
        "print(*{'sqlalchemy', 'pydantic', 'psycopg', 'httpx'} & sys.modules.keys())"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""
