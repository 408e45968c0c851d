"""`eventscore promote`: move a channel to a version that has proved itself."""

from __future__ import annotations

from collections.abc import Sequence

import click

from eventscore.artifact import load_artifact
from eventscore.store.location import open_store
from eventscore.store.versions import CHANNEL_NAMES, LIVE, ModelVersions
from eventscore_cli.options import store_option, trusted_keys_option, verifier


@click.command()
@click.argument("model")
@click.argument("version")
@click.option(
    "--channel", type=click.Choice(CHANNEL_NAMES), default=LIVE, show_default=True, help="The channel to move."
)
@store_option
@trusted_keys_option
def command(model: str, version: str, channel: str, store: str, trusted_keys: Sequence[str]) -> None:
    """Point a channel of MODEL at VERSION; what was live becomes `previous`.

    First the version must prove itself here as it must in the function: signature, digests, golden events. If
    somebody else moved a channel meanwhile, nothing is changed and you are told.

    \b
    Example: eventscore promote flight-delay 20261121T101500Z-1a2b3c4d
    Undo:    eventscore promote flight-delay <the version that `previous` points at>
    """
    versions = ModelVersions(open_store(store), model)
    seen = versions.channels()
    if version in versions.versions():
        load_artifact(versions, version, verifier(trusted_keys))
    after = versions.promote(version, channel, seen)
    for name, pointed in after.versions.items():
        before = seen.versions.get(name)
        change = "" if before == pointed else f"  (was {before or 'unset'})"
        click.echo(f"{name:<9} {pointed}{change}")
