"""The page, rendered on the server; it works without JavaScript but for making images."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from encoder.base_models.facts import related_base_models, variant_names
from registry.api.deps import RegistryDep
from registry.api.pages.render import render
from registry.errors import AdapterNotFoundError
from registry.retrieval.errors import UnknownBaseModelError
from registry.retrieval.filters import Filters
from registry.retrieval.ranking import SIGNALS
from registry.retrieval.results import SearchPage
from registry.service import MOST_ADAPTERS, Registry

router = APIRouter()
# For who may make images.
fuse_router = APIRouter()

PAGE_SIZE = 24
FILTERS = ("author", "tag", "licence", "hub")
SIMILAR = 6
EXAMPLES = ("a cute fox", "水墨画", "fire and lava", "一只由冰雕成的猫", "flat line icon")

Words = Annotated[str, Field(max_length=200)]


class SearchFields(BaseModel):
    """The fields of the page's form; an empty one asks for nothing."""

    q: Annotated[str, Field(max_length=2000)] = ""
    base_model: Words = ""
    author: Words = ""
    tag: Words = ""
    licence: Words = ""
    hub: Words = ""
    nearest: bool = False

    def filters(self) -> dict[str, str]:
        """Return what is asked for besides the text and the base model."""
        given = {name: getattr(self, name).strip() for name in FILTERS}
        return {name: value for name, value in given.items() if value}


@router.get("/")
def search_page(
    request: Request, registry: RegistryDep, fields: Annotated[SearchFields, Query()]
) -> HTMLResponse:
    base_models, base_model = registry.base_models(), fields.base_model
    chosen = fields.filters()
    if base_model and not set(related_base_models(base_model)) & base_models.keys():
        raise UnknownBaseModelError(base_model, list(base_models))
    if not base_model and base_models:
        base_model = registry.default_base_model()
    page: SearchPage | None = None
    if fields.q.strip() and base_models:
        page = registry.search(
            fields.q,
            base_model,
            PAGE_SIZE,
            author=chosen.get("author"),
            tags=[chosen["tag"]] if "tag" in chosen else [],
            licence=chosen.get("licence"),
            hub=chosen.get("hub"),
            nearest=fields.nearest,
        )
    filters = Filters(
        base_models=tuple(filter(None, [base_model])),
        authors=tuple(filter(None, [chosen.get("author")])),
        tags=tuple(filter(None, [chosen.get("tag")])),
        licences=tuple(filter(None, [chosen.get("licence")])),
        hubs=tuple(filter(None, [chosen.get("hub")])),
    )
    return render(
        request,
        "search.html",
        active="search",
        query=fields.q.strip(),
        page=page,
        best=_best_scores(page),
        base_model=base_model,
        chosen=chosen,
        unfiltered_url=str(request.url.remove_query_params(FILTERS).replace(scheme="", netloc="")),
        nearest_url=str(
            request.url.include_query_params(nearest="true").replace(scheme="", netloc="")
        ),
        examples=EXAMPLES,
        recent=registry.adapters(filters, limit=PAGE_SIZE // 2) if page is None else [],
        **_frame(registry, base_models),
    )


@router.get("/adapters/{adapter_id}")
def adapter_page(
    request: Request, registry: RegistryDep, adapter_id: Annotated[int, Path(ge=1, lt=2**63)]
) -> HTMLResponse:
    return render(
        request,
        "adapter.html",
        active="",
        detail=registry.adapter(adapter_id),
        similar=registry.similar(adapter_id, SIMILAR),
        known_base_models=variant_names(),
        duplicates=registry.duplicates(adapter_id),
        **_frame(registry, registry.base_models()),
    )


@fuse_router.get("/fuse")
def fuse_page(
    request: Request,
    registry: RegistryDep,
    adapter: Annotated[list[int], Query(max_length=MOST_ADAPTERS)] = [],  # noqa: B006
    prompt: Annotated[str, Query(max_length=2000)] = "",
) -> HTMLResponse:
    cards = registry.cards(adapter)
    for adapter_id in set(adapter) - {card.id for card in cards}:
        raise AdapterNotFoundError(adapter_id)
    base_models = registry.base_models()
    runnable = [name for name in base_models if name in registry.settings.base_models]
    return render(
        request,
        "fuse.html",
        active="fuse",
        cards=cards,
        prompt=prompt,
        runnable=bool(runnable) and all(card.base_model in runnable for card in cards),
        base_model=cards[0].base_model if cards else None,
        **_frame(registry, base_models) | {"base_models": runnable},
    )


def _frame(registry: Registry, base_models: dict[str, int]) -> dict[str, Any]:
    """Return what the frame of every page shows."""
    runs = registry.runs(limit=1)
    return {
        "base_models": base_models,
        "total": sum(base_models.values()),
        "run": runs[0] if runs else None,
    }


def _best_scores(page: SearchPage | None) -> dict[str, float]:
    """Return each signal's best score, which makes a full bar: scales differ by signal."""
    results = page.results if page is not None else ()
    return {
        name: max((result.hit.signals.get(name) or 0.0 for result in results), default=0.0)
        for name in SIGNALS
    }
