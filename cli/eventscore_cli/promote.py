"""`eventscore promote`: move a channel to a version that has proved itself."""

from __future__ import annotations

from collections.abc import Sequence

import click

from eventscore.artifact import load_artifact
from eventscore.store.location import open_store
from eventscore.store.versions import CHANNEL_NAMES, LIVE, ModelVersions
from eventscore_cli.options import store_option, trusted_keys_option, verifier
from eventscore_cli.place import find_place, stack_option


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[MODEL] VERSION")
@click.option(
    "--channel", type=click.Choice(CHANNEL_NAMES), default=LIVE, show_default=True, help="The channel to move."
)
@store_option
@stack_option
@trusted_keys_option
def command(words: tuple[str, ...], channel: str, store: str, stack: str | None, trusted_keys: Sequence[str]) -> None:
    """Point a channel of MODEL at VERSION; what was live becomes `previous`.

    First the version must prove itself here as it must in the function: signature, digests, golden events. If
    somebody else moved a channel meanwhile, nothing is changed and you are told. With --stack the keys are those that
    its function trusts, and MODEL may be left out: it is the stack's main model.

    \b
    Example: eventscore promote flight-delay 20261121T101500Z-1a2b3c4d
             eventscore promote 20261121T101500Z-1a2b3c4d --stack eventscore
    Undo:    eventscore promote flight-delay <the version that `previous` points at>
    """
    if len(words) > 2:
        raise click.UsageError(f"expected MODEL and VERSION, got {' '.join(words)}")
    *model, version = words
    place = find_place(stack, store, trusted_keys)
    versions = ModelVersions(open_store(place.store), place.model(model[0] if model else None))
    seen = versions.channels()
    if version in versions.versions():
        load_artifact(versions, version, verifier(place.trusted_keys))
    after = versions.promote(version, channel, seen)
    for name, pointed in after.versions.items():
        before = seen.versions.get(name)
        change = "" if before == pointed else f"  (was {before or 'unset'})"
        click.echo(f"{name:<9} {pointed}{change}")
