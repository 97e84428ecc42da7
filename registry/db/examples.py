"""What an index has to learn from: files with a sketch, and what their covers are said to show."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from encoder.arrays import Floats
from registry.db.encoder_models import Sketch
from registry.db.models import Adapter, Caption, CaptionEmbedding, Cover, File
from registry.db.near_copies import Groups, near_pairs

# Captions of a file that are learned from; some have hundreds.
MOST_CAPTIONS = 12
# Fingerprints as close as this are one adapter, retrained or uploaded again.
NEAR_COPY = 0.95
# What ends the names of one run's files, or of an adapter's versions: `-000010`, `_v2`,
# `-step00000500`, `checkpoint-500`. Fewer digits alone may tell what it shows.
STAGE = re.compile(
    r"(?:[-_. ]{0,3}(?<![a-z])(?:(?:v|ver|version|epoch|step|checkpoint)[-_. ]?\d+(?:\.\d+)?"
    r"|(?<=[-_])\d{6,})){1,3}$",
    re.IGNORECASE,
)
# Files whose captions or sketches are loaded at once.
PAGE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A file that was read, and the embeddings (captions, dim) of what is said of it.

    `group` is what it has in common with others that must not be on both sides of a split: its
    author, its repository, its run where nobody is named, its tensors, or nearly the same change.
    """

    sha256: str
    group: str
    captions: Floats


def count_examples(
    session: Session, base_models: Collection[str], sketch_version: str, text_encoder: str
) -> int:
    """Return how many files `list_examples` would."""
    has_caption = (
        select(Cover.id)
        .join(Caption, Caption.cover_id == Cover.id)
        .join(CaptionEmbedding, CaptionEmbedding.text_md5 == Caption.text_md5)
        .where(Cover.adapter_id == Adapter.id, *_said(text_encoder))
        .exists()
    )
    query = select(func.count(File.sha256.distinct()))
    return session.scalars(query.where(*_sketched(base_models, sketch_version), has_caption)).one()


def list_examples(
    session: Session, base_models: Collection[str], sketch_version: str, text_encoder: str
) -> list[Example]:
    """Return the files of base models that have a sketch and a caption, by hash."""
    columns = select(
        File.sha256,
        File.body_sha256,
        File.fingerprint,
        Adapter.id,
        Adapter.hub,
        Adapter.repo,
        Adapter.author,
    )
    query = columns.where(*_sketched(base_models, sketch_version))
    rows = session.execute(query.order_by(File.sha256, Adapter.id)).all()
    captions = _load_captions(session, {row.id: row.sha256 for row in rows}, text_encoder)
    rows = [row for row in rows if row.sha256 in captions]
    group, makers = Groups(), set()
    for row in rows:
        author, repo = row.author.strip().casefold(), f"{row.hub} {row.repo}"
        maker = f"author {author}" if author else f"run {run_of(repo)}"
        group.join(f"file {row.sha256}", f"body {row.body_sha256 or row.sha256}")
        group.join(f"file {row.sha256}", f"repo {repo}")
        group.join(f"file {row.sha256}", maker)
        makers.add(maker)
    hashes = list(dict.fromkeys(row.sha256 for row in rows))
    fingerprints = {row.sha256: row.fingerprint for row in rows if row.fingerprint is not None}
    own = list(fingerprints)
    for one, other in near_pairs(list(fingerprints.values()), NEAR_COPY):
        group.join(f"file {own[one]}", f"file {own[other]}")
    # Who is held back goes by the name: a hash would change it with every file that comes. An
    # author's is the first of all.
    names: dict[str, str] = {}
    for maker in sorted(makers):
        names.setdefault(group.name(maker), maker)
    return [Example(one, names[group.name(f"file {one}")], captions[one]) for one in hashes]


def run_of(repo: str) -> str:
    """Return what a repository is called as the others of its run: a file's is its path."""
    return "/".join(map(_without_stage, repo.casefold().split("/")))


def _without_stage(part: str) -> str:
    """A folder that is called v1 and no more keeps its name; one of a checkpoint has none."""
    return STAGE.sub("", part) or (part if part.startswith("v") else "")


def _sketched(base_models: Collection[str], sketch_version: str) -> tuple[ColumnElement[bool], ...]:
    """Which files of base models have a sketch, beside the adapters that are of them."""
    return (
        Sketch.file_sha256 == File.sha256,
        Adapter.file_sha256 == File.sha256,
        File.base_model.in_(base_models),
        Sketch.version == sketch_version,
        Adapter.state.in_(["listed", "ready"]),
    )


def _said(text_encoder: str) -> tuple[ColumnElement[bool], ...]:
    """Which captions are learned from."""
    return CaptionEmbedding.text_encoder == text_encoder, Caption.superseded.is_(False)


def load_sketches(
    session: Session, hashes: Sequence[str], version: str
) -> Iterator[tuple[str, bytes]]:
    """Yield the stored sketches of files, a page at a time, in the order of `hashes`."""
    for start in range(0, len(hashes), PAGE):
        page = hashes[start : start + PAGE]
        rows = session.execute(
            select(Sketch.file_sha256, Sketch.data).where(
                Sketch.file_sha256.in_(page), Sketch.version == version
            )
        )
        data = {row.file_sha256: row.data for row in rows}
        yield from ((own, data[own]) for own in page if own in data)


def _load_captions(session: Session, files: dict[int, str], text_encoder: str) -> dict[str, Floats]:
    """Return the caption embeddings (captions, dim) of files, by adapters that are of them."""
    found: dict[str, dict[str, Floats]] = {}
    ids = sorted(files)
    for start in range(0, len(ids), PAGE):
        rows = session.execute(
            select(Cover.adapter_id, Caption.text_md5, CaptionEmbedding.embedding)
            .join(Caption, Caption.cover_id == Cover.id)
            .join(CaptionEmbedding, CaptionEmbedding.text_md5 == Caption.text_md5)
            .where(Cover.adapter_id.in_(ids[start : start + PAGE]), *_said(text_encoder))
            .order_by(Cover.adapter_id, Cover.position, Caption.id)
        )
        for row in rows:
            own = found.setdefault(files[row.adapter_id], {})
            if len(own) < MOST_CAPTIONS:
                own[row.text_md5] = np.asarray(row.embedding, np.float32)
    return {sha256: np.stack(list(own.values())) for sha256, own in found.items()}
