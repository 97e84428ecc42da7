"""Adapters with covers of one colour each, and a captioner for them."""

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image
from PIL.ImageColor import getrgb
from sqlalchemy import func, select

from encoder.captions.captioner import Captioner, Language
from encoder.captions.endpoint import EndpointCaptioner
from registry.db.arrivals import Arrival, StoredCover, store_arrivals
from registry.db.captions import Wanted
from registry.db.models import Caption, Cover, ImageCaptions
from registry.db.session import now
from registry.refresh.captioning import Captioning, caption_images, version_of
from registry.refresh.step import StepOutcome
from registry.service import Registry
from tests.builders import add_adapter
from tests.encoder.captions.vlm_server import VlmServer

COLOURS = ("red", "lime", "blue", "white", "black", "yellow")


def open_captioner(vlm: VlmServer, model: str = "qwen3-vl") -> EndpointCaptioner:
    return EndpointCaptioner(vlm.url, model, concurrency=2, first_wait_seconds=0.001)


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(stream, "PNG")
    return stream.getvalue()


def add_covered(
    registry: Registry, *colours: str, prompt: str | None = None, **what_matters: Any
) -> int:
    """Add an adapter whose covers show one colour each."""
    with registry.sessions.begin() as session:
        adapter_id = add_adapter(session, **what_matters).id
        covers = covers_of(registry, colours, prompt)
        store_arrivals(session, [Arrival(adapter_id, covers=covers, covers_done=True)])
        return adapter_id


def covers_of(
    registry: Registry, colours: Sequence[str], prompt: str | None = None
) -> list[StoredCover]:
    stored = [registry.blobs.put_bytes(picture(colour)) for colour in colours]
    return [StoredCover(n, sha, sha, 40, 40, 0, prompt) for n, sha in enumerate(stored)]


def run(
    registry: Registry,
    captioner: Captioner,
    language: Language = "en",
    *,
    limit: int | None = None,
    again: bool = False,
) -> list[StepOutcome]:
    return list(caption_images(work_of(registry, captioner, language, again), captioner, limit))


def work_of(
    registry: Registry, captioner: Captioner, language: Language = "en", again: bool = False
) -> Captioning:
    with registry.sessions() as session:
        wanted = Wanted(version_of(captioner.name, language), now(session), again)
    return Captioning(registry.sessions, registry.blobs, wanted)


def texts(registry: Registry, *, superseded: bool = False) -> dict[tuple[int, str], list[str]]:
    """What search finds of each adapter's covers by a model: kinds' texts, in kinds' order."""
    with registry.sessions() as session:
        rows = session.execute(
            select(Cover.adapter_id, Caption.language, Caption.text)
            .join(Caption, Caption.cover_id == Cover.id)
            .where(Caption.source == "vlm", Caption.superseded == superseded)
            .order_by(
                Cover.position, func.array_position(["short", "medium", "long"], Caption.kind)
            )
        )
        found: dict[tuple[int, str], list[str]] = {}
        for row in rows:
            found.setdefault((row.adapter_id, row.language), []).append(row.text)
        return found


def colours_asked(vlm: VlmServer) -> list[str]:
    """The pictures that were sent, in order, by what is in their middle; JPEG is not exact."""
    corners = {tuple(part > 128 for part in getrgb(name)): name for name in COLOURS}
    middles = [request.picture.convert("RGB").crop((20, 20, 21, 21)) for request in vlm.requests]
    return [corners[tuple(part > 128 for part in middle.tobytes())] for middle in middles]


def all_images(registry: Registry) -> list[ImageCaptions]:
    with registry.sessions() as session:
        return list(session.scalars(select(ImageCaptions)))
