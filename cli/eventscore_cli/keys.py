"""`eventscore keys`: the key pair that signs versions."""

from __future__ import annotations

from pathlib import Path

import click

from eventscore.settings import SIGNING_KEY, TRUSTED_KEYS
from eventscore.signing import write_new_key


@click.group()
def command() -> None:
    """Make the key that signs versions, and show its public half."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def new(file: Path) -> None:
    """Make a private key in FILE (for you alone to read) and print the public key.

    The private key stays with whoever trains; the public key goes into the stack (TrustedKeys in samconfig.toml).

    \b
    Example: eventscore keys new ~/.eventscore/signing.pem
    """
    try:
        signer = write_new_key(file)
    except FileExistsError:
        raise click.ClickException(
            f"{file}: already there, and a key is never written over; name another file"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be written: {error.strerror}") from None
    click.echo(signer.public_key)
    click.echo(f"private key: {file}. Sign with it: export {SIGNING_KEY}={file}", err=True)
    click.echo(f"public key: printed above. Trust it: TrustedKeys in samconfig.toml, or {TRUSTED_KEYS}", err=True)


@command.command()
@click.argument("key", metavar="KEY")
def show(key: str) -> None:
    """Print the public key of KEY: a private key's file, or kms:alias/NAME of a KMS key.

    \b
    Example: eventscore keys show ~/.eventscore/signing.pem
             eventscore keys show kms:alias/eventscore-signing
    """
    from eventscore.kms_signing import open_signer

    click.echo(open_signer(key).public_key)
