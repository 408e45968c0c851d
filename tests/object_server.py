"""An S3 that answers reads over real HTTP from a folder, and does wrong what it is told to do wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class ObjectServer:
    """Objects of the bucket ``models`` are files below ``folder``.

    ``faults`` maps the end of a key to what goes wrong with it: ``forbidden``, ``truncated`` or ``hung up``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, str] = {}
        self.answers: list[tuple[str, int]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def asked_for(self, end: str) -> list[int]:
        """The statuses with which reads of keys that end so were answered."""
        return [status for key, status in self.answers if key.endswith(end)]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        key = unquote(urlsplit(request.path).path).removeprefix("/models/")
        fault = next((what for end, what in self.faults.items() if key.endswith(end)), None)
        if fault == "hung up":
            request.close_connection = True
            return
        path = self.folder / key
        status, body, etag = 200, b"", ""
        if fault == "forbidden":
            status, body = 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        elif not path.is_file():
            status, body = 404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>"
        else:
            content = path.read_bytes()
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            if request.headers.get("If-None-Match") == etag:
                status = 304
            else:
                body = content
        self.answers.append((key, status))
        request.send_response(status)
        if etag:
            request.send_header("ETag", etag)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if fault == "truncated":
            body = body[: len(body) // 2]
            request.close_connection = True
        request.wfile.write(body)


@contextmanager
def object_server(folder: Path) -> Iterator[ObjectServer]:
    server = ObjectServer(folder)
    try:
        yield server
    finally:
        server.stop()
