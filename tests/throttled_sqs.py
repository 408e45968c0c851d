"""A fault between the function and its queues: hands SQS calls on, and refuses chosen entries of one queue as a throttled SQS would."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class ThrottledSqs:
    """A context manager: ``endpoint_url`` speaks for ``upstream``, but SendMessageBatch to ``queue_url`` loses what ``refuse`` picks.

    ``refuse`` gets an entry's body, parsed. Beside that, one call in ``unavailable_every`` to the queue is answered 503 as a whole.
    """

    def __init__(
        self, upstream: str, queue_url: str, refuse: Callable[[dict[str, Any]], bool], unavailable_every: int
    ) -> None:
        self.refused = 0
        self.unavailable = 0
        self._upstream = urlsplit(upstream)
        self._queue = urlsplit(queue_url).path
        self._refuse = refuse
        self._every = unavailable_every
        self._calls = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, kind, answer = proxy._answer(dict(self.headers.items()), self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def endpoint_url(self) -> str:
        """What AWS_ENDPOINT_URL_SQS should hold."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, headers: dict[str, str], path: str, body: bytes) -> tuple[int, str, bytes]:
        target = headers.get("X-Amz-Target", headers.get("x-amz-target", ""))
        call = json.loads(body) if target == "AmazonSQS.SendMessageBatch" else {}
        if urlsplit(call.get("QueueUrl", "")).path != self._queue:
            return self._forward(headers, path, body)
        with self._lock:
            self._calls += 1
            if self._calls % self._every == 0:
                self.unavailable += 1
                return 503, "application/x-amz-json-1.0", b'{"__type": "ServiceUnavailable", "message": "busy"}'
            refused = [entry for entry in call["Entries"] if self._refuse(json.loads(entry["MessageBody"]))]
            self.refused += len(refused)
        taken = [entry for entry in call["Entries"] if entry not in refused]
        answer: dict[str, Any] = {}
        if taken:
            _, _, raw = self._forward(headers, path, json.dumps({**call, "Entries": taken}).encode())
            answer = json.loads(raw)
        failed = [
            {"Id": entry["Id"], "Code": "RequestThrottled", "SenderFault": False, "Message": "slow down"}
            for entry in refused
        ]
        answer = {"Successful": answer.get("Successful", []), "Failed": [*answer.get("Failed", []), *failed]}
        return 200, "application/x-amz-json-1.0", json.dumps(answer).encode()

    def _forward(self, headers: dict[str, str], path: str, body: bytes) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(str(self._upstream.hostname), self._upstream.port, timeout=10)
        try:
            kept = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            connection.request("POST", path, body, kept)
            response = connection.getresponse()
            return response.status, response.headers.get("Content-Type", ""), response.read()
        finally:
            connection.close()
