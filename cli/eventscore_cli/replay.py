"""`eventscore replay`: send rejected or dead events back after a fix."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click
from rich.console import Console

from eventscore.store.location import open_store
from eventscore.violations import REASONS
from eventscore_cli.replay_places import Router, What, journal_location, queue_url, reader
from eventscore_cli.replay_screen import show
from eventscore_cli.replaying.account import Account, End
from eventscore_cli.replaying.held_queue import HeldQueue
from eventscore_cli.replaying.journal import Journal
from eventscore_cli.replaying.replay import Doubtful, Replay
from eventscore_cli.replaying.selection import Selection
from eventscore_cli.stack import aws_client, usable_stack


class _Moment(click.ParamType[datetime]):
    name = "moment"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"expected a time as 2026-11-21T10:15:00Z or a day as 2026-11-21, got {value}", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command()
@click.argument("what", type=click.Choice(["rejected", "dead", "given-up"]))
@click.option(
    "--stack", metavar="NAME", help="The deployed stack whose queue is read, and whose sources get the events back."
)
@click.option("--queue", metavar="URL", help="The queue to read.  [default: the stack's]")
@click.option(
    "--to",
    metavar="TARGET",
    help="sqs or kinesis (the stack's own), sqs:<queue url>, kinesis:<stream>.  [default: where each event came from]",
)
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(list(REASONS)),
    metavar="REASON",
    help="Only of this reason (several times for several).",
)
@click.option("--version", "versions", multiple=True, metavar="VERSION", help="Only what this version rejected.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=click.Choice(["sqs", "kinesis", "kafka"]),
    help="Only what came from there.",
)
@click.option("--since", type=_Moment(), metavar="TIME", help="Only what failed then or later (UTC without an offset).")
@click.option("--until", type=_Moment(), metavar="TIME", help="Only what failed before.")
@click.option("--limit", type=click.IntRange(1), help="Send at most so many events.")
@click.option("--send", is_flag=True, help="Send them. Without it nothing is changed.")
@click.option(
    "--per-second", type=click.FloatRange(0, min_open=True), help="Send no faster.  [default: as fast as it goes]"
)
@click.option(
    "--in-doubt",
    "doubtful",
    type=click.Choice(["leave", "send", "remove"]),
    default="leave",
    show_default=True,
    help="What to do with events of which an interrupted run left unknown whether they went out.",
)
@click.option(
    "--journal",
    metavar="LOCATION",
    help="Where is written what was sent: a folder, or s3://bucket/prefix.  [default: _replays/ in the stack's model bucket]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the table.")
def command(
    what: What,
    stack: str | None,
    queue: str | None,
    to: str | None,
    reasons: Sequence[str],
    versions: Sequence[str],
    sources: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    send: bool,
    per_second: float | None,
    doubtful: Doubtful,
    journal: str | None,
    as_json: bool,
) -> int:
    """Send events back to where they came from, once what was wrong is mended.

    \b
    rejected  events that broke the contract, from the reject queue
    dead      messages that came back too often, from the dead-letter queue
    given-up  Kinesis records whose positions lie in the stream failure queue; they are read from the stream again

    Looks first: without --send it shows what would be sent, and changes nothing. No event is sent twice: each is claimed
    in a journal before it is sent, and deleted from the queue after it was taken. Exit code 1 if something that was
    selected is still there.

    \b
    Example: eventscore replay rejected --stack eventscore --reason unknown_value
             eventscore replay rejected --stack eventscore --reason unknown_value --send --per-second 200
    """
    if what != "rejected" and (reasons or versions):
        raise click.UsageError(f"--reason and --version are known of rejected events only, not of {what} ones")
    if what == "dead" and sources:
        raise click.UsageError("dead messages came from a queue, all of them; leave --source out")
    deployed = None if stack is None else usable_stack(stack)
    url = queue_url(what, deployed, queue)
    location = journal_location(deployed, journal)
    if send and location is None:
        raise click.UsageError("--send needs --stack or --journal: what was sent has to be written down")
    chosen = Selection(frozenset(reasons), frozenset(versions), frozenset(sources), since, until)
    held = HeldQueue(aws_client("sqs"), url, lambda: datetime.now(UTC))
    attributes = held.attributes()
    _warn_of_redrive(attributes, url)
    log = None
    if location is not None:
        log = Journal(open_store(location), lambda: datetime.now(UTC), send_doubtful=doubtful == "send")
    with _stopping() as stopped:
        replay = Replay(
            held,
            reader(what),
            chosen,
            Router(deployed, to, url),
            log,
            doubtful,
            limit,
            per_second,
            stop=lambda: bool(stopped),
        )
        account = replay.run(send=send)
    if as_json:
        click.echo(json.dumps({"queue": url, "journal": location, "sent": send, **account.document}))
    else:
        retention = attributes.get("MessageRetentionPeriod")
        retention_s = int(retention) if retention else None
        console = Console(width=None if Console().is_terminal else 160)
        show(console, account, url, retention_s, datetime.now(UTC), sent=send)
    if stopped:
        return 130
    return 1 if send and _is_left(account) else 0


def _is_left(account: Account) -> bool:
    left = account.ends[End.IN_DOUBT] + account.ends[End.REFUSED] + account.ends[End.LEFT]
    return bool(left or account.problems or account.not_removed)


def _warn_of_redrive(attributes: dict[str, str], url: str) -> None:
    """Looking at a message counts as receiving it; where a queue moves messages that were received often, that matters."""
    if "RedrivePolicy" in attributes:
        most = json.loads(attributes["RedrivePolicy"]).get("maxReceiveCount")
        click.echo(
            f"{url.rpartition('/')[2]} moves a message away after {most} receives, and each run is one of them",
            err=True,
        )


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """While it lasts SIGINT and SIGTERM only ask the run to end: what is being sent is sent and written down first."""
    asked: list[int] = []
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            before[number] = signal.signal(number, lambda got, _frame: asked.append(got))
        except ValueError:  # not in the main thread, where nobody sends signals to
            break
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
