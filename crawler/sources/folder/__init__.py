"""A folder of adapters as people have them."""

from crawler.sources.folder.describing import HUB, repo_of
from crawler.sources.folder.names import is_hidden
from crawler.sources.folder.source import FolderSource

__all__ = ["HUB", "FolderSource", "is_hidden", "repo_of"]
