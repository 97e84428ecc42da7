"""Many files read in processes beside this one: Python computes in one of its threads at a time.

A process is told over a pipe what to read, and ends when that is closed: also where whoever started
it was killed. Files are hostile, and Python's own pool ends as a whole where one of its processes
dies [1].

- [1] https://docs.python.org/3/library/concurrent.futures.html#exception-classes
"""

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from registry.child_python import child_environment, child_words
from registry.db.reading_facts import Reading
from registry.refresh.reading import ReadTask, load_reading, read_file

# Fewer files are read sooner here: a process takes two seconds to begin.
FEWEST_FILES = 100
# Each takes 400 MB of memory.
MOST_PROCESSES = 4


def count_processes(files: int) -> int:
    """Return how many processes are worth while for so many files; 0 where none is."""
    processors = os.cpu_count() or 1
    if files < FEWEST_FILES or processors == 1:
        return 0
    return min(processors, MOST_PROCESSES)


class FileReaders:
    """Processes that read files. They begin with the first file; `close` ends them."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="read")
        self._processes = [_ReaderProcess() for _ in range(count)]
        self._idle: SimpleQueue[_ReaderProcess] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)

    def warm_up(self) -> None:
        """Start the processes, and wait for none: what they import is there when they read."""
        for process in self._processes:
            process.start()

    def begin(self, tasks: Sequence[ReadTask]) -> Iterator[Reading | str]:
        """Begin to read files; what comes of them, as of `read_file`, is waited for in turn."""
        readings = [self._threads.submit(self._read, task) for task in tasks]
        return (reading.result() for reading in readings)

    def close(self) -> None:
        """End the processes, whatever they are reading."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.end()
        self._threads.shutdown()
        # One that was just beginning then.
        for process in self._processes:
            process.end()

    def _read(self, task: ReadTask) -> Reading | str:
        # There is a process for each thread.
        process = self._idle.get()
        try:
            return process.read(task)
        finally:
            self._idle.put(process)


class _ReaderProcess:
    """One process; if it dies of a file, the next file has another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, task: ReadTask) -> Reading | str:
        process = self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            reading: Reading | str = pickle.load(process.stdout)  # noqa: S301 by our own process
        except (EOFError, OSError, pickle.UnpicklingError):
            self.end()
            return (
                f"the process that read it ended ({process.returncode}), perhaps for want of "
                "memory. It is read again with the next refresh."
            )
        return reading

    def start(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = _start()
        return self._process

    def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Closes the pipes, whatever was still on its way.
            process.communicate()


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        child_words(__name__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # There is a process for each processor.
        env=child_environment() | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        # Ctrl-C is for the first process, which ends the others.
        start_new_session=True,
    )


def main() -> None:
    """Read files as told, until nobody tells any more."""
    with os.fdopen(os.dup(1), "wb") as answers:
        # Whatever else is printed is no answer.
        os.dup2(2, 1)
        # What modules define stays: looking through it for garbage takes time at every import.
        gc.disable()
        load_reading()
        gc.freeze()
        gc.enable()
        while True:
            try:
                task = pickle.load(sys.stdin.buffer)  # noqa: S301 by our own process
            except EOFError:
                return
            try:
                pickle.dump(read_file(task), answers)
                answers.flush()
            except BrokenPipeError:
                # Whoever asked is gone; a file that is closed would be flushed once more.
                os._exit(1)


if __name__ == "__main__":
    main()
