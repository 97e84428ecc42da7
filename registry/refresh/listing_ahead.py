"""What a hub lists is asked for while what it listed before is stored."""

import threading
from collections.abc import Generator, Iterator
from queue import Queue
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], count: int) -> Generator[T]:
    """Yield `items` in their order; a thread takes about `count` of them before they are wanted.

    What taking them raises is raised after those before it. Who stops iterating does not wait for
    the one that is being taken.
    """
    # Each as a list of one, so that none is mistaken for an error or the end.
    taken: Queue[list[T] | BaseException | None] = Queue(count)
    is_over = threading.Event()

    def take() -> None:
        try:
            for item in items:
                if is_over.is_set():
                    return
                taken.put([item])
            taken.put(None)
        except BaseException as error:
            taken.put(error)

    threading.Thread(target=take, name="listing", daemon=True).start()
    try:
        while (found := taken.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        is_over.set()
        # It may be waiting for room.
        while not taken.empty():
            taken.get_nowait()
