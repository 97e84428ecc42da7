"""The numbers for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from registry.api.deps import RegistryDep
from registry.api.fresh import Fresh
from registry.api.metrics import Metrics
from registry.db.index_facts import IndexFacts

router = APIRouter()


@router.get("/metrics")
def metrics(request: Request, _: RegistryDep) -> Response:
    counted: Metrics = request.app.state.metrics
    facts: Fresh[IndexFacts] = request.app.state.facts
    return Response(counted.text(facts.get()), media_type=CONTENT_TYPE_LATEST)
