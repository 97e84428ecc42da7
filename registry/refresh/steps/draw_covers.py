"""Adapters without a cover -> one drawn with themselves, where the settings want that."""

from collections.abc import Iterator
from functools import cached_property

from registry.db.drawn_covers import Wanted
from registry.refresh.cover_drawing import NOTHING_CAN_BE_DRAWN, CoverDrawing
from registry.refresh.problems import reported
from registry.refresh.step import RefreshContext, Step, StepOutcome


class DrawCoversStep(Step):
    """Draws covers of what was refreshed, up to `draw_covers`; one outcome an adapter."""

    name = "draw"
    title = "Drawing covers"

    @classmethod
    def is_wanted(cls, context: RefreshContext) -> bool:
        return context.settings.draw_covers > 0

    @property
    def skipped(self) -> str:
        if self.context.settings.base_models:
            return ""
        return "no base model is here to draw with; REGISTRY_BASE_MODELS names its folder"

    def remaining(self) -> int:
        waiting = self._drawing.count_waiting(self._wanted)
        return min(waiting, self.context.settings.draw_covers)

    def run(self) -> Iterator[StepOutcome]:
        limit = self.context.settings.draw_covers
        try:
            yield from self._drawing.draw_waiting(self._wanted, limit, self.context.cover_progress)
        except NOTHING_CAN_BE_DRAWN as error:
            yield StepOutcome("covers", False, reported(error))

    @property
    def _drawing(self) -> CoverDrawing:
        context = self.context
        return CoverDrawing(context.sessions, context.blobs, context.settings, context.studio)

    @cached_property
    def _wanted(self) -> Wanted:
        return self._drawing.wanted(origin=self.context.origin)
