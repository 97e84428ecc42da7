"""Images that are drawn behind an answer: asked for, begun in turn, stored, told of."""

import json
import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from crawler.errors import AutoLoraError
from encoder.base_models.facts import common_bases
from registry.api.errors import BusyError, bug_problem, log_hidden, problem_of
from registry.api.previews import Previews
from registry.api.queue import GenerationQueue, Job
from registry.api.schemas.fuse import FuseRequest
from registry.api.schemas.images import ImageRequest
from registry.db.images import FinishedImage, ImageFacts
from registry.fusion.errors import GenerationCancelledError, SamplingError
from registry.fusion.options import Drawing, PreviewCallback, StepCallback
from registry.fusion.recipe import Recipe
from registry.service import Registry

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry.fusion.fused_image import FusedImage

logger = logging.getLogger(__name__)

# Much less than after what an image counts as lost (registry.db.images).
ALIVE_SECONDS = 10.0
# Steps are told of no more often: each is a transaction.
TOLD_SECONDS = 0.25
THUMBNAIL_SIDE = 256


class Desk:
    """Takes what is to be drawn, and draws it in the queue's turn."""

    def __init__(self, registry: Registry, queue: GenerationQueue) -> None:
        self._registry, self._queue = registry, queue
        self.previews = Previews()
        # Of each image that waits or is drawn here.
        self._jobs: dict[int, Job[None]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._beating: threading.Thread | None = None

    def ask(self, request: ImageRequest) -> Sequence[ImageFacts]:
        """Note an image for each seed, and queue it.

        Raises:
            ImageRequestError: it makes no sense.
            BusyError: too many wait.
            SamplingError: the base does not draw such a size.
        """
        request.check_sense()
        check_early(self._registry, request)
        singles = [
            request.model_copy(update={"seed": (request.seed + place) % 2**32, "count": 1})
            for place in range(request.count)
        ]
        images = self._registry.images.ask([written(single) for single in singles])
        self._queue_all(singles, images)
        return images

    def _queue_all(self, requests: Sequence[ImageRequest], images: Sequence[ImageFacts]) -> None:
        self._beat()
        try:
            # Whoever is done before its job is noted waits for the lock to forget it.
            with self._lock:
                for image, request in zip(images, requests, strict=True):
                    self._jobs[image.id] = self._queue.submit(
                        partial(self._draw, image.id, request)
                    )
        except BusyError:
            for image in images:
                self.give_up(image.id)
                self._registry.images.remove(image.id)
            raise

    def give_up(self, image_id: int) -> None:
        """Free the place of an image that nobody wants any more; what is drawn stops soon."""
        job = self._leave(image_id)
        if job is not None:
            job.abandon()

    def corrected(self, facts: ImageFacts) -> ImageFacts:
        """Return an image's facts: what is drawn here goes on, however long this machine slept."""
        with self._lock:
            is_here = facts.id in self._jobs
        if facts.state != "interrupted" or not is_here or self._closed.is_set():
            return facts
        self._registry.images.stay_alive([facts.id])
        return self._registry.images.get(facts.id)

    def close(self) -> None:
        """Say of what waits that it is not drawn any more."""
        self._closed.set()
        with self._lock:
            left = list(self._jobs)
        for image_id in left:
            self._registry.images.interrupt(image_id)

    def _beat(self) -> None:
        """Say now and then that what waits here has not been lost."""
        with self._lock:
            if self._beating is None:
                self._beating = threading.Thread(target=self._stay_alive, daemon=True)
                self._beating.start()

    def _stay_alive(self) -> None:
        while not self._closed.wait(ALIVE_SECONDS):
            with self._lock:
                waiting = list(self._jobs)
            if waiting:
                try:
                    self._registry.images.stay_alive(waiting)
                except AutoLoraError as error:
                    log_hidden("images", error)

    def _leave(self, image_id: int) -> Job[None] | None:
        with self._lock:
            return self._jobs.pop(image_id, None)

    def _draw(self, image_id: int, request: ImageRequest, job: Job[None]) -> None:
        images = self._registry.images
        try:
            if images.begin(image_id):
                progress = self._progress(image_id, job)
                preview = partial(self.previews.show, image_id)
                images.finish(image_id, self._made(request, progress, preview))
        except GenerationCancelledError:
            # A person's doing is noted already; else the server ends.
            images.interrupt(image_id)
        except AutoLoraError as error:
            log_hidden("drawing", error)
            images.fail(image_id, problem_of(error))
        except Exception:
            # Any: nobody else waits for this thread's work, and the image must not seem under way.
            logger.exception("drawing image %d", image_id)
            images.fail(image_id, bug_problem())
        finally:
            self.previews.forget(image_id)
            self._leave(image_id)

    def _progress(self, image_id: int, job: Job[None]) -> StepCallback:
        told = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal told
            job.check()
            now = time.monotonic()
            if now - told >= TOLD_SECONDS or done == total:
                told = now
                if not self._registry.images.step(image_id, done, total):
                    raise GenerationCancelledError

        return progress

    def _made(
        self, asked: ImageRequest, progress: StepCallback, preview: PreviewCallback
    ) -> FinishedImage:
        if asked.recipe is not None:
            return finished(self._registry.maker.reproduce(asked.recipe, progress, preview))
        chosen = asked.adapters
        ids = None if chosen is None else [adapter.id for adapter in chosen]
        strengths = None if chosen is None else [adapter.strength for adapter in chosen]
        if asked.kind == "compare":
            return sheet(
                self._registry.maker.compare(
                    asked.prompt,
                    k=asked.k,
                    adapters=ids,
                    strengths=strengths,
                    base_model=asked.base_model,
                    mature=asked.mature,
                    progress=progress,
                    preview=preview,
                    **asked.drawing,
                )
            )
        if asked.kind == "grid":
            assert ids is not None
            return sheet(
                self._registry.maker.grid(
                    asked.prompt,
                    ids,
                    strengths=strengths,
                    base_model=asked.base_model,
                    mode=asked.mode,
                    progress=progress,
                    preview=preview,
                    **asked.drawing,
                )
            )
        return finished(fuse(self._registry, asked, progress, preview))


def check_early(registry: Registry, request: FuseRequest) -> None:
    """Refuse at once what its turn would show not to be drawn.

    Without a base that is told the prompt's adapters decide, and any may be theirs.

    Raises:
        SamplingError: no base that may be meant draws such a size, or so many steps.
    """
    how = Drawing(steps=request.steps, size=request.size)
    if recipe := _recipe_of(request):
        how = Drawing(steps=recipe.steps, size=(recipe.width, recipe.height))
    refusals: list[SamplingError] = []
    for base_model in _possible_bases(registry, request):
        try:
            registry.maker.studio.check_drawing(base_model, how)
        except SamplingError as error:
            refusals.append(error)
        else:
            return
    if refusals:
        raise refusals[0]


def _possible_bases(registry: Registry, request: FuseRequest) -> list[str]:
    """Return those of the settings' base models that may be drawn with."""
    adapters, recipe = request.adapters, _recipe_of(request)
    here = list(registry.settings.base_models)
    told = recipe.base.name if recipe else request.base_model
    if told is not None:
        base = registry.maker.base_meant(told)
        return [name for name in here if name == base]
    if not adapters:
        return here
    cards = registry.cards([adapter.id for adapter in adapters])
    return [name for name in common_bases([card.base_model for card in cards]) if name in here]


def _recipe_of(request: FuseRequest) -> Recipe | None:
    return request.recipe if isinstance(request, ImageRequest) else None


def fuse(
    registry: Registry,
    asked: FuseRequest,
    progress: StepCallback,
    preview: PreviewCallback | None = None,
) -> "FusedImage":
    """Draw the image that a prompt asks for."""
    return registry.maker.fuse(asked.prompt, preview=preview, **asked.options(progress))


def written(request: ImageRequest) -> dict[str, Any]:
    """Return what was asked for, as it is stored and told."""
    # A recipe with anything beside it would be refused when this is sent again.
    only = None if request.recipe is None else {"recipe"}
    said = request.model_dump(
        mode="json", by_alias=True, exclude_unset=True, include=only, exclude={"count"}
    )
    return said if request.recipe is not None else said | {"seed": request.seed}


def finished(fused: "FusedImage") -> FinishedImage:
    """Return what is stored of an image."""
    recipe = json.loads(fused.recipe.to_json())
    return FinishedImage(fused.png_bytes(), thumbnail(fused.image), recipe, dict(fused.activity))


def sheet(picture: "Image") -> FinishedImage:
    """Return what is stored of a sheet of pictures."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return FinishedImage(buffer.getvalue(), thumbnail(picture))


def thumbnail(picture: "Image") -> bytes:
    """Return a picture as a small WebP."""
    small = picture.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=85)
    return buffer.getvalue()
