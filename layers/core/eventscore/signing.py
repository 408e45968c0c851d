"""Signatures over a manifest's exact bytes: who may sign (`Ed25519Signer`), and what the function trusts (`Ed25519Verifier`).

The signature file is one JSON object: ``{"algorithm": "ed25519", "key_id": "...", "signature": "<base64>"}``. A key's id is the
first 16 hex digits of the SHA-256 of its 32 raw bytes. Ed25519 is RFC 8032, through `cryptography`, which is imported where it is
used: the function reads its trusted keys before it begins to pull, and verifies when the files are there.

A key that cannot be had signs elsewhere (`eventscore.kms_signing`), where a message is not longer than 4,096 bytes and a manifest may be:
``ed25519-sha256`` is Ed25519 over `statement`, which names the manifest by its SHA-256. No manifest begins as a statement does, so neither
signature passes for the other.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import msgspec

from eventscore.digests import sha256
from eventscore.errors import SettingsInvalid, SignatureMismatch

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM = "ed25519"
DIGEST_ALGORITHM = "ed25519-sha256"


class Signer(Protocol):
    """Whoever can sign a manifest: a key file here, a KMS key elsewhere."""

    @property
    def public_key(self) -> str:
        """The public half, as it stands in ``EVENTSCORE_TRUSTED_KEYS``: base64 of the 32 raw bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The content of the signature file for ``message``."""
        ...


class Verifier(Protocol):
    """Whoever can tell whether a trusted key signed a manifest."""

    def verify(self, message: bytes, signature_file: bytes, *, key: str, signature_key: str) -> str:
        """The id of the trusted key that signed ``message``; the keys name the message and the signature file in errors."""
        ...


class _SignatureFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    algorithm: str
    key_id: str
    signature: str


def written_signature(algorithm: str, key: str, signature: bytes) -> bytes:
    """The content of a signature file; ``key`` is the key's id."""
    return msgspec.json.encode(_SignatureFile(algorithm, key, base64.b64encode(signature).decode())) + b"\n"


def statement(message: bytes) -> bytes:
    """What an ``ed25519-sha256`` signature of ``message`` is made over.

    >>> statement(b"{}")[:60]
    b'eventscore manifest sha256 44136fa355b3678a1146ad16f7e8649e9'
    """
    return f"eventscore manifest sha256 {sha256(message).hex()}\n".encode()


class Ed25519Signer:
    """Signs with an Ed25519 private key."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key

    @classmethod
    def from_file(cls, path: Path) -> Ed25519Signer:
        """The signer that holds the PEM (PKCS 8) private key in ``path``.

        Raises:
            SettingsInvalid: the file cannot be read or holds no Ed25519 private key.

        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        expected = "a PEM file with an Ed25519 private key (make one with `eventscore keys new FILE`)"
        try:
            private_key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsInvalid(str(path), expected, str(error)) from None
        if not isinstance(private_key, Ed25519PrivateKey):
            raise SettingsInvalid(str(path), expected, "another kind of key")
        return cls(private_key)

    @property
    def public_key(self) -> str:
        """The public half, as it stands in ``EVENTSCORE_TRUSTED_KEYS``: base64 of the 32 raw bytes."""
        return base64.b64encode(self._private_key.public_key().public_bytes_raw()).decode()

    def sign(self, message: bytes) -> bytes:
        """The content of the signature file for ``message``."""
        raw = self._private_key.public_key().public_bytes_raw()
        return written_signature(ALGORITHM, key_id(raw), self._private_key.sign(message))


class Ed25519Verifier:
    """Verifies against the public keys that the stack's configuration trusts."""

    def __init__(self, trusted: Iterable[bytes]) -> None:
        self._raw = tuple(trusted)

    @cached_property
    def _trusted(self) -> dict[str, Ed25519PublicKey]:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return {key_id(raw): Ed25519PublicKey.from_public_bytes(raw) for raw in self._raw}

    def verify(self, message: bytes, signature_file: bytes, *, key: str, signature_key: str) -> str:
        """The id of the trusted key that signed ``message``; the keys name the message and the signature file in errors.

        Raises:
            SignatureMismatch: the file is no signature, its key is not trusted, or it does not fit the message.

        """
        try:
            parsed = msgspec.json.decode(signature_file, type=_SignatureFile)
            signature = base64.b64decode(parsed.signature, validate=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
            raise SignatureMismatch(signature_key, f"refused: not a signature file: {error}") from None
        if parsed.algorithm not in (ALGORITHM, DIGEST_ALGORITHM):
            expected = f"an {ALGORITHM} or {DIGEST_ALGORITHM} signature"
            raise SignatureMismatch(signature_key, f"refused: expected {expected}, got {parsed.algorithm!r}")
        # Base64 and JSON can say one thing in several ways; only one of them is accepted, so that any changed byte is found.
        if signature_file != written_signature(parsed.algorithm, parsed.key_id, signature):
            raise SignatureMismatch(signature_key, "refused: not written as a signer writes it; it was changed")
        public_key = self._trusted.get(parsed.key_id)
        if public_key is None:
            trusted = ", ".join(self._trusted) or "none"
            raise SignatureMismatch(signature_key, f"refused: signed by key {parsed.key_id}; trusted keys: {trusted}")
        from cryptography.exceptions import InvalidSignature

        try:
            public_key.verify(signature, message if parsed.algorithm == ALGORITHM else statement(message))
        except InvalidSignature:
            raise SignatureMismatch(
                signature_key,
                f"refused: key {parsed.key_id} did not sign {key} as it is here; one of the two files was changed",
            ) from None
        return parsed.key_id


def key_id(raw_public_key: bytes) -> str:
    """The short name of a public key: the first 16 hex digits of the SHA-256 of its 32 raw bytes."""
    return sha256(raw_public_key).hex()[:16]


def parse_trusted_keys(text: str) -> tuple[bytes, ...]:
    """The raw public keys in ``text``: base64, separated by commas.

    Raises:
        SettingsInvalid: one of them is no base64 of 32 bytes, or there is none.

    """
    variable, expected = "EVENTSCORE_TRUSTED_KEYS", "base64 of 32-byte Ed25519 public keys, separated by commas"
    keys = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        try:
            raw = base64.b64decode(part, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 32:
            raise SettingsInvalid(variable, expected, part)
        keys.append(raw)
    if not keys:
        raise SettingsInvalid(variable, expected, text)
    return tuple(keys)


def write_new_key(path: Path) -> Ed25519Signer:
    """Make a private key in a file that only its owner may read, and never over an older one.

    Raises:
        FileExistsError: the file is there already.

    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private_key = Ed25519PrivateKey.generate()
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return Ed25519Signer(private_key)
