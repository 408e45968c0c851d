"""SHA-256 and HMAC-SHA256, by the library that verifies signatures.

`hashlib` and `hmac` would load OpenSSL a second time, beside the one in `cryptography`, which a cold start needs anyway: 4 ms.
`cryptography` is imported where it is used, so that a model can be asked for before.
"""

from __future__ import annotations


def sha256(content: bytes) -> bytes:
    """The 32 bytes of the digest."""
    from cryptography.hazmat.primitives.hashes import SHA256, Hash

    digest = Hash(SHA256())
    digest.update(content)
    return digest.finalize()


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """The 32 bytes of the authentication code."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.hmac import HMAC

    code = HMAC(key, SHA256())
    code.update(message)
    return code.finalize()
