"""Several processes that answer at one address: the kernel hands each connection to one of them."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client.multiprocess import mark_process_dead

from registry.child_python import child_environment, child_words
from registry.running import Identity

logger = logging.getLogger(__name__)

# How often the others are looked after; one that has ended is begun anew.
LOOK_SECONDS = 1.0
# How long they may take to end; each gives answers under way a few seconds.
END_SECONDS = 20.0


@contextmanager
def served_by_others(
    listener: socket.socket, count: int, identity: Identity, options: Sequence[str]
) -> Iterator[None]:
    """Let `count` more processes serve on `listener`, until the block ends.

    `options` are those of `autolora serve` that they are to have as well.
    """
    others = [_start(listener, identity, options) for _ in range(count)]
    ended = threading.Event()

    def look_after() -> None:
        while not ended.wait(LOOK_SECONDS):
            for place, process in enumerate(others):
                if process.poll() is not None:
                    logger.warning("a serving process ended with %s", process.returncode)
                    # Else what waited in it would be counted as waiting for ever.
                    mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
                    others[place] = _start(listener, identity, options)

    watch = threading.Thread(target=look_after, daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()
        for process in others:
            assert process.stdin is not None
            process.stdin.close()
        for process in others:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def end_with_the_first() -> Identity:
    """End this process, one of others, when the first is gone; return what all are known by."""
    identity = Identity.model_validate_json(sys.stdin.buffer.readline())

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
    return identity


def _start(
    listener: socket.socket, identity: Identity, options: Sequence[str]
) -> "subprocess.Popen[bytes]":
    number = listener.fileno()
    process = subprocess.Popen(
        child_words("registry", "serve", "--inherited", str(number), *options),
        env=child_environment(),
        pass_fds=[number],
        # Its end tells them that the first has ended, however that came.
        stdin=subprocess.PIPE,
        # Ctrl-C is for the first process, which ends the others.
        start_new_session=True,
    )
    assert process.stdin is not None
    # Not as an option: everybody can read those.
    process.stdin.write(identity.model_dump_json().encode() + b"\n")
    process.stdin.flush()
    return process
