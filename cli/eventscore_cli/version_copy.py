"""Bringing a version that is signed already to another store: a folder's to a stack's bucket, one stack's to another's."""

from __future__ import annotations

import re
from pathlib import Path

import click

from eventscore.artifact import check_digest, prove_pulled
from eventscore.errors import AlreadyPublished
from eventscore.manifest import parse_manifest
from eventscore.served_manifest import MANIFEST, SIGNATURE
from eventscore.signing import Verifier
from eventscore.stopwatch import Stopwatch
from eventscore.store.location import open_store
from eventscore.store.objects import ObjectStore
from eventscore.store.versions import ModelVersions

_VERSION = re.compile(r"(?P<store>.+)/(?P<model>[^/]+)/versions/(?P<version>[^/]+)")
_SCHEME = "s3://"
_ABOVE = "", "versions/", "*/versions/"
"""Where versions lie in the folder of versions, in that of a model, and in a store."""


def signed_version(location: str) -> tuple[ModelVersions, str] | None:
    """The version that lies at ``location``, in its store; None where nothing signed lies there: it may be a run.

    Raises:
        click.UsageError: there are versions below, or one that lies in no store.

    """
    is_folder = not location.startswith(_SCHEME)
    place = Path(location).resolve().as_posix() if is_folder else location.rstrip("/")
    if is_folder:
        folder = Path(place)
        below = [each.parent for levels in _ABOVE for each in folder.glob(f"{levels}*/{MANIFEST}")]
        if below:
            newest = max(below, key=lambda each: each.name).relative_to(folder)
            raise click.UsageError(
                f"expected one version, got {location}, which holds {len(below)}; name it, as {Path(location) / newest}"
            )
        if not (folder / MANIFEST).is_file():
            return None
    found = _VERSION.fullmatch(place)
    if found is None:
        raise click.UsageError(f"expected <store>/<model>/versions/<version>, as a store has it, got {location}")
    return ModelVersions(open_store(found["store"]), found["model"]), found["version"]


def copy_version(source: ModelVersions, version: str, target: ObjectStore, trusts: Verifier) -> bool:
    """Write ``version`` to ``target`` to the byte, once it has proved itself here as it must in the function; False if it is there already.

    Raises:
        ArtifactRefused: a signature that does not count, or a file that is not what was signed. Nothing is written.
        AlreadyPublished: the target holds another version of this name.
        StoreError: one of the stores does not answer.

    """
    files = source.read_files(version, (MANIFEST, SIGNATURE))
    key, signature_key = source.key(version, MANIFEST), source.key(version, SIGNATURE)
    trusts.verify(files[MANIFEST], files[SIGNATURE], key=key, signature_key=signature_key)
    manifest = parse_manifest(files[MANIFEST], key, model=source.model, version=version)
    files |= source.read_files(version, tuple(manifest.files))
    prove_pulled(source, version, files, trusts, Stopwatch())
    # What the function never loads, baseline and report, is signed, too.
    for name, entry in manifest.files.items():
        check_digest(source.key(version, name), files[name], entry)
    versions = ModelVersions(target, source.model)
    try:
        versions.write(version, {name: files[name] for name in manifest.files}, files[MANIFEST], files[SIGNATURE])
    except AlreadyPublished:
        documents = (MANIFEST, SIGNATURE)
        if version not in versions.versions() or any(
            versions.read_file(version, name) != files[name] for name in documents
        ):
            raise
        return False
    return True
