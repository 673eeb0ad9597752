"""What is said when the hub does not give a model: a small server stands for it, and answers as it does."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from hypernoise_pl.generators.stable_diffusion import SDTurbo


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that refuses every request with the status and the error code given."""

    class Handler(BaseHTTPRequestHandler):
        status, code = 404, "RepoNotFound"

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.send_header("X-Error-Code", self.code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        (404, "RepoNotFound", r"no such id on the hub; a private one needs a token .*such as \./that"),
        (403, "GatedRepo", r"gated: accept its terms on its page on the hub, then give a token \(hf auth login"),
        (404, "RevisionNotFound", r"the hub has the model but not this revision"),
        (404, "EntryNotFound", r"the hub has the model but not all its files"),
    ],
)
def test_hub_refusals_give_the_reason(hub, status, code, line):
    hub.status, hub.code = status, code
    with pytest.raises(FileNotFoundError, match=f"generator nobody/that: {line}") as raised:
        SDTurbo("nobody/that", revision="v9")
    assert "\n" not in str(raised.value)


def test_a_model_outside_the_cache_is_named_offline(hub):
    with pytest.raises(FileNotFoundError, match=r"generator nobody/that: not in the local cache, and the hub is"):
        SDTurbo("nobody/that", local_only=True)
