"""What tests ask of a folder."""

from pathlib import Path

from crawler.records import AdapterRecord
from crawler.sources.folder import FolderSource


def list_records(folder: Path) -> list[AdapterRecord]:
    """List a folder in which nothing is wrong."""
    found = list(FolderSource(folder).list_adapters())
    assert all(isinstance(item, AdapterRecord) for item in found), found
    return [item for item in found if isinstance(item, AdapterRecord)]
