"""What the function tells X-Ray: a subsegment for each model of a sampled invocation, as Powertools' Tracer names and marks it.

The Tracer would need the X-Ray SDK (a third of a second to be imported, botocore with it); the document is a few fields of JSON and
one datagram to the daemon that Lambda runs beside the function. Where an invocation is not sampled, which is most of them, this costs
one look at a variable.
docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html, docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from eventscore.metric_lines import truth

DISABLED = "POWERTOOLS_TRACE_DISABLED"
DAEMON = "AWS_XRAY_DAEMON_ADDRESS"
_TRACE = "_X_AMZN_TRACE_ID"
_TASK_ROOT, _LOCAL = "LAMBDA_TASK_ROOT", "AWS_SAM_LOCAL"
_HEADER = b'{"format": "json", "version": 1}\n'
_NAME = "## handler"


class Tracing:
    """Sends subsegments to the daemon at ``address``; ``environment`` is where Lambda puts the trace of each invocation."""

    def __init__(self, address: tuple[str, int], environment: Mapping[str, str]) -> None:
        self._address = address
        self._environment = environment

    def sampled(self) -> Trace | None:
        """The trace of the invocation that begins; None where it is not sampled."""
        header = self._environment.get(_TRACE)
        if header is None or "Sampled=1" not in header:
            return None
        parts = dict(part.split("=", 1) for part in header.split(";") if "=" in part)
        root, parent = parts.get("Root"), parts.get("Parent")
        return Trace(self, root, parent) if root and parent and parts.get("Sampled") == "1" else None

    def send(self, document: Mapping[str, Any]) -> None:
        """One datagram, which nobody waits for. What the daemon does not take is lost."""
        import socket  # only what is sampled needs it

        # A socket of its own: one that was kept would lie in a snapshot, and telling takes a tenth of a millisecond in any case.
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.setblocking(False)
            datagrams.sendto(_HEADER + msgspec.json.encode(document), self._address)


class Trace:
    """The trace of one invocation: ``root`` is its id, ``parent`` the segment that Lambda records."""

    def __init__(self, tracing: Tracing, root: str, parent: str) -> None:
        self._tracing = tracing
        self._root = root
        self._parent = parent

    def scored(self, service: str, latency_ms: float, annotations: Mapping[str, str | float | bool]) -> None:
        """The work for one model is done, after ``latency_ms``; by ``annotations`` traces can be searched."""
        ended = time.time()
        self._tracing.send(
            {
                "name": _NAME,
                "id": os.urandom(8).hex(),
                "trace_id": self._root,
                "parent_id": self._parent,
                "type": "subsegment",
                "start_time": ended - latency_ms / 1000,
                "end_time": ended,
                "annotations": {**annotations, "Service": service},
            }
        )


def tracing_of(environment: Mapping[str, str]) -> Tracing | None:
    """Who tells X-Ray; None where Powertools' Tracer would be silent, too: disabled, or no Lambda, or one on somebody's machine.

    Raises:
        SettingsInvalid: ``POWERTOOLS_TRACE_DISABLED`` is neither true nor false.

    """
    address = _udp(environment.get(DAEMON, ""))
    if truth(environment, DISABLED) or address is None:
        return None
    if not environment.get(_TASK_ROOT) or environment.get(_LOCAL):
        return None
    return Tracing(address, environment)


def _udp(daemon: str) -> tuple[str, int] | None:
    """Host and port in ``host:port`` or ``tcp:host:port udp:host:port``, the two forms that the X-Ray SDKs take."""
    places = daemon.split()
    found = daemon if len(places) == 1 else next((place[4:] for place in places if place.startswith("udp:")), "")
    host, _, port = found.rpartition(":")
    return (host, int(port)) if host and ":" not in host and port.isdecimal() and int(port) < 65_536 else None
