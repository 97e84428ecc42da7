"""Covers for adapters that came without one, drawn with themselves."""

import re
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from crawler.covers import read_cover
from encoder.base_models.facts import common_bases, related_base_models
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import drawn_covers
from registry.db.adapters import Origin
from registry.db.drawn_covers import DrawnFacts, WaitingCover, Wanted
from registry.db.holds import hold
from registry.db.session import now
from registry.errors import (
    AdapterNotFoundError,
    AdapterNotReadyError,
    BlobStoreError,
    DiskError,
    HasCoverError,
    MissingExtraError,
    NoBaseModelError,
)
from registry.fusion.catalogue import Ingredient
from registry.fusion.errors import (
    BaseModelError,
    DeviceMemoryError,
    FusionError,
    GatesFileError,
    GatesMismatchError,
    GenerationCancelledError,
)
from registry.fusion.options import Drawing, StepCallback
from registry.fusion.studio import Studio
from registry.refresh.problems import reported
from registry.refresh.step import StepOutcome
from registry.retrieval.cards import load_cards

# The same for all: whoever draws one again sees the same.
SEED = 0
# What adapters are held as while they are drawn.
HELD_AS = "draw covers"
# Adapters that are listed at once.
PAGE = 64
# What names of files have between words, and the words that say nothing of a picture.
JOINTS = re.compile(r"[\s_]+|(?<=\w)-+(?=\w)")
SAYS_NOTHING = re.compile(
    r"\b(?:(?:my\s+)?(?:lora|locon|loha|lokr|dora|lycoris)|(?:v|epoch|step)?\s?\d+(?:\.\d+)*)\b",
    re.I,
)


# What a person has to mend before a base can draw any cover.
BASE_CANNOT_DRAW = (BaseModelError, GatesFileError, GatesMismatchError)
# The same before any base can, which all others would meet.
NOTHING_CAN_BE_DRAWN = (*BASE_CANNOT_DRAW, BlobStoreError, DeviceMemoryError, MissingExtraError)


@dataclass(frozen=True, slots=True)
class CoverDrawing:
    """Draws covers with the bases of the settings, one after the other.

    Any number of processes may at once: each takes adapters that no other is at. Killed anywhere
    it leaves nothing half done, and goes on from there.
    """

    sessions: sessionmaker[Session]
    blobs: BlobStore
    settings: Settings
    studio: Studio

    def base_for(self, base_model: str) -> str | None:
        """Return the base that draws adapters of a base model here, if there is one."""
        base = common_bases([base_model], self.settings.base_models)[0]
        return base if base in self.settings.base_models else None

    def wanted(self, base_model: str | None = None, origin: Origin | None = None) -> Wanted:
        """Return whose covers can be drawn, of adapters of all base models or of one.

        Raises:
            NoBaseModelError: the settings name no base for it.
        """
        if base_model is not None and self.base_for(base_model) is None:
            raise NoBaseModelError(base_model)
        bases = self.settings.base_models
        names = {name for base in bases for name in related_base_models(base)}
        with self.sessions() as session:
            return Wanted([base_model] if base_model else sorted(names), now(session), origin)

    def count_waiting(self, wanted: Wanted) -> int:
        with self.sessions() as session:
            return drawn_covers.count_waiting(session, wanted)

    def draw_waiting(
        self, wanted: Wanted, limit: int | None = None, progress: StepCallback | None = None
    ) -> Generator[StepOutcome]:
        """Draw up to `limit` covers that wait; an outcome for each, once it is stored.

        Raises:
            GenerationCancelledError: `progress` did.
            BaseModelError, GatesFileError, GatesMismatchError: a base cannot draw; what others
                can is drawn by then.
            MissingExtraError: nothing can be drawn here.
            DeviceMemoryError: there is no room for a cover, or for none now.
            BlobStoreError, DiskError: nothing more can be fetched or stored.
        """
        engine: Engine = self.sessions.kw["bind"]
        left = limit
        elsewhere: set[int] = set()
        broken: dict[str | None, FusionError] = {}
        while (left is None or left > 0) and (page := self._page(wanted, elsewhere)):
            for waiting in page[:left]:
                base = self.base_for(waiting.base_model)
                if base in broken:
                    continue
                with hold(engine, HELD_AS, [str(waiting.adapter_id)]) as mine:
                    if not mine:
                        elsewhere.add(waiting.adapter_id)
                    elif self._still_waits(wanted, waiting):
                        try:
                            outcome = self._try(waiting, progress)
                        except BASE_CANNOT_DRAW as error:
                            broken[base] = error
                            wanted = self._but_of(wanted, base)
                        else:
                            yield outcome
                            left = None if left is None else left - 1
        if broken:
            raise next(iter(broken.values()))

    def _page(self, wanted: Wanted, but: Collection[int]) -> list[WaitingCover]:
        with self.sessions() as session:
            return drawn_covers.list_waiting(session, wanted, PAGE, but=but)

    def _but_of(self, wanted: Wanted, base: str | None) -> Wanted:
        """Return whose covers are drawn by another base."""
        names = [name for name in wanted.base_models if self.base_for(name) != base]
        return wanted._replace(base_models=names)

    def _still_waits(self, wanted: Wanted, waiting: WaitingCover) -> bool:
        with self.sessions() as session:
            return drawn_covers.still_waits(session, wanted, waiting.adapter_id)

    def _try(self, waiting: WaitingCover, progress: StepCallback | None) -> StepOutcome:
        try:
            self.draw(waiting.adapter_id, progress)
        except DeviceMemoryError as error:
            # Whether this adapter needs too much or others have it all, only the next ones tell.
            with self.sessions.begin() as session:
                drawn_covers.postpone(session, waiting.adapter_id, reported(error))
            raise
        except (*NOTHING_CAN_BE_DRAWN, DiskError, GenerationCancelledError):
            # All others, or all others of its base, would fail alike.
            raise
        except Exception as error:
            # Any: a stranger's file must not stop the others. It is reported, and tried again.
            reason = reported(error)
            with self.sessions.begin() as session:
                drawn_covers.store_failure(session, waiting.adapter_id, reason)
            return StepOutcome(waiting.adapter, False, reason)
        return StepOutcome(waiting.adapter)

    def draw(self, adapter_id: int, progress: StepCallback | None = None) -> None:
        """Draw an adapter's cover, and store it with its recipe.

        `progress` is told of every step, and ends the work by what it raises.

        Raises:
            AdapterNotFoundError, AdapterNotReadyError: there is none of this id, or no file of it.
            HasCoverError: it came with one.
            NoBaseModelError: the settings name no base for it.
            FusionError: it cannot be fused.
        """
        with self.sessions() as session:
            card = load_cards(session, [adapter_id]).get(adapter_id)
            if card is None:
                raise AdapterNotFoundError(adapter_id)
            prompt = drawn_covers.find_prompt(session, adapter_id) or words_of(
                card.name, card.trigger_words
            )
        if any(not cover.drawn for cover in card.covers):
            raise HasCoverError(card.name, card.id)
        if card.file_sha256 is None:
            raise AdapterNotReadyError(card.name, card.id)
        base = self.base_for(card.base_model)
        if base is None:
            raise NoBaseModelError(card.base_model)
        # Where a base has gates, guidance that leads away from it alone shows an adapter best.
        how = Drawing(seed=SEED, mode=self.studio.usual_mode(base), check=False)
        strength = 1.0 if card.strength is None else card.strength
        fused = self.studio.draw(prompt, [Ingredient(card, strength)], base, how, progress)
        cover = read_cover(fused.png_bytes())
        drawn = DrawnFacts(
            adapter_id,
            self.blobs.put_bytes(cover.image),
            self.blobs.put_bytes(cover.thumbnail),
            cover.width,
            cover.height,
            fused.recipe.model_dump(mode="json", by_alias=True),
        )
        with self.sessions.begin() as session:
            drawn_covers.store_drawn(session, drawn, card.file_sha256)


def words_of(name: str, trigger_words: Sequence[str]) -> str:
    """Return an adapter's name as words, or its first trigger word if they say nothing.

    That joins them anyway when it is drawn.
    """
    words = " ".join(SAYS_NOTHING.sub(" ", JOINTS.sub(" ", name)).split())
    return words or next(iter(trigger_words), name)
