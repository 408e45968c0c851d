"""The demo from top to bottom: prepare, start, send, map, account, sum up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from eventscore_flights.demo.accounts import Accounts
from eventscore_flights.demo.far_ends import CONSUMER_GROUP, Collectors, left_at_kafka, left_at_kinesis, left_at_sqs
from eventscore_flights.demo.on_call import on_call_panels
from eventscore_flights.demo.plan import SOURCES, Plan, Planned, make_plan
from eventscore_flights.demo.producers import Pace, Sent, send_kafka, send_kinesis, send_sqs
from eventscore_flights.demo.stack import (
    BUCKET,
    FUNCTION_TIMEOUT_S,
    RETRY_ATTEMPTS,
    TOPIC,
    VISIBILITY_TIMEOUT_S,
    DemoStack,
    function_variables,
    set_up,
    sync_folder,
)
from eventscore_flights.demo.summary import RunFacts, Summary, sum_up
from eventscore_flights.demo.telemetry import FunctionTelemetry, counts_in_cloudwatch
from eventscore_flights.prepare import prepare
from eventscore_local.emf import MetricForwarder
from eventscore_local.environment_pool import EnvironmentPool
from eventscore_local.event_source_mappings.batching import BatchLimits
from eventscore_local.event_source_mappings.kafka import KafkaMapping, KafkaSource
from eventscore_local.event_source_mappings.kinesis import KinesisMapping
from eventscore_local.event_source_mappings.mapping import EventSourceMapping
from eventscore_local.event_source_mappings.on_failure import SqsDestination
from eventscore_local.event_source_mappings.ordered_delivery import RetryPolicy
from eventscore_local.event_source_mappings.sqs import SqsMapping
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.kafka_cluster import KafkaCluster
from eventscore_local.layers import build_for_host
from eventscore_local.ministack import Ministack

MODEL = "flight-delay"
SERVICE = "score"
_BATCH = BatchLimits(size=200, window_s=1.0)
_ROOM_TIMEOUT_S = 5.0
_UNDER_WAY = 1_000
"""Messages of one source that may be under way at a time."""


@dataclass(frozen=True)
class DemoOptions:
    """What the demo runs with. ``root`` is the checkout; ``deadline_s`` bounds the wait for the last message.

    ``visibility_timeout_s`` is how long a returned SQS message stays away from its queue. When nothing has arrived for
    ``quiet_s`` and every source is idle, what has not arrived is left at its source, or lost.
    """

    root: Path
    store: Path
    trusted_keys: str
    events: int = 21_000
    environments: int = 3
    deadline_s: float = 240.0
    visibility_timeout_s: int = VISIBILITY_TIMEOUT_S
    quiet_s: float = 5.0
    worker_process: bool = False


@dataclass(frozen=True)
class Snapshot:
    """How far the demo is: by source, messages to send, sent, and arrived at a far end."""

    planned: dict[str, int]
    sent: dict[str, int]
    ended: dict[str, int]


@dataclass(frozen=True)
class Watcher:
    """Whoever watches: ``step`` is told what begins, ``moved`` how far the messages are, about four times a second."""

    step: Callable[[str], None] = lambda _: None
    moved: Callable[[Snapshot], None] = lambda _: None


class DemoFailed(Exception):
    """The demo could not run to its end; the message says what stopped it."""


def run_demo(
    options: DemoOptions,
    watcher: Watcher,
    plan: Plan | None = None,
    variables: Callable[[Ministack, DemoStack, str, str], Mapping[str, str]] = function_variables,
) -> Summary:
    """Run the whole loop on this machine.

    ``plan`` is what to send (default: ``options.events`` flights of the test period, which are fetched the first time);
    ``variables`` make the function's environment, so that a test can put a fault between it and its AWS.

    Raises:
        DemoFailed: the function cannot load its model, or a producer cannot send.
        LocalError: an emulator does not start.
        FlightsUnavailable: the flights cannot be fetched.

    """
    if plan is None:
        watcher.step("flights: the test period, November and December 2013")
        tables = prepare(options.root / "build" / "flights", on_progress=watcher.step)
        plan = make_plan(tables.test, options.events)
    watcher.step("layers: only what ships is importable in the function")
    layers = build_for_host(options.root)
    with ExitStack() as stack:
        watcher.step("AWS on this machine: S3, SQS, Kinesis, CloudWatch (ministack)")
        aws = stack.enter_context(Ministack(options.root))
        resources = set_up(aws, options.visibility_timeout_s)
        watcher.step("Kafka: three brokers (librdkafka's mock cluster)")
        kafka = stack.enter_context(KafkaCluster())
        kafka.create_topic(TOPIC)
        copied = sync_folder(resources.s3, options.store, BUCKET)
        watcher.step(f"model store: {copied} files copied to s3://{BUCKET}")
        telemetry = FunctionTelemetry(MetricForwarder(resources.cloudwatch))
        function = FunctionConfiguration(
            folder=options.root / "functions" / "score",
            managed_runtime=layers.managed_runtime,
            layers=layers.layers,
            variables=variables(aws, resources, MODEL, options.trusted_keys),
            timeout_s=FUNCTION_TIMEOUT_S,
        )
        pool = stack.enter_context(
            EnvironmentPool(
                options.root, function, options.environments, telemetry.listen, force_worker=options.worker_process
            )
        )
        watcher.step(f"Lambda: {options.environments} execution environments ({pool.kind}), cold")
        version = _warm_up(pool, options.environments, telemetry)
        accounts = Accounts()
        mappings = _mappings(pool, resources, kafka.bootstrap_servers)
        watcher.step(f"sending {plan.total:,} messages over SQS, Kinesis and Kafka; {MODEL} {version} scores")
        telemetry.started = time.monotonic()
        with Collectors(resources, accounts) as collectors, _Running(mappings) as running:
            producers = _Producers(resources, kafka.bootstrap_servers, plan, accounts)
            elapsed_s = _until_ended(plan, accounts, producers, collectors, running, watcher, options)
        watcher.step("matching what was sent with what arrived, message id by message id")
        settled = accounts.settle(
            {
                "sqs": left_at_sqs(resources, options.visibility_timeout_s),
                "kinesis": left_at_kinesis(resources, accounts, mappings.kinesis.checkpoints),
                "kafka": left_at_kafka(resources, accounts, kafka.bootstrap_servers),
            }
        )
        telemetry.forwarder.flush()
        counts = counts_in_cloudwatch(resources.cloudwatch, MODEL, SERVICE, SOURCES)
    facts = RunFacts(MODEL, version, pool.kind, options.environments, elapsed_s, pool.init_durations_ms)
    on_call = on_call_panels(options.root, MODEL, SERVICE, telemetry.values)
    return sum_up(plan, accounts, settled, telemetry, counts, facts, on_call)


def _warm_up(pool: EnvironmentPool, environments: int, telemetry: FunctionTelemetry) -> str:
    """Call every environment once, as the scheduled warmer does; the answer is the version that they loaded."""
    payload = json.dumps({"eventscore": "warm-up"}).encode()
    with ThreadPoolExecutor(environments) as threads:
        results = list(threads.map(pool.invoke, [payload] * environments))
    for result in results:
        if result.error is not None:
            told = f"\nThe function's log says:\n{telemetry.errors[-1]}" if telemetry.errors else ""
            raise DemoFailed(f"the function cannot start: {result.error.type}: {result.error.message}{told}")
    return str(json.loads(results[0].payload)["version"])


@dataclass(frozen=True)
class _Mappings:
    sqs: SqsMapping
    kinesis: KinesisMapping
    kafka: KafkaMapping

    @property
    def all(self) -> tuple[EventSourceMapping, ...]:
        return (self.sqs, self.kinesis, self.kafka)


def _mappings(pool: EnvironmentPool, stack: DemoStack, bootstrap_servers: str) -> _Mappings:
    retry = RetryPolicy(maximum_retry_attempts=RETRY_ATTEMPTS, bisect_batch_on_function_error=True)
    return _Mappings(
        SqsMapping(pool.invoke, stack.sqs, stack.events_url, batch=_BATCH, concurrency=2),
        KinesisMapping(
            pool.invoke,
            stack.kinesis,
            stack.stream_arn,
            batch=_BATCH,
            retry=retry,
            on_failure=SqsDestination(stack.sqs, stack.stream_failures_url),
        ),
        KafkaMapping(
            pool.invoke,
            KafkaSource(bootstrap_servers, TOPIC, CONSUMER_GROUP),
            batch=_BATCH,
            retry=retry,
            on_failure=SqsDestination(stack.sqs, stack.kafka_failures_url),
        ),
    )


class _Running:
    """A context manager: the mappings poll inside the block."""

    def __init__(self, mappings: _Mappings) -> None:
        self._mappings = mappings.all

    def __enter__(self) -> Self:
        for mapping in self._mappings:
            mapping.start()
        return self

    def __exit__(self, *_: object) -> None:
        for mapping in self._mappings:
            mapping.stop()

    def all_idle(self) -> bool:
        """Whether no source holds anything that is not brought to an end. Raises what ended a mapping before its time."""
        # A second is ten reads of a shard: idle is only what was found so after the question.
        return all(mapping.wait_until_idle(1.0) for mapping in self._mappings)


class _Producers:
    """One thread per source that sends the plan's messages, from the moment that it is made."""

    def __init__(self, stack: DemoStack, bootstrap_servers: str, plan: Plan, accounts: Accounts) -> None:
        senders: dict[str, Callable[[list[Planned], Sent, Pace], None]] = {
            "sqs": partial(send_sqs, stack),
            "kinesis": partial(send_kinesis, stack),
            "kafka": partial(send_kafka, bootstrap_servers),
        }
        self._pool = ThreadPoolExecutor(len(SOURCES))
        self._futures = [
            self._pool.submit(
                senders[source],
                plan.messages[source],
                partial(accounts.note_sent, source),
                partial(accounts.wait_for_room, source, _UNDER_WAY, _ROOM_TIMEOUT_S),
            )
            for source in SOURCES
        ]
        self._pool.shutdown(wait=False)

    def done(self) -> bool:
        """Whether everything is sent. Raises DemoFailed if something could not be."""
        for future in self._futures:
            if future.done() and (error := future.exception()) is not None:
                raise DemoFailed(f"a producer failed: {error}") from error
        return all(future.done() for future in self._futures)


def _until_ended(
    plan: Plan,
    accounts: Accounts,
    producers: _Producers,
    collectors: Collectors,
    running: _Running,
    watcher: Watcher,
    options: DemoOptions,
) -> float:
    """Wait until every message has arrived somewhere, or nothing moves any more; the answer is the seconds until the last arrival."""
    started = moved_at = time.monotonic()
    before = 0
    planned = {source: len(messages) for source, messages in plan.messages.items()}
    while True:
        time.sleep(0.25)
        collectors.check()
        all_sent = producers.done()
        now = time.monotonic()
        snapshot = Snapshot(
            planned,
            {source: accounts.sent_count(source) for source in SOURCES},
            {source: accounts.ended(source) for source in SOURCES},
        )
        watcher.moved(snapshot)
        ended = sum(snapshot.ended.values())
        if ended > before:
            before, moved_at = ended, now
        if all_sent and ended >= sum(snapshot.sent.values()):
            break
        # What is left went to a dead letter queue, or is lost: the accounts will tell.
        quiet = all_sent and now - moved_at > options.quiet_s
        if now - started > options.deadline_s or (quiet and running.all_idle()):
            break
    return moved_at - started
