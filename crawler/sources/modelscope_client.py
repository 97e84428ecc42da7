"""ModelScope's routes that we need, asked by our own client.

Its library, modelscope-hub, is not used to crawl: it makes sessions and requests of its own
(to find a nearer region it fetches any address that the hub names), beyond every check of
addresses and sizes. tests/crawler/sources/test_modelscope_protocol.py holds our questions
against the library's.
"""

from typing import Any
from urllib.parse import quote_plus

from crawler.errors import SourceError
from crawler.foreign_text import quoted
from crawler.manners import Manners
from crawler.sources.hub_client import HubClient, HubNames


class ModelScopeClient(HubClient):
    """Asks one endpoint."""

    def __init__(self, endpoint: str, token: str | None, manners: Manners) -> None:
        # Older routes know the cookie, others the header.
        headers = {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}
        super().__init__(
            HubNames("ModelScope", "MODELSCOPE"),
            endpoint,
            headers if token else {},
            manners,
        )

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return `Data` of an answer of the API.

        Raises:
            SourceError: no answer, or not one that we understand.
        """
        return _data(self.ask_json(method, f"api/v1/{path}", body), path)

    def list_files(self, repo: str) -> list[dict[str, Any]]:
        """Return Path, Size and Sha256 of a repository's files, of which the hub lists 3000."""
        found = self.ask("GET", f"models/{repo}/repo/files?Revision=master&Recursive=True")
        files = found.get("Files")
        if not isinstance(files, list):
            raise SourceError(f"ModelScope answered the files of {repo} without Files")
        return [file for file in files if isinstance(file, dict)]

    def fetch_config(self, repo: str, name: str) -> str:
        """Return PEFT's config, a file of a repository; raises as `read_config` does."""
        return self.read_config(file_address(repo, name))


def file_address(repo: str, name: str, revision: str = "master") -> str:
    """Return where a file of a repository is, below the endpoint."""
    query = f"Revision={quote_plus(revision)}&FilePath={quote_plus(name)}"
    return f"api/v1/models/{repo}/repo?{query}"


def _data(answer: Any, path: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise SourceError(f"ModelScope answered {path} with JSON that is no object")
    # Some errors come with HTTP 200.
    code = answer.get("Code", 200)
    if code != 200:
        message = quoted(str(answer.get("Message", "no message")), 200)
        raise SourceError(f"ModelScope answered {path} with error {str(code)[:20]}: {message}")
    data = answer.get("Data")
    if not isinstance(data, dict):
        raise SourceError(f"ModelScope answered {path} without Data")
    return data
