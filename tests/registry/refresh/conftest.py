"""A vision model's endpoint on loopback, and what asks it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from encoder.captions.endpoint import EndpointCaptioner
from tests.encoder.captions.vlm_server import VlmServer
from tests.registry.refresh.captions import open_captioner


@pytest.fixture
def captioner(vlm: VlmServer) -> Iterator[EndpointCaptioner]:
    with closing(open_captioner(vlm)) as opened:
        yield opened
