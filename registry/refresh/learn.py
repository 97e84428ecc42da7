"""The index -> a weight encoder for a base model: trained on what was crawled, judged, promoted.

From sketches and captions in the database: no base model is run, and files are read only where a
basis for sketches is learned from them. One author in five is never trained on; on their adapters
a fresh encoder is compared with the active one, and it serves only where it finds more for
certain.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sqlalchemy.orm import Session, sessionmaker

from crawler.counted import counted
from encoder.base_models.families import Family, find_family
from encoder.text_encoder import TextEncoder
from encoder.training.progress import Progress
from registry.blobs import BlobStore
from registry.db.encoder_models import Encoder
from registry.db.encoder_removals import remove_encoder
from registry.db.encoders import candidates, find_active, find_encoder, register_encoder
from registry.db.examples import Example, count_examples, list_examples, load_sketches
from registry.db.pending import base_models_of_files
from registry.db.promotion import chance_mrr, promote
from registry.errors import NotEnoughToLearnError, PromotionError
from registry.refresh.backfill import backfill, load_registered
from registry.refresh.bases import IndexBases
from registry.refresh.scratch import scratch_folder, take_room
from registry.retrieval.calibration import calibrate

if TYPE_CHECKING:
    from encoder.arrays import Doubles
    from encoder.sketches.sketch import Sketch
    from encoder.training.judging import Interval
    from encoder.weight_encoders.checkpoint import WeightEncoder
    from encoder.weight_encoders.ridge import RidgeEncoder

# Fewer captioned adapters find hardly more than a random order does (docs/training.md).
FEWEST_ADAPTERS = 100
# What a lesson's encoders were measured on.
HELD_BACK = "authors held back"
# Fewer cannot tell whether one encoder is better than another.
FEWEST_HELD_BACK = 15
# An interval comes of drawing authors again: of one author it has no width, of few hardly any.
FEWEST_AUTHORS_HELD_BACK = 8


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned of a base model's adapters, and whether search uses it now.

    `mrr` is of held-back adapters for their own captions, in galleries of up to 60; `gain` is over
    the active encoder on the same ones, None where there was none. `outcome` tells in words;
    `sketches` is the version of those that were learned from.
    """

    base_model: str
    trained_on: int
    held_back: int
    mrr: "Interval"
    gain: "Interval | None"
    encoder: str | None
    outcome: str
    sketches: str
    seconds: float


class _Parted(NamedTuple):
    """A family's examples: to learn from, and by authors who are never learned from."""

    family: Family
    train: Sequence[Example]
    held: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Learner:
    """Learns from one database and one blob store; `folder` holds sketches meanwhile."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    text_encoder: TextEncoder
    folder: Path

    def learn(self, base_model: str, progress: Progress, *, anew: bool = False) -> Lesson:
        """Train an encoder for a base model's family, and let it serve where it finds more.

        First the basis of its sketches is learned where it is time to; `anew` says that it is.

        Raises:
            NotEnoughToLearnError: too few captioned adapters, or authors.
            PromotionError: what it finds more would cost what is found now.
            DiskFullError: there is no room for their sketches.
        """
        from encoder.training.judging import is_held_back

        started = time.monotonic()
        family = find_family(base_model)
        if family is None:
            raise NotEnoughToLearnError(f"no layers are known of base model {base_model!r}")
        examples = self._examples(family)
        held = [example for example in examples if is_held_back(example.group)]
        train = [example for example in examples if not is_held_back(example.group)]
        _check_enough(family.name, train, held)
        version, note = self._version(family, held, progress, anew)
        with scratch_folder(self.folder, "learning-") as folder:
            lesson = self._learn(version, _Parted(family, train, held), folder, progress)
        seconds = time.monotonic() - started
        return replace(lesson, outcome=lesson.outcome + note, seconds=seconds)

    def count_examples(self, base_model: str) -> int:
        """Return how many files of a base model's family have what is learned from."""
        family = find_family(base_model)
        if family is None:
            return 0
        with self.sessions() as session:
            return count_examples(session, *self._wanted(session, family))

    def _examples(self, family: Family) -> list[Example]:
        with self.sessions() as session:
            return list_examples(session, *self._wanted(session, family))

    def _wanted(self, session: Session, family: Family) -> tuple[list[str], str, str]:
        """Return base models, and by what sketches and texts their files are examples."""
        from encoder.sketches.sketch import default_layout

        names = [n for n in base_models_of_files(session) if find_family(n) is family]
        return names, default_layout(family).version, self.text_encoder.name

    def _version(
        self, family: Family, held: Sequence[Example], progress: Progress, anew: bool
    ) -> tuple[str, str]:
        """Return the version of the sketches to learn from, and what is to be said of it.

        Those in the index's own basis, unless some files have none in it: who is found by his
        weights stays found.
        """
        from encoder.sketches.sketch import default_layout, layout_of

        bases = IndexBases(self.sessions, self.blobs, self.folder)
        held_back = {example.sha256 for example in held}
        basis = bases.learn(family, held_back, progress, anew=anew)
        if basis is None:
            return default_layout(family).version, ""
        version = layout_of(family, basis).version
        missing = bases.sketch(family, basis, progress)
        if missing:
            number = counted(missing, "file is not kept and has", "files are not kept and have")
            note = f"; {number} no sketch {version}, so it is not used"
            return default_layout(family).version, note
        return version, f"; learned from sketches {version}"

    def _learn(self, version: str, examples: _Parted, folder: Path, progress: Progress) -> Lesson:
        from encoder.training.judging import interval
        from encoder.weight_encoders.checkpoint import save_encoder

        family, train, held = examples
        sketches = self._load(version, [*train, *held], folder / "sketches", progress)
        unseen = [sketches[example.sha256] for example in held]
        with self.sessions() as session:
            active = find_active(session, family.name)
        progress(0, 1, "Fitting")
        serves = family.name if active is None else active.base_model
        loaded = self._load_active(active)
        start, root = self._start(active, loaded, version)
        fitted = self._fit(serves, start, train, [sketches[e.sha256] for e in train])
        groups = [example.group for example in held]
        places = _judge(fitted, unseen, held)
        mrr = interval(places, groups)
        known = None if loaded is None else self._judge_active(loaded, held, folder, progress)
        gain = None if known is None else interval(places - known, groups)
        metrics = {**_metrics(train, held, mrr, gain), "learned_on_from": root}
        fitted = replace(fitted, metrics={**fitted.metrics, **metrics})
        progress(1, 1, "Fitting")
        name, outcome = None, _unpromoted(mrr, gain, len(held), active)
        if outcome is None:
            path = folder / "encoder.safetensors"
            save_encoder(fitted, path)
            reason = f"learned from the index: MRR {mrr}"
            reason += f", {gain} more than {active.name}" if active and gain else ""
            name = self._serve(path, reason, progress)
            outcome = f"{name} is active for {family.name}"
        return Lesson(family.name, len(train), len(held), mrr, gain, name, outcome, version, 0.0)

    def _load(
        self, version: str, examples: Sequence[Example], path: Path, progress: Progress
    ) -> "dict[str, Sketch]":
        """Lay sketches out on disk, where training reads one layer of all of them at a time.

        Those of one version are laid out alike. A file without one of it is left out.

        Raises:
            DiskFullError: there is no room for them.
        """
        from encoder.sketches.sketch import Sketch

        hashes, sketches = [example.sha256 for example in examples], {}
        table: np.memmap[Any, np.dtype[np.float16]] | None = None
        with self.sessions() as session:
            for row, (own, data) in enumerate(load_sketches(session, hashes, version)):
                stored = Sketch.from_bytes(data)
                if table is None:
                    layout = stored.layout
                    shape = len(hashes), stored.values.size
                    take_room(path, np.dtype(np.float16).itemsize * shape[0] * shape[1])
                    table = np.memmap(path, np.float16, "r+", shape=shape)
                table[row] = stored.values
                sketches[own] = replace(stored, values=table[row], layout=layout)
                progress(row + 1, len(hashes), "Loading sketches")
        return sketches

    def _start(
        self, active: Encoder | None, loaded: "WeightEncoder | None", version: str
    ) -> "tuple[RidgeEncoder | None, str]":
        """Return what to learn on from, and its name: the encoder that was here before any lesson.

        A lesson goes through all adapters that are here now, so it does not begin at another one:
        what was learned of an adapter before would look like what is known of strangers.
        """
        from encoder.weight_encoders.ridge import RidgeEncoder

        if active is not None and loaded is not None and loaded.metrics.get("split") == HELD_BACK:
            with self.sessions() as session:
                active = find_encoder(session, loaded.metrics.get("learned_on_from", ""))
            loaded = self._load_active(active)
        if active and isinstance(loaded, RidgeEncoder) and loaded.sketch_version == version:
            return loaded, active.name
        return None, ""

    def _fit(
        self,
        base_model: str,
        start: "RidgeEncoder | None",
        train: Sequence[Example],
        sketches: "list[Sketch]",
    ) -> "RidgeEncoder":
        from encoder.training.learn_on import learn_on
        from encoder.training.train import SketchedAdapters, fit_ridge_to_sketches

        numbers = {name: k for k, name in enumerate(sorted({e.group for e in train}))}
        adapters = SketchedAdapters(
            sketches,
            [example.captions for example in train],
            groups=[numbers[example.group] for example in train],
        )
        name = f"{base_model}-learned"
        if start is not None:
            return learn_on(start, adapters, name=name)
        return fit_ridge_to_sketches(
            adapters,
            name=name,
            base_model=base_model,
            text_encoder=self.text_encoder.name,
        )

    def _load_active(self, active: Encoder | None) -> "WeightEncoder | None":
        """Load the active encoder, if it meets the texts that are asked with."""
        if active is None or active.text_encoder != self.text_encoder.name:
            return None
        return load_registered(self.blobs, active)

    def _judge_active(
        self, active: "WeightEncoder", held: Sequence[Example], folder: Path, progress: Progress
    ) -> "Doubles | None":
        """Return how the active encoder places the adapters held back, if it reads them."""
        sketches = self._load(active.sketch_version, held, folder / "active", progress)
        if len(sketches) < len(held):
            return None
        return _judge(active, [sketches[example.sha256] for example in held], held)

    def _serve(self, checkpoint: Path, reason: str, progress: Progress) -> str:
        """Register an encoder, embed everything by it, and let search use it.

        Raises:
            PromotionError: what is found by its weights now would be lost. Nothing of it stays.
        """
        with self.sessions.begin() as session:
            encoder = register_encoder(session, self.blobs, checkpoint)
        for done, _ in enumerate(backfill(self.sessions, self.blobs, encoder), start=1):
            progress(done, done, "Encoding weights")
        try:
            with self.sessions.begin() as session:
                promoted = promote(session, encoder.name, reason=reason)
                loaded = load_registered(self.blobs, promoted)
                promoted.calibration = calibrate(session, promoted, loaded).to_json()
        except PromotionError as error:
            self._give_up(encoder)
            raise PromotionError(
                f"{encoder.name} was learned and is given up: files came meanwhile, or some that "
                f"are found by their weights have no sketch {encoder.sketch_version}. Run "
                "`autolora encode`, then learn again."
            ) from error
        return encoder.name

    def _give_up(self, encoder: Encoder) -> None:
        """Remove an encoder, unless it is one that served before: the next lesson makes another."""
        with self.sessions.begin() as session:
            for unused in candidates(session, {encoder.checkpoint_sha256}):
                remove_encoder(session, unused.name)


def learnable_base_models(session: Session) -> list[str]:
    """Return the families that have files here, by name."""
    families = {find_family(name) for name in base_models_of_files(session)}
    return sorted(family.name for family in families if family is not None)


def _check_enough(name: str, train: Sequence[Example], held: Sequence[Example]) -> None:
    apart = len({example.group for example in held})
    is_tellable = len(held) >= FEWEST_HELD_BACK and apart >= FEWEST_AUTHORS_HELD_BACK
    if len(train) < FEWEST_ADAPTERS or not is_tellable:
        authors = apart + len({example.group for example in train})
        raise NotEnoughToLearnError(
            f"{counted(len(train) + len(held), 'adapter')} of {name} with sketch and caption, by "
            f"{counted(authors, 'author')}: {len(train)} to learn from and {len(held)} by authors "
            f"that are held back, one in five, {apart} of them; {FEWEST_ADAPTERS}, and "
            f"{FEWEST_HELD_BACK} by {FEWEST_AUTHORS_HELD_BACK}, are needed. Crawl more, or write "
            "captions with `autolora caption`"
        )


def _judge(
    encoder: "WeightEncoder", sketches: "Sequence[Sketch]", held: Sequence[Example]
) -> "Doubles":
    from encoder.training.judging import reciprocal_places

    queries = [encoder.encode_query(example.captions) for example in held]
    return reciprocal_places(queries, encoder.encode(sketches))


def _metrics(
    train: Sequence[Example], held: Sequence[Example], mrr: "Interval", gain: "Interval | None"
) -> dict[str, Any]:
    """Return what a checkpoint and promotion say of it."""
    from encoder.training.judging import GALLERY

    return {
        "split": HELD_BACK,
        "adapters": {"train": len(train), "validation": min(len(held), GALLERY)},
        "authors": {
            "train": len({e.group for e in train}),
            "validation": len({e.group for e in held}),
        },
        "validation": {"mrr": round(mrr.mean, 4)},
        "interval": [round(mrr.low, 4), round(mrr.high, 4)],
        "gain": None if gain is None else [round(v, 4) for v in (gain.mean, gain.low, gain.high)],
    }


def _unpromoted(
    mrr: "Interval", gain: "Interval | None", held: int, active: Encoder | None
) -> str | None:
    """Return why an encoder may not serve, in words; None if it may."""
    from encoder.training.judging import GALLERY

    chance = chance_mrr(min(held, GALLERY))
    if mrr.low <= 2 * chance:
        return (
            f"not promoted: MRR {mrr} on {held} adapters held back; a random order has {chance:.3f}"
        )
    if active is not None and gain is None:
        return f"not promoted: {active.name} reads other sketches or texts and cannot be compared"
    if gain is not None and gain.low <= 0:
        assert active is not None
        return f"not promoted: {gain} more than {active.name} on {held} adapters held back"
    return None
