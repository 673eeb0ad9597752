"""A server on this machine that speaks what huggingface_hub asks of models, and when it uploads a folder."""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """What was asked of it, and the files that it holds.

    Args:
        status: of every answer; 200 for a hub that is well.
    """

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.created: list[dict[str, Any]] = []
        self.cards: list[str] = []
        self.files: dict[str, bytes] = {}
        self.models: dict[str, dict[str, int]] = {}  # id -> sizes of the files of it
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = ""

    def about(self, path: str) -> dict[str, Any] | None:
        """What the page of a model says; None if there is no such model."""
        self.asked.append(path)
        name = path.removeprefix("/api/models/")
        if name not in self.models:
            return None
        return {"id": name, "siblings": [{"rfilename": file, "size": size} for file, size in self.models[name].items()]}

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return {"url": f"{self.url}/{self.created[-1]['organization']}/{self.created[-1]['name']}"}
        if path == "/api/validate-yaml":  # of the card's head
            self.cards.append(json.loads(body)["content"])
            return {"errors": [], "warnings": []}
        if re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            files = json.loads(body)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if re.fullmatch(r"/api/models/[^/]+/[^/]+/commit/main", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"commitUrl": f"{self.url}/me/mine/commit/1", "commitOid": "1", "hookOutput": ""}
        raise AssertionError(f"the hub was asked {path}")


@contextlib.contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.tokens.add(self.headers["Authorization"])
            found = (
                hub.answer(self.path.partition("?")[0], body) if hub.status == 200 else {"error": "no right to write"}
            )
            self._send(hub.status, found)

        def do_GET(self) -> None:
            found = hub.about(self.path.partition("?")[0])
            if hub.status != 200:
                self._send(hub.status, {"error": "not well"})
            elif found is None:
                self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            else:
                self._send(200, found)

        def _send(self, status: int, found: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
