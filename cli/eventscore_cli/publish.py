"""`eventscore publish`: bring a version to a store, a finished run signed or a version that is signed already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from eventscore.store.location import open_store
from eventscore.store.versions import CHANNEL_NAMES, ModelVersions
from eventscore_cli.options import signing_key_option, store_option, trusted_keys_option, verifier
from eventscore_cli.place import Place, find_place, stack_option
from eventscore_cli.publishing import Publisher, point
from eventscore_cli.version_copy import copy_version, signed_version


@click.command()
@click.argument("run", metavar="RUN|VERSION")
@store_option
@stack_option
@signing_key_option(required=False)
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
    run: str,
    store: str,
    stack: str | None,
    signing_key: str | None,
    channel: str | None,
    trusted_keys: Sequence[str],
    test: Path | None,
) -> None:
    """Write a version to the model store: a finished RUN of `eventscore train`, or a VERSION of another store.

    A RUN is signed; it needs --signing-key. The gates of the contract are checked once more, and a version that misses one is not
    published. That it is no worse than the live version is checked here, if the contract asks for it.

    A VERSION (STORE/MODEL/versions/VERSION, a folder or s3://...) is signed already and goes over to the byte. First it must prove
    itself here as it must in the function: signature, digests, golden events. Its gates were checked when it was signed.

    A version is written once and never changed. With --promote it must be signed by a key that the stack trusts.

    \b
    Example: eventscore publish runs/20261121T101500Z-1a2b3c4d --store s3://my-models --promote live
             eventscore publish runs/20261121T101500Z-1a2b3c4d --stack eventscore --signing-key signing.pem
             eventscore publish model_store/flight-delay/versions/20261121T045642Z-20fdde05 --stack eventscore --promote live
    """
    signed = signed_version(run)
    if signed is not None:
        _nothing_to_sign(test)
        _copy(*signed, find_place(stack, store, trusted_keys), channel)
        return
    if signing_key is None and not Path(run).is_dir():
        raise click.UsageError(f"expected the folder of a run or of a version, got {run}: there is none")
    if signing_key is None:
        raise click.UsageError(
            "Missing option '--signing-key' (only a version that is signed already goes without): the private key's file "
            "(`eventscore keys new FILE` makes one), or kms:alias/NAME"
        )
    from eventscore_training.run import load_run

    place = find_place(stack, store, trusted_keys)
    Publisher.ready(place, signing_key, channel).publish(load_run(Path(run)), channel, test)


def _nothing_to_sign(test: Path | None) -> None:
    # The environment may name a key for all commands; whoever names one here expects a signature.
    if click.get_current_context().get_parameter_source("signing_key") is ParameterSource.COMMANDLINE:
        raise click.UsageError("the version is signed already, and stays as it is; leave --signing-key out")
    if test is not None:
        raise click.UsageError("the version's gates were checked when it was signed; leave --test out")


def _copy(source: ModelVersions, version: str, place: Place, channel: str | None) -> None:
    place.model(source.model)
    trusts = verifier(place.trusted_keys)
    target = open_store(place.store)
    written = copy_version(source, version, target, trusts)
    told = "published" if written else "already there, to the byte:"
    click.echo(f"{told} {source.model} {version} {'to' if written else 'in'} {target.url}")
    if channel is not None:
        point(ModelVersions(target, source.model), version, channel, trusts)
