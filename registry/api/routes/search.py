"""Search."""

from typing import Annotated

from fastapi import APIRouter, Query

from registry.api.deps import RegistryDep
from registry.api.schemas import SearchAnswer, SearchParams

router = APIRouter(prefix="/v1", tags=["search"])


@router.get("/search")
def search(params: Annotated[SearchParams, Query()], registry: RegistryDep) -> SearchAnswer:
    """Find adapters that do what `q` describes, in English or Chinese, best first.

    None when nothing fits: an adapter that does something else is worse than none.
    """
    page = registry.search(
        params.q,
        params.base_model,
        params.limit,
        author=params.author,
        tags=params.tags,
        licence=params.licence,
        hub=params.hub,
        nearest=params.nearest,
    )
    return SearchAnswer.from_page(page)
