"""What the blob store has lost of an origin, to be fetched again."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from registry.db import lost_blobs
from registry.refresh.step import RefreshContext, StepOutcome

# A store elsewhere takes some milliseconds to answer, and is asked about every blob.
QUESTIONS_AT_A_TIME = 16


TOO_MANY = (
    "{lost} of {kept} files and covers are not in the blob store, too many to be fetched again "
    "unasked. See that its disk is mounted; `autolora refresh --full --force` fetches them."
)
# More than so many, and than this share of all, are not believed to be lost: a disk that is not
# mounted would be downloaded anew.
FEW_LOST = 10
SHARE_LOST = 0.2


def want_lost(context: RefreshContext) -> Iterator[StepOutcome]:
    """Have an origin's files and covers fetched again that are missing or cut, within bounds.

    Yields a problem where they are too many. Hashes are not compared: that is reading all of it,
    which a backup does.
    """
    files, adapters, lost, kept = set[str](), set[int](), 0, 0
    with context.sessions() as session, _asking(context) as lacking:
        for some in lost_blobs.kept_files(session, context.origin):
            files |= lacking((file.sha256, file.size) for file in some)
            kept += len(some)
        lost = len(files)
        for covers in lost_blobs.kept_covers(session, context.origin):
            bare = lacking((sha256, None) for cover in covers for sha256 in cover[1:])
            without = [cover.adapter_id for cover in covers if not bare.isdisjoint(cover[1:])]
            adapters |= set(without)
            kept, lost = kept + len(covers), lost + len(without)
    if lost > max(FEW_LOST, SHARE_LOST * kept) and not context.force:
        yield StepOutcome(context.origin.hub, False, TOO_MANY.format(lost=lost, kept=kept))
    elif lost:
        with context.sessions.begin() as session:
            lost_blobs.want_files(session, files)
            lost_blobs.want_covers(session, adapters)


Lacking = Callable[[Iterable[tuple[str, int | None]]], set[str]]


@contextmanager
def _asking(context: RefreshContext) -> Iterator[Lacking]:
    """Give what tells which blobs, of a hash and the bytes that are known, are lost."""
    if context.settings.blobs_url is None:
        yield lambda blobs: {blob[0] for blob in blobs if context.blobs.discard_cut(*blob)}
        return
    with ThreadPoolExecutor(QUESTIONS_AT_A_TIME, thread_name_prefix="blobs") as pool:

        def lacking(blobs: Iterable[tuple[str, int | None]]) -> set[str]:
            asked = list(blobs)
            answers = pool.map(lambda blob: context.blobs.discard_cut(*blob), asked)
            return {sha256 for (sha256, _), lost in zip(asked, answers, strict=True) if lost}

        yield lacking
