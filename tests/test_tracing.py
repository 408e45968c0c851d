"""X-Ray gets of a sampled invocation what Powertools' Tracer would tell of it, and of any other nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import small_model
from eventscore.artifact import Artifact
from eventscore.errors import SettingsInvalid
from eventscore.function import ScoreFunction
from eventscore.model_cache import OneScorer
from eventscore.routing import Router
from eventscore.scorer import VersionScorer
from eventscore.service import ScoringService
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.telemetry import Telemetry, UnderWay
from eventscore.tracing import Tracing, tracing_of
from test_sources import sqs
from test_telling import Queue

ROOT, PARENT = "1-5bf37642-635d5f0017b99334b0dc0a0a", "68f7884d5b1d2c3e"
SAMPLED = f"Root={ROOT};Parent={PARENT};Sampled=1;Lineage=1:a87bd80c:0"
HANDLER_WITH_TRACER = """
from aws_lambda_powertools import Tracer
tracer = Tracer()
@tracer.capture_lambda_handler
def handler(event, context):
    return None
handler({}, None)
"""


class Daemon:
    """Listens where Lambda's daemon would."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self.place: tuple[str, int] = self._socket.getsockname()
        self.address = f"127.0.0.1:{self.place[1]}"

    def document(self) -> dict[str, Any]:
        """The next one that arrives."""
        header, _, document = self._socket.recv(65_536).partition(b"\n")
        assert json.loads(header) == {"format": "json", "version": 1}
        told: dict[str, Any] = json.loads(document)
        return told

    def is_left_alone(self) -> bool:
        """Whether nothing has arrived: what this process sent on loopback is there at once."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    listening = Daemon()
    yield listening
    listening.close()


@pytest.fixture
def lambda_environment(daemon: Daemon, tmp_path: Path, signer: Ed25519Signer) -> dict[str, str]:
    """A function that scores with a model in a folder, as Lambda would set it up."""
    store = tmp_path / "model_store"
    small_model.publish(FolderStore(store), signer)
    return {
        "EVENTSCORE_STORE": str(store),
        "EVENTSCORE_MODEL": small_model.MODEL,
        "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
        "POWERTOOLS_SERVICE_NAME": "orders",
        "LAMBDA_TASK_ROOT": "/var/task",
        "AWS_XRAY_DAEMON_ADDRESS": daemon.address,
        "_X_AMZN_TRACE_ID": SAMPLED,
    }


def test_a_sampled_invocation_is_told_of_with_what_traces_are_searched_by(
    daemon: Daemon, lambda_environment: dict[str, str]
) -> None:
    function = ScoreFunction.from_environment(lambda_environment)
    began = time.time()
    function([small_model.EVENT, {}], None)
    told = daemon.document()
    assert (told["name"], told["type"]) == ("## handler", "subsegment")
    assert (told["trace_id"], told["parent_id"]) == (ROOT, PARENT)
    assert len(told["id"]) == 16
    assert began - 1 <= told["start_time"] <= told["end_time"] <= time.time()
    assert told["annotations"] == {
        "ColdStart": True,
        "Service": "orders",
        "Model": "small",
        "Version": "v1",
        "Source": "direct",
        "Received": 2,
        "Scored": 1,
        "Rejected": 1,
        "Returned": 0,
    }
    function([small_model.EVENT], None)
    again = daemon.document()
    assert again["annotations"]["ColdStart"] is False
    assert again["id"] != told["id"]


@pytest.mark.parametrize(
    "header",
    [None, "", f"Root={ROOT};Parent={PARENT};Sampled=0", f"Root={ROOT};Sampled=1", f"Root={ROOT};Parent={PARENT}"],
)
def test_of_an_invocation_that_is_not_sampled_nothing_is_told(
    daemon: Daemon, lambda_environment: dict[str, str], header: str | None
) -> None:
    del lambda_environment["_X_AMZN_TRACE_ID"]
    if header is not None:
        lambda_environment["_X_AMZN_TRACE_ID"] = header
    function = ScoreFunction.from_environment(lambda_environment)
    assert function([small_model.EVENT], None)[0]["event_id"] == "o-1"
    assert daemon.is_left_alone()
    lambda_environment["_X_AMZN_TRACE_ID"] = SAMPLED
    function([small_model.EVENT], None)
    assert daemon.document()["trace_id"] == ROOT


def test_a_batch_is_told_of_with_its_counts_and_nothing_of_its_events(daemon: Daemon, small_artifact: Artifact) -> None:
    under_way = UnderWay(Tracing(daemon.place, {"_X_AMZN_TRACE_ID": SAMPLED}))
    telemetry = Telemetry("small", {}, under_way)
    service = ScoringService(Queue(), Queue(), lambda: datetime(2026, 11, 21, tzinfo=UTC))
    models, router = OneScorer(VersionScorer(small_artifact)), Router(("small",))
    function = ScoreFunction(models, router, service, lambda model: telemetry, deque(), under_way)
    function(sqs(small_model.message().decode(), "poison"), None)
    told = daemon.document()
    counts = {name: told["annotations"][name] for name in ("Source", "Received", "Scored", "Rejected", "Returned")}
    assert counts == {"Source": "sqs", "Received": 2, "Scored": 1, "Rejected": 1, "Returned": 0}
    assert "o-1" not in json.dumps(told)
    assert "poison" not in json.dumps(told)


def test_what_is_told_is_what_the_tracer_of_powertools_tells(
    daemon: Daemon, lambda_environment: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("aws_xray_sdk", reason="the Tracer needs it; our layers do not have it")
    ran = subprocess.run(
        [sys.executable, "-c", HANDLER_WITH_TRACER],
        env={**lambda_environment, "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    tracer = daemon.document()
    ScoreFunction.from_environment(lambda_environment)([small_model.EVENT], None)
    ours = daemon.document()
    same = ("name", "type", "trace_id", "parent_id")
    assert {name: ours[name] for name in same} == {name: tracer[name] for name in same}
    assert tracer["annotations"].items() <= ours["annotations"].items()
    assert set(ours) <= set(tracer)


def test_a_daemon_that_is_not_there_costs_no_event(lambda_environment: dict[str, str]) -> None:
    gone = Daemon()
    gone.close()
    lambda_environment["AWS_XRAY_DAEMON_ADDRESS"] = gone.address
    function = ScoreFunction.from_environment(lambda_environment)
    for _ in range(3):
        assert function([small_model.EVENT], None)[0]["event_id"] == "o-1"


LAMBDA = {"LAMBDA_TASK_ROOT": "/var/task", "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000"}


@pytest.mark.parametrize(
    ("variables", "tells"),
    [
        ({}, True),
        ({"POWERTOOLS_TRACE_DISABLED": "false"}, True),
        ({"AWS_XRAY_DAEMON_ADDRESS": "tcp:127.0.0.1:2001 udp:127.0.0.2:2000"}, True),
        ({"POWERTOOLS_TRACE_DISABLED": "true"}, False),
        ({"POWERTOOLS_TRACE_DISABLED": "1"}, False),
        ({"LAMBDA_TASK_ROOT": ""}, False),
        ({"AWS_SAM_LOCAL": "true"}, False),
        ({"AWS_XRAY_DAEMON_ADDRESS": ""}, False),
        ({"AWS_XRAY_DAEMON_ADDRESS": "nowhere"}, False),
        ({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:65536"}, False),
        ({"AWS_XRAY_DAEMON_ADDRESS": "tcp:127.0.0.1:2001"}, False),
    ],
)
def test_it_is_silent_where_the_tracer_of_powertools_would_be(variables: Mapping[str, str], tells: bool) -> None:
    assert (tracing_of({**LAMBDA, **variables}) is not None) is tells


def test_a_switch_for_tracing_that_makes_no_sense_stops_the_cold_start(lambda_environment: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid, match=r"POWERTOOLS_TRACE_DISABLED: expected true or false; got 'perhaps'"):
        ScoreFunction.from_environment({**lambda_environment, "POWERTOOLS_TRACE_DISABLED": "perhaps"})
