"""From settings to sinks: a client for each service that is named, and for no other."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from eventscore.delivery.addresses import DISCARD, KAFKA, SinkAddress, parse_addresses
from eventscore.delivery.batched import CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from eventscore.delivery.sink import Sink
from eventscore.errors import SettingsInvalid

REGION = "AWS_DEFAULT_REGION"


def open_sinks(addresses: str, reject_queue_url: str, idempotency_table: str | None) -> tuple[Sink, Sink]:
    """The sink, or the several, that EVENTSCORE_SINK names, and the reject queue; with a table, each event is sent on once.

    Raises:
        SettingsInvalid: an address or the table cannot be understood, a library is missing, or there is no region.

    """
    clients = _Clients()
    parsed = parse_addresses(addresses)
    sink: Sink
    if len(parsed) == 1 and parsed[0].decisions is None:
        sink = _open(parsed[0], clients)
    else:
        from eventscore.delivery.route import Route, RoutedSink  # one sink alone needs no routes

        sink = RoutedSink([Route(_open(address, clients), address.decisions) for address in parsed])
    if idempotency_table is not None:
        from eventscore.delivery.idempotency import OnceSink, parse_table

        table, keep_s = parse_table(idempotency_table)
        sink = OnceSink(sink, table, clients.get("dynamodb", read_timeout_s=1.0), keep_s=keep_s, clock=time.time)
    return sink, _queue(reject_queue_url, clients)


def _queue(queue_url: str, clients: _Clients) -> Sink:
    from eventscore.delivery.sqs import SqsSink

    return SqsSink(queue_url, clients.get("sqs"))


def _open(address: SinkAddress, clients: _Clients) -> Sink:
    # Each module is imported where its sink is configured: the first event waits for no other.
    match address.scheme:
        case "sqs":
            return _queue(address.target, clients)
        case "kinesis":
            from eventscore.delivery.kinesis import KinesisSink

            return KinesisSink(address.target, clients.get("kinesis"))
        case "eventbridge":
            from eventscore.delivery.eventbridge import EventBridgeSink

            return EventBridgeSink(address.target, clients.get("events"))
        case "firehose":
            from eventscore.delivery.firehose import FirehoseSink

            return FirehoseSink(address.target, clients.get("firehose"))
        case "sns":
            from eventscore.delivery.sns import SnsSink

            return SnsSink(address.target, clients.get("sns"))
        case _ if address.scheme == KAFKA:
            from eventscore.delivery.kafka import KafkaSink, open_producer

            secret = address.options.get("secret")
            return KafkaSink(address.target, open_producer(address.options, secret and _secret(secret, clients)))
        case _:
            assert address.scheme == DISCARD  # noqa: S101 - `parse_addresses` lets no other through
            from eventscore.delivery.route import Discard

            return Discard()


class _Clients:
    """One client for each service, however many sinks it has."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def get(self, service: str, read_timeout_s: float = READ_TIMEOUT_S) -> Any:
        """The service's client: one attempt a call, since sinks try again by themselves, item by item."""
        if service not in self._made:
            self._made[service] = _plain_sqs() if service == "sqs" else None
        if self._made[service] is None:
            from botocore.exceptions import NoRegionError

            from eventscore.aws import client

            try:
                self._made[service] = client(
                    service, connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=read_timeout_s, attempts=1
                )
            except NoRegionError:
                raise SettingsInvalid(REGION, "the region of the queues (Lambda sets it)", None) from None
        return self._made[service]


def _plain_sqs() -> Any:
    """A client of SQS without botocore, with botocore's behind it; None where the environment is not plain enough."""
    from eventscore.plain_access import plain_access

    # Where somebody has loaded botocore already, it is what they want to send with.
    access = None if "botocore" in sys.modules else plain_access("sqs", os.environ)
    if access is None:
        return None
    from eventscore.aws import DeferredClient
    from eventscore.delivery.plain_sqs import PlainSqsClient

    whole = DeferredClient("sqs", connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S, attempts=1)
    return PlainSqsClient(access, whole, connect_timeout_s=CONNECT_TIMEOUT_S, read_timeout_s=READ_TIMEOUT_S)


def _secret(arn: str, clients: _Clients) -> str:
    content = clients.get("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    assert isinstance(content, str)  # noqa: S101 - what the service answers
    return content
