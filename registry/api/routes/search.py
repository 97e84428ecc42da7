"""Search."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from registry.api.deps import RegistryDep
from registry.api.description import refusals
from registry.api.schemas.asked import SearchBody, SearchParams
from registry.api.schemas.found import SearchAnswer
from registry.api.schemas.fuse import ChoiceAnswer, ChooseParams
from registry.retrieval.errors import (
    EmptyQueryError,
    NothingFoundError,
    NothingIndexedError,
    UnknownFilterValueError,
)
from registry.service import Registry

router = APIRouter(prefix="/v1", tags=["search"])
NO_SUCH_AUTHOR = UnknownFilterValueError("author", "nobody", ["ann"], more=False)


@router.get(
    "/search",
    response_model=SearchAnswer,
    responses=refusals(NO_SUCH_AUTHOR, NothingIndexedError()),
)
def search(params: Annotated[SearchParams, Query()], registry: RegistryDep) -> Response:
    """Find adapters that do what `q` describes, in English or Chinese, the most probable first.

    There is always a list; each result says whether it fits, perhaps fits or probably does not.
    With `like` and `unlike`, adapters that are like some and unlike others. With neither, and
    without `q`, all that filters let through.
    """
    return _answer(params, registry)


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses=refusals(NO_SUCH_AUTHOR, NothingIndexedError()),
)
def search_at_length(asked: SearchBody, registry: RegistryDep) -> Response:
    """Find adapters by a question of up to 10,000 characters; all else as by GET."""
    return _answer(asked, registry)


def _answer(params: SearchParams, registry: Registry) -> Response:
    page = registry.search(params.q, params.filters(), params.paging(), likes=params.likes())
    # Written here: FastAPI would first have another thread see that it is a SearchAnswer.
    answer = SearchAnswer.from_page(page).model_dump_json()
    return Response(answer, media_type="application/json")


@router.get(
    "/choose",
    responses=refusals(
        EmptyQueryError(), NothingFoundError("a fox", "flux.1-dev"), NothingIndexedError()
    ),
)
def choose(params: Annotated[ChooseParams, Query()], registry: RegistryDep) -> list[ChoiceAnswer]:
    """Return adapters to draw a prompt with: those that suit it, or those named that exist."""
    if params.adapters is not None:
        chosen = registry.named_adapters(params.prompt, params.adapters)
    else:
        chosen = registry.choose(
            params.prompt, params.k, base_model=params.base_model, mature=params.mature
        )
    return [ChoiceAnswer.from_choice(choice) for choice in chosen]
