"""Files -> a basis of the index's own for a family's sketches, and sketches in it.

Random inputs tell little of an adapter (encoder/sketches/basis.py). Where the package ships no
basis for a family, one is learned from the files that were crawled. Files are sketched in it
beside the usual sketch: those that come when they are read, those that are here afterwards. Of
what is not kept there is none.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from encoder.base_models.families import Family, find_family
from encoder.errors import LoraFileError, SketchError
from encoder.training.progress import Progress
from registry.blobs import BlobStore
from registry.db import sketch_bases
from registry.db.encoder_models import Sketch, SketchBasis
from registry.db.pending import base_models_of_files
from registry.db.reading_facts import Beside
from registry.refresh.reading import load_basis
from registry.refresh.scratch import scratch_folder

if TYPE_CHECKING:
    from encoder.sketches.basis import Basis

# Of fewer files a direction may be one adapter's own.
FEWEST_FILES = 100
# It is learned anew from so many times as many files.
GROWTH = 2
# Files sketched between two commits.
TOGETHER = 16


def find_bases(sessions: sessionmaker[Session], blobs: BlobStore) -> dict[str, Path]:
    """Return where the bases lie that this index has learned, by family.

    Of one that the blob store has lost, files are read without: they have the usual sketch.
    """
    with sessions() as session:
        known = sketch_bases.list_bases(session)
    places = {basis.family: blobs.path(basis.basis_sha256) for basis in known}
    return {family: path for family, path in places.items() if path.is_file()}


@dataclass(frozen=True, slots=True)
class IndexBases:
    """The bases of one index: learned from what is kept, and used to sketch what is here."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    folder: Path

    def learn(
        self, family: Family, held_back: Collection[str], progress: Progress, *, anew: bool
    ) -> "Basis | None":
        """Return the family's basis, learned if it is time to; None if it has none of its own.

        One that the blob store has lost is none. The files `held_back` are not learned from. With
        `anew` it is learned whatever there is.
        """
        from encoder.sketches.basis import find_basis
        from encoder.sketches.basis_learning import MOST_ADAPTERS

        with self.sessions() as session:
            kept = sketch_bases.list_kept(session, _base_models(session, family))
            known = sketch_bases.find_basis(session, family.name)
        if known is not None and not self.blobs.exists(known.basis_sha256):
            known = None
        # Hashes are in no order, so neither are those that are taken.
        files = [sha256 for sha256 in kept if sha256 not in held_back][:MOST_ADAPTERS]
        is_time = len(files) >= (FEWEST_FILES if known is None else GROWTH * known.files)
        if anew or (is_time and find_basis(family.name) is None):
            return self._learn(family, files, progress)
        return None if known is None else load_basis(self.blobs.path(known.basis_sha256))

    def _learn(self, family: Family, files: Sequence[str], progress: Progress) -> "Basis":
        from encoder.sketches.basis_learning import learn_basis
        from encoder.sketches.sketch import layout_of

        paths = [self.blobs.path(sha256) for sha256 in files if self.blobs.exists(sha256)]
        basis = learn_basis(family, paths, progress=progress)
        with scratch_folder(self.folder, "basis-") as folder:
            path = folder / "basis.safetensors"
            basis.save(path)
            row = {
                "family": family.name,
                "version": layout_of(family, basis).version,
                "basis_sha256": self.blobs.put_file(path),
                "files": len(paths),
            }
        with self.sessions.begin() as session:
            session.execute(insert(SketchBasis).on_conflict_do_nothing(), row)
        return basis

    def sketch(self, family: Family, basis: "Basis", progress: Progress) -> int:
        """Sketch in a basis what is kept and has no sketch in it; return how many still lack one.

        Those are not kept, or cannot be read any more. It can be stopped anywhere and goes on.
        """
        from encoder.sketches.sketch import layout_of

        version, after, done = layout_of(family, basis).version, "", 0
        with self.sessions() as session:
            names = _base_models(session, family)
            total = sketch_bases.count_to_sketch(session, names, version)
        while True:
            with self.sessions() as session:
                page = sketch_bases.list_to_sketch(session, names, version, after, TOGETHER)
            if not page:
                break
            rows = [
                {"file_sha256": sha256, "version": version, "data": data}
                for sha256, beside in page.items()
                if (data := self._sketch(sha256, beside, basis)) is not None
            ]
            if rows:
                with self.sessions.begin() as session:
                    session.execute(insert(Sketch).on_conflict_do_nothing(), rows)
            after, done = max(page), done + len(page)
            progress(done, total, "Sketching")
        with self.sessions() as session:
            return sketch_bases.count_to_sketch(session, names, version)

    def _sketch(self, sha256: str, beside: Beside, basis: "Basis") -> bytes | None:
        """Return a file's sketch; None of one that cannot be read: its reading says why."""
        from encoder.adapter.lora_file import Context, open_adapter
        from encoder.sketches.sketch import Sketcher
        from encoder.threads import threads

        if not self.blobs.exists(sha256):
            return None
        try:
            path = self.blobs.path(sha256)
            opened = open_adapter(path, context=Context(beside.claims, beside.peft_config))
            sketcher = Sketcher(opened.base_model, basis=basis)
            with threads(1):
                opened.read(sketcher)
            return sketcher.finish().to_bytes()
        except (LoraFileError, SketchError):
            return None


def _base_models(session: Session, family: Family) -> list[str]:
    return [name for name in base_models_of_files(session) if find_family(name) is family]
