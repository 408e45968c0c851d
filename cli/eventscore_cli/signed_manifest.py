"""A version's manifest, once its signature has been checked."""

from __future__ import annotations

from eventscore.manifest import MANIFEST, SIGNATURE, Manifest, parse_manifest
from eventscore.signing import Verifier
from eventscore.store.versions import ModelVersions


def read_signed_manifest(versions: ModelVersions, version: str, trusted: Verifier) -> tuple[Manifest, str]:
    """The manifest, and the id of the key that signed it. Raises ``ArtifactRefused`` and ``StoreError``."""
    files = versions.read_files(version, (MANIFEST, SIGNATURE))
    key, signature_key = versions.key(version, MANIFEST), versions.key(version, SIGNATURE)
    signed_by = trusted.verify(files[MANIFEST], files[SIGNATURE], key=key, signature_key=signature_key)
    return parse_manifest(files[MANIFEST], key, model=versions.model, version=version), signed_by
