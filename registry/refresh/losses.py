"""What the blob store has lost of an origin, to be fetched again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from registry.db import lost_blobs
from registry.refresh.step import RefreshContext, StepOutcome

# A store elsewhere takes some milliseconds to answer, and is asked about every blob.
QUESTIONS_AT_A_TIME = 16
# More than so many, and than this share of all, are not believed to be lost: a disk that is not
# mounted would be downloaded anew.
FEW_LOST = 10
SHARE_LOST = 0.2
TOO_MANY = (
    "{lost} of {kept} files and covers are not in the blob store, too many to be fetched again "
    "unasked. See that its disk is mounted; `autolora refresh --full --force` fetches them."
)


def want_lost(context: RefreshContext) -> Iterator[StepOutcome]:
    """Have an origin's files and covers fetched again that are missing or cut, within bounds.

    Yields a problem where they are too many. Hashes are not compared: that is reading all of it,
    which a backup does.
    """
    is_lost = context.blobs.discard_cut
    files, bare, kept = list[str](), list[int](), 0
    with (
        context.sessions() as session,
        ThreadPoolExecutor(QUESTIONS_AT_A_TIME, thread_name_prefix="blobs") as pool,
    ):
        for some in lost_blobs.kept_files(session, context.origin):
            answers = pool.map(lambda file: is_lost(file.sha256, file.size), some)
            files += [file.sha256 for file, lost in zip(some, answers, strict=True) if lost]
            kept += len(some)
        for covers in lost_blobs.kept_covers(session, context.origin):
            pictures = pool.map(lambda cover: is_lost(cover.sha256, None), covers)
            thumbnails = pool.map(lambda cover: is_lost(cover.thumbnail_sha256, None), covers)
            found = zip(covers, pictures, thumbnails, strict=True)
            bare += [cover.adapter_id for cover, *lost in found if any(lost)]
            kept += len(covers)
    count = len(files) + len(bare)
    if count > max(FEW_LOST, SHARE_LOST * kept) and not context.force:
        yield StepOutcome(context.origin.hub, False, TOO_MANY.format(lost=count, kept=kept))
    elif count:
        with context.sessions.begin() as session:
            lost_blobs.want_files(session, files)
            lost_blobs.want_covers(session, set(bare))
