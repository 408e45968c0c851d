"""A bucket read without botocore: the same signature, the same places, and botocore's word wherever the answer is not plain."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from eventscore import aws, plain_http
from eventscore import plain_access as plain_access_module
from eventscore.errors import NotInStore, ObjectTooLarge, StoreUnavailable
from eventscore.plain_access import PlainAccess, origin_of, plain_access
from eventscore.plain_http import HttpConnection, Origin, TooLong
from eventscore.signature_v4 import Credentials, signed_headers
from eventscore.store.objects import MAX_OBJECT_BYTES, StoredObject
from eventscore.store.s3_reads import S3Reads

PLAIN = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
TEXT = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


class Server:
    """Answers each request on loopback with the next of ``answers``; the last one is repeated."""

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                server.connections += 1
                connection = tls.wrap_socket(self.request, server_side=True) if tls else self.request
                with connection, connection.makefile("rb") as lines:
                    while head := _head(lines):
                        server.requests.append(head)
                        length = re.search(r"(?i)content-length: (\d+)", head)
                        server.bodies.append(lines.read(int(length[1])) if length else b"")
                        answer = answers[min(len(server.requests), len(answers)) - 1]
                        connection.sendall(answer)
                        if b"Connection: close" in answer or b"HTTP/1.1 200" not in answer[:20]:
                            return

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]  # a client may hang up
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.port: int = self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _head(lines: BinaryIO) -> str:
    """A request up to its empty line; empty where the client hung up."""
    head = ""
    while (line := lines.readline().decode()) not in ("\r\n", ""):
        head += line
    return head


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(*answers: bytes, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(*answers, tls=tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def found(body: bytes = b"content", etag: str = '"tag"') -> bytes:
    return b"HTTP/1.1 200 OK\r\nETag: %s\r\nContent-Length: %d\r\n\r\n%s" % (etag.encode(), len(body), body)


def refused(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return b"HTTP/1.1 %d No\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        status,
        len(body),
        body,
    )


class Whole:
    """The botocore store: says that it was asked."""

    url = "s3://models/store"

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def read(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject:
        self.asked.append(key)
        return StoredObject(b"from botocore", '"botocore"')

    def write_once(self, key: str, content: bytes) -> None:
        self.asked.append(("write_once", key, content))

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        self.asked.append(("replace", key, content, expected))

    def list_names(self, prefix: str) -> tuple[str, ...]:
        self.asked.append(("list_names", prefix))
        return ("name",)


def keys() -> Credentials:
    return Credentials("key", "secret", None)


def reads(port: int, whole: Whole) -> S3Reads:
    access = PlainAccess("eu-west-1", origin_of(f"http://127.0.0.1:{port}"), keys)
    return S3Reads("models", "/store/", access, lambda: whole, connect_timeout_s=5, read_timeout_s=5)


def test_objects_are_read_on_one_connection_with_a_signature(serve: Serve) -> None:
    server, whole = serve(found(), found(b"x" * 100_000, '"other"')), Whole()
    store = reads(server.port, whole)
    assert store.read("m/channels.json") == StoredObject(b"content", '"tag"')
    assert store.read("m/model.onnx") == StoredObject(b"x" * 100_000, '"other"')
    assert (server.connections, whole.asked, store.url) == (1, [], "s3://models/store")
    store.close()
    first, second = server.requests
    assert first.startswith(f"GET /models/store/m/channels.json HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n")
    assert "authorization: AWS4-HMAC-SHA256 Credential=key/" in second


def test_a_missing_object_and_one_that_is_too_large_are_told_without_botocore(serve: Serve) -> None:
    whole = Whole()
    with pytest.raises(NotInStore, match="m/nothing"):
        reads(serve(refused(404, "NoSuchKey")).port, whole).read("m/nothing")
    with pytest.raises(ObjectTooLarge) as large:
        reads(serve(found(b"x" * 11)).port, whole).read("m/large", 10)
    assert (large.value.size_bytes, large.value.max_bytes, whole.asked) == (11, 10, [])


@pytest.mark.parametrize(
    "answer",
    [
        refused(404, "NoSuchBucket"),
        refused(403, "AccessDenied"),
        refused(301, "PermanentRedirect"),
        refused(400, "AuthorizationHeaderMalformed"),
        refused(503, "SlowDown"),
        b"",
        b'HTTP/1.1 200 OK\r\nETag: "t"\r\nContent-Length: 5\r\nConnection: close\r\n\r\ncut',
        b'HTTP/1.1 200 OK\r\nETag: "t"\r\n\r\nno length',
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        b'HTTP/1.1 200 OK\r\nETag: "t"\r\nTransfer-Encoding: gzip\r\n\r\nx',
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
def test_whatever_is_not_plain_is_asked_of_botocore(serve: Serve, answer: bytes) -> None:
    whole = Whole()
    store = reads(serve(answer).port, whole)
    assert store.read("m/key").content == b"from botocore"
    assert store.read("m/other").content == b"from botocore"
    assert whole.asked == ["m/key", "m/other"], "once botocore is there it is asked"


def test_a_server_that_is_not_there_is_looked_for_by_botocore() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        assert reads(taken.getsockname()[1], Whole()).read("m/key").content == b"from botocore"


def test_writing_and_listing_are_botocores() -> None:
    whole = Whole()
    store = reads(9, whole)
    store.write_once("k", b"1")
    store.replace("k", b"2", '"tag"')
    assert store.list_names("m/") == ("name",)
    assert whole.asked == [("write_once", "k", b"1"), ("replace", "k", b"2", '"tag"'), ("list_names", "m/")]


@pytest.mark.parametrize(
    ("bucket", "prefix", "plain"),
    [
        ("models", "", True),
        ("my-models-1", "a/b_c.d~e", True),
        ("my.models", "", False),
        ("Models", "", False),
        ("models--usw2-az1--x-s3", "", False),
        ("models-s3alias", "", False),
        ("arn:aws:s3:eu-west-1:1:accesspoint/p", "", False),
        ("models", "a b", False),
        ("models", "ä", False),
    ],
)
def test_names_that_need_escapes_or_rules_are_left_to_botocore(bucket: str, prefix: str, plain: bool) -> None:
    assert S3Reads.can_read(bucket, prefix) is plain


def test_the_files_of_a_bucket_on_aws_are_asked_of_its_own_host_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    origins: list[Origin] = []

    def connect(origin: Origin, **timeouts: float) -> HttpConnection:
        origins.append(origin)
        raise OSError("no network in a test")

    monkeypatch.setattr("eventscore.plain_http.HttpConnection", connect)
    access = plain_access("s3", PLAIN)
    assert access is not None
    store = S3Reads("models", "", access, Whole, connect_timeout_s=1, read_timeout_s=1)
    assert store.read("m/key").content == b"from botocore"
    host = "models.s3.eu-west-1.amazonaws.com"
    assert origins == [Origin(True, host, 443, host)]


@given(TEXT, TEXT, st.none() | TEXT, st.from_regex(r"\A[A-Za-z0-9._~/-]{0,40}\Z"), st.sampled_from(["h", "h:4566"]))
def test_a_request_is_signed_as_botocore_signs_it(
    key: str, secret: str, token: str | None, path: str, authority: str
) -> None:
    request = AWSRequest("GET", f"http://{authority}/{path}")
    S3SigV4Auth(BotocoreCredentials(key, secret, token), "s3", "eu-west-1").add_auth(request)
    ours = signed_headers(
        Credentials(key, secret, token),
        "GET",
        f"/{path}",
        authority=authority,
        headers={},
        body=b"",
        region="eu-west-1",
        service="s3",
        timestamp=request.headers["X-Amz-Date"],
    )
    assert ours == {name.lower(): of for name, of in request.headers.items()}


@given(TEXT, TEXT, st.none() | TEXT, st.binary(max_size=50))
def test_a_post_is_signed_as_botocore_signs_it(key: str, secret: str, token: str | None, body: bytes) -> None:
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessageBatch"}
    request = AWSRequest("POST", "https://sqs.eu-west-1.amazonaws.com/", headers=dict(headers), data=body)
    SigV4Auth(BotocoreCredentials(key, secret, token), "sqs", "eu-west-1").add_auth(request)
    ours = signed_headers(
        Credentials(key, secret, token),
        "POST",
        "/",
        authority="sqs.eu-west-1.amazonaws.com",
        headers=headers,
        body=body,
        region="eu-west-1",
        service="sqs",
        timestamp=request.headers["X-Amz-Date"],
    )
    assert ours == {name.lower(): of for name, of in request.headers.items()}


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_environment_of_a_function_is_plain() -> None:
    access = plain_access("s3", {**PLAIN, "AWS_SESSION_TOKEN": "token", "AWS_REGION": "eu-west-1"})
    assert access is not None
    assert (access.region, access.endpoint, access.credentials()) == ("eu-west-1", None, ("key", "secret", "token"))


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({"AWS_ENDPOINT_URL": "http://localhost:4566"}, Origin(False, "localhost", 4566, "localhost:4566")),
        ({"AWS_ENDPOINT_URL": "https://s3.example.org/"}, Origin(True, "s3.example.org", 443, "s3.example.org")),
        (
            {"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_S3": "http://only-s3:80"},
            Origin(False, "only-s3", 80, "only-s3"),
        ),
    ],
)
def test_endpoints_are_those_that_boto3_takes(variables: dict[str, str], endpoint: Origin) -> None:
    access = plain_access("s3", {**PLAIN, **variables})
    assert access is not None
    assert access.endpoint == endpoint


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_PROFILE": "me"},
        {"AWS_DEFAULT_PROFILE": "me"},
        {"AWS_CONFIG_FILE": "/etc/aws"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_CA_BUNDLE": "/ca.pem"},
        {"HTTPS_PROXY": "http://proxy"},
        {"AWS_DEFAULT_REGION": ""},
        {"AWS_DEFAULT_REGION": "cn-north-1"},
        {"AWS_DEFAULT_REGION": "us-iso-east-1"},
        {"AWS_ENDPOINT_URL": "http://host/with/a/path"},
        {"AWS_ENDPOINT_URL": "http://user@host"},
        {"AWS_ENDPOINT_URL": "http://[::1]:4566"},
        {"AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/x",
        },
    ],
)
def test_whatever_else_the_environment_asks_for_is_botocores_business(variables: dict[str, str]) -> None:
    assert plain_access("s3", {**PLAIN, **variables}) is None


def test_a_folder_with_profiles_is_botocores_business(tmp_path: Path) -> None:
    assert plain_access("s3", PLAIN) is not None
    (tmp_path / ".aws").mkdir()
    assert plain_access("s3", PLAIN) is None


def test_under_snapstart_credentials_come_from_the_container(serve: Serve) -> None:
    body = b'{"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": "2026-11-21T10:15:00Z"}'
    server = serve(found(body))
    url = f"http://127.0.0.1:{server.port}/v1/credentials"
    variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "let me in"}
    access = plain_access("s3", {"AWS_DEFAULT_REGION": "eu-west-1", **variables})
    assert access is not None
    assert access.credentials() == ("a", "b", "c")
    (request,) = server.requests
    assert request.startswith("GET /v1/credentials HTTP/1.1\r\n")
    assert "Authorization: let me in\r\n" in request


@pytest.mark.parametrize("answer", [refused(403, "no"), found(b"{}"), found(b"no json")])
def test_a_container_without_credentials_is_an_error_that_leads_to_botocore(serve: Serve, answer: bytes) -> None:
    url = f"http://127.0.0.1:{serve(answer).port}"
    access = plain_access("s3", {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": url})
    assert access is not None
    whole = Whole()
    store = S3Reads("models", "", access, lambda: whole, connect_timeout_s=1, read_timeout_s=1)
    assert store.read("m/key").content == b"from botocore"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that signed itself, and its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    file = tmp_path / "localhost.pem"
    file.write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@pytest.mark.parametrize("trusted", [True, False])
def test_a_server_is_believed_only_with_a_certificate_that_is_trusted(
    serve: Serve, certificate: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = serve(found(), tls=context)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    plain_http._tls.cache_clear()
    origin = origin_of(f"https://localhost:{server.port}")
    assert origin is not None
    try:
        if trusted:
            connection = HttpConnection(origin, connect_timeout_s=5, read_timeout_s=5)
            assert connection.request("GET", "/", {}, b"", 100).body == b"content"
            connection.close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                HttpConnection(origin, connect_timeout_s=5, read_timeout_s=5)
    finally:
        plain_http._tls.cache_clear()


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.integers(0, 1500))
def test_chunks_are_joined_and_bounded(chunks: list[bytes], max_bytes: int) -> None:
    body = b"".join(chunks)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer += b"".join(b"%x;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    server = Server(answer)
    try:
        connection = HttpConnection(Origin(False, "127.0.0.1", server.port, "h"), connect_timeout_s=5, read_timeout_s=5)
        if len(body) > max_bytes:
            with pytest.raises(TooLong, match=re.escape("a body of")):
                connection.request("GET", "/", {}, b"", max_bytes)
        else:
            assert connection.request("GET", "/", {}, b"", max_bytes).body == body
        assert not connection.usable
        connection.close()
    finally:
        server.close()


def test_a_chunk_of_negative_size_is_refused_before_anything_of_it_is_read(serve: Serve) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    for size in (b"-1", b"+5", b"0x5", b"1_0", b""):
        server = serve(head + size + b"\r\n" + b"x" * 1000)
        connection = HttpConnection(Origin(False, "127.0.0.1", server.port, "h"), connect_timeout_s=5, read_timeout_s=5)
        with pytest.raises(ValueError, match="no size of a chunk"):
            connection.request("GET", "/", {}, b"", 10)
        connection.close()


class Clock:
    """Stands where `plain_http` has its time: a frozen environment's monotonic clock stands still, wall time goes on."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.since_start = 100.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_start


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(plain_http, "time", clock)
    return clock


@pytest.mark.parametrize(("passed_s", "connections"), [(1.0, 1), (600.0, 2), (-600.0, 2)])
def test_a_kept_connection_ages_while_the_environment_is_frozen(
    serve: Serve, clock: Clock, passed_s: float, connections: int
) -> None:
    server = serve(found())
    store = reads(server.port, Whole())
    store.read("m/key")
    clock.wall += passed_s
    store.read("m/key")
    assert server.connections == connections
    store.close()


def test_a_store_that_drops_what_it_is_sent_is_given_up_within_one_timeout_and_not_tried_by_botocore(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    tried: list[float | None] = []

    class Dropped(socket.socket):
        def connect(self, address: Any) -> None:
            tried.append(self.gettimeout())
            clock.since_start += self.gettimeout() or 3600.0
            raise TimeoutError

    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 8)
    monkeypatch.setattr(socket, "socket", Dropped)
    whole = Whole()
    began = clock.since_start
    with pytest.raises(StoreUnavailable, match="no answer in time from 127.0.0.1:9"):
        reads(9, whole).read("m/key")
    assert clock.since_start - began == pytest.approx(5.0), "one timeout for all eight addresses together"
    assert len(tried) == 8
    assert whole.asked == []


def test_a_store_that_takes_a_request_and_says_nothing_is_not_asked_again_by_botocore(
    monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    def silent(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(plain_http.HttpPool, "request", silent)
    whole = Whole()
    with pytest.raises(StoreUnavailable):
        reads(serve(found()).port, whole).read("m/key")
    assert whole.asked == []


def test_however_many_files_are_refused_one_botocore_store_is_made(serve: Serve) -> None:
    made: list[Whole] = []
    store: S3Reads
    others: list[threading.Thread] = []

    def make() -> Whole:
        made.append(Whole())
        if len(made) == 1:
            # Another file is refused while the store is made: its thread must wait for this one.
            others.append(threading.Thread(target=store.read, args=("m/other",)))
            others[0].start()
            others[0].join(0.2)
        return made[-1]

    access = PlainAccess("eu-west-1", origin_of(f"http://127.0.0.1:{serve(refused(403, 'AccessDenied')).port}"), keys)
    store = S3Reads("models", "", access, make, connect_timeout_s=5, read_timeout_s=5)
    store.read("m/key")
    others[0].join()
    assert [sorted(whole.asked) for whole in made] == [["m/key", "m/other"]]


def test_botocore_clients_are_made_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0
    others: list[threading.Thread] = []

    class Session:
        def create_client(self, service: str, **_: object) -> str:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if not others:
                others.append(threading.Thread(target=partial(aws.client, "s3", **timeouts)))
                others[0].start()
                others[0].join(0.2)
            under_way -= 1
            return service

    timeouts = {"connect_timeout_s": 1.0, "read_timeout_s": 1.0}
    monkeypatch.setattr(aws, "_session", Session)
    assert aws.client("sqs", **timeouts) == "sqs"
    others[0].join()
    assert most == 1


@pytest.mark.parametrize(("expires", "asked"), [("2027-01-15T12:00:00Z", 1), ("2027-01-15T08:04:00Z", 3), (None, 3)])
def test_under_snapstart_credentials_are_asked_for_once_until_they_nearly_expire(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, expires: str | None, asked: int
) -> None:
    monkeypatch.setattr(plain_access_module.time, "time", lambda: 1_800_000_000.0)  # 2027-01-15T08:00:00Z
    until = f', "Expiration": "{expires}"' if expires else ""
    server = serve(found(f'{{"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c"{until}}}'.encode()))
    url = f"http://127.0.0.1:{server.port}/"
    access = plain_access("s3", {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": url})
    assert access is not None
    assert [access.credentials() for _ in range(3)] == [("a", "b", "c")] * 3
    assert len(server.requests) == asked
