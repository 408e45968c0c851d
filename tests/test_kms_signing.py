"""A manifest that AWS KMS signed is verified without KMS, by the keys that the stack trusts; nothing passes for it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import small_model
from conftest import ROOT
from eventscore.artifact import load_artifact
from eventscore.errors import SettingsInvalid, SignatureMismatch
from eventscore.kms_signing import KmsSigner, open_signer
from eventscore.signing import (
    ALGORITHM,
    DIGEST_ALGORITHM,
    Ed25519Signer,
    Ed25519Verifier,
    parse_trusted_keys,
    statement,
    write_new_key,
    written_signature,
)
from eventscore.store.folder import FolderStore
from eventscore_cli.main import main
from eventscore_local.ministack import CREDENTIALS, Ministack

LONGEST_MESSAGE = 4096
"""Bytes that KMS signs at once."""


class FakeKms:
    """KMS as far as its model in botocore tells: the key's public half, and signatures of raw messages of at most 4,096 bytes."""

    def __init__(self, usage: str = "SIGN_VERIFY", denied: str = "") -> None:
        self.private = Ed25519PrivateKey.generate()
        self.usage = usage
        self.denied = denied
        self.signed: list[bytes] = []

    def get_public_key(self, **asked: str) -> dict[str, Any]:
        self._let_in("GetPublicKey")
        public = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        algorithms = ["ED25519_SHA_512", "ED25519_PH_SHA_512"] if self.usage == "SIGN_VERIFY" else []
        return {
            "PublicKey": public,
            "KeyUsage": self.usage,
            "KeySpec": "ECC_NIST_EDWARDS25519",
            "SigningAlgorithms": algorithms,
        }

    def sign(self, **asked: Any) -> dict[str, Any]:
        self._let_in("Sign")
        assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("RAW", "ED25519_SHA_512")
        assert len(asked["Message"]) <= LONGEST_MESSAGE
        self.signed.append(asked["Message"])
        return {"Signature": self.private.sign(asked["Message"])}

    def _let_in(self, operation: str) -> None:
        if operation == self.denied:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no right"}}, operation)


@pytest.fixture
def kms() -> FakeKms:
    return FakeKms()


def verified(verifier: Ed25519Verifier, message: bytes, signature: bytes) -> str:
    return verifier.verify(message, signature, key="manifest.json", signature_key="manifest.sig")


def trusting(signer: KmsSigner) -> Ed25519Verifier:
    return Ed25519Verifier(parse_trusted_keys(signer.public_key))


@pytest.mark.parametrize("size_bytes", [1, 100, LONGEST_MESSAGE, 100_000])
def test_a_manifest_of_any_size_is_signed_by_kms_and_verified_without_it(kms: FakeKms, size_bytes: int) -> None:
    manifest = b"{" * size_bytes
    signer = KmsSigner("alias/eventscore", kms)
    signature = signer.sign(manifest)
    assert msgspec.json.decode(signature)["algorithm"] == DIGEST_ALGORITHM
    assert verified(trusting(signer), manifest, signature)
    assert kms.signed == [statement(manifest)]
    with pytest.raises(SignatureMismatch, match="did not sign"):
        verified(trusting(signer), manifest + b" ", signature)


def test_neither_kind_of_signature_passes_for_the_other(kms: FakeKms) -> None:
    manifest = b"{}"
    signer = KmsSigner("alias/eventscore", kms)
    verifier = trusting(signer)
    parsed = msgspec.json.decode(signer.sign(manifest))
    raw = base64.b64decode(parsed["signature"])
    with pytest.raises(SignatureMismatch, match="did not sign"):
        verified(verifier, manifest, written_signature(ALGORITHM, parsed["key_id"], raw))
    whole = written_signature(DIGEST_ALGORITHM, parsed["key_id"], kms.private.sign(manifest))
    with pytest.raises(SignatureMismatch, match="did not sign"):
        verified(verifier, manifest, whole)
    # What KMS signed is no manifest: a manifest is a JSON object, and a statement begins otherwise.
    assert not statement(manifest).startswith(b"{")


def test_an_algorithm_that_nobody_knows_is_refused(signer: Ed25519Signer, verifier: Ed25519Verifier) -> None:
    key = msgspec.json.decode(signer.sign(b"m"))["key_id"]
    with pytest.raises(SignatureMismatch, match="expected an ed25519 or ed25519-sha256 signature, got 'none'"):
        verified(verifier, b"m", written_signature("none", key, b"x" * 64))


def test_a_key_that_cannot_sign_is_told_before_anything_is_signed() -> None:
    with pytest.raises(SettingsInvalid, match="a key of the specification ECC_NIST_EDWARDS25519 for KEY_AGREEMENT"):
        KmsSigner("alias/other", FakeKms("KEY_AGREEMENT"))
    with pytest.raises(SettingsInvalid, match=r"kms:alias/closed: expected kms:<.*AccessDeniedException"):
        KmsSigner("alias/closed", FakeKms(denied="GetPublicKey"))
    readable = KmsSigner("alias/read-only", FakeKms(denied="Sign"))
    with pytest.raises(SettingsInvalid, match="AccessDeniedException"):
        readable.sign(b"m")


def test_what_kms_signed_with_another_key_is_never_published(kms: FakeKms) -> None:
    signer = KmsSigner("alias/moved", kms)
    kms.private = (
        Ed25519PrivateKey.generate()
    )  # the alias was pointed at another key since its public half was asked for
    with pytest.raises(SettingsInvalid, match="a signature that the key's public half does not verify"):
        signer.sign(b"{}")


def test_what_names_no_kms_key_is_a_file(tmp_path: Any) -> None:
    made = write_new_key(tmp_path / "signing.pem")
    assert open_signer(str(tmp_path / "signing.pem")).public_key == made.public_key
    with pytest.raises(SettingsInvalid, match="expected kms:<key id, key ARN or alias"):
        open_signer("kms:")


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with Ministack(ROOT) as running:
        yield running


@pytest.mark.emulator
def test_a_version_signed_by_a_kms_key_loads_where_that_key_is_trusted(
    aws: Ministack,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verifier: Ed25519Verifier,
) -> None:
    """ministack signs as KMS does, offline verifiable; it asks for no rights, so a refused key is the fake's business above."""
    kms = aws.client("kms")
    try:
        key = kms.create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    except ClientError as error:
        if "requires the cryptography package" not in str(error):
            raise
        pytest.skip("this ministack was installed without cryptography: make setup")
    kms.create_alias(AliasName="alias/eventscore-signing", TargetKeyId=key)
    signer = KmsSigner("alias/eventscore-signing", kms)
    versions = small_model.publish(FolderStore(tmp_path), signer)
    assert load_artifact(versions, "v1", trusting(signer)).version == "v1"
    with pytest.raises(SignatureMismatch, match="trusted keys"):
        load_artifact(versions, "v1", verifier)

    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": aws.endpoint_url}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(["keys", "show", "kms:alias/eventscore-signing"])
    assert (ended.value.code, capsys.readouterr().out.strip()) == (0, signer.public_key)
    with pytest.raises(SystemExit) as ended:
        main(["keys", "show", "kms:alias/nothing"])
    assert ended.value.code == 1
    assert "kms:alias/nothing: expected kms:" in capsys.readouterr().err
