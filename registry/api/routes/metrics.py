"""The numbers for Prometheus."""

import threading
import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from registry.api.deps import RegistryDep
from registry.api.metrics import FRESH_SECONDS, Metrics
from registry.db.index_facts import IndexFacts
from registry.service import Registry

router = APIRouter()


class FreshFacts:
    """The index's numbers, counted anew only now and then: a million rows take a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: IndexFacts | None = None
        self._until = 0.0

    def get(self, registry: Registry) -> IndexFacts:
        with self._lock:
            if self._facts is None or time.monotonic() > self._until:
                self._facts = registry.index_facts()
                self._until = time.monotonic() + FRESH_SECONDS
            return self._facts


@router.get("/metrics")
def metrics(request: Request, registry: RegistryDep) -> Response:
    counted: Metrics = request.app.state.metrics
    facts: FreshFacts = request.app.state.facts
    return Response(counted.text(facts.get(registry)), media_type=CONTENT_TYPE_LATEST)
