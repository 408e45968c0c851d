"""HTTP/1.1 on kept-alive connections, as far as a model is pulled and a batch of messages is sent with it.

`http.client` brings the parsers of e-mail with it, which cost a cold start more than the pull does. Whatever this module does not
expect is an error; whoever uses it must have another way.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    import ssl

_LONGEST_LINE = 16_384
_MOST_HEADERS = 100
_KEPT_S = 4.0
"""S3 closes a connection that is idle for some more seconds; one that was kept in a frozen environment is closed by then."""
_WITHOUT_BODY = (204, 304)


class Origin(NamedTuple):
    """Where to connect to; ``authority`` is the value of the Host header."""

    secure: bool
    host: str
    port: int
    authority: str


class HttpAnswer(NamedTuple):
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TooLong(Exception):
    """The body has more bytes than were asked for; nothing of it was read."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        super().__init__(f"a body of {size_bytes} bytes")


class HttpConnection:
    """One connection. Any error (``OSError``, ``ValueError``) and ``TooLong`` leave it unusable."""

    def __init__(self, origin: Origin, *, connect_timeout_s: float, read_timeout_s: float) -> None:
        plain = _connected(origin, connect_timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain
        self._authority = origin.authority
        try:
            if origin.secure:
                self._socket = _tls().wrap_socket(plain, server_hostname=origin.host)
            self._socket.settimeout(read_timeout_s)
            self._answers: BinaryIO = self._socket.makefile("rb")
        except BaseException:
            self._socket.close()
            raise
        self.usable = True
        """Whether another request may follow."""

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> HttpAnswer:
        """The answer to one request. Raises ``OSError``, ``ValueError``, and ``TooLong`` before more than ``max_bytes`` are read."""
        self.usable = False
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {of}" for name, of in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + body)
        status, kept = self._status()
        answered = self._headers()
        content = b"" if status in _WITHOUT_BODY else self._body(answered, max_bytes)
        self.usable = kept and answered.get("connection", "").lower() != "close"
        return HttpAnswer(status, answered, content)

    def close(self) -> None:
        """Close the connection."""
        self._answers.close()
        self._socket.close()

    def _status(self) -> tuple[int, bool]:
        parts = self._line().split(" ", 2)
        if (
            len(parts) < 2
            or parts[0] not in ("HTTP/1.1", "HTTP/1.0")
            or not (parts[1].isdigit() and len(parts[1]) == 3)
        ):
            raise ValueError("no HTTP status line")
        if parts[1].startswith("1"):
            raise ValueError(f"an interim answer ({parts[1]}), which nobody asked for")
        return int(parts[1]), parts[0] == "HTTP/1.1"

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if not line:
                return headers
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError("a header without a colon")
            headers[name.strip().lower()] = value.strip()
        raise ValueError("too many headers")

    def _body(self, headers: Mapping[str, str], max_bytes: int) -> bytes:
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise ValueError("an unknown transfer encoding")
            return self._chunks(max_bytes)
        length = headers.get("content-length", "")
        if not length.isdigit():
            raise ValueError("a body without a length")
        return self._bytes(int(length), max_bytes)

    def _chunks(self, max_bytes: int) -> bytes:
        body = b""
        while size := _size(self._line().partition(";")[0].strip()):
            body += self._bytes(size, max_bytes - len(body))
            if self._line():
                raise ValueError("a chunk longer than it says")
        self._headers()
        return body

    def _bytes(self, count: int, max_bytes: int) -> bytes:
        if count > max_bytes:
            raise TooLong(count)
        body = self._answers.read(count)
        if len(body) != count:
            raise ValueError(f"the body ends after {len(body)} of {count} bytes")
        return body

    def _line(self) -> str:
        line = self._answers.readline(_LONGEST_LINE)
        if not line.endswith(b"\r\n"):
            raise ValueError("a line that does not end")
        return line[:-2].decode("latin-1")


class HttpPool:
    """Connections to one origin, for several threads at once; one that was idle for longer than servers keep it is not used again."""

    def __init__(self, origin: Origin, *, connect_timeout_s: float, read_timeout_s: float) -> None:
        self.origin = origin
        self._connect_timeout_s, self._read_timeout_s = connect_timeout_s, read_timeout_s
        self._idle: list[tuple[HttpConnection, float]] = []

    def request(self, method: str, target: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> HttpAnswer:
        """As ``HttpConnection.request``."""
        connection = self._connection()
        try:
            return connection.request(method, target, headers, body, max_bytes)
        finally:
            if connection.usable:
                self._idle.append((connection, time.time()))
            else:
                connection.close()

    def close(self) -> None:
        """Close the connections that are kept for the next request."""
        while self._idle:
            self._idle.pop()[0].close()

    def _connection(self) -> HttpConnection:
        while True:
            try:
                connection, since = self._idle.pop()  # atomic
            except IndexError:
                return HttpConnection(
                    self.origin, connect_timeout_s=self._connect_timeout_s, read_timeout_s=self._read_timeout_s
                )
            # Wall time: the monotonic clock of a frozen environment, or of a snapshot, may stand still.
            if 0 <= time.time() - since < _KEPT_S:
                return connection
            connection.close()


def _connected(origin: Origin, timeout_s: float) -> socket.socket:
    """A connection to one of the origin's addresses: all together they get ``timeout_s``, each half of what is left of it."""
    until = time.monotonic() + timeout_s
    failed = OSError(f"{origin.host} has no address")
    # As bytes: a text would be put through the codec for international names, which is three modules with tables.
    addresses = socket.getaddrinfo(origin.host.encode("ascii"), origin.port, type=socket.SOCK_STREAM)
    for place, (family, kind, protocol, _, address) in enumerate(addresses, start=1):
        left = until - time.monotonic()
        if left <= 0:
            break
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(left if place == len(addresses) else left / 2)
            plain.connect(address)
            plain.settimeout(timeout_s)
        except OSError as error:
            plain.close()
            failed = error
        else:
            return plain
    raise failed


def _size(text: str) -> int:
    if not text or text.strip("0123456789abcdefABCDEF"):
        raise ValueError("no size of a chunk")
    return int(text, 16)


@cache
def _tls() -> ssl.SSLContext:
    import ssl  # an endpoint without TLS does not need it

    return ssl.create_default_context()
