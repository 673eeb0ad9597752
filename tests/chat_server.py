"""A real server on this machine that speaks the chat-completions protocol, as far as the tests need it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One HTTP answer: a body of any kind, or the text of a completion."""

    text: str | None = None
    status: int = 200
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 1000, "completion_tokens": 10})

    def encoded(self) -> bytes:
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        completion = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        completion |= {} if self.usage is None else {"usage": self.usage}
        return (json.dumps(completion) if self.body is None else self.body).encode()


@dataclass
class ChatServer:
    """Replies by a function of the request's body, and remembers what it was asked."""

    reply: Callable[[dict[str, Any]], Reply]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["content-length"])))
        with self.lock:
            self.asked.append(body)
            self.keys.append(request.headers["authorization"])
            self.now += 1
            self.most = max(self.most, self.now)
        reply = self.reply(body) if request.path == "/v1/chat/completions" else Reply(status=404, body="{}")
        with self.lock:
            self.now -= 1
        sent = reply.encoded()
        request.send_response(reply.status)
        for name, value in {"content-type": "application/json", "content-length": len(sent), **reply.headers}.items():
            request.send_header(name, str(value))
        request.end_headers()
        request.wfile.write(sent)


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Reply]) -> Iterator[ChatServer]:
    server = ChatServer(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                server.handle(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has given up, as a test wants it to

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False  # a client keeps its connection open

    with Server(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_port}/v1"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def in_turn(*replies: Reply) -> Callable[[dict[str, Any]], Reply]:
    """The replies one after another, then the last again and again."""
    left = list(replies)

    def reply(body: dict[str, Any]) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    return reply
