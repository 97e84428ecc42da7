"""The page, rendered on the server; it works without JavaScript but for making images."""

import re
import secrets
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import ConfigDict, Field, model_validator

from encoder.base_models.facts import variant_names
from registry.api.deps import RegistryDep
from registry.api.pages import likeness
from registry.api.pages.addresses import Address
from registry.api.pages.choices import YES_OR_NO, choices_of, chosen_of
from registry.api.pages.render import render
from registry.api.pages.texts import Language, language_of
from registry.api.pages.tray import drawable_with, mark_of
from registry.api.schemas.asked import AnyCase, Cursor, FilterParams
from registry.api.schemas.shapes import AdapterId
from registry.db.claims import SOMEBODY
from registry.db.removals import REFUSAL
from registry.fusion.options import MOST_ADAPTERS
from registry.retrieval.cards import AdapterCard
from registry.retrieval.facets import Facets
from registry.retrieval.given_values import Likes, Paging
from registry.retrieval.results import BrowsePage, SearchPage, SearchResult
from registry.retrieval.terms import (
    FOUND_SORTS,
    SIGNALS,
    SORTS,
    Band,
    FilterOptions,
    FoundSort,
    Sort,
)
from registry.service import Registry

router = APIRouter()

PAGE_SIZE = 24
SIMILAR = 6
EXAMPLES = 6
# Tags by which hubs sort models of any kind.
OF_MODELS = frozenset(["diffusers", "lora", "safetensors", "text-to-image", "image-to-image"])
FILTERS = tuple(FilterOptions.__annotations__)
# People write these as they like: `True`, `yes`, `Hide`.
ANY_SPELLING = (*YES_OR_NO, "mature")
HAN = re.compile("[\u3400-\u9fff]")


class SearchFields(FilterParams):
    """The fields of the page's form; an empty one asks for nothing."""

    # An address may have been passed on with more in it than is ours.
    model_config = ConfigDict(extra="ignore")

    q: Annotated[str, Field(max_length=2000)] = ""
    # By default questions go by relevance, and all there is by what is newest.
    sort: Annotated[FoundSort, AnyCase] | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    cursor: Cursor | None = None
    like: list[AdapterId] = Field(default=[])
    unlike: list[AdapterId] = Field(default=[])
    unlike_text: Annotated[str, Field(max_length=2000)] = ""

    @property
    def order(self) -> Sort:
        """The order in which all there is is listed: nothing is relevant where nothing is asked."""
        return next((one for one in SORTS if one == self.sort), "newest")

    def likes(self) -> Likes:
        return Likes(tuple(self.like), tuple(self.unlike), self.unlike_text.strip())

    @model_validator(mode="before")
    @classmethod
    def drop_empty(cls, given: Any) -> Any:
        """A form sends all of its fields."""
        kept = {
            name: [one for one in value if one.strip()] if isinstance(value, list) else value
            for name, value in dict(given).items()
        }
        return {name: value for name, value in kept.items() if value not in ("", [])}


@router.get("/")
def search_page(
    request: Request, registry: RegistryDep, fields: Annotated[SearchFields, Query()]
) -> HTMLResponse:
    found, browsed, facets = _answered(registry, fields)
    likes = fields.likes()
    address, language = _address(request, fields), language_of(request)
    return render(
        request,
        "search.html",
        active="search",
        query=fields.q.strip(),
        page=found,
        browsed=browsed,
        facets=facets,
        choices=choices_of(facets.facets if facets is not None else (), address, language),
        best=_best_scores(found),
        bands=_by_band(found),
        address=address,
        chosen=chosen_of(address, FILTERS, language),
        filter_names=FILTERS,
        unlike_text=likes.unlike_text,
        likes=likeness.liked(address, likes, registry.cards(likes.ids)),
        like_url=likeness.add_to(address),
        first=fields.cursor is None,
        sort=fields.order if found is None else found.sort,
        sorts=SORTS if found is None else FOUND_SORTS,
        # All of a length: HEAD tells that of GET.
        new_seed=100_000 + secrets.randbelow(900_000),
        examples=_examples(registry, facets, language)
        if facets is not None and not address.asked
        else [],
        **frame(registry),
    )


def _answered(
    registry: Registry, fields: SearchFields
) -> tuple[SearchPage | None, BrowsePage | None, Facets | None]:
    """Return what was found, or where nothing is asked a page of all there is; and its facets.

    Nothing is, too, where an address says only what results should be unlike.
    """
    filters, query, likes = fields.filters(), fields.q.strip(), fields.likes()
    if not registry.base_model_names():
        return None, None, None
    if not (query or likes.like):
        browsed = registry.browse(filters, fields.order, fields.cursor, PAGE_SIZE, seed=fields.seed)
        return None, browsed, registry.facets(filters)
    paging = Paging(PAGE_SIZE, fields.cursor, fields.sort or "relevance", fields.seed)
    found = registry.search(query, filters, paging, likes=likes)
    among = found.ranked or [result.card.id for result in found.results]
    return found, None, registry.facets(among=among)


def _address(request: Request, fields: SearchFields) -> Address:
    """Return what is asked for, without what is empty or not ours, as this page's links say it."""
    ours = {"q", "sort", "seed", "cursor", *FILTERS, *likeness.NAMES}
    return Address(
        "/",
        tuple(
            (name, str(getattr(fields, name)).lower() if name in ANY_SPELLING else value)
            for name, value in request.query_params.multi_items()
            if name in ours and value.strip()
        ),
    )


def _examples(registry: Registry, facets: Facets, language: Language) -> list[str]:
    """Return the most frequent tags, those in the page's language first.

    What most adapters have tells nothing, nor what a hub says of every model. On the Chinese page
    popular names and captions come before tags in another language.
    """
    (found,) = (facet.values for facet in facets.facets if facet.name == "tag")
    tags = [tag for tag in found if tag.value not in OF_MODELS]
    telling = [tag.value for tag in tags if 2 * tag.count <= facets.about]
    telling = telling or [tag.value for tag in tags]
    chinese = [tag for tag in telling if HAN.search(tag)]
    others = [tag for tag in telling if not HAN.search(tag)]
    if language == "en":
        return (others + chinese)[:EXAMPLES]
    if len(chinese) < EXAMPLES:
        chinese += registry.chinese_examples(EXAMPLES)
    return list(dict.fromkeys(chinese + others))[:EXAMPLES]


@router.get("/adapters/{adapter_id}")
def adapter_page(
    request: Request, registry: RegistryDep, adapter_id: Annotated[int, Path(ge=1, lt=2**63)]
) -> HTMLResponse:
    detail = registry.adapter(adapter_id)
    return render(
        request,
        "adapter.html",
        active="",
        detail=detail,
        draws=_draws(registry, detail.card),
        similar=registry.similar(adapter_id, Paging(limit=SIMILAR)),
        known_base_models=variant_names(),
        removal=REFUSAL,
        somebody=SOMEBODY,
        duplicates=registry.duplicates(adapter_id).results,
        **frame(registry),
    )


def _draws(registry: Registry, card: AdapterCard) -> bool:
    """Whether a cover can be drawn for an adapter, here and by who reads."""
    can = card.state == "ready" and card.fusable and not registry.settings.public_read
    return can and registry.cover_drawing.base_for(card.base_model) is not None


def frame(registry: Registry) -> dict[str, Any]:
    """Return what the frame of every page shows."""
    runs = registry.runs(limit=1)
    return {
        "all_adapters": registry.count(),
        "run": runs[0] if runs else None,
        "drawn_by": drawable_with(registry.base_model_names()),
        "most_adapters": MOST_ADAPTERS,
        "mark": mark_of(registry.settings.home),
    }


def _by_band(page: SearchPage | None) -> list[tuple[Band, list[SearchResult]]]:
    """Return a page's results parted where a band begins, in their order.

    None where another order than by relevance mixes them.
    """
    results = page.results if page is not None and page.sort == "relevance" else ()
    return [(band, list(own)) for band, own in groupby(results, lambda result: result.hit.band)]


def _best_scores(page: SearchPage | None) -> dict[str, float]:
    """Return each signal's best score, which makes a full bar: scales differ by signal."""
    results = page.results if page is not None else ()
    return {
        name: max((result.hit.signals.get(name) or 0.0 for result in results), default=0.0)
        for name in SIGNALS
    }
