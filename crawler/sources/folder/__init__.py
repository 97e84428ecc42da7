"""A folder of adapters as people have them."""

from crawler.sources.folder.source import FolderSource

__all__ = ["FolderSource"]
