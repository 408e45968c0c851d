"""What a replay saw and did, on a screen."""

from __future__ import annotations

from datetime import datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventscore_cli.replaying.account import Account, End

_WORDS = {
    End.SENT: ("green", "sent, and removed from the queue"),
    End.WOULD_SEND: ("green", "would be sent"),
    End.SENT_BEFORE: ("", "went out before; only to be removed from the queue"),
    End.IN_DOUBT: (
        "yellow",
        "in doubt: an interrupted run may have sent them. They stay until you decide (--in-doubt send, --in-doubt remove)",
    ),
    End.REFUSED: ("red", "not taken; they stay in the queue, and the next run tries again"),
    End.LEFT: ("yellow", "cannot be sent; they stay in the queue"),
}


def show(console: Console, account: Account, queue: str, retention_s: int | None, now: datetime, *, sent: bool) -> None:
    """Print the table, then where everything ended, then what is not as it should be."""
    name = queue.rpartition("/")[2]
    messages = f"{account.messages:,} message{'' if account.messages == 1 else 's'}"
    console.print(f"[bold]{name}[/bold]: {messages}{_expiry(account, retention_s, now)}")
    if account.rows:
        table = Table("reason", box=None, pad_edge=False)
        # What people copy from here is never cut.
        for column in ("version", "source", "events", "oldest (UTC)", "newest (UTC)"):
            table.add_column(column, no_wrap=True, justify="right" if column == "events" else "left")
        rows = sorted(account.rows.items(), key=lambda item: -item[1].events)
        for (reason, version, source), row in rows:
            table.add_row(reason, version or "", source, f"{row.events:,}", _time(row.oldest), _time(row.newest))
        console.print(table)
        for (reason, _, source), row in rows:
            more = ", ..." if row.events > len(row.origins) else ""
            console.print(Text(f"  {source} {reason}: {', '.join(row.origins)}{more}", style="dim"))
    for end in End:
        if account.ends[end]:
            style, words = _WORDS[end]
            line = Text(f"{account.ends[end]:>8,} {words}", style=style)
            if end in (End.SENT, End.WOULD_SEND):
                line.append(f" (to {', '.join(f'{target}: {count:,}' for target, count in account.targets.items())})")
            console.print(line)
    if account.unselected:
        console.print(f"{account.unselected:>8,} not selected, or beyond --limit; they stay in the queue")
    for why, names in account.problems.items():
        some = ", ".join(names) + (", ..." if account.problem_counts[why] > len(names) else "")
        console.print(Text(f"  ! {account.problem_counts[why]:,} x {why}: {some}", style="yellow"))
    if account.not_removed:
        console.print(
            f"[yellow]  ! {account.not_removed:,} went out and could not be removed; the next run does it[/yellow]"
        )
    if account.stopped:
        console.print("[yellow]  ! stopped before the end; what was not reached is in the queue[/yellow]")
    if not sent:
        console.print("Nothing was changed. Add --send to send them.")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _expiry(account: Account, retention_s: int | None, now: datetime) -> str:
    if account.oldest_message is None or retention_s is None:
        return ""
    left = account.oldest_message + timedelta(seconds=retention_s) - now
    hours = left.total_seconds() / 3600
    return (
        f", the oldest is deleted by the queue in {hours / 24:.1f} days"
        if hours > 48
        else (f", [red]the oldest is deleted by the queue in {max(hours, 0):.1f} hours[/red]")
    )
