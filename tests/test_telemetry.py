"""What the function tells so that alarms can look at it: sums for the whole model, errors that can be counted, how old a version is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from eventscore.errors import SignatureMismatch
from eventscore.service import BatchResult
from eventscore.telemetry import OTHER_ERROR, Telemetry
from eventscore_local.emf import MetricValues, metrics_in

Told = Callable[[], list[MetricValues]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """The metrics since the last call."""
    return lambda: [metric for line in capsys.readouterr().out.splitlines() for metric in metrics_in(line)]


def of(metrics: list[MetricValues], name: str) -> list[tuple[dict[str, str], tuple[float, ...]]]:
    return [(metric.dimensions, metric.values) for metric in metrics if metric.name == name]


WHOLE = {"model": "small", "service": "eventscore"}


def test_what_is_counted_by_source_and_reason_is_counted_for_the_whole_model_too(told: Told) -> None:
    telemetry = Telemetry("small", {})
    telemetry.batch("sqs", "v1", BatchResult(5, 3, Counter(not_json=2), {}), 12.5, {})
    telemetry.fallback("sqs", 3)
    metrics = told()
    for name, value in (("Received", 5), ("Scored", 3), ("Rejected", 2), ("Returned", 0), ("Latency", 12.5)):
        assert of(metrics, name) == [({**WHOLE, "source": "sqs"}, (value,)), (WHOLE, (value,))]
    by_reason = {**WHOLE, "reason": "not_json"}
    assert of(metrics, "RejectedByReason") == [({**by_reason, "source": "sqs"}, (2,)), (by_reason, (2,))]
    assert of(metrics, "FallbackAnswers") == [({**WHOLE, "source": "sqs"}, (3,)), (WHOLE, (3,))]


def test_a_refused_version_is_counted_by_an_error_of_which_there_are_few(told: Told) -> None:
    telemetry = Telemetry("small", {})
    for error, name in ((SignatureMismatch("k", "no"), "SignatureMismatch"), (ZeroDivisionError(), OTHER_ERROR)):
        telemetry.model_load_failed(error)
        assert of(told(), "ModelLoadFailed") == [({**WHOLE, "error": name}, (1,)), (WHOLE, (1,))]


def test_a_version_says_how_old_it_is_wherever_one_begins_to_answer(told: Told) -> None:
    made = datetime.now(UTC) - timedelta(days=40)
    telemetry, version = Telemetry("small", {}), f"{made:%Y%m%dT%H%M%SZ}-1a2b3c4d"
    telemetry.cold_start(version, {}, "key")
    telemetry.model_loaded(version, None, {}, "key")
    telemetry.restored(version)
    ages = of(told(), "ModelAgeDays")
    assert [dimensions for dimensions, _ in ages] == [WHOLE] * 3
    assert [days for _, (days,) in ages] == pytest.approx([40] * 3, abs=0.01)


def test_a_version_whose_name_is_no_time_has_no_age(told: Told) -> None:
    Telemetry("small", {}).restored("v1")
    assert [metric.name for metric in told()] == ["Restored"]
