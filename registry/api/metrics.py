"""What Prometheus is told: requests, stages of searches, caches, images, and the index.

No label holds anything that a request said: a stranger's words would make a series each.
"""

import os
import time
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.db.index_facts import IndexFacts
from registry.measures import CACHES, STAGES, Cache, Stage

# A folder where several serving processes count together; set before the package is imported.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# What the index holds is counted anew after so long, however often it is asked.
FRESH_SECONDS = 10.0

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
# Seconds; most stages of a search take one to fifty milliseconds.
_STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_DRAW_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)


class Metrics:
    """What one process counts; the listener of registry.measures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        if SHARED_FOLDER not in os.environ:
            ProcessCollector(registry=self.registry)
        self._requests = Histogram(
            "autolora_request_seconds",
            "From a request's head to the end of its answer.",
            ("method", "route"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self._answers = Counter(
            "autolora_requests", "Requests.", ("method", "route", "status"), registry=self.registry
        )
        stages = Histogram(
            "autolora_search_stage_seconds",
            "Parts of a search; PostgreSQL looks for words during `encode`.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        draws = Histogram(
            "autolora_draw_seconds",
            "Images, once their base model and adapters are loaded.",
            buckets=_DRAW_BUCKETS,
            registry=self.registry,
        )
        self._queued = Gauge(
            "autolora_queued_images",
            "Images that wait for their turn or are drawn, those that nobody keeps among them.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        # Looked up once: a search has some ten stages.
        self._stages: dict[Stage, Histogram] = {
            stage: draws if stage == "draw" else stages.labels(stage) for stage in STAGES
        }
        caches = Counter(
            "autolora_cache_requests",
            "What caches were asked for: `text` keeps embeddings of texts, `answers` those of "
            "searches, `adapters` weights on the device.",
            ("cache", "result"),
            registry=self.registry,
        )
        self._caches = {
            cache: (caches.labels(cache, "hit"), caches.labels(cache, "miss")) for cache in CACHES
        }

    def took(self, stage: Stage, seconds: float) -> None:
        self._stages[stage].observe(seconds)

    def asked(self, cache: Cache, hits: int, misses: int) -> None:
        hit, miss = self._caches[cache]
        hit.inc(hits)
        miss.inc(misses)

    def queued(self, more: int) -> None:
        self._queued.inc(more)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route).observe(seconds)
        self._answers.labels(method, route, str(status)).inc()

    def text(self, facts: IndexFacts) -> bytes:
        """Return all of it as Prometheus reads it; of several serving processes together."""
        counted = self.registry
        if SHARED_FOLDER in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        index = CollectorRegistry()
        index.register(_Index(facts))
        return bytes(generate_latest(counted) + generate_latest(index))


class _Index(Collector):
    """Gauges of the database, which are the same whichever process is asked."""

    def __init__(self, facts: IndexFacts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        adapters = GaugeMetricFamily("autolora_adapters", "Adapters by state.", labels=["state"])
        for state, count in self._facts.adapters.items():
            adapters.add_metric([state], count)
        yield adapters
        jobs = GaugeMetricFamily(
            "autolora_jobs", "Jobs by queue and state.", labels=["queue", "state"]
        )
        for (queue, state), count in self._facts.jobs.items():
            jobs.add_metric([queue, state], count)
        yield jobs
        images = GaugeMetricFamily(
            "autolora_images", "Images to keep that are not done yet by state.", labels=["state"]
        )
        for state, count in self._facts.images.items():
            images.add_metric([state], count)
        yield images
        size = self._facts.database_bytes
        yield GaugeMetricFamily("autolora_database_bytes", "The database's size.", value=size)
        if self._facts.refreshed_at is not None:
            yield GaugeMetricFamily(
                "autolora_refreshed_timestamp_seconds",
                "When a refresh last ended well; the index's age is time() minus this.",
                value=self._facts.refreshed_at.timestamp(),
            )


class CountRequests:
    """ASGI middleware that counts requests by the template of their route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        # Where nothing is answered the client left, or a bug is answered outside of us.
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.answered(scope["method"], route_of(scope), status, seconds)


def route_of(scope: Scope) -> str:
    """Return the template of the route that answered; of files one for all, else "none"."""
    path = getattr(scope.get("route"), "path", None)
    if path is not None:
        return str(path)
    # A mounted app's own path; what is asked for below it is the client's.
    return "files" if scope.get("root_path") else "none"
