"""`eventscore publish`: sign a finished run and write it to the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from eventscore.artifact import load_artifact
from eventscore.errors import SettingsInvalid
from eventscore.signing import Ed25519Signer, Ed25519Verifier, parse_trusted_keys
from eventscore.store.location import open_store
from eventscore.store.versions import CHANNEL_NAMES, ModelVersions
from eventscore_cli.options import signing_key_option, store_option, trusted_keys_option, verifier


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@store_option
@signing_key_option
@click.option(
    "--promote", "channel", type=click.Choice(CHANNEL_NAMES), help="Point this channel at the new version, too."
)
@trusted_keys_option
@click.option(
    "--test",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The run's test table (or the one table that it split), if the live version was tested on another.",
)
def command(
    run: Path, store: str, signing_key: Path, channel: str | None, trusted_keys: Sequence[str], test: Path | None
) -> None:
    """Sign the finished RUN (a folder that `eventscore train` made) and write it to the model store.

    The gates of the contract are checked once more; a version that misses one is not published. That it is no worse
    than the live version is checked here, if the contract asks for it. A version is written once and never changed.
    With --promote the version must be signed by a key that the stack trusts.

    \b
    Example: eventscore publish runs/20261121T101500Z-1a2b3c4d --store s3://my-models --promote live
    """
    from eventscore_training.publish import publish
    from eventscore_training.run import load_run

    signer = Ed25519Signer.from_file(signing_key)
    objects = open_store(store)
    # Those who will load it; they are asked about the live version, too, where the gates compare with it.
    try:
        trusted, told = verifier(trusted_keys), True
    except SettingsInvalid:
        trusted, told = Ed25519Verifier(parse_trusted_keys(signer.public_key)), False
    manifest = publish(load_run(run), objects, signer, trusted, test)
    click.echo(f"published {manifest.model} {manifest.version} to {objects.url}")
    if channel is not None:
        versions = ModelVersions(objects, manifest.model)
        seen = versions.channels()
        # As for `promote`: nothing is pointed at that those who load it would refuse.
        if not told:
            click.echo("nobody says which keys the function trusts; checked with the signing key's own", err=True)
        load_artifact(versions, manifest.version, trusted)
        versions.promote(manifest.version, channel, seen)
        click.echo(f"{channel} -> {manifest.version}")
