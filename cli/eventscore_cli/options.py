"""Options that several commands take: the store, the trusted keys, the signing key."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from eventscore.errors import SettingsInvalid
from eventscore.settings import SIGNING_KEY, STORE, TRUSTED_KEYS
from eventscore.signing import Ed25519Verifier, parse_trusted_keys

Command = TypeVar("Command", bound=Callable[..., Any])
STACK_CONFIGURATION = Path("samconfig.toml")
_STACK_PARAMETER = "TrustedKeys"


def store_option(command: Command) -> Command:
    """``--store``: where the versions are."""
    return click.option(
        "--store",
        envvar=STORE,
        default="model_store",
        show_default=True,
        show_envvar=True,
        metavar="LOCATION",
        help="The model store: a folder, or s3://bucket[/prefix].",
    )(command)


def trusted_keys_option(command: Command) -> Command:
    """``--trusted-key``: whose signatures count."""
    return click.option(
        "--trusted-key",
        "trusted_keys",
        multiple=True,
        metavar="KEY",
        help=f"A public key that may sign versions (base64; several times for several). [default: {TRUSTED_KEYS}, "
        f"or {_STACK_PARAMETER} in {STACK_CONFIGURATION}]",
    )(command)


def signing_key_option(*, required: bool = True) -> Callable[[Command], Command]:
    """``--signing-key``: the private key's file, or a KMS key."""
    return click.option(
        "--signing-key",
        envvar=SIGNING_KEY,
        required=required,
        show_envvar=True,
        metavar="KEY",
        help="The private key that signs the version: a file (make one with `eventscore keys new FILE`), or kms:alias/NAME.",
    )


def verifier(trusted_keys: Sequence[str]) -> Ed25519Verifier:
    """Whom the command trusts: its option, else the environment, else the stack's configuration in the working directory.

    Raises:
        SettingsInvalid: nobody says which keys to trust, or a key is none.

    """
    import os

    text = ",".join(trusted_keys) or os.environ.get(TRUSTED_KEYS) or stack_trusted_keys(STACK_CONFIGURATION)
    if text is None:
        expected = (
            f"public keys (or --trusted-key, or {_STACK_PARAMETER} among the parameters in {STACK_CONFIGURATION})"
        )
        raise SettingsInvalid(TRUSTED_KEYS, expected, None)
    return Ed25519Verifier(parse_trusted_keys(text))


def stack_trusted_keys(configuration: Path) -> str | None:
    """The keys that the stack trusts, as its ``samconfig.toml`` says; None if there is none or it does not say."""
    try:
        document = tomllib.loads(configuration.read_text(encoding="utf-8"))
        overrides = document["default"]["global"]["parameters"]["parameter_overrides"]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError):
        return None
    items = overrides if isinstance(overrides, list) else shlex.split(str(overrides))
    for item in items:
        name, _, value = str(item).partition("=")
        if name == _STACK_PARAMETER:
            return value.strip("\"'")
    return None
