"""Pictures, and an endpoint on loopback."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.encoder.captions.vlm_server import VlmServer


@pytest.fixture
def vlm() -> Iterator[VlmServer]:
    with VlmServer().running() as server:
        yield server


def png(size: tuple[int, int] = (40, 30), colour: str = "red", mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, colour).save(stream, "PNG")
    return stream.getvalue()
