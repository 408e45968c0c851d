"""`eventscore score`: score a file with a stored version, by the very engine that scores the stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from eventscore.artifact import Artifact, load_artifact
from eventscore.scoring import Answer, score_messages
from eventscore.store.location import open_store
from eventscore.store.versions import CHANNEL_NAMES, LIVE, ModelVersions
from eventscore_cli.options import store_option, trusted_keys_option, verifier

_BATCH = 5_000


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", required=True, help="The model's name in the store.")
@click.option("--version", help="The version to score with. [default: the one that --channel points at]")
@click.option("--channel", type=click.Choice(CHANNEL_NAMES), default=LIVE, show_default=True)
@click.option(
    "--output", type=click.File("wb", lazy=True), default="-", show_default="standard output", help="JSON Lines."
)
@click.option(
    "--rejects", type=click.File("wb", lazy=True), help="Where rejected events go, with their reasons (JSON Lines)."
)
@store_option
@trusted_keys_option
def command(
    file: Path,
    model: str,
    version: str | None,
    channel: str,
    output: IO[bytes],
    rejects: IO[bytes] | None,
    store: str,
    trusted_keys: Sequence[str],
) -> None:
    """Score FILE (JSON Lines, or Parquet by its suffix .parquet) with a stored version.

    Each answer is what the stream's sink would get, one line each, in the file's order. Events that break the
    contract are counted on standard error, and written to --rejects with their line and reason. Exit code 0 even
    then: the file was scored.

    \b
    Example: eventscore score flights.jsonl --model flight-delay --output scores.jsonl --rejects rejects.jsonl
    """
    versions = ModelVersions(open_store(store), model)
    artifact = load_artifact(versions, version or versions.resolve(channel), verifier(trusted_keys))
    total, messages = _messages(file)
    encode = msgspec.json.Encoder().encode
    reasons: Counter[str] = Counter()
    scored = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=total)
        for number, outcomes in _scored(artifact, messages):
            answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
            scored += len(answers)
            output.write(b"".join(encode(answer) + b"\n" for answer in answers))
            for line, outcome in enumerate(outcomes, start=number + 1):
                if isinstance(outcome, Answer):
                    continue
                reasons[outcome.reason] += 1
                if rejects is not None:
                    rejected = {
                        "line": line,
                        "reason": outcome.reason,
                        "field": outcome.field,
                        "detail": outcome.detail,
                    }
                    rejects.write(encode(rejected) + b"\n")
            progress.update(task, completed=number + len(outcomes))
    output.flush()
    click.echo(f"{scored} scored by {artifact.model} {artifact.version}, {reasons.total()} rejected", err=True)
    for reason, count in reasons.most_common():
        click.echo(f"  {count:>8} {reason}", err=True)


def _scored(artifact: Artifact, messages: Iterable[bytes]) -> Iterator[tuple[int, list[Any]]]:
    number = 0
    iterator = iter(messages)
    while batch := [message for _, message in zip(range(_BATCH), iterator, strict=False)]:
        yield number, score_messages(artifact, batch, datetime.now(UTC))
        number += len(batch)


def _messages(file: Path) -> tuple[int, Iterator[bytes]]:
    """How many events the file holds, and their bytes one after the other."""
    if file.suffix == ".parquet":
        return _parquet(file)
    with file.open("rb") as lines:
        total = sum(1 for line in lines if line.strip())

    def read() -> Iterator[bytes]:
        with file.open("rb") as lines:
            for line in lines:
                if line.strip():
                    yield line.rstrip(b"\r\n")

    return total, read()


def _parquet(file: Path) -> tuple[int, Iterator[bytes]]:
    import polars as pl  # 150 ms that JSON Lines need not pay

    try:
        frame = pl.scan_parquet(file)
        total = int(frame.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise click.ClickException(f"{file}: expected a Parquet file: {str(error).splitlines()[0]}") from None
    encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode

    def read() -> Iterator[bytes]:
        for offset in range(0, total, _BATCH):
            for row in frame.slice(offset, _BATCH).collect().iter_rows(named=True):
                yield encode(row)

    return total, read()
