"""`eventscore publish`: sign a finished run and write it to the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from eventscore.store.versions import CHANNEL_NAMES
from eventscore_cli.options import signing_key_option, store_option, trusted_keys_option
from eventscore_cli.place import find_place, stack_option
from eventscore_cli.publishing import Publisher


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@store_option
@stack_option
@signing_key_option()
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
    run: Path,
    store: str,
    stack: str | None,
    signing_key: str,
    channel: str | None,
    trusted_keys: Sequence[str],
    test: Path | None,
) -> None:
    """Sign the finished RUN (a folder that `eventscore train` made) and write it to the model store.

    The gates of the contract are checked once more; a version that misses one is not published. That it is no worse
    than the live version is checked here, if the contract asks for it. A version is written once and never changed.
    With --promote the version must be signed by a key that the stack trusts.

    \b
    Example: eventscore publish runs/20261121T101500Z-1a2b3c4d --store s3://my-models --promote live
             eventscore publish runs/20261121T101500Z-1a2b3c4d --stack eventscore --signing-key signing.pem
    """
    from eventscore_training.run import load_run

    place = find_place(stack, store, trusted_keys)
    Publisher.ready(place, signing_key, channel).publish(load_run(run), channel, test)
