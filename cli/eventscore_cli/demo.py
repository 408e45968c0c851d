"""`eventscore demo`: run the whole loop on this machine, and show it."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from eventscore.errors import SettingsInvalid
from eventscore.settings import TRUSTED_KEYS
from eventscore_cli.options import STACK_CONFIGURATION, stack_trusted_keys
from eventscore_flights.demo.plan import SOURCES
from eventscore_flights.demo.report import render_report
from eventscore_flights.demo.run import DemoFailed, DemoOptions, Snapshot, Watcher, run_demo
from eventscore_flights.demo.summary import Summary
from eventscore_flights.source import FlightsUnavailable


@click.command()
@click.option("--events", type=click.IntRange(30, 54_065), default=21_000, show_default=True, help="Flights to send.")
@click.option(
    "--environments",
    type=click.IntRange(1, 16),
    default=3,
    show_default=True,
    help="Execution environments of the function.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    help="Where the report goes.",
)
@click.option(
    "--store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("model_store"),
    show_default=True,
    help="The folder that is copied to the bucket.",
)
@click.option(
    "--trusted-key",
    "trusted_keys",
    multiple=True,
    metavar="KEY",
    help=f"[default: TrustedKeys in {STACK_CONFIGURATION}]",
)
@click.option(
    "--worker-process",
    is_flag=True,
    help="Run the handler in plain processes, as on machines without Lambda's emulator.",
)
def command(
    events: int, environments: int, out: Path, store: Path, trusted_keys: tuple[str, ...], worker_process: bool
) -> None:
    """Send real flights over SQS, Kinesis and Kafka through the function, and account for every message.

    Starts an AWS and a Kafka cluster on this machine, copies the model store to a bucket, runs the function in
    Lambda's own emulator with nothing but its layers, and ends with everything that it started. Writes summary.json
    and report.html. Exit code 1 if a message was lost or ended where it must not. Run it in the checkout.

    \b
    Example: eventscore demo --events 6000
    """
    root = Path.cwd()
    if not (root / "template.yaml").is_file():
        raise click.ClickException(f"{root} is no checkout of eventscore (no template.yaml); run the demo in one")
    keys = ",".join(trusted_keys) or stack_trusted_keys(root / STACK_CONFIGURATION)
    if keys is None:
        raise SettingsInvalid(
            TRUSTED_KEYS, f"--trusted-key, or TrustedKeys among the parameters in {STACK_CONFIGURATION}", None
        )
    options = DemoOptions(root, store.resolve(), keys, events, environments, worker_process=worker_process)
    console = Console()
    screen = _Screen(console)
    try:
        with screen:
            summary = run_demo(options, Watcher(screen.step, screen.moved))
    except (DemoFailed, FlightsUnavailable) as error:
        raise click.ClickException(str(error)) from None
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(summary.document, indent=2) + "\n", encoding="utf-8")
    (out / "report.html").write_text(render_report(summary), encoding="utf-8")
    _show(console, summary)
    console.print(f"\nfigures: {out / 'summary.json'}")
    page = (out / "report.html").resolve().as_uri()
    console.print(f"plots and the on-call dashboard: [bold][link={page}]{page}[/link][/bold]", soft_wrap=True)
    if summary.problems:
        raise click.ClickException("; ".join(summary.problems))


class _Screen:
    """Steps as lines, and while messages are under way two bars a source: sent, and arrived at a far end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(40),
            TextColumn("{task.completed:>7,.0f} / {task.total:,.0f}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._live = Live(Group(self._bars), console=console, refresh_per_second=8, transient=False)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def step(self, text: str) -> None:
        """A step begins."""
        self._console.print(Text(f"• {text}"))

    def moved(self, snapshot: Snapshot) -> None:
        """Messages have moved."""
        for source in SOURCES:
            for what, counts in (("sent", snapshot.sent), ("ended", snapshot.ended)):
                if (source, what) not in self._tasks:
                    self._tasks[source, what] = self._bars.add_task(f"{source} {what}", total=snapshot.planned[source])
                self._bars.update(self._tasks[source, what], completed=counts[source])


def _show(console: Console, summary: Summary) -> None:
    document = summary.document
    console.print()
    table = Table(
        "source",
        title="Where every message ended",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,  # all of it fits into 80 columns
    )
    for column in ("sent", "scored", "rejected", "returned", "lost", "events/s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right")
    for source, account in summary.sources.items():
        rate = (account.scored + account.rejected) / summary.facts.elapsed_s
        p50, p99 = summary.percentiles_ms[source]
        counts = (account.sent, account.scored, account.rejected, account.returned, account.lost)
        table.add_row(source, *(f"{count:,}" for count in counts), f"{rate:,.0f}", f"{p50:.1f}", f"{p99:.1f}")
    console.print(table)
    console.print()
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row("model", f"{summary.facts.model} {summary.facts.version}")
    facts.add_row("function", f"{summary.facts.environments} environments, {summary.facts.kind}")
    facts.add_row("ROC-AUC", f"{summary.roc_auc:.4f} against the flights' true labels")
    facts.add_row(
        "speed", f"{summary.events_per_s:,.0f} messages/s end to end, {summary.batch_size:.0f} records a batch"
    )
    facts.add_row("decisions", ", ".join(f"{name} {count:,}" for name, count in document["decisions"].items()))
    parts = ", ".join(f"{name} {value:.0f}" for name, value in summary.cold_start_parts_ms.items() if name != "total")
    facts.add_row("cold start", f"{document['cold_start_ms']:.0f} ms ({parts})")
    facts.add_row(
        "rejected", ", ".join(f"{reason} {count}" for reason, count in document["rejected_by_reason"].items())
    )
    sums = [
        f"{source} {counts['received']:,} = {counts['scored']:,} + {counts['rejected']:,} + {counts['returned']:,}"
        for source, counts in summary.cloudwatch.items()
    ]
    facts.add_row("CloudWatch", f"received = scored + rejected + returned: {'; '.join(sums)}")
    console.print(facts)
