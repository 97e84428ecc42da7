"""This machine's own registry, as it answers over HTTP: in the same shapes, without a server."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from registry.api.schemas.adapters import AdapterDetailAnswer, AdapterListAnswer
from registry.api.schemas.found import (
    DuplicateListAnswer,
    FacetsAnswer,
    SearchAnswer,
    SimilarAnswer,
)
from registry.retrieval.cursors import read_number
from registry.retrieval.filter_options import make_filters
from registry.retrieval.given_values import (
    MOST_CHOSEN,
    MOST_PAGE,
    Likes,
    Paging,
    check_choice,
    read_id,
    read_question,
    read_text,
    read_whole,
)
from registry.retrieval.terms import (
    MATURITIES,
    SORTS,
    STATES,
    FilterOptions,
    FoundSort,
    Maturity,
    Sort,
    State,
)
from registry.saving import own_name, save_new, save_whole
from registry.service import Registry

# What a search does without is loaded by the questions that need it.
if TYPE_CHECKING:
    from registry.api.schemas.fuse import ChoiceAnswer
    from registry.api.schemas.picture import PictureAnswer
    from registry.api.schemas.service import NightListAnswer, RunListAnswer, StatusAnswer
    from registry.fusion.recipe import Recipe


class LocalReader:
    """Answers from `registry`; whoever opened that closes it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def search(
        self,
        text: str = "",
        limit: int = 10,
        *,
        cursor: str | None = None,
        like: Sequence[int] | int = (),
        unlike: Sequence[int] | int = (),
        unlike_text: str = "",
        sort: FoundSort = "relevance",
        seed: int = 0,
        **filters: Unpack[FilterOptions],
    ) -> SearchAnswer:
        paging = Paging.read(limit, cursor, sort, seed)
        likes = Likes.read(like, unlike, unlike_text)
        page = self.registry.search(
            read_question("text", text), make_filters(**filters), paging, likes=likes
        )
        return SearchAnswer.from_page(page)

    def search_picture(
        self, picture: Path | str | bytes, limit: int = 10, **filters: Unpack[FilterOptions]
    ) -> "PictureAnswer":
        from registry.api.schemas.picture import PictureAnswer

        paging = Paging.read(limit, None)
        page = self.registry.search_picture(picture, make_filters(**filters), paging.limit)
        return PictureAnswer.from_page(page)

    def list(
        self,
        sort: Sort = "newest",
        limit: int = 50,
        *,
        cursor: str | None = None,
        seed: int = 0,
        state: State = "ready",
        **filters: Unpack[FilterOptions],
    ) -> AdapterListAnswer:
        paging = Paging.read(limit, cursor, sort, seed, most=MOST_PAGE, sorts=SORTS)
        page = self.registry.browse(
            make_filters(**filters),
            cast(Sort, paging.sort),
            paging.cursor,
            paging.limit,
            seed=paging.seed,
            state=check_choice("state", state, STATES),
        )
        return AdapterListAnswer.from_page(page)

    def facets(self, **filters: Unpack[FilterOptions]) -> FacetsAnswer:
        return FacetsAnswer.from_facets(self.registry.facets(make_filters(**filters)))

    def show(self, adapter_id: int) -> AdapterDetailAnswer:
        return AdapterDetailAnswer.from_detail(self.registry.adapter(read_id(adapter_id)))

    def similar(
        self,
        adapter_id: int,
        limit: int = 10,
        *,
        cursor: str | None = None,
        sort: FoundSort = "relevance",
        seed: int = 0,
        mature: Maturity = "any",
    ) -> SimilarAnswer:
        paging = Paging.read(limit, cursor, sort, seed)
        mature = check_choice("mature", mature, MATURITIES)
        similar = self.registry.similar(read_id(adapter_id), paging, mature=mature)
        return SimilarAnswer.from_similar(similar)

    def duplicates(
        self,
        adapter_id: int,
        limit: int = 10,
        *,
        cursor: str | None = None,
        sort: FoundSort = "relevance",
        seed: int = 0,
    ) -> DuplicateListAnswer:
        paging = Paging.read(limit, cursor, sort, seed)
        return DuplicateListAnswer.from_page(self.registry.duplicates(read_id(adapter_id), paging))

    def choose(
        self,
        prompt: str,
        k: int = 3,
        *,
        base_model: str | None = None,
        mature: Maturity = "any",
    ) -> Sequence["ChoiceAnswer"]:
        from registry.api.schemas.fuse import ChoiceAnswer

        k, prompt = read_whole("k", k, 1, MOST_CHOSEN), read_text("prompt", prompt)
        chosen = self.registry.choose(
            prompt,
            k,
            base_model=read_text("base_model", base_model) or None,
            mature=check_choice("mature", mature, MATURITIES),
        )
        return [ChoiceAnswer.from_choice(choice) for choice in chosen]

    def status(self) -> "StatusAnswer":
        from registry.api.schemas.service import StatusAnswer

        return StatusAnswer.from_status(self.registry.status(), self.registry.next_night())

    def runs(self, limit: int = 20, *, cursor: str | None = None) -> "RunListAnswer":
        from registry.api.schemas.service import RunListAnswer

        paging = Paging.read(limit, cursor, most=MOST_PAGE)
        before = read_number("runs", paging.cursor)
        runs = self.registry.runs(before_id=before, limit=paging.limit + 1)
        return RunListAnswer.from_runs(runs, limit)

    def nights(self, limit: int = 20, *, cursor: str | None = None) -> "NightListAnswer":
        from registry.api.schemas.service import NightListAnswer

        paging = Paging.read(limit, cursor, most=MOST_PAGE)
        before = read_number("nights", paging.cursor)
        nights = self.registry.nights(before_id=before, limit=paging.limit + 1)
        return NightListAnswer.from_nights(nights, limit)

    def download(self, adapter_id: int, folder: Path | str = ".") -> Path:
        detail = self.registry.adapter(read_id(adapter_id))
        sha256 = detail.handed_out_sha256()
        target = Path(folder, own_name(detail.card.file_name, f"adapter-{adapter_id}"))
        with self.registry.file(sha256).open("rb") as source:
            save_whole(target, sha256, lambda file: shutil.copyfileobj(source, file))
        return target

    def pack(self, recipe: "Recipe", target: Path | str) -> Path:
        packed = self.registry.bundle(recipe)
        save_new(Path(target), lambda file: file.writelines(packed))
        return Path(target)
