"""Signs manifests with a key that never leaves AWS KMS, and chooses between such a key and one in a file.

The key is an asymmetric one of the specification ``ECC_NIST_EDWARDS25519``, for signing. Functions know its public half and verify
without KMS, as they do for a key in a file; see `eventscore.signing` for what is signed.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from eventscore.errors import SettingsInvalid
from eventscore.signing import DIGEST_ALGORITHM, Ed25519Signer, Signer, key_id, statement, written_signature

SCHEME = "kms:"
KMS_ALGORITHM = "ED25519_SHA_512"
_EXPECTED = (
    "kms:<key id, key ARN or alias/...> of a KMS key for signing with the specification ECC_NIST_EDWARDS25519, "
    "and the rights kms:GetPublicKey and kms:Sign"
)


class KmsSigner:
    """Signs through ``client``, botocore's for KMS, which is asked for the public half at once: a key that cannot sign is told early."""

    def __init__(self, key: str, client: Any) -> None:
        self._key = key
        self._client = client
        self._raw = self._public()

    @property
    def public_key(self) -> str:
        """The public half, as it stands in ``EVENTSCORE_TRUSTED_KEYS``: base64 of the 32 raw bytes."""
        return base64.b64encode(self._raw).decode()

    def sign(self, message: bytes) -> bytes:
        """The content of the signature file for ``message``.

        It is verified here first: what is published is written once, and no function would load a version that it cannot verify.

        Raises:
            SettingsInvalid: KMS refuses, does not answer, or answers what the key's public half does not verify.

        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            answer = self._client.sign(
                KeyId=self._key, Message=statement(message), MessageType="RAW", SigningAlgorithm=KMS_ALGORITHM
            )
            Ed25519PublicKey.from_public_bytes(self._raw).verify(answer["Signature"], statement(message))
        except (ClientError, BotoCoreError) as error:
            raise self._unusable(str(error)) from None
        except InvalidSignature:
            raise self._unusable("a signature that the key's public half does not verify") from None
        return written_signature(DIGEST_ALGORITHM, key_id(self._raw), answer["Signature"])

    def _public(self) -> bytes:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            answer = self._client.get_public_key(KeyId=self._key)
        except (ClientError, BotoCoreError) as error:
            raise self._unusable(str(error)) from None
        if answer["KeyUsage"] != "SIGN_VERIFY" or KMS_ALGORITHM not in answer.get("SigningAlgorithms", ()):
            raise self._unusable(f"a key of the specification {answer.get('KeySpec')} for {answer['KeyUsage']}")
        public = serialization.load_der_public_key(answer["PublicKey"])
        if not isinstance(public, Ed25519PublicKey):
            raise self._unusable(f"a key of the specification {answer.get('KeySpec')}")
        return public.public_bytes_raw()

    def _unusable(self, got: str) -> SettingsInvalid:
        return SettingsInvalid(f"{SCHEME}{self._key}", _EXPECTED, got)


def open_signer(key: str) -> Signer:
    """The signer that ``key`` names: ``kms:alias/...`` (a KMS key), else a PEM file's path.

    Raises:
        SettingsInvalid: the file holds no Ed25519 private key, or KMS has none under that name that may be used.

    """
    if not key.startswith(SCHEME):
        return Ed25519Signer.from_file(Path(key))
    from eventscore.aws import client

    name = key.removeprefix(SCHEME)
    if not name:
        raise SettingsInvalid(key, _EXPECTED, key)
    try:
        kms = client("kms", connect_timeout_s=3.0, read_timeout_s=10.0)
    except (BotoCoreError, ValueError) as error:
        raise SettingsInvalid(key, _EXPECTED, str(error)) from None
    return KmsSigner(name, kms)
