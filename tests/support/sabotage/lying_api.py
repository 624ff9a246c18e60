"""A read API that answers what another one does, but for a lie."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

# Changes the matches of a search; given the path.
Lie = Callable[[str, list[Any]], list[Any]]


@contextmanager
def lying(origin: str, lie: Lie, status: int | None = None) -> Iterator[str]:
    """Serve the answers of an API, its searches changed by a lie, at the URL yielded; retrievals have this status."""

    class Handler(BaseHTTPRequestHandler):
        """Passes a GET on, and changes its answer."""

        def do_GET(self) -> None:
            answer = httpx.get(f"{origin}{self.path}", headers={"Accept": self.headers["Accept"]}, timeout=60)
            is_search = "json" in answer.headers.get("content-type", "") and answer.status_code == httpx.codes.OK
            body = json.dumps(lie(self.path, answer.json())).encode() if is_search else answer.content
            is_instance = self.path.startswith("/dicomweb/studies/") and "/instances/" in self.path
            self.send_response(status if status and is_instance else answer.status_code)
            self.send_header("Content-Type", answer.headers.get("content-type", "text/plain"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
