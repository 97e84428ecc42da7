"""A server on loopback that answers as ComfyUI does, and draws nothing.

It takes workflows at /prompt and refuses what ComfyUI refuses [1], and serves what ComfyUI's own
frontend asks for when that lies in a folder.

- [1] validate_prompt in execution.py of https://github.com/comfyanonymous/ComfyUI
"""

import json
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.comfyui.nodes import object_info

# What the frontend asks for beside, and gets from a ComfyUI that was just installed.
ANSWERS: Mapping[str, Any] = {
    "/users": {"storage": "server", "migrated": True},
    "/settings": {"Comfy.TutorialCompleted": True, "Comfy.UseNewMenu": "Top"},
    "/extensions": [],
    "/embeddings": [],
    "/features": {},
    "/i18n": {},
    "/workflow_templates": {},
    "/global_subgraphs": {},
    "/queue": {"queue_running": [], "queue_pending": []},
    "/history": {},
    "/userdata": [],
    "/experiment/models": [],
    "/prompt": {"exec_info": {"queue_remaining": 0}},
    "/system_stats": {
        "system": {
            "os": "linux", "python_version": "3.13", "embedded_python": False, "argv": [],
            "comfyui_version": "0.0.0", "pytorch_version": "2", "ram_total": 1, "ram_free": 1,
        },
        "devices": [],
    },
}  # fmt: skip


class ComfyUI(ThreadingHTTPServer):
    """What it has of nodes and files, and what was asked of it."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, Collection[str]], frontend: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.nodes = object_info(files)
        self.frontend = frontend
        self.taken: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take a workflow, or say what is wrong with it; the status and the answer."""
        if "prompt" not in asked:
            return 400, _refusal("no_prompt", "No prompt provided", "No prompt provided")
        prompt = asked["prompt"]
        for id_, node in prompt.items():
            if node["class_type"] not in self.nodes:
                message = f"Cannot execute because node {node['class_type']} does not exist."
                return 400, _refusal("invalid_prompt", message, f"Node ID '#{id_}'")
        faults = {id_: list(self._faults(node)) for id_, node in prompt.items()}
        errors = {
            id_: {"errors": found, "dependent_outputs": [], "class_type": prompt[id_]["class_type"]}
            for id_, found in faults.items()
            if found
        }
        if errors:
            refusal = _refusal(
                "prompt_outputs_failed_validation", "Prompt outputs failed validation", ""
            )
            return 400, refusal | {"node_errors": errors}
        self.taken.append(asked)
        return 200, {"prompt_id": f"prompt-{len(self.taken)}", "number": 1, "node_errors": {}}

    def _faults(self, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for name, (kind, *_) in self.nodes[node["class_type"]]["input"]["required"].items():
            about = {"input_name": name, "input_config": [kind]}
            if name not in node["inputs"]:
                yield _fault("required_input_missing", "Required input is missing", name, about)
                continue
            value = node["inputs"][name]
            if isinstance(kind, list) and value not in kind:
                details = f"{name}: '{value}' not in {kind}"
                about |= {"received_value": value}
                yield _fault("value_not_in_list", "Value not in list", details, about)


def _fault(kind: str, message: str, details: str, about: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": about}


def _refusal(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"error": _fault(kind, message, details, {}), "node_errors": {}}


class _Handler(SimpleHTTPRequestHandler):
    server: ComfyUI

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api").rstrip("/")
        if path == "/object_info":
            self._answer(200, self.server.nodes)
        elif path in ANSWERS:
            self._answer(200, ANSWERS[path])
        elif self.server.frontend is not None and not self.path.startswith("/api"):
            super().do_GET()
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path.removeprefix("/api") == "/prompt":
            self._answer(*self.server.take(json.loads(body)))
        else:
            self._answer(200, {})

    def translate_path(self, path: str) -> str:
        return str(self.server.frontend) + path.partition("?")[0]

    def _answer(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


@contextmanager
def comfyui(
    files: Mapping[str, Collection[str]], frontend: Path | None = None
) -> Iterator[ComfyUI]:
    """Run it while the context lasts."""
    with ComfyUI(files, frontend) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
