"""`eventscore score`: score a file with a stored version, by the very engine that scores the stream."""

from __future__ import annotations

import itertools
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
from eventscore.errors import FileMissing, NoSuchVersion
from eventscore.scoring import Answer, Outcome, score_messages
from eventscore.signing import Ed25519Verifier
from eventscore.store.location import open_store
from eventscore.store.versions import CHANNEL_NAMES, LIVE, ModelVersions
from eventscore_cli.options import store_option, trusted_keys_option, verifier
from eventscore_cli.place import find_place, stack_option

_BATCH = 5_000
_OTHER_TABLES = {".csv", ".tsv", ".xlsx", ".feather", ".arrow", ".avro"}
_Message = tuple[int, bytes]
"""An event: its line in the file (in Parquet its row), from 1, and its bytes."""


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="The model's name in the store. [default with --stack: its main model]")
@click.option("--version", help="The version to score with. [default: the one that --channel points at]")
@click.option(
    "--channel", type=click.Choice(CHANNEL_NAMES), default=LIVE, show_default=True, help="The channel to score with."
)
@click.option(
    "--output", type=click.File("wb", lazy=True), default="-", show_default="standard output", help="JSON Lines."
)
@click.option(
    "--rejects",
    type=click.File("wb", lazy=True),
    help="What was rejected: line (or row), reason, field and detail of each (JSON Lines).",
)
@store_option
@stack_option
@trusted_keys_option
def command(
    file: Path,
    model: str | None,
    version: str | None,
    channel: str,
    output: IO[bytes],
    rejects: IO[bytes] | None,
    store: str,
    stack: str | None,
    trusted_keys: Sequence[str],
) -> None:
    """Score FILE (JSON Lines, or Parquet by its suffix .parquet) with a stored version.

    Each answer is what the stream's sink would get, one line each, in the file's order. Events that break the
    contract are counted on standard error, and written to --rejects with their line and reason. Exit code 0 even
    then: the file was scored.

    \b
    Example: eventscore score flights.jsonl --model flight-delay --output scores.jsonl --rejects rejects.jsonl
    """
    for written in (output, rejects):
        _refuse_to_write_over(file, written)
    if rejects is not None and rejects.name != "-" and Path(rejects.name).resolve() == Path(output.name).resolve():
        raise click.UsageError(f"--output and --rejects both name {rejects.name}; one would write over the other")
    if file.suffix.lower() in _OTHER_TABLES:
        raise click.UsageError(f"{file}: expected JSON Lines or Parquet, got a name that ends in {file.suffix}")
    if model is None and stack is None:
        raise click.UsageError("Missing option '--model' (only --stack knows it without)")
    place = find_place(stack, store, trusted_keys)
    versions = ModelVersions(open_store(place.store), place.model(model))
    artifact = _artifact(versions, version, channel, verifier(place.trusted_keys))
    total, messages = _messages(file, artifact.contract.label_fields)
    encode = msgspec.json.Encoder().encode
    reasons: Counter[str] = Counter()
    scored = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=total)
        for lines, outcomes in _scored(artifact, messages):
            answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
            scored += len(answers)
            output.write(b"".join(encode(answer) + b"\n" for answer in answers))
            for line, outcome in zip(lines, outcomes, strict=True):
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
            progress.advance(task, len(outcomes))
    # Both exist from now on, even if nothing was written: no reader takes an older run's for this one's.
    output.flush()
    if rejects is not None:
        rejects.flush()
    click.echo(f"{scored} scored by {artifact.model} {artifact.version}, {reasons.total()} rejected", err=True)
    for reason, count in reasons.most_common():
        click.echo(f"  {count:>8} {reason}", err=True)


def _refuse_to_write_over(file: Path, written: IO[bytes] | None) -> None:
    name = "" if written is None else str(written.name)
    if Path(name).is_file() and file.samefile(name):
        raise click.UsageError(f"{file} would be written over while it is read; name another file for the output")


def _artifact(versions: ModelVersions, version: str | None, channel: str, trusted: Ed25519Verifier) -> Artifact:
    if version is None:
        return load_artifact(versions, versions.resolve(channel), trusted)
    try:
        return load_artifact(versions, version, trusted)
    except FileMissing:
        known = versions.versions()
        if version in known:
            raise
        raise NoSuchVersion(versions.model, version, known) from None


def _scored(artifact: Artifact, messages: Iterable[_Message]) -> Iterator[tuple[list[int], list[Outcome]]]:
    iterator = iter(messages)
    while batch := list(itertools.islice(iterator, _BATCH)):
        outcomes = score_messages(artifact, [content for _, content in batch], datetime.now(UTC))
        yield [line for line, _ in batch], outcomes


def _messages(file: Path, truth: Sequence[str]) -> tuple[int, Iterator[_Message]]:
    """How many events the file holds, and the events one after the other."""
    if file.suffix == ".parquet":
        return _parquet(file, truth)
    with file.open("rb") as lines:
        total = sum(1 for line in lines if line.strip())

    def read() -> Iterator[_Message]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip(b"\r\n")

    return total, read()


def _parquet(file: Path, truth: Sequence[str]) -> tuple[int, Iterator[_Message]]:
    import polars as pl  # 150 ms that JSON Lines need not pay

    def collected(frame: pl.LazyFrame) -> pl.DataFrame:
        try:
            return frame.collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise click.ClickException(f"{file}: expected a Parquet file: {str(error).splitlines()[0]}") from None

    frame = pl.scan_parquet(file)
    frame = frame.drop(truth, strict=False)  # a training table may be scored; the truth is in no event
    # A time without an offset is UTC, as training takes it.
    frame = frame.with_columns(pl.selectors.datetime(time_zone=None).dt.replace_time_zone("UTC"))
    total = int(collected(frame.select(pl.len())).item())
    encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode

    def read() -> Iterator[_Message]:
        for offset in range(0, total, _BATCH):
            rows = collected(frame.slice(offset, _BATCH)).iter_rows(named=True)
            for number, row in enumerate(rows, start=offset + 1):
                yield number, encode(row)

    return total, read()
