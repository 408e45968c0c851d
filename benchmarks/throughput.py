"""How long the handler takes for an event, in process, beside what is written by hand today and beside the floor.

Example: python benchmarks/throughput.py
         python benchmarks/throughput.py --json --records 100 1000

See docs/benchmarks.md for what the contestants are and how the time is taken. Needs the train extra: the training package builds
the graph.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contestants import Contestant, Floor, Ours, Peer, check_agreement
from machine import describe_machine
from workload import MODEL, Invocation, make_events, sqs_invocation

from eventscore.artifact import Artifact, load_artifact
from eventscore.baseline import parse_baseline
from eventscore.drift_watch import DriftWatch
from eventscore.manifest import BASELINE, GRAPH
from eventscore.signing import Ed25519Verifier
from eventscore.store.folder import FolderStore
from eventscore.store.versions import LIVE, ModelVersions

SIZES = (1, 10, 100, 1_000, 10_000)
REPETITIONS = 15
BLOCK_MS = 20.0
"""A block is at least this long: as many invocations as it takes, so that the clock's and the collector's grains vanish."""
_EVENTS = 1_000
"""Distinct events that small batches are cut from."""
_DISTRIBUTIONS = ("numpy", "onnxruntime", "msgspec", "pydantic", "aws-lambda-powertools")


@dataclass(frozen=True)
class Measurement:
    """One size: microseconds per event of each repetition, by contestant. The n-th of each were taken side by side."""

    records: int
    us: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """The median over the repetitions, microseconds per event."""
        return statistics.median(self.us[name])

    def spread(self, name: str) -> float:
        """Half the distance between the quartiles, as a share of the median; 0 where there are too few repetitions."""
        if len(self.us[name]) < 4:
            return 0.0
        low, _, high = statistics.quantiles(self.us[name], n=4)
        return (high - low) / 2 / self.median(name)

    def ratio(self, name: str, to: str) -> float:
        """The median of the ratios within each repetition: what slows the machine for a while slows both."""
        return statistics.median(one / other for one, other in zip(self.us[name], self.us[to], strict=True))


def measure(
    contestants: Mapping[str, Contestant],
    records: int,
    repetitions: int,
    block_ms: float,
    utc: str = "Z",
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Measurement:
    """Measure all contestants alternately on SQS invocations of ``records`` records, whose events' times end in ``utc``.

    ``clock`` answers nanoseconds.
    """
    events = make_events(max(_EVENTS, records), seed=records, utc=utc)
    batches = [events[start : start + records] for start in range(0, len(events) - records + 1, records)]
    invocations = [sqs_invocation(batch) for batch in batches]
    check_agreement(contestants, invocations[0])
    # A function holds one invocation at a time. These are set aside, or every collection would walk through them all.
    gc.collect()
    gc.freeze()
    counts = {
        name: _invocations_in(block_ms, contestant, invocations, clock) for name, contestant in contestants.items()
    }
    us: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for repetition in range(repetitions):
        first = repetition % len(names)  # nobody is always the one that comes after the slowest
        for name in names[first:] + names[:first]:
            gc.collect()
            elapsed_us = _block_us(contestants[name], invocations, counts[name], clock)
            us[name].append(elapsed_us / counts[name] / records)
    gc.unfreeze()
    return Measurement(records, us)


def _invocations_in(
    block_ms: float, contestant: Contestant, invocations: Sequence[Invocation], clock: Callable[[], int]
) -> int:
    """Warms up, and answers how many invocations last ``block_ms``."""
    _block_us(contestant, invocations, min(len(invocations), 20), clock)
    count = 1
    while (elapsed_us := _block_us(contestant, invocations, count, clock)) < block_ms * 500:
        count *= 2
    return max(1, round(count * block_ms * 1000 / elapsed_us))


def _block_us(contestant: Contestant, invocations: Sequence[Invocation], count: int, clock: Callable[[], int]) -> float:
    chosen = [invocations[at % len(invocations)] for at in range(count)]
    began = clock()
    for invocation in chosen:
        contestant(invocation)
    return (clock() - began) / 1000


@contextlib.contextmanager
def workload_artifact() -> Iterator[tuple[Artifact, bytes, DriftWatch]]:
    """The version that is scored with, built, signed, published, loaded and verified; the bytes of its graph; and who counts its events."""
    with tempfile.TemporaryDirectory(prefix="eventscore-throughput-") as folder:
        builder = Path(__file__).with_name("build_workload.py")
        built = subprocess.run([sys.executable, builder, folder], stdout=subprocess.PIPE, text=True, check=False)
        if built.returncode != 0:
            raise SystemExit("the graph cannot be built (see above); it takes the train extra: make setup-train")
        versions = ModelVersions(FolderStore(Path(folder)), MODEL)
        version = versions.resolve(LIVE)
        artifact = load_artifact(versions, version, Ed25519Verifier([base64.b64decode(built.stdout.strip())]))
        baseline = parse_baseline(versions.read_file(version, BASELINE), BASELINE, artifact.contract)
        watch = DriftWatch(artifact.model, version, artifact.contract, baseline, time.time())
        yield artifact, versions.read_file(version, GRAPH), watch


def all_contestants(
    artifact: Artifact, graph: bytes, watch: DriftWatch, *, sqs_sink: bool = False
) -> dict[str, Contestant]:
    """The three, by the names that the output uses."""
    return {"ours": Ours(artifact, watch, sqs_sink=sqs_sink), "peer": Peer(graph), "floor": Floor(graph)}


def json_line(measurement: Measurement) -> str:
    """One size as a JSON object: microseconds per event, and ratios."""
    return json.dumps(
        {
            "records": measurement.records,
            **{f"{name}_us": round(measurement.median(name), 3) for name in measurement.us},
            "ours_to_floor": round(measurement.ratio("ours", "floor"), 3),
            "ours_to_peer": round(measurement.ratio("ours", "peer"), 3),
        }
    )


def table_line(measurement: Measurement) -> str:
    """One size as a line of the table."""
    cells = [f"{measurement.median(name):8.2f} ±{measurement.spread(name):4.0%}" for name in measurement.us]
    ratios = [f"{measurement.ratio('ours', other):9.2f}" for other in ("floor", "peer")]
    return "  ".join([f"{measurement.records:>7,}", *cells, *ratios])


_TABLE_HEAD = "  ".join(
    [f"{'records':>7}", *(f"{name + ' µs':>14}" for name in ("ours", "peer", "floor")), "ours/floor", "ours/peer"]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--records", type=int, nargs="+", default=SIZES, metavar="N", help="sizes of the invocations")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help=f"default {REPETITIONS}")
    parser.add_argument(
        "--block-ms", type=float, default=BLOCK_MS, help=f"least length of a block, default {BLOCK_MS:g}"
    )
    parser.add_argument("--utc", choices=("Z", "+00:00"), default="Z", help="how the events' times end, default Z")
    parser.add_argument("--sqs-sink", action="store_true", help="ours with the SQS sink, its client in memory")
    parser.add_argument(
        "--processor-time", action="store_true", help="count the process's seconds: for a machine that others use, too"
    )
    options = parser.parse_args(arguments)
    if min(options.records) < 1 or options.repetitions < 1:
        parser.error("expected sizes and repetitions of at least 1")
    if not options.json:
        print(describe_machine(_DISTRIBUTIONS))
        print(
            f"µs per event: median of {options.repetitions} repetitions, taken in turn, ± half the distance between the "
            f"quartiles. {'Processor time' if options.processor_time else 'Wall clock'}, one thread,\nblocks of at least "
            f"{options.block_ms:g} ms after a warm-up; garbage collector on, collected before each block.\n\n{_TABLE_HEAD}"
        )
    clock = time.process_time_ns if options.processor_time else time.perf_counter_ns
    with workload_artifact() as (artifact, graph, watch):
        contestants = all_contestants(artifact, graph, watch, sqs_sink=options.sqs_sink)
        show = json_line if options.json else table_line
        for records in options.records:
            # Metrics are written as they are on Lambda, a line to a file descriptor.
            with Path(os.devnull).open("w", buffering=1) as nowhere, contextlib.redirect_stdout(nowhere):
                measurement = measure(contestants, records, options.repetitions, options.block_ms, options.utc, clock)
            print(show(measurement), flush=True)


if __name__ == "__main__":
    main()
