"""`eventscore tune`: search for a better configuration within a budget of time."""

from __future__ import annotations

import re
from pathlib import Path

import click
from rich.console import Console

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    """``90s``, ``10m``, ``2h``; seconds without a unit."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value)
    if match is None or float(match[1]) <= 0:
        raise click.BadParameter(f"{value!r} is no duration; expected 90s, 10m or 2h")
    return float(match[1]) * _UNITS[match[2] or "s"]


@click.command()
@click.argument("configuration", type=click.Path(path_type=Path), metavar="TRAINING.TOML")
@click.option("--budget", callback=_seconds, required=True, metavar="TIME", help="How long to search: 90s, 10m, 2h.")
@click.option(
    "--storage",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Where the trials are kept. With the same file the search goes on.",
)
@click.option("--trials", type=click.IntRange(1), help="Stop after so many trials, too.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the best configuration goes. [default: TRAINING.tuned.toml beside TRAINING.TOML]",
)
def command(configuration: Path, budget: float, storage: Path, trials: int | None, output: Path | None) -> None:
    """Search for a configuration that does better than TRAINING.TOML on the validation part.

    The first trial is the configuration as it is. Interrupt it when you like: what was tried is kept, and the same
    command goes on. Needs the train extra.

    \b
    Example: eventscore tune training.toml --budget 10m --storage tuning.log
    """
    from eventscore_training.config import load_training_config
    from eventscore_training.threads import wait_asleep

    config = load_training_config(configuration)
    wait_asleep()
    try:
        import optuna  # noqa: F401  the error should name the extra
        import torch  # noqa: F401
    except ImportError:
        raise click.ClickException(
            "tuning needs torch and optuna: run `make setup-train`, or pip install 'eventscore[train]'"
        ) from None
    from eventscore_training.tune import TrialResult, tune
    from eventscore_training.tuned_text import tuned_text

    console = Console(stderr=True)

    def told(trial: TrialResult) -> None:
        figure = "diverged" if trial.value is None else f"{trial.value:.4f}"
        how = "" if trial.state == "complete" else f" ({trial.state})"
        console.print(
            f"trial {trial.number}: {figure}{how}, best {trial.best:.4f} in trial {trial.best_number}", highlight=False
        )

    target = output or configuration.with_suffix(".tuned.toml")
    with console.status(f"searching for {budget:g} s"):
        tuned = tune(config, storage, budget, told, trials)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(tuned_text(configuration, target, tuned), encoding="utf-8")
    before = "" if tuned.began_with is None else f" (it began with {tuned.began_with:.4f})"
    console.print(f"{tuned.metric} {tuned.value:.4f} after {tuned.trials} trials{before}", highlight=False)
    click.echo(target)
