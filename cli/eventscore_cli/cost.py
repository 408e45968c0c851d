"""`eventscore cost`: what a stack will cost, which part dominates, and what is cheapest within the latency SLO."""

from __future__ import annotations

import json
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table

from eventscore_cli.costing import (
    SOURCES,
    Architecture,
    Assumptions,
    Bill,
    Load,
    Setting,
    Source,
    Start,
    bill,
    cheapest,
    endpoint,
    read_measured,
    with_source,
)
from eventscore_cli.price_file import Unreadable, read_prices

_DATA = Path(str(resources("eventscore_cli")))
_PRICES = _DATA / "prices" / "us-east-1.toml"
_MEASURED = _DATA / "measured" / "throughput.jsonl"
_positive = click.FloatRange(min=0, min_open=True)
_count = click.IntRange(min=1)


@click.command()
@click.option(
    "--events-per-month",
    type=click.FloatRange(min=1),
    default=100e6,
    show_default="100 million",
    help="How many events.",
)
@click.option(
    "--source", type=click.Choice(SOURCES), help="Where the events come from.  [default: each of them, side by side]"
)
@click.option(
    "--batch", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Most records of a batch."
)
@click.option("--window", type=click.IntRange(0, 300), default=1, show_default=True, help="Seconds to gather a batch.")
@click.option("--memory", type=click.IntRange(128, 10_240), default=1769, show_default=True, help="MB of the function.")
@click.option(
    "--architecture",
    type=click.Choice(get_args(Architecture)),
    default="arm64",
    show_default=True,
    help="Of the function.",
)
@click.option("--event-bytes", type=_count, default=700, show_default=True, help="Size of an event.")
@click.option("--answer-bytes", type=_count, default=250, show_default=True, help="Size of an answer.")
@click.option(
    "--sink-call-ms", type=_positive, default=8.0, show_default=True, help="One call of the sink, 10 answers."
)
@click.option(
    "--cold-starts-per-day", type=click.FloatRange(min=0), default=50.0, show_default=True, help="New environments."
)
@click.option("--cold-start-ms", type=_positive, default=900.0, show_default=True, help="At one whole CPU.")
@click.option(
    "--start",
    type=click.Choice(get_args(Start)),
    default="snap-start",
    show_default=True,
    help="How environments start: as the template has it, with provisioned concurrency, or with nothing but warm-ups.",
)
@click.option(
    "--provisioned", type=_count, default=2, show_default=True, help="Environments, with --start provisioned."
)
@click.option(
    "--kafka-pollers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Provisioned pollers of a Kafka mapping; 0: its on-demand mode, without partial batch responses.",
)
@click.option("--fan-out", is_flag=True, help="Enhanced fan-out for Kinesis.")
@click.option("--slo-ms", type=_positive, default=2000.0, show_default=True, help="Longest wait for an answer.")
@click.option(
    "--measured",
    type=click.Path(path_type=Path),
    help="Output of benchmarks/throughput.py --json on your machine.  [default: what was measured on ours]",
)
@click.option("--prices", type=click.Path(path_type=Path), help="A price file.  [default: us-east-1, dated]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each source.")
def command(
    events_per_month: float,
    source: Source | None,
    batch: int,
    window: int,
    memory: int,
    architecture: Architecture,
    event_bytes: int,
    answer_bytes: int,
    sink_call_ms: float,
    cold_starts_per_day: float,
    cold_start_ms: float,
    start: Start,
    provisioned: int,
    kafka_pollers: int,
    fan_out: bool,
    slo_ms: float,
    measured: Path | None,
    prices: Path | None,
    as_json: bool,
) -> None:
    """Estimate the bill of a month, by part, from measured times and dated prices.

    Dollars per million events for each source at the setting that is named, and the cheapest setting whose longest wait
    (gathering the batch and scoring it) keeps --slo-ms. Free tiers, the stream's own brokers, data transfer and what
    producers pay to send are not in it.

    \b
    Example: eventscore cost --events-per-month 30e6 --source sqs --slo-ms 1000
    """
    try:
        dated, times = read_prices(prices or _PRICES), read_measured(measured or _MEASURED)
    except Unreadable as error:
        raise click.ClickException(str(error)) from None
    load = Load(events_per_month, event_bytes, answer_bytes)
    given = Assumptions(
        sink_call_ms=sink_call_ms,
        cold_starts_per_day=cold_starts_per_day,
        cold_start_ms=cold_start_ms,
        start=start,
        provisioned=provisioned,
        kafka_pollers=kafka_pollers,
        fan_out=fan_out,
    )
    asked = Setting(source or "kinesis", batch, window, memory, architecture)
    chosen = (source,) if source else SOURCES
    bills = [bill(with_source(asked, each), load, dated, times, given) for each in chosen]
    best = {each: cheapest(each, load, dated, times, given, slo_ms) for each in chosen}
    if as_json:
        for each in bills:
            found = best[each.setting.source]
            told = {**_told(each, load), "cheapest": _told(found, load) if found else None, "prices_as_of": dated.as_of}
            click.echo(json.dumps(told))
        return
    console = Console()
    console.print(
        f"{events_per_month:,.0f} events a month ({load.per_second:,.1f} a second), batches of {batch:,} within "
        f"{window} s, {memory} MB, {architecture}; prices of {dated.region} as of {dated.as_of}"
    )
    console.print(_parts_table(bills, load))
    for name in chosen:
        console.print(f"cheapest within {slo_ms:,.0f} ms: {_sentence(best[name], name, load)}")
    hosts = ", ".join(f"{host} ${endpoint(host, 1, dated):,.0f}" for host in dated.sagemaker.instance_hour)
    console.print(f"a SageMaker endpoint that is always on, one instance, a month: {hosts}")


def _parts_table(bills: list[Bill], load: Load) -> Table:
    table = Table("dollars a month", box=None, pad_edge=False)
    for each in bills:
        table.add_column(each.setting.source, justify="right")
    for part in dict.fromkeys(part for each in bills for part in each.parts):
        table.add_row(part, *(_share(each, part) for each in bills))
    table.add_section()
    table.add_row("together", *(f"{each.total:,.2f}" for each in bills), style="bold")
    per_million = (f"{each.total / load.events_per_month * 1e6:,.3f}" for each in bills)
    table.add_row("per million events", *per_million, style="bold")
    table.add_row("records in a batch", *(f"{each.events_per_batch:,.1f}" for each in bills))
    table.add_row("longest wait, ms", *(f"{each.latency_ms:,.0f}" for each in bills))
    return table


def _share(each: Bill, part: str) -> str:
    if part not in each.parts:
        return ""
    mark = "  <" if each.parts[part] == max(each.parts.values()) else "   "
    return f"{each.parts[part]:,.2f} {each.parts[part] / each.total:4.0%}{mark}"


def _sentence(found: Bill | None, source: str, load: Load) -> str:
    if found is None:
        return f"{source}: no setting; the shortest wait is that of a window of 0 s and one record"
    setting = found.setting
    return (
        f"{source}: ${found.total / load.events_per_month * 1e6:,.3f} per million with batches of {setting.batch:,} within "
        f"{setting.window_s} s, {setting.memory_mb} MB, {setting.architecture} ({found.latency_ms:,.0f} ms)"
    )


def _told(each: Bill, load: Load) -> dict[str, Any]:
    setting = each.setting
    return {
        "source": setting.source,
        "batch": setting.batch,
        "window_s": setting.window_s,
        "memory_mb": setting.memory_mb,
        "architecture": setting.architecture,
        "dollars_per_month": round(each.total, 4),
        "dollars_per_million": round(each.total / load.events_per_month * 1e6, 6),
        "parts": {name: round(value, 4) for name, value in each.parts.items()},
        "dominates": max(each.parts, key=each.parts.__getitem__),
        "records_in_a_batch": round(each.events_per_batch, 2),
        "longest_wait_ms": round(each.latency_ms, 1),
    }
