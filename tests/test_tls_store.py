"""A bucket behind TLS, read by a fresh process as the function reads it; and where botocore would have asked for the same object."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from eventscore.plain_access import plain_access
from eventscore.plain_http import HttpAnswer, HttpPool
from eventscore.store.s3_reads import S3Reads
from test_plain_store import PLAIN, Server, Whole, found

READS_TWICE = """
import json, sys
from eventscore.errors import StoreUnavailable
from eventscore.store.location import open_store_to_read
store = open_store_to_read("s3://models/m")
try:
    told = [store.read(name).content.decode() for name in ("a", "b")]
except StoreUnavailable as error:
    told = str(error)
print(json.dumps([told, "botocore" in sys.modules]))
"""


@dataclass(frozen=True)
class Authority:
    """An authority that nobody knows, and a certificate that it gave to ``localhost``."""

    own: Path
    of_localhost: Path


def certify(folder: Path, *, name: str = "localhost") -> Authority:
    """Make an authority, and have it certify ``name``."""
    now, pem = datetime.now(UTC), serialization.Encoding.PEM
    keys = {who: ec.generate_private_key(ec.SECP256R1()) for who in ("authority", name)}

    def certificate(who: str) -> x509.Certificate:
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]) for common in (who, "authority")
        )
        builder = x509.CertificateBuilder(issuer, subject, keys[who].public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        is_authority = who == "authority"
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        # Python from 3.13 on believes nobody without these.
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["authority"].public_key())
        builder = builder.add_extension(issued_by, critical=False)
        own = x509.SubjectKeyIdentifier.from_public_key(keys[who].public_key())
        builder = builder.add_extension(own, critical=False)
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(who)]), critical=False)
        return builder.sign(keys["authority"], hashes.SHA256())

    folder.mkdir(exist_ok=True)
    made = Authority(folder / "authority.pem", folder / "localhost.pem")
    made.own.write_bytes(certificate("authority").public_bytes(pem))
    private = keys[name].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.of_localhost.write_bytes(certificate(name).public_bytes(pem) + private)
    return made


def over_tls(authority: Authority) -> Server:
    """An S3 on loopback with the certificate that the authority gave."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.of_localhost)
    return Server(found(b"one"), found(b"two"), tls=context)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return certify(tmp_path / "authority")


@pytest.fixture
def bucket(authority: Authority) -> Iterator[Server]:
    with closing(over_tls(authority)) as server:
        yield server


def read_twice(server: Server, home: Path, variables: Mapping[str, str]) -> tuple[Any, bool]:
    """What a fresh process reads of the bucket, or the error that it gets, and whether it has loaded botocore."""
    ran = subprocess.run(
        [sys.executable, "-c", READS_TWICE],
        env={
            **PLAIN,
            **{name: of for name, of in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")},
            "HOME": str(home),
            "AWS_ENDPOINT_URL_S3": f"https://localhost:{server.port}",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told, botocore_loaded = json.loads(ran.stdout)
    return told, botocore_loaded


def test_two_objects_are_read_over_one_encrypted_connection_without_botocore(
    bucket: Server, authority: Authority, tmp_path: Path
) -> None:
    told, botocore_loaded = read_twice(bucket, tmp_path, {"SSL_CERT_FILE": str(authority.own)})
    assert told == ["one", "two"]
    assert not botocore_loaded
    assert bucket.connections == 1
    assert [request.splitlines()[0] for request in bucket.requests] == [
        "GET /models/m/a HTTP/1.1",
        "GET /models/m/b HTTP/1.1",
    ]


def test_the_bundle_that_boto3_users_name_is_honoured(bucket: Server, authority: Authority, tmp_path: Path) -> None:
    told, botocore_loaded = read_twice(bucket, tmp_path, {"AWS_CA_BUNDLE": str(authority.own)})
    assert told == ["one", "two"]
    assert botocore_loaded


def test_a_server_of_an_unknown_authority_gets_no_request_and_the_error_says_why(
    bucket: Server, tmp_path: Path
) -> None:
    told, botocore_loaded = read_twice(bucket, tmp_path, {})
    assert botocore_loaded, "whose certificates may be others: it is asked before anything is given up"
    assert "m/a" in told
    assert "CERTIFICATE_VERIFY_FAILED" in told
    assert f"https://localhost:{bucket.port}" in told
    assert bucket.requests == []


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    other = certify(tmp_path / "other", name="other.example")
    with closing(over_tls(other)) as server:
        told, _ = read_twice(server, tmp_path, {"SSL_CERT_FILE": str(other.own)})
        assert "CERTIFICATE_VERIFY_FAILED" in told
        told, _ = read_twice(server, tmp_path, {"AWS_CA_BUNDLE": str(other.own)})
        assert "hostname 'localhost' doesn't match 'other.example'" in told
        assert server.requests == []


class Asked(Exception):
    """Instead of a request: its URL."""


def asked_by_botocore(bucket: str, key: str, region: str, endpoint: str | None) -> str:
    """The URL that botocore would read an object from."""
    session = botocore.session.Session()
    session.set_credentials("key", "secret")
    client = session.create_client("s3", region_name=region, endpoint_url=endpoint)

    def before_send(request: AWSPreparedRequest, **_: Any) -> None:
        raise Asked(str(request.url))

    client.meta.events.register("before-send.s3", before_send)
    with pytest.raises(Asked) as asked:
        client.get_object(Bucket=bucket, Key=key)
    return str(asked.value)


def asked_by_us(monkeypatch: pytest.MonkeyPatch, bucket: str, key: str, region: str, endpoint: str | None) -> str:
    """The URL that is asked without botocore."""
    asked: list[str] = []

    def request(pool: HttpPool, method: str, target: str, *_: object) -> HttpAnswer:
        asked.append(f"{'https' if pool.origin.secure else 'http'}://{pool.origin.authority}{target}")
        return HttpAnswer(200, {"etag": '"1"'}, b"")

    monkeypatch.setattr(HttpPool, "request", request)
    access = plain_access(
        "s3", {**PLAIN, "AWS_DEFAULT_REGION": region, **({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})}
    )
    assert access is not None
    S3Reads(bucket, "", access, Whole, connect_timeout_s=1, read_timeout_s=1).read(key)
    return asked[0]


@pytest.mark.parametrize(
    "endpoint", [None, "http://localhost:4566", "https://s3.example.org", "https://127.0.0.1:9000"]
)
@pytest.mark.parametrize("region", ["eu-west-1", "us-east-2", "ap-southeast-2", "us-gov-west-1", "mx-central-1"])
def test_an_object_is_asked_for_where_botocore_would_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, region: str, endpoint: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    place = ("models", "m/channels.json", region, endpoint)
    assert asked_by_us(monkeypatch, *place) == asked_by_botocore(*place)


def test_in_us_east_1_the_region_is_named_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """botocore asks there for the global name, which leads to the same place, unless it is told to name the region."""
    monkeypatch.setenv("HOME", str(tmp_path))
    place = ("models", "m/channels.json", "us-east-1", None)
    assert asked_by_us(monkeypatch, *place) == "https://models.s3.us-east-1.amazonaws.com/m/channels.json"
    monkeypatch.setenv("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT", "regional")
    assert asked_by_us(monkeypatch, *place) == asked_by_botocore(*place)


@pytest.mark.parametrize(
    ("bucket", "variables", "host"),
    [
        ("my.models", {}, "s3.eu-west-1.amazonaws.com"),
        ("models", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "models.s3.dualstack.eu-west-1.amazonaws.com"),
        (
            "models",
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_DEFAULT_REGION": "us-east-2"},
            "models.s3-fips.us-east-2.amazonaws.com",
        ),
    ],
)
def test_what_only_botocore_knows_is_left_to_botocore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bucket: str, variables: dict[str, str], host: str
) -> None:
    settings = {**PLAIN, **variables, "HOME": str(tmp_path)}
    for name, of in settings.items():
        monkeypatch.setenv(name, of)
    assert plain_access("s3", settings) is None or not S3Reads.can_read(bucket, "")
    assert urlsplit(asked_by_botocore(bucket, "k", settings["AWS_DEFAULT_REGION"], None)).hostname == host
