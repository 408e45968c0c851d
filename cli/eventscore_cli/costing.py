"""What scoring costs: the parts of a month's bill of one stack, from prices, measured times, and how events arrive.

What is not in it: the stream's own brokers (MSK, self-managed Kafka), data transfer, KMS, and what producers pay to send.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Literal

from eventscore_cli.price_file import Prices, Unreadable

HOURS_PER_MONTH = 730
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
FULL_CORE_MB = 1769
"""The memory at which Lambda gives one whole virtual CPU; more brings nothing to a function on one thread."""
_GB = 1e9
SOURCES: tuple[Source, ...] = ("sqs", "kinesis", "kafka")
MEMORIES_MB = (512, 1024, FULL_CORE_MB)
BATCHES = (1, 10, 100, 1_000, 10_000)
WINDOWS_S = (0, 1, 5, 20)

POLLERS_PER_UNIT = 4
"""Kafka pollers of 5 MB/s that one Event Poller Unit of 20 MB/s holds."""

Source = Literal["sqs", "kinesis", "kafka"]
Start = Literal["snap-start", "provisioned", "plain"]
Architecture = Literal["arm64", "x86_64"]


@dataclass(frozen=True)
class Measured:
    """Milliseconds that the function takes for a batch, on one whole CPU, by the size of the batch (rising)."""

    batch_ms: tuple[tuple[int, float], ...]

    def milliseconds(self, records: float) -> float:
        """For a batch of ``records``: on the line between the two sizes measured next to it, beyond the last in proportion."""
        first, last = self.batch_ms[0], self.batch_ms[-1]
        if records <= first[0]:
            return first[1]
        for (low, low_ms), (high, high_ms) in pairwise(self.batch_ms):
            if records <= high:
                return low_ms + (high_ms - low_ms) * (records - low) / (high - low)
        return last[1] * records / last[0]


def read_measured(path: Path) -> Measured:
    """What ``benchmarks/throughput.py --json`` printed: a line with ``records`` and ``ours_us`` for each size. Raises ``Unreadable``."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        sizes = sorted((int(line["records"]), line["records"] * float(line["ours_us"]) / 1000) for line in lines)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise Unreadable(f"{path}: expected the lines of benchmarks/throughput.py --json: {problem}") from None
    if not sizes or sizes[0][0] < 1 or min(each for _, each in sizes) <= 0:
        raise Unreadable(f"{path}: expected at least one size of one record or more, and times above 0")
    return Measured(tuple(sizes))


@dataclass(frozen=True)
class Load:
    """How events arrive, evenly, and what goes with each."""

    events_per_month: float
    event_bytes: int = 700
    answer_bytes: int = 250
    rejected_share: float = 0.001

    @property
    def per_second(self) -> float:
        """Events in a second."""
        return self.events_per_month / SECONDS_PER_MONTH


@dataclass(frozen=True)
class Setting:
    """What a stack may be set to. ``window_s``: how long a source gathers a batch."""

    source: Source
    batch: int
    window_s: int
    memory_mb: int
    architecture: Architecture

    @property
    def allowed(self) -> bool:
        """Whether the source takes it: SQS wants a window of a second for more than 10 records."""
        return not (self.source == "sqs" and self.batch > 10 and self.window_s < 1)


@dataclass(frozen=True)
class Assumptions:
    """What neither prices nor benchmarks say; what a person would change can be told on the command line.

    ``start``: what an environment begins with (a snapshot, as the template has it; provisioned concurrency; nothing). ``kafka_pollers``:
    0 is the mapping's on-demand mode, which is not charged. ``metrics``: those that the function writes of one model and one source with
    three reasons to reject; ``alarm_metrics``: those in the alarms, one by one. A test counts both.
    """

    sink_call_ms: float = 8.0
    sink_threads: int = 4
    log_bytes_per_invocation: int = 1_300
    metrics: int = 37
    alarm_metrics: int = 59
    composite_alarms: int = 6
    dashboards: int = 3
    cold_starts_per_day: float = 50.0
    cold_start_ms: float = 900.0
    start: Start = "snap-start"
    snapshots: int = 2
    provisioned: int = 2
    warm_ups_per_month: float = 8_760.0
    kafka_pollers: int = 1
    fan_out: bool = False
    poll_s: float = 0.2


@dataclass(frozen=True)
class Bill:
    """A month's parts in dollars, what a batch holds on average, and the longest that an event waits for its answer, in ms."""

    setting: Setting
    parts: Mapping[str, float]
    events_per_batch: float
    latency_ms: float

    @property
    def total(self) -> float:
        """Dollars a month."""
        return sum(self.parts.values())


def bill(setting: Setting, load: Load, prices: Prices, measured: Measured, given: Assumptions) -> Bill:
    """The month's bill of a stack that is set so."""
    wait_s = max(setting.window_s, given.poll_s)
    in_batch = min(setting.batch, max(1.0, load.per_second * wait_s))
    invocations = load.events_per_month / in_batch
    # Below a whole CPU everything takes longer in proportion; waiting for the sink does not.
    slower = max(1.0, FULL_CORE_MB / setting.memory_mb)
    calls = math.ceil(in_batch / 10)
    sink_ms = math.ceil(calls / min(given.sink_threads, calls)) * given.sink_call_ms
    busy_ms = math.ceil(measured.milliseconds(in_batch) * slower + sink_ms)
    colds = given.cold_starts_per_day * HOURS_PER_MONTH / 24
    # Neither a snapshot nor an environment that stands ready needs to be kept warm.
    warm_ups = given.warm_ups_per_month if given.start == "plain" else 0.0
    parts = {
        **_function(setting, invocations * busy_ms, colds * given.cold_start_ms * slower, colds, prices, given),
        "Lambda: requests": _millions(invocations + warm_ups) * prices.function.per_million_requests,
        **_source(setting, load, in_batch, prices, given),
        "sink and reject queue (SQS)": _sqs_requests(load.events_per_month, load.answer_bytes, prices)
        * (1 + load.rejected_share),
        "logs": invocations * given.log_bytes_per_invocation / _GB * prices.cloudwatch.per_gb_of_logs,
        "metrics": given.metrics * prices.cloudwatch.per_metric_month,
        "alarms and dashboards": given.alarm_metrics * prices.cloudwatch.per_alarm_month
        + given.composite_alarms * prices.cloudwatch.per_composite_alarm_month
        + given.dashboards * prices.cloudwatch.per_dashboard_month,
        "S3 and warm-up": _millions(colds * 6) * prices.s3.per_million_gets
        + _millions(warm_ups) * prices.scheduler.per_million_invocations,
    }
    gathering_s = min(wait_s, setting.batch / load.per_second)
    return Bill(setting, parts, in_batch, gathering_s * 1000 + busy_ms)


def cheapest(
    source: Source, load: Load, prices: Prices, measured: Measured, given: Assumptions, slo_ms: float
) -> Bill | None:
    """The cheapest setting whose latency keeps the SLO; None if none does."""
    architectures: tuple[Architecture, ...] = ("arm64", "x86_64")
    settings = (
        Setting(source, batch, window, memory, architecture)
        for batch, window, memory, architecture in product(BATCHES, WINDOWS_S, MEMORIES_MB, architectures)
    )
    bills = (bill(each, load, prices, measured, given) for each in settings if each.allowed)
    return min((each for each in bills if each.latency_ms <= slo_ms), key=lambda each: each.total, default=None)


def endpoint(instance: str, count: int, prices: Prices) -> float:
    """Dollars a month for ``count`` instances of a SageMaker endpoint that is always on."""
    return prices.sagemaker.instance_hour[instance] * count * HOURS_PER_MONTH


def with_source(setting: Setting, source: Source) -> Setting:
    """The same setting for another source; SQS needs its second for more than 10 records."""
    moved = replace(setting, source=source)
    return moved if moved.allowed else replace(moved, window_s=1)


def _function(
    setting: Setting, busy_ms: float, starting_ms: float, starts: float, prices: Prices, given: Assumptions
) -> dict[str, float]:
    """What Lambda charges for the function's time in a month, and for how its environments start."""
    gigabytes = setting.memory_mb / 1024
    rates = prices.function
    per_gb_second = {"arm64": rates.arm64_per_gb_second, "x86_64": rates.x86_64_per_gb_second}[setting.architecture]
    match given.start:
        case "plain":
            return {"Lambda: time": (busy_ms + starting_ms) / 1000 * gigabytes * per_gb_second}
        case "snap-start":
            kept = given.snapshots * SECONDS_PER_MONTH * gigabytes * rates.snapshot_per_gb_second
            restored = starts * gigabytes * rates.restore_per_gb
            return {"Lambda: time": busy_ms / 1000 * gigabytes * per_gb_second, "Lambda: snapshots": kept + restored}
        case "provisioned":
            arm = setting.architecture == "arm64"
            busy = rates.provisioned_arm64_per_gb_second if arm else rates.provisioned_x86_64_per_gb_second
            ready = rates.ready_arm64_per_gb_second if arm else rates.ready_x86_64_per_gb_second
            return {
                "Lambda: time": busy_ms / 1000 * gigabytes * busy,
                "Lambda: provisioned": given.provisioned * SECONDS_PER_MONTH * gigabytes * ready,
            }


def _source(setting: Setting, load: Load, in_batch: float, prices: Prices, given: Assumptions) -> dict[str, float]:
    match setting.source:
        case "sqs":
            # Lambda receives and deletes up to ten at a time; five pollers ask every 20 s even where nothing comes.
            asked = 2 * _sqs_requests(load.events_per_month, load.event_bytes, prices, min(10.0, in_batch))
            idle = _millions(5 * SECONDS_PER_MONTH / 20) * prices.sqs.per_million_requests
            return {"source: SQS requests": asked + idle}
        case "kinesis":
            rounded = math.ceil(load.event_bytes / prices.kinesis.bytes_per_record) * prices.kinesis.bytes_per_record
            gigabytes = load.events_per_month * rounded / _GB
            out = prices.kinesis.per_gb_fan_out if given.fan_out else prices.kinesis.per_gb_out
            return {
                "source: Kinesis stream (on demand)": prices.kinesis.on_demand_stream_hour * HOURS_PER_MONTH,
                "source: Kinesis data in and out": gigabytes * (prices.kinesis.per_gb_in + out),
            }
        case "kafka":
            units = math.ceil(given.kafka_pollers / POLLERS_PER_UNIT)
            hours = units * HOURS_PER_MONTH
            return {"source: Kafka pollers (without brokers)": hours * prices.function.kafka_poller_unit_hour}


def _sqs_requests(events: float, size_bytes: int, prices: Prices, together: float = 10.0) -> float:
    """Dollars for requests of up to ten messages, each charged by its bytes."""
    chunks = math.ceil(size_bytes * together / prices.sqs.bytes_per_request)
    return _millions(events / together * chunks) * prices.sqs.per_million_requests


def _millions(count: float) -> float:
    return count / 1e6
