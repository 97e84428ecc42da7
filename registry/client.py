"""A registry elsewhere, asked from Python over HTTP: what its API answers, typed."""

from pathlib import Path
from typing import IO, Any, Unpack

from pydantic import TypeAdapter

from crawler.disk import DiskLimits
from registry.api.schemas.adapters import AdapterDetailAnswer, AdapterListAnswer
from registry.api.schemas.found import SearchAnswer, SimilarAnswer
from registry.remote import Connection, receive
from registry.retrieval.terms import FilterOptions, Sort
from registry.saving import own_name, save_whole

_SEARCH = TypeAdapter(SearchAnswer)
_LIST = TypeAdapter(AdapterListAnswer)
_DETAIL = TypeAdapter(AdapterDetailAnswer)
_SIMILAR = TypeAdapter(SimilarAnswer)


class Client(Connection):
    """Asks the registry at `url`; every method raises RemoteError where that refuses.

    Close it, or use it as a context manager.
    """

    def search(
        self,
        text: str,
        limit: int = 10,
        *,
        cursor: str | None = None,
        **filters: Unpack[FilterOptions],
    ) -> SearchAnswer:
        """Return up to `limit` adapters that suit `text`, in English or Chinese, best first."""
        asked = {"q": text, "limit": limit, "cursor": cursor, **filters}
        return self.get("/v1/search", _given(asked), _SEARCH)

    def list(
        self,
        sort: Sort = "newest",
        limit: int = 50,
        *,
        cursor: str | None = None,
        **filters: Unpack[FilterOptions],
    ) -> AdapterListAnswer:
        """Return a page of the adapters that are ready; its `next` is the next page's cursor."""
        asked = {"sort": sort, "limit": limit, "cursor": cursor, **filters}
        return self.get("/v1/adapters", _given(asked), _LIST)

    def show(self, adapter_id: int) -> AdapterDetailAnswer:
        """Return all that is known of an adapter."""
        return self.get(f"/v1/adapters/{adapter_id}", {}, _DETAIL)

    def similar(
        self, adapter_id: int, limit: int = 10, *, cursor: str | None = None
    ) -> SimilarAnswer:
        """Return adapters of the same family, those with the most similar weights first."""
        asked = _given({"limit": limit, "cursor": cursor})
        return self.get(f"/v1/adapters/{adapter_id}/similar", asked, _SIMILAR)

    def download(self, adapter_id: int, folder: Path | str = ".") -> Path:
        """Save an adapter's file in `folder` under its own name, and return its path.

        Raises:
            BlobMismatchError: what came is not what was announced. It is not kept.
            FileInTheWayError: another file has that name.
        """
        detail = self.show(adapter_id)
        name = own_name(detail.file_name, f"adapter-{adapter_id}")
        target = Path(folder, name)

        def receive_file(file: IO[bytes]) -> None:
            with self.stream(f"/v1/adapters/{adapter_id}/file", {}) as answer:
                self.check(answer)
                receive(answer, name, file, DiskLimits())

        save_whole(target, str(detail.file_sha256), receive_file)
        return target


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for; None asks for nothing."""
    return {name: value for name, value in asked.items() if value is not None}
