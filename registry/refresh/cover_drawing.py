"""Covers for adapters that came without one, drawn with themselves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from crawler.covers import read_cover
from encoder.base_models.facts import related_base_models
from registry.blobs import BlobStore
from registry.config import Settings
from registry.db import drawn_covers
from registry.db.adapters import Origin
from registry.db.captions import now
from registry.db.drawn_covers import DrawnFacts, WaitingCover, Wanted
from registry.db.holds import hold
from registry.errors import (
    AdapterNotFoundError,
    AdapterNotReadyError,
    HasCoverError,
    MissingExtraError,
    NoBaseModelError,
)
from registry.fusion.catalogue import Ingredient
from registry.fusion.errors import BaseModelError, GatesFileError
from registry.fusion.options import Drawing
from registry.fusion.studio import Studio
from registry.refresh.step import StepOutcome, one_line
from registry.retrieval.cards import AdapterCard, load_cards

# The same for all: whoever draws one again sees the same.
SEED = 0
# What adapters are held as while they are drawn.
HELD_AS = "draw covers"
# Adapters that are listed at once.
PAGE = 64
# What names of files have between words.
JOINTS = re.compile(r"[\s_]+|(?<=\w)-+(?=\w)")


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
        bases = [base_model, *self.settings.base_models]
        return next(
            (
                base
                for base in bases
                if base in self.settings.base_models and base_model in related_base_models(base)
            ),
            None,
        )

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

    def draw_waiting(self, wanted: Wanted, limit: int | None = None) -> Iterator[StepOutcome]:
        """Draw up to `limit` covers that wait; an outcome for each, once it is stored.

        Raises:
            BaseModelError, GatesFileError, MissingExtraError: nothing can be drawn here.
        """
        engine: Engine = self.sessions.kw["bind"]
        left = limit
        passed: set[int] = set()
        while left is None or left > 0:
            with self.sessions() as session:
                page = drawn_covers.list_waiting(session, wanted, PAGE, but=passed)
            if not page:
                return
            for waiting in page[:left]:
                passed.add(waiting.adapter_id)
                with hold(engine, HELD_AS, [str(waiting.adapter_id)]) as mine:
                    if mine and self._still_waits(wanted, waiting):
                        yield self._try(waiting)
                        left = None if left is None else left - 1

    def _still_waits(self, wanted: Wanted, waiting: WaitingCover) -> bool:
        with self.sessions() as session:
            return drawn_covers.still_waits(session, wanted, waiting.adapter_id)

    def _try(self, waiting: WaitingCover) -> StepOutcome:
        try:
            self.draw(waiting.adapter_id)
        except (BaseModelError, GatesFileError, MissingExtraError):
            # No adapter's fault: all others would fail alike.
            raise
        except Exception as error:
            # Any: a stranger's file must not stop the others. It is reported, and tried again.
            reason = one_line(error)
            with self.sessions.begin() as session:
                drawn_covers.store_failure(session, waiting.adapter_id, reason)
            return StepOutcome(waiting.adapter, False, reason)
        return StepOutcome(waiting.adapter)

    def draw(self, adapter_id: int) -> None:
        """Draw an adapter's cover, and store it with its recipe.

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
            prompt = drawn_covers.find_prompt(session, adapter_id) or words_of(card)
        if any(not cover.drawn for cover in card.covers):
            raise HasCoverError(card.name, card.id)
        if card.file_sha256 is None:
            raise AdapterNotReadyError(card.name, card.id)
        base = self.base_for(card.base_model)
        if base is None:
            raise NoBaseModelError(card.base_model)
        # Where a base has gates, guidance that leads away from it alone shows an adapter best.
        mode = "gated" if base in self.settings.gates else "sum"
        how = Drawing(seed=SEED, mode=mode, check=False)
        strength = 1.0 if card.strength is None else card.strength
        fused = self.studio.draw(prompt, [Ingredient(card, strength)], base, how)
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


def words_of(card: AdapterCard) -> str:
    """Return an adapter's name as words; its first trigger word joins them when it is drawn."""
    return JOINTS.sub(" ", card.name).strip()
