"""A chat endpoint on loopback that answers as it is told to: well, badly, late or not at all."""

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

GOOD = {
    "short": "a red fox in ink",
    "medium": "A red fox sits in the snow, drawn in ink.",
    "long": "A red fox sits in deep snow under bare trees. It is drawn in black ink with a wash.",
}
GOOD_ZH = {
    "short": "水墨红狐",
    "medium": "一只红狐坐在雪地里，水墨画风格。",
    "long": "一只红狐坐在光秃秃的树下的深雪里。画面用黑色水墨绘成，只有一层淡彩。",
}


@dataclass(frozen=True)
class Answer:
    """One answer as it goes over the wire."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    # How much of the body is announced beyond what is sent.
    missing_bytes: int = 0
    # Waited before the status, and between each ten bytes of the body.
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0


def says(content: Any, *, reason: str = "stop", **message: Any) -> Answer:
    """A completion with this text in it; anything else than text is written as JSON."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}
    return Answer(body=json.dumps({"choices": [choice], "model": "x"}).encode())


def fails(status: int, message: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({"error": {"message": message}}).encode(), named)


@dataclass(frozen=True)
class Request:
    """What was asked: the parsed body, the headers, when it came, and the picture in it."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    at: float

    @property
    def picture(self) -> Image.Image:
        for part in self.body["messages"][0]["content"]:
            if part["type"] == "image_url":
                kind, _, data = part["image_url"]["url"].partition(",")
                assert kind == "data:image/jpeg;base64"
                return Image.open(io.BytesIO(base64.b64decode(data)))
        raise AssertionError("there is no picture in it")

    @property
    def text(self) -> str:
        [text] = [p["text"] for p in self.body["messages"][0]["content"] if p["type"] == "text"]
        return str(text)

    @property
    def is_chinese(self) -> bool:
        return re.search("[\u4e00-\u9fff]", self.text) is not None


def well(request: Request) -> Answer:
    """Answer as a good model does."""
    return says(GOOD_ZH if request.is_chinese else GOOD)


class VlmServer:
    """The endpoint: `answer` makes an answer of each request, on several threads at once."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], Answer] = well
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.vlm = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def script(self, *answers: Answer) -> None:
        """Give these answers one after the other, whoever asks, and good ones from then on."""
        left = list(answers)
        self.answer = lambda request: left.pop(0) if left else well(request)

    @contextmanager
    def running(self) -> Iterator["VlmServer"]:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def take(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            return self.answer(request)

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        vlm: VlmServer = self.server.vlm  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with vlm.counted():
            answer = vlm.take(Request(self.path, body, dict(self.headers), time.monotonic()))
            time.sleep(answer.delay_seconds)
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + answer.missing_bytes))
            self.end_headers()
            step = 10 if answer.drip_seconds else max(1, len(answer.body))
            for start in range(0, len(answer.body), step):
                self.wfile.write(answer.body[start : start + step])
                self.wfile.flush()
                time.sleep(answer.drip_seconds)
        except ConnectionError:
            self.close_connection = True
        if answer.missing_bytes:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its base's name)
        pass
