"""A stack's status on a screen: what to know first stands first, and what is wrong stands last, where the eye ends."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from eventscore_cli.standing.alarms import Alarms
from eventscore_cli.standing.channels import ChannelState
from eventscore_cli.standing.figures import Figures
from eventscore_cli.standing.function import FunctionState
from eventscore_cli.standing.part import Part
from eventscore_cli.standing.queues import MUST_BE_EMPTY
from eventscore_cli.standing.standing import Standing

_FIRST_METRICS = 3


def show(console: Console, standing: Standing, problems: Sequence[str]) -> None:
    """Print all parts, then the verdict."""
    stack = standing.stack
    style = "red" if stack.has_failed else "green"
    console.print(Text.assemble((stack.name, "bold"), f"  {stack.region}  ", (stack.status, style)))
    _section(console, "models", standing.channels, _channels)
    _section(console, "function", standing.function, lambda state: _function(state, standing))
    _section(console, "sources", standing.mappings, lambda states: _table(
        ("source", "state", "last result"),
        [(state.source, _good(state.state, state.state == "Enabled"), state.last_result) for state in states],
        "none",
    ))  # fmt: skip
    console.print(Text("\nqueues", style="bold"))
    console.print(_queues(standing))
    _section(console, "last hour", standing.figures, _figures)
    _section(console, "alarms", standing.alarms, _alarms)
    console.print()
    if not problems:
        console.print(Text("healthy", style="bold green"))
        return
    console.print(Text(f"not healthy: {len(problems)} to look at", style="bold red"))
    for problem in problems:
        console.print(Text(f"  ! {problem}", style="red"))


def _section(console: Console, title: str, part: Part, render) -> None:  # type: ignore[no-untyped-def,type-arg] # any part
    console.print(Text(f"\n{title}", style="bold"))
    console.print(
        Text(f"cannot be read: {part.unreadable}", style="yellow") if part.value is None else render(part.value)
    )


def _channels(states: tuple[ChannelState, ...]) -> RenderableType:
    if not states:
        return Text("no channel points anywhere")
    table = Table("model", "channel", box=None, pad_edge=False)
    # A version is what people copy from here, so it is never cut.
    for title in ("version", "made (UTC)", "age", "signed by"):
        table.add_column(title, no_wrap=True, justify="right" if title == "age" else "left")
    table.add_column("on the test part")
    for state in states:
        made = "" if state.made is None else f"{state.made:%Y-%m-%d %H:%M}"
        age = "" if state.age_days is None else f"{state.age_days:,.0f} d"
        told = ", ".join(f"{name} {value:.4g}" for name, value in list(state.metrics.items())[:_FIRST_METRICS])
        signed = Text("refused", style="red") if state.refused else Text(f"{state.signed_by}, trusted", style="green")
        table.add_row(state.model, state.channel, state.version, made, age, signed, Text(told))
    return table


def _function(state: FunctionState, standing: Standing) -> RenderableType:
    tried = "".join(f", {share:.0%} to version {version}" for version, share in state.canary.items())
    alias = f"alias {state.alias} -> version {state.version}{tried}" if state.alias else f"no alias, {state.version}"
    lines = [
        Text.assemble(f"{state.name}  {alias}  ", _good(state.state, state.state in ("Active", "Inactive"))),
        Text(
            f"{state.memory_mb:,} MB, {state.architecture}, {state.runtime}, {state.timeout_s} s, SnapStart {state.snap_start}, "
            f"provisioned {state.provisioned or 'none'}, changed {state.last_modified[:19]}"
        ),
    ]
    deployment = standing.deployment.value
    if deployment is not None:
        lines.append(Text(f"last deployment {deployment.id}: {deployment.status}, began {deployment.began[:19]}"))
    elif standing.deployment.unreadable:
        lines.append(Text(f"last deployment cannot be read: {standing.deployment.unreadable}", style="yellow"))
    return Group(*lines)


def _queues(standing: Standing) -> RenderableType:
    table = Table("queue", box=None, pad_edge=False)
    for title in ("waiting", "in flight", "oldest"):
        table.add_column(title, justify="right")
    for name, part in standing.queues.items():
        state = part.value
        if state is None:
            table.add_row(name, Text("cannot be read", style="yellow"))
            continue
        style = "red" if name in MUST_BE_EMPTY and state.messages else ""
        table.add_row(name, Text(f"{state.waiting:,}", style=style), f"{state.in_flight:,}", _span(state.oldest_s))
    return table


def _figures(told: Figures) -> RenderableType:
    table = Table("model", "source", box=None, pad_edge=False)
    for title in ("received", "scored", "rejected", "returned", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(title, justify="right")
    for row in told.sources:
        counts = (f"{count:,.0f}" for count in (row.received, row.scored, row.rejected, row.returned))
        latency = (f"{row.latency_ms[name]:,.1f}" if name in row.latency_ms else "" for name in ("p50", "p95", "p99"))
        table.add_row(row.model, row.source, *counts, *latency)
    lines: list[RenderableType] = [table if told.sources else Text("no events")]
    cold = ", ".join(f"{model} {count:,.0f}" for model, count in told.cold_starts.items())
    lines.append(Text(f"cold starts: {cold or 'none'}"))
    for model, left in told.budget_left.items():
        style = "red" if left < 0 else "yellow" if left < 0.25 else ""
        lines.append(
            Text(f"error budget of 30 days at {told.objective_percent:g} %, {model}: {left:.1%} left", style=style)
        )
    return Group(*lines)


def _alarms(told: Alarms) -> RenderableType:
    if not told.ringing:
        return Text(f"{told.known} alarms, none in ALARM" if told.known else "the stack has none")
    lines = []
    for alarm in told.ringing:
        held_back = ", held back by a roll-out" if alarm.held_back else ""
        lines.append(Text.assemble((alarm.name, "red"), f"  since {alarm.since[:19]}{held_back}"))
        lines.append(Text(f"  {alarm.says}"))
        if alarm.runbook:
            lines.append(Text(f"  {alarm.runbook}"))
    return Group(*lines)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str | Text]], none: str) -> RenderableType:
    if not rows:
        return Text(none)
    table = Table(*titles, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def _good(word: str, good: bool) -> Text:
    return Text(word, style="green" if good else "red")


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.0f} s"
