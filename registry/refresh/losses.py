"""What the blob store has lost of an origin, to be fetched again."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from registry.db import lost_blobs
from registry.refresh.step import RefreshContext

# A store elsewhere takes some milliseconds to answer, and is asked about every blob.
QUESTIONS_AT_A_TIME = 16


def want_lost(context: RefreshContext) -> int:
    """Have an origin's files and covers fetched again that are missing or cut; return how many.

    Hashes are not compared: that is reading all of it, which a backup does.
    """
    files, adapters = set[str](), set[int]()
    with context.sessions() as session, _asking(context) as lacking:
        for some in lost_blobs.kept_files(session, context.origin):
            files |= lacking((file.sha256, file.size) for file in some)
        for covers in lost_blobs.kept_covers(session, context.origin):
            lost = lacking((sha256, None) for cover in covers for sha256 in cover[1:])
            adapters |= {cover.adapter_id for cover in covers if not lost.isdisjoint(cover[1:])}
    if files or adapters:
        with context.sessions.begin() as session:
            lost_blobs.want_files(session, files)
            lost_blobs.want_covers(session, adapters)
    return len(files) + len(adapters)


Lacking = Callable[[Iterable[tuple[str, int | None]]], set[str]]


@contextmanager
def _asking(context: RefreshContext) -> Iterator[Lacking]:
    """Give what tells which blobs, of a hash and the bytes that are known, are lost."""
    if context.settings.blobs_url is None:
        yield lambda blobs: {sha256 for sha256, size in blobs if context.blobs.lacks(sha256, size)}
        return
    with ThreadPoolExecutor(QUESTIONS_AT_A_TIME, thread_name_prefix="blobs") as pool:

        def lacking(blobs: Iterable[tuple[str, int | None]]) -> set[str]:
            asked = list(blobs)
            answers = pool.map(lambda blob: context.blobs.lacks(*blob), asked)
            return {sha256 for (sha256, _), lost in zip(asked, answers, strict=True) if lost}

        yield lacking
