"""Our questions are those of ModelScope's own library, and the loopback hub answers both.

The library is a witness here and nothing more: to crawl with it would mean requests that pass
no guard.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from modelscope_hub import HubApi, HubConfig

from crawler.records import AdapterRecord
from crawler.sources.modelscope import ModelScopeSource
from demo.hub.modelscope_facts import Hub

Question = tuple[str, str, tuple[tuple[str, str], ...], str | None, str | None]


@pytest.fixture
def library(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[HubApi, Path]]:
    """The library, its home and its cache in folders of the test."""
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    # Only what it asks for a file is of interest, not its search for a nearer region.
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "false")
    api = HubApi(HubConfig(endpoint=hub.endpoint, token="tok"))
    yield api, tmp_path / "theirs"
    api.legacy._session.close()
    api.legacy._read_session.close()


def questions(hub: Hub) -> list[Question]:
    """What the hub was asked, in an order that does not matter: route, query, credentials."""
    found = []
    for (method, address, _), headers in zip(hub.requests, hub.headers, strict=True):
        parts = urlsplit(address)
        query = tuple(sorted(parse_qsl(parts.query)))
        credentials = headers.get("Authorization"), headers.get("Cookie")
        found.append((method, parts.path, query, *credentials))
    return sorted(found)


def test_detail_files_and_downloads_are_asked_for_as_the_library_does(
    hub: Hub, library: tuple[HubApi, Path], tmp_path: Path
) -> None:
    api, folder = library
    with ModelScopeSource(hub.endpoint, "tok") as source:
        records = [r for r in source.list_adapters() if isinstance(r, AdapterRecord)]
        hub.requests.clear()
        hub.headers.clear()
        for record in records:
            source._client.ask("GET", f"models/{record.repo}")
            source._client.list_files(record.repo)
            source.download(record, tmp_path / "ours")
    ours = questions(hub)
    hub.requests.clear()
    hub.headers.clear()

    for record in records:
        api.legacy.get_repo_info(record.repo, "model")
        files = api.list_repo_files(record.repo, "model")
        assert [(f.path, f.size, f.sha256) for f in files] == [
            (record.file.name, record.file.size, record.file.sha256)
        ]
        api.downloader.download_file(
            record.repo, "model", record.file.name, revision="master", local_dir=folder
        )

    assert ours == questions(hub)
    assert len(ours) == 3 * len(records)
