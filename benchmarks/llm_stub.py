"""A stand-in for a language model's server, on the loopback interface: it speaks OpenAI's chat protocol and knows nothing (tests, counterparts.py).

It is honest about being a stub: what it proposes is drawn at random, or is what a test wants to see handled.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What the server sends back; a body that is no bytes is a chat answer with this text."""

    body: str | bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


def honest(request: dict[str, Any], number: int = 5) -> Answer:
    """Architectures at random, the same ones for the same request; budgets are not looked at."""
    told = json.loads(request["messages"][1]["content"])
    rng = random.Random(hashlib.sha256(json.dumps(request).encode()).hexdigest())
    drawn = [{name: rng.choice(options) for name, options in told["decisions"].items()} for _ in range(number)]
    return Answer(json.dumps({"architectures": drawn}))


class Stub:
    """The server as a context; `answer` is called with each request and its number, `heard` has (headers, request) of each."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Answer]) -> None:
        heard = self.heard = list[tuple[dict[str, str], dict[str, Any]]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                heard.append(({name.lower(): value for name, value in self.headers.items()}, request))
                found = answer(request, len(heard))
                text = found.body
                body = (
                    text
                    if isinstance(text, bytes)
                    else json.dumps({"choices": [{"message": {"content": text}}]}).encode()
                )
                try:
                    self.send_response(found.status)
                    for name, value in (*found.headers, ("Content-Length", str(len(body)))):
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # nobody waits any more

            def do_GET(self) -> None:
                heard.append(({name.lower(): value for name, value in self.headers.items()}, {}))
                self.send_error(404)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self) -> Stub:
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
