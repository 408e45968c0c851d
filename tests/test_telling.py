"""What cannot be told (a log level that nobody knows) costs no event: the answers are out, and their source must not send them again."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import small_model
from eventscore.artifact import Artifact
from eventscore.delivery.sink import Message, NotTaken
from eventscore.drift_watch import DriftWatch
from eventscore.errors import SettingsInvalid
from eventscore.function import ScoreFunction
from eventscore.service import ScoringService
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.telemetry import Telemetry
from test_sketch import watch
from test_sources import sqs


class Queue:
    """Takes everything and remembers where it came from."""

    def __init__(self) -> None:
        self.origins: list[str] = []

    def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
        self.origins += [message.attributes["origin"] for message in messages]
        return {}


class Mute(Telemetry):
    """Cannot tell anything."""

    def __init__(self) -> None:
        super().__init__("small", {})

    def batch(self, *_: object) -> None:
        raise ValueError("nobody knows this log level: secret")

    def direct(self, *_: object) -> None:
        raise ValueError("nobody knows this log level: secret")


def function(
    artifact: Artifact, telemetry: Telemetry, watch: DriftWatch | None = None
) -> tuple[ScoreFunction, Queue, Queue]:
    answers, rejects = Queue(), Queue()
    service = ScoringService(answers, rejects, lambda: datetime(2026, 11, 21, tzinfo=UTC))
    return ScoreFunction.of(artifact, service, telemetry, watch), answers, rejects


def unheard_of() -> Telemetry:
    """Of a service that has logged nothing yet in this process: Powertools configures each one's logger once."""
    return Telemetry("small", {"POWERTOOLS_SERVICE_NAME": uuid4().hex})


@pytest.mark.parametrize("telemetry", [Mute, unheard_of])
def test_a_batch_that_is_delivered_is_done_though_nothing_can_be_told_of_it(
    small_artifact: Artifact,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    telemetry: Callable[[], Telemetry],
) -> None:
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "verbose")  # Powertools raises where its first line is logged
    score, answers, rejects = function(small_artifact, telemetry())
    invocation: Any = sqs(small_model.message().decode(), "no json")
    assert score(invocation, None) == {"batchItemFailures": []}
    assert (answers.origins, rejects.origins) == (["m-0"], ["m-1"])
    said = capsys.readouterr().err
    assert '"message":"telemetry failed","error":"ValueError"' in said
    assert "secret" not in said, "an error's own words may quote an event"


def test_a_direct_invocation_is_answered_though_nothing_can_be_told_of_it(small_artifact: Artifact) -> None:
    score, _, _ = function(small_artifact, Mute())
    assert score([small_model.EVENT], None)[0]["event_id"] == "o-1"


class Full(io.StringIO):
    """A stream that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")


@pytest.mark.parametrize("sketched", [False, True])
def test_where_neither_output_takes_a_line_a_delivered_batch_does_not_come_again(
    small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, sketched: bool
) -> None:
    score, answers, rejects = function(small_artifact, unheard_of(), watch() if sketched else None)
    monkeypatch.setattr("sys.stdout", Full())
    monkeypatch.setattr("sys.stderr", Full())
    invocation: Any = sqs(small_model.message().decode(), "no json")
    for _ in range(2):
        assert score(invocation, None) == {"batchItemFailures": []}
    assert (len(answers.origins), len(rejects.origins)) == (2, 2)


def test_a_switch_for_metrics_that_makes_no_sense_stops_the_cold_start(tmp_path: Path, signer: Ed25519Signer) -> None:
    small_model.publish(FolderStore(tmp_path), signer)
    environment = {
        "EVENTSCORE_STORE": str(tmp_path),
        "EVENTSCORE_MODEL": "small",
        "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
    }
    assert ScoreFunction.from_environment(environment)([small_model.EVENT], None)
    with pytest.raises(SettingsInvalid, match="POWERTOOLS_METRICS_DISABLED: expected true or false; got 'maybe'"):
        ScoreFunction.from_environment({**environment, "POWERTOOLS_METRICS_DISABLED": "maybe"})
