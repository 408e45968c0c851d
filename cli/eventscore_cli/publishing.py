"""Publishing a finished run, for the commands that do it: `publish`, and `train --store`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eventscore.artifact import load_artifact
from eventscore.errors import SettingsInvalid
from eventscore.kms_signing import open_signer
from eventscore.signing import Ed25519Verifier, Signer, Verifier, key_id, parse_trusted_keys
from eventscore.store.location import open_store
from eventscore.store.objects import ObjectStore
from eventscore.store.versions import ModelVersions
from eventscore_cli.options import verifier
from eventscore_cli.place import Place
from eventscore_cli.stack import Stack, StackUnusable

if TYPE_CHECKING:
    from eventscore_training.run import TrainedVersion


@dataclass(frozen=True)
class Publisher:
    """Who signs and where to. ``trusts`` says whom those who load the version trust, ``told`` whether anybody said so."""

    objects: ObjectStore
    signer: Signer
    trusts: Ed25519Verifier
    told: bool
    place: Place

    @classmethod
    def ready(cls, place: Place, signing_key: str, channel: str | None) -> Publisher:
        """Open the store and read the key. ``channel`` is what will point at the version, None for nothing.

        Raises:
            StoreError, SettingsInvalid: one of them cannot be used.
            StackUnusable: a channel of the stack shall point at what its function would refuse.

        """
        signer = open_signer(signing_key)
        objects = open_store(place.store)
        # Said before a version is written that the function would refuse. Without a channel it is no fault: the stack may
        # come to trust a new key after the first version that is signed with it.
        if place.stack is not None and channel is not None:
            _refuse_a_stranger(signer, place.stack)
        # Those who will load it; they are asked about the live version, too, where the gates compare with it.
        try:
            return cls(objects, signer, verifier(place.trusted_keys), told=True, place=place)
        except SettingsInvalid:
            own = Ed25519Verifier(parse_trusted_keys(signer.public_key))
            return cls(objects, signer, own, told=False, place=place)

    def publish(self, run: TrainedVersion, channel: str | None, test: Path | None = None) -> None:
        """Sign ``run``, write it, and point ``channel`` at it if one is named. Raises as the training job's ``publish``."""
        from eventscore_training.publish import publish

        self.place.model(run.report.model)
        manifest = publish(run, self.objects, self.signer, self.trusts, test)
        click.echo(f"published {manifest.model} {manifest.version} to {self.objects.url}")
        if channel is None:
            return
        if not self.told:
            click.echo("nobody says which keys the function trusts; checked with the signing key's own", err=True)
        point(ModelVersions(self.objects, manifest.model), manifest.version, channel, self.trusts)


def point(versions: ModelVersions, version: str, channel: str, trusts: Verifier) -> None:
    """Point ``channel`` at a version that was just written. As for `promote`, at nothing that those who load it would refuse."""
    seen = versions.channels()
    load_artifact(versions, version, trusts)
    versions.promote(version, channel, seen)
    click.echo(f"{channel} -> {version}")


def _refuse_a_stranger(signer: Signer, stack: Stack) -> None:
    trusted = parse_trusted_keys(stack.trusted_keys)
    (own,) = parse_trusted_keys(signer.public_key)
    if own not in trusted:
        raise StackUnusable(
            f"stack {stack.name}: expected a signing key that it trusts ({', '.join(map(key_id, trusted))}), got {key_id(own)}; "
            "its function would refuse the version: sign with another key, or deploy with this one in TrustedKeys first"
        )
