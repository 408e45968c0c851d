"""How long a warm handler takes for one invocation, at the median and in the tail, and whether its memory stays flat.

Example: python benchmarks/latency.py
         python benchmarks/latency.py --json --records 1 100 --events 1000000

See docs/benchmarks.md for how the time is taken. Needs the train extra: the training package builds the graph.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contestants import Ours
from machine import describe_machine
from throughput import workload_artifact
from workload import Invocation, make_events, sqs_invocation

SIZES = (1, 10, 100, 1_000)
INVOCATIONS = 10_000
EVENTS = 10_000_000
_WARM_UP = 500
_SAMPLE_EVENTS = 2_000_000
"""No size is given more events than this for its sample; the largest then has fewer invocations than asked for."""
_DISTINCT = 2_000
_MEMORY_BATCH = 1_000
_CHECKPOINTS = 10
_POISON_EVERY = 100
_DISTRIBUTIONS = ("numpy", "onnxruntime", "msgspec")


@dataclass(frozen=True)
class Latency:
    """One size: microseconds of each invocation, ascending."""

    records: int
    us: Sequence[float]

    def quantile(self, share: float) -> float:
        """The least time that at least ``share`` of the invocations did not exceed."""
        return self.us[min(len(self.us) - 1, int(share * len(self.us)))]

    def document(self) -> Mapping[str, float]:
        """The figures, by their names in the output."""
        quantiles = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
        return {
            "records": self.records,
            "invocations": len(self.us),
            **{name: round(self.quantile(share), 1) for name, share in quantiles.items()},
            "max_us": round(self.us[-1], 1),
        }


@dataclass(frozen=True)
class Memory:
    """Resident memory and Python's allocated blocks after each tenth of the events; the first tenth warms up."""

    events: int
    resident_mib: Sequence[float]
    blocks: Sequence[int]

    def document(self) -> Mapping[str, float]:
        """The figures, by their names in the output."""
        return {
            "events": self.events,
            "resident_mib_after_a_tenth": round(self.resident_mib[0], 2),
            "resident_mib_at_the_end": round(self.resident_mib[-1], 2),
            "resident_mib_at_most": round(max(self.resident_mib), 2),
            "blocks_after_a_tenth": self.blocks[0],
            "blocks_at_the_end": self.blocks[-1],
        }


def invocations_of(records: int, *, poison_every: int = 0) -> list[Invocation]:
    """Invocations of ``records`` records each, of distinct events; every so many-th record is no event, if asked for."""
    events = make_events(max(_DISTINCT, records), seed=records)
    batches = [events[start : start + records] for start in range(0, len(events) - records + 1, records)]
    invocations = [sqs_invocation(batch) for batch in batches]
    if poison_every:
        for invocation in invocations:
            for record in invocation["Records"][::poison_every]:
                record["body"] = record["body"][:-1]
    return invocations


def measure(
    handler: Callable[[Invocation], None],
    records: int,
    invocations: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Latency:
    """Time each of so many invocations by itself, after a warm-up. The garbage collector is on, as on Lambda.

    ``clock`` answers nanoseconds.
    """
    prepared = invocations_of(records)
    for number in range(min(_WARM_UP, invocations)):
        handler(prepared[number % len(prepared)])
    # A function holds one invocation at a time; what is prepared here is kept out of the collector's sight.
    gc.collect()
    gc.freeze()
    us = []
    for number in range(max(1, min(invocations, _SAMPLE_EVENTS // records))):
        invocation = prepared[number % len(prepared)]
        began_ns = clock()
        handler(invocation)
        us.append((clock() - began_ns) / 1000)
    gc.unfreeze()
    return Latency(records, sorted(us))


def watch_memory(handler: Callable[[Invocation], None], events: int) -> Memory:
    """Score so many events in batches, one in a hundred of them poison, and look at the process's memory ten times."""
    prepared = invocations_of(_MEMORY_BATCH, poison_every=_POISON_EVERY)
    per_checkpoint = max(1, events // _CHECKPOINTS // _MEMORY_BATCH)
    resident, blocks = [], []
    for _ in range(_CHECKPOINTS):
        for number in range(per_checkpoint):
            handler(prepared[number % len(prepared)])
        gc.collect()
        resident.append(_resident_mib())
        blocks.append(sys.getallocatedblocks())
    return Memory(_CHECKPOINTS * per_checkpoint * _MEMORY_BATCH, resident, blocks)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _line(document: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:,}" for name, value in document.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size, then the memory, and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    parser.add_argument("--records", type=int, nargs="+", default=SIZES, metavar="N", help="sizes of the invocations")
    parser.add_argument("--invocations", type=int, default=INVOCATIONS, help=f"of each size, default {INVOCATIONS:,}")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"for the memory, default {EVENTS:,}; 0 for none")
    parser.add_argument(
        "--processor-time", action="store_true", help="count the process's seconds: for a machine that others use, too"
    )
    options = parser.parse_args(arguments)
    if min(options.records) < 1 or options.invocations < 1 or options.events < 0:
        parser.error("expected sizes and invocations of at least 1, and no negative events")
    if not options.json:
        print(describe_machine(_DISTRIBUTIONS))
        what = "processor time" if options.processor_time else "wall clock"
        print(f"Warm handler, {what} of each invocation by itself, one thread, garbage collector on.\n")
    clock = time.process_time_ns if options.processor_time else time.perf_counter_ns
    show = json.dumps if options.json else _line
    with workload_artifact() as (artifact, _, watch):
        handler = Ours(artifact, watch)
        for records in options.records:
            # Metrics are written as they are on Lambda, a line to a file descriptor.
            with Path(os.devnull).open("w", buffering=1) as nowhere, contextlib.redirect_stdout(nowhere):
                latency = measure(handler, records, options.invocations, clock)
            print(show(latency.document()), flush=True)
        if options.events:
            with Path(os.devnull).open("w", buffering=1) as nowhere, contextlib.redirect_stdout(nowhere):
                memory = watch_memory(handler, options.events)
            print(show(memory.document()), flush=True)


if __name__ == "__main__":
    main()
