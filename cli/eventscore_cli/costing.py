"""What scoring costs: the parts of a month's bill of one stack, from prices, measured times, and how events arrive.

What is not in it: the stream's own brokers (MSK, self-managed Kafka), data transfer, KMS, and what producers pay to send.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

HOURS_PER_MONTH = 730
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
FULL_CORE_MB = 1769
"""The memory at which Lambda gives one whole virtual CPU; more brings nothing to a function on one thread."""
_GB = 1e9
SOURCES: tuple[Source, ...] = ("sqs", "kinesis", "kafka")
MEMORIES_MB = (512, 1024, FULL_CORE_MB)
BATCHES = (1, 10, 100, 1_000, 10_000)
WINDOWS_S = (0, 1, 5, 20)

Source = Literal["sqs", "kinesis", "kafka"]
Architecture = Literal["arm64", "x86_64"]
_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Lambda(_Section):
    per_million_requests: _Price
    arm64_per_gb_second: _Price
    x86_64_per_gb_second: _Price
    kafka_poller_unit_hour: _Price


class _Sqs(_Section):
    per_million_requests: _Price
    bytes_per_request: Annotated[int, Field(gt=0)]


class _Kinesis(_Section):
    on_demand_stream_hour: _Price
    per_gb_in: _Price
    per_gb_out: _Price
    bytes_per_record: Annotated[int, Field(gt=0)]


class _CloudWatch(_Section):
    per_gb_of_logs: _Price
    per_metric_month: _Price
    per_alarm_month: _Price


class _S3(_Section):
    per_million_gets: _Price
    per_gb_month: _Price


class _Scheduler(_Section):
    per_million_invocations: _Price


class _SageMaker(_Section):
    instance_hour: dict[str, _Price]


class Prices(BaseModel):
    """A price file: dollars, and the region and the day that they are of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str
    as_of: str
    function: _Lambda = Field(alias="lambda")
    sqs: _Sqs
    kinesis: _Kinesis
    cloudwatch: _CloudWatch
    s3: _S3
    scheduler: _Scheduler
    sagemaker: _SageMaker


class Unreadable(ValueError):
    """A price file or a benchmark's output cannot be read; the message says why."""


def read_prices(path: Path) -> Prices:
    """The prices in a TOML file. Raises ``Unreadable``."""
    try:
        return Prices.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Unreadable(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: expected a price file: {error}") from None


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
    """What neither prices nor benchmarks say; each can be told on the command line."""

    sink_call_ms: float = 8.0
    sink_threads: int = 4
    log_bytes_per_invocation: int = 1_300
    metrics: int = 24
    alarms: int = 12
    cold_starts_per_day: float = 50.0
    cold_start_ms: float = 900.0
    warm_ups_per_month: float = 8_760.0
    poller_units: int = 1
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
    gb_seconds = (invocations * busy_ms + colds * given.cold_start_ms * slower) / 1000 * setting.memory_mb / 1024
    per_gb_second = getattr(prices.function, f"{setting.architecture}_per_gb_second")
    parts = {
        "Lambda: time": gb_seconds * per_gb_second,
        "Lambda: requests": _millions(invocations + given.warm_ups_per_month) * prices.function.per_million_requests,
        **_source(setting, load, in_batch, prices, given),
        "sink and reject queue (SQS)": _sqs_requests(load.events_per_month, load.answer_bytes, prices)
        * (1 + load.rejected_share),
        "logs": invocations * given.log_bytes_per_invocation / _GB * prices.cloudwatch.per_gb_of_logs,
        "metrics and alarms": given.metrics * prices.cloudwatch.per_metric_month
        + given.alarms * prices.cloudwatch.per_alarm_month,
        "S3 and warm-up": _millions(colds * 6) * prices.s3.per_million_gets
        + _millions(given.warm_ups_per_month) * prices.scheduler.per_million_invocations,
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
            return {
                "source: Kinesis stream (on demand)": prices.kinesis.on_demand_stream_hour * HOURS_PER_MONTH,
                "source: Kinesis data in and out": gigabytes * (prices.kinesis.per_gb_in + prices.kinesis.per_gb_out),
            }
        case "kafka":
            hours = given.poller_units * HOURS_PER_MONTH
            return {"source: Kafka pollers (without brokers)": hours * prices.function.kafka_poller_unit_hour}


def _sqs_requests(events: float, size_bytes: int, prices: Prices, together: float = 10.0) -> float:
    """Dollars for requests of up to ten messages, each charged by its bytes."""
    chunks = math.ceil(size_bytes * together / prices.sqs.bytes_per_request)
    return _millions(events / together * chunks) * prices.sqs.per_million_requests


def _millions(count: float) -> float:
    return count / 1e6
