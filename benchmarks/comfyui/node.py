"""Run our node inside ComfyUI itself: its loader, its validation, its executor; no GPU.

    PYTHON benchmarks/comfyui/node.py COMFYUI_FOLDER

with ComfyUI's own Python, which needs nothing of ours. A registry on loopback stands in for ours;
tests/integrations has the node ask a real one.
"""

import asyncio
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

NODE = Path(__file__).parents[2] / "integrations" / "comfyui"
FILE = (2).to_bytes(8, "little") + b"{}" + bytes(1000)
SHA256 = hashlib.sha256(FILE).hexdigest()
CARD = {"name": "Saber!", "file_sha256": SHA256, "strength": 0.7}
CHOICE = [{"adapter": CARD | {"trigger_words": [r"saber \(fate\)"]}}]


class Handler(BaseHTTPRequestHandler):
    """Chooses one adapter whatever is asked, and has its file."""

    def do_GET(self) -> None:
        body = json.dumps(CHOICE).encode() if self.path.startswith("/v1/choose") else FILE
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


async def run(url: str) -> Any:
    """Load the node, and run a graph of it and two of ComfyUI's; return what these show."""
    nodes, execution = import_module("nodes"), import_module("execution")
    await nodes.init_builtin_extra_nodes()
    assert await nodes.load_custom_node(str(NODE)), "ComfyUI does not load the node"
    inputs = {"text": "a girl", "base_model": "", "count": 2, "registry": url}
    prompt = {
        "1": {"class_type": "AutoLoraChoose", "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}},
    }
    valid = await execution.validate_prompt("check", prompt, None)
    assert valid[0], valid
    # What ComfyUI's server is told of progress.
    server = SimpleNamespace(
        client_id=None, last_node_id=None, sockets_metadata={}, send_sync=lambda *_: None
    )
    executor = execution.PromptExecutor(server, cache_args={"ram": 0, "lru": 0})
    await executor.execute_async(prompt, "check", {}, ["2", "3"])
    assert executor.success, executor.status_messages
    return {id_: shown["text"] for id_, shown in executor.history_result["outputs"].items()}


def main(comfyui: str) -> None:
    with TemporaryDirectory() as base, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        loras = Path(base, "models", "loras")
        loras.mkdir(parents=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.argv = ["main.py", "--cpu", "--base-directory", base]
        sys.path.insert(0, comfyui)
        import_module("comfy.options").enable_args_parsing()
        shown = asyncio.run(run(f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
        name = f"Saber-{SHA256[:8]}.safetensors"
        assert (loras / name).read_bytes() == FILE
        assert json.loads(shown["2"][0]) == [[name, 0.7, 0.0]]
        assert shown["3"] == [r"saber \(fate\)"]
    print(f"ComfyUI ran the node: {shown}")


if __name__ == "__main__":
    main(sys.argv[1])
