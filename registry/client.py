"""A registry elsewhere, asked from Python over HTTP: what its API answers, typed."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

from pydantic import TypeAdapter

from crawler.disk import DiskLimits
from registry.api.schemas import (
    AdapterDetailAnswer,
    AdapterListAnswer,
    SearchAnswer,
    SimilarAnswer,
)
from registry.blobs import hash_file
from registry.errors import BlobMismatchError, FileInTheWayError
from registry.remote import Connection, receive
from registry.retrieval.browsing import Sort
from registry.retrieval.filter_options import FilterOptions

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
        name = _safe_name(detail.file_name, adapter_id)
        target = Path(folder, name)
        if target.exists():
            if not target.is_file() or hash_file(target) != detail.file_sha256:
                raise FileInTheWayError(target)
            return target
        # In the same folder, so that a whole file appears at once.
        with TemporaryDirectory(dir=folder, prefix=".autolora-") as parts:
            partial = Path(parts, name)
            with self.stream(f"/v1/adapters/{adapter_id}/file", {}) as answer:
                self.check(answer)
                with partial.open("wb") as file:
                    receive(answer, name, file, DiskLimits())
            got = hash_file(partial)
            if got != detail.file_sha256:
                raise BlobMismatchError(name, str(detail.file_sha256), got)
            partial.replace(target)
        return target


def _safe_name(announced: str, adapter_id: int) -> str:
    """Return the last part of a path, unless it could be anything but an adapter's file.

    What another machine says chooses no folder, and hides nothing.
    """
    name = announced.replace("\\", "/").rpartition("/")[2]
    fit = name.isprintable() and name.endswith(".safetensors") and not name.startswith(".")
    return name if fit else f"adapter-{adapter_id}.safetensors"


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked for; None asks for nothing."""
    return {name: value for name, value in asked.items() if value is not None}
