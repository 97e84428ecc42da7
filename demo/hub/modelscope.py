"""A hub on loopback that speaks ModelScope's protocol.

Serves a folder: `listing.json` (see `HubFacts`) and the files that it names.

    python -m demo.hub.modelscope FOLDER --port 8090
"""

import sys
from contextlib import AbstractContextManager
from pathlib import Path

from demo.hub.modelscope_facts import Hub
from demo.hub.modelscope_handler import Handler
from demo.hub.server import run, serve_hub


def serve(folder: Path, port: int = 0) -> AbstractContextManager[Hub]:
    """Serve `folder` for as long as the context lasts; raises as `serve_hub` does."""
    return serve_hub(folder, port, Hub, Handler)


if __name__ == "__main__":
    sys.exit(run(serve, __doc__))
