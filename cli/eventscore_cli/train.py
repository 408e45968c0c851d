"""`eventscore train`: run the training job and show how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from eventscore.settings import SIGNING_KEY
from eventscore.store.versions import CHANNEL_NAMES
from eventscore_cli.options import signing_key_option, trusted_keys_option
from eventscore_cli.place import find_place, stack_option
from eventscore_cli.publishing import Publisher
from eventscore_training.figures import TITLES

_SHORT = {
    **TITLES,
    "calibration_error": "ECE",
    "mean_score": "mean",
    "mean_truth": "mean truth",
    "positive_share": "positives",
}


class _Interrupted(click.ClickException):
    """Stopped with a checkpoint: 75, what sysexits.h calls a temporary failure, so that a script knows to go on."""

    exit_code = 75


@click.command()
@click.argument("configuration", type=click.Path(path_type=Path), required=False, metavar="TRAINING.TOML")
@click.option(
    "--resume",
    "unfinished",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Go on with a training that SIGTERM stopped, in place of TRAINING.TOML.",
)
@click.option(
    "--runs", type=click.Path(path_type=Path), help="Where the run's folder is made. [default: as the file says]"
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="The seed. [default: as the file says]")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train. [default: as the file says]"
)
@click.option(
    "--store",
    metavar="LOCATION",
    help="Publish the version there, if it passes its gates: a folder, or s3://bucket[/prefix]. Needs --signing-key.",
)
@stack_option
@signing_key_option(required=False)
@click.option(
    "--promote", "channel", type=click.Choice(CHANNEL_NAMES), help="With --store or --stack: point this channel at it."
)
@trusted_keys_option
def command(
    configuration: Path | None,
    unfinished: Path | None,
    runs: Path | None,
    seed: int | None,
    device: str | None,
    store: str | None,
    stack: str | None,
    signing_key: str | None,
    channel: str | None,
    trusted_keys: Sequence[str],
) -> None:
    """Train a version as TRAINING.TOML says: from a table and a contract to one calibrated int8 graph.

    The run's folder then holds the version, unsigned, with its report.html. `eventscore publish` signs it and writes it
    to the model store; --store or --stack does so at once. Needs the train extra: pip install 'eventscore[train]'. A SIGTERM (a
    spot machine that is taken away) leaves a checkpoint and ends with exit code 75.

    \b
    Example: eventscore train examples/flights/training.toml
             eventscore train training.toml --store s3://my-models --signing-key key.pem --promote canary
    On two GPUs: torchrun --nproc-per-node 2 -m eventscore_cli train training.toml
    """
    from eventscore_training import TrainingInterrupted, resume, train
    from eventscore_training.config import load_training_config
    from eventscore_training.progress import Progress as Step
    from eventscore_training.ranks import told_ranks
    from eventscore_training.threads import wait_asleep

    overrides = {key: value for key, value in (("runs", runs), ("seed", seed), ("device", device)) if value is not None}
    if (configuration is None) == (unfinished is None):
        raise click.UsageError("expected TRAINING.TOML or --resume FOLDER")
    if unfinished is not None and overrides:
        raise click.UsageError("--resume goes on with the settings that the training began with; leave the others out")
    publisher = _publisher(stack, store, signing_key, channel, trusted_keys)
    # Before torch, whose import takes seconds.
    config = None if configuration is None else load_training_config(configuration, overrides)
    wait_asleep()
    try:
        import torch  # noqa: F401  the error should name the extra, not a module inside the job
    except ImportError:
        raise click.ClickException(
            "training needs torch: run `make setup-train`, or pip install 'eventscore[train]'"
        ) from None
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def show(step: Step) -> None:
            if step.phase not in tasks:
                for earlier in tasks.values():
                    progress.update(earlier, completed=progress.tasks[earlier].total)
                tasks[step.phase] = progress.add_task(step.phase, total=step.total, detail="")
            progress.update(tasks[step.phase], completed=step.done, total=step.total, detail=step.detail)

        try:
            trained = train(config, show) if config is not None else resume(Path(str(unfinished)), show)
        except TrainingInterrupted as error:
            raise _Interrupted(str(error)) from None
    if not told_ranks().first:
        return  # process 0 of several speaks for all
    names = [_SHORT.get(name, name) for name in trained.report.metrics["int8"]]
    table = Table("test part", *names, box=None, pad_edge=False)
    for precision, metrics in trained.report.metrics.items():
        table.add_row(
            precision, *(f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}" for value in metrics.values())
        )
    console.print(table)
    for gate in trained.report.gates:
        sign = "[green]passed[/green]" if gate.passed else "[red]missed[/red]"
        console.print(f"gate {gate.name}: {sign}, limit {gate.limit:g}, measured {gate.measured:g}")
    click.echo(trained.folder)
    if publisher is not None:
        publisher.publish(trained, channel)


def _publisher(
    stack: str | None, store: str | None, signing_key: str | None, channel: str | None, trusted_keys: Sequence[str]
) -> Publisher | None:
    """A key or a store that cannot be used is told before the training, not after it."""
    if store is None and stack is None:
        if channel is not None:
            raise click.UsageError("--promote needs --store or --stack: a channel points at a version in a store")
        return None
    if signing_key is None:
        raise click.UsageError(
            f"{'--stack' if store is None else '--store'} needs --signing-key KEY (or {SIGNING_KEY}): only signed versions are published"
        )
    return Publisher.ready(find_place(stack, store or "", trusted_keys), signing_key, channel)
