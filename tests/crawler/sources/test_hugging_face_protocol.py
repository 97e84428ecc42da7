"""Our questions are those of Hugging Face's own library, and the loopback hub answers both."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import RepoFile

from crawler.records import AdapterRecord
from crawler.sources.hugging_face import LORA_TAGS, HuggingFaceSource
from demo.hub.hugging_face import HuggingFaceHub, serve
from tests.crawler.builders import add_entry

FIELDS: list[Any] = ["lastModified", "downloads", "tags", "private"]
Question = tuple[str, str, tuple[tuple[str, str], ...], str | None]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HuggingFaceHub]:
    for name in ("cat", "dog", "fox"):
        add_entry(tmp_path / "zoo", name)
    with serve(tmp_path / "zoo") as hub:
        hub.without_blobs.update(hub.repos())
        yield hub


def questions(hub: HuggingFaceHub) -> list[Question]:
    """What the hub was asked, in an order that does not matter: route, query, credentials."""
    found = []
    for (method, address, _), headers in zip(hub.requests, hub.headers, strict=True):
        parts = urlsplit(address)
        query = tuple(sorted(parse_qsl(parts.query)))
        sent = {name.lower(): value for name, value in headers.items()}
        found.append((method, parts.path, query, sent.get("authorization")))
    hub.requests.clear()
    hub.headers.clear()
    return sorted(found)


def test_listings_details_and_files_are_asked_for_as_the_library_does(
    hub: HuggingFaceHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with HuggingFaceSource(hub.endpoint, "tok", page_size=2) as source:
        records = [r for r in source.list_adapters() if isinstance(r, AdapterRecord)]
        for record in records:
            source.download(record, tmp_path / "ours")
    ours = questions(hub)

    api = HfApi(endpoint=hub.endpoint, token="tok")
    for tag in LORA_TAGS:
        # A listing without a limit is not told how large a page is to be.
        list(api.list_models(filter=tag, sort="last_modified", limit=2, expand=FIELDS))
    for record in records:
        api.model_info(record.repo, files_metadata=True)
        tree = list(api.list_repo_tree(record.repo, recursive=True))
        [file] = [item for item in tree if isinstance(item, RepoFile) and item.lfs]
        assert file.lfs is not None
        told = record.file
        assert (file.path, file.lfs.size, file.lfs.sha256) == (told.name, told.size, told.sha256)
        api.hf_hub_download(record.repo, told.name, local_dir=tmp_path / "theirs")

    theirs = questions(hub)
    # It asks for a file's headers first, and says of the tree what is the default.
    asked = {_plain(question) for question in theirs if question[0] == "GET"}
    first_pages = {question for question in ours if "cursor" not in dict(question[2])}
    assert {_plain(question) for question in first_pages} == asked
    assert {question[3] for question in ours + theirs} == {"Bearer tok"}


def _plain(question: Question) -> Question:
    method, path, query, credentials = question
    return method, path, tuple(item for item in query if item != ("expand", "false")), credentials
