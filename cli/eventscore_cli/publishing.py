"""Publishing a finished run, for the commands that do it: `publish`, and `train --store`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eventscore.artifact import load_artifact
from eventscore.errors import SettingsInvalid
from eventscore.kms_signing import open_signer
from eventscore.signing import Ed25519Verifier, Signer, parse_trusted_keys
from eventscore.store.location import open_store
from eventscore.store.objects import ObjectStore
from eventscore.store.versions import ModelVersions
from eventscore_cli.options import verifier

if TYPE_CHECKING:
    from eventscore_training.run import TrainedVersion


@dataclass(frozen=True)
class Publisher:
    """Who signs and where to. ``trusts`` says whom those who load the version trust, ``told`` whether anybody said so."""

    objects: ObjectStore
    signer: Signer
    trusts: Ed25519Verifier
    told: bool

    @classmethod
    def ready(cls, store: str, signing_key: str, trusted_keys: Sequence[str]) -> Publisher:
        """Open the store and read the key.

        Raises:
            StoreError, SettingsInvalid: one of them cannot be used.

        """
        signer = open_signer(signing_key)
        objects = open_store(store)
        # Those who will load it; they are asked about the live version, too, where the gates compare with it.
        try:
            return cls(objects, signer, verifier(trusted_keys), told=True)
        except SettingsInvalid:
            return cls(objects, signer, Ed25519Verifier(parse_trusted_keys(signer.public_key)), told=False)

    def publish(self, run: TrainedVersion, channel: str | None, test: Path | None = None) -> None:
        """Sign ``run``, write it, and point ``channel`` at it if one is named. Raises as the training job's ``publish``."""
        from eventscore_training.publish import publish

        manifest = publish(run, self.objects, self.signer, self.trusts, test)
        click.echo(f"published {manifest.model} {manifest.version} to {self.objects.url}")
        if channel is None:
            return
        versions = ModelVersions(self.objects, manifest.model)
        seen = versions.channels()
        # As for `promote`: nothing is pointed at that those who load it would refuse.
        if not self.told:
            click.echo("nobody says which keys the function trusts; checked with the signing key's own", err=True)
        load_artifact(versions, manifest.version, self.trusts)
        versions.promote(manifest.version, channel, seen)
        click.echo(f"{channel} -> {manifest.version}")
