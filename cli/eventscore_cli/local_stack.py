"""`eventscore local-stack`: the whole stack of template.yaml on this machine, until Ctrl-C."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eventscore.errors import SettingsInvalid
from eventscore.settings import TRUSTED_KEYS
from eventscore_cli.options import STACK_CONFIGURATION, stack_trusted_keys

if TYPE_CHECKING:
    from eventscore_local.deployment import Deployment
    from eventscore_local.ministack import Ministack

_COLLECT_EVERY_S = 1.0
_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")


@click.command("local-stack")
@click.option("--name", default="eventscore", show_default=True, help="The stack's name.")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help=f"A parameter of the template; several times for several. [default: TrustedKeys as in {STACK_CONFIGURATION}]",
)
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_store"),
    show_default=True,
    help="The folder that is copied to the stack's bucket.",
)
@click.option(
    "--environment-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("build/local-stack.env"),
    show_default=True,
    help="Where the variables are written with which the aws and eventscore commands find the stack.",
)
def command(name: str, parameters: tuple[str, ...], store: Path, environment_file: Path) -> None:
    """Deploy the whole stack into an AWS on this machine, and keep it until Ctrl-C.

    TLS, signatures, roles and policies are enforced. What the function writes is shown, and its metrics are put to CloudWatch, so that
    alarms change. In another terminal, source the environment file; then `aws` and `eventscore` reach the stack. Needs openssl. Run it
    in the checkout.

    \b
    Example: eventscore local-stack --parameter EnableKinesis=true
    """
    root = Path.cwd()
    if not (root / "template.yaml").is_file():
        raise click.ClickException(f"{root} is no checkout of eventscore (no template.yaml); run local-stack in one")
    if not store.is_dir():
        raise click.BadParameter(f"expected a folder, got {str(store)!r}: there is none", param_hint="--store")
    if not _STACK_NAME.fullmatch(name):
        raise click.BadParameter(f"expected letters, digits and '-', a letter first, got {name!r}", param_hint="--name")
    values = {"TrustedKeys": stack_trusted_keys(root / STACK_CONFIGURATION), **dict(map(_parameter, parameters))}
    given = {key: value for key, value in values.items() if value is not None}
    if "TrustedKeys" not in given:
        raise SettingsInvalid(
            TRUSTED_KEYS, f"--parameter TrustedKeys=..., or TrustedKeys in {STACK_CONFIGURATION}", None
        )

    # Layers are built and boto3 is loaded only when there is something to deploy.
    from eventscore_local.deployment import Deployer
    from eventscore_local.deployment_metrics import StackMetrics
    from eventscore_local.layers import build_for_host
    from eventscore_local.ministack import Ministack

    click.echo("building the layers for this machine ...")
    layers = build_for_host(root)
    with Ministack(root, import_path=layers.managed_runtime, guarded=True) as aws:
        click.echo("deploying ...")
        deployer = Deployer(aws, root, layers)
        deployment = deployer.deploy(name, given)
        deployer.put_models(deployment.outputs["ModelBucketName"], store)
        environment_file.parent.mkdir(parents=True, exist_ok=True)
        environment_file.write_text("\n".join(_exports(aws)) + "\n", encoding="utf-8")
        click.echo("\n".join(_told(deployment, environment_file)))
        metrics = StackMetrics(aws, deployment)
        try:
            while True:
                for line in metrics.collect():
                    click.echo(line)
                time.sleep(_COLLECT_EVERY_S)
        except KeyboardInterrupt:
            click.echo("\nthe stack is gone")
        finally:
            environment_file.unlink(missing_ok=True)


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"expected NAME=VALUE, got {text!r}", param_hint="--parameter")
    return name, value


def _exports(aws: Ministack) -> Iterator[str]:
    """Lines for a shell."""
    from eventscore_local.ministack import CREDENTIALS

    variables: Mapping[str, str] = {
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_CA_BUNDLE": str(aws.certificate),
        **CREDENTIALS,
    }
    for name, value in variables.items():
        yield f"export {name}={shlex.quote(value)}"


def _told(deployment: Deployment, environment_file: Path) -> Iterator[str]:
    yield f"\n{deployment.stack} stands:"
    width = max(map(len, deployment.outputs))
    for name, value in deployment.outputs.items():
        yield f"  {name:{width}}  {value}"
    if deployment.left_out:
        kinds = sorted({kind.removeprefix("AWS::") for kind in deployment.left_out.values()})
        yield f"\n{len(deployment.left_out)} resources are left out, of kinds that the emulator does not make: {', '.join(kinds)}"
    yield f"\nIn another terminal: . {environment_file}; eventscore status --stack {deployment.stack}"
    yield "Ctrl-C ends it. What the function writes:\n"
