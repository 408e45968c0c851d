"""Metric lines are those that Powertools writes, under the same environment variables."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics
from hypothesis import given
from hypothesis import strategies as st

from eventscore.errors import SettingsInvalid
from eventscore.metric_lines import COUNT, MILLISECONDS, MetricLines

NAMES = st.text(alphabet="abcXYZ_", min_size=1, max_size=12)
TEXTS = st.text(min_size=1, max_size=20).filter(str.strip)
VALUES = st.integers(0, 10**9) | st.floats(0, 1e9)
METRICS = st.dictionaries(NAMES, st.tuples(st.sampled_from([COUNT, MILLISECONDS]), VALUES), min_size=1, max_size=12)


def powertools(
    dimensions: Mapping[str, str], metrics: Mapping[str, tuple[str, float]], metadata: Mapping[str, str]
) -> None:
    document = EphemeralMetrics(namespace="space", service="scorer")
    for name, of in {"model": "small", **dimensions}.items():
        document.add_dimension(name, of)
    for name, (unit, value) in metrics.items():
        document.add_metric(name=name, unit=unit, value=value)
    for name, of in metadata.items():
        document.add_metadata(name, of)
    document.flush_metrics()


def test_a_sum_over_a_dimension_is_a_second_set_as_powertools_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines().write({"source": "sqs"}, {"Received": (COUNT, 3)}, {}, summed_over=("source",))
    ours = json.loads(capsys.readouterr().out)
    document = EphemeralMetrics(namespace="space", service="scorer")
    for name, of in {"model": "small", "source": "sqs"}.items():
        document.add_dimension(name, of)
    document.add_dimensions(model="small", service="scorer")
    document.add_metric(name="Received", unit=COUNT, value=3)
    document.flush_metrics()
    theirs = json.loads(capsys.readouterr().out)
    assert ours["_aws"].pop("Timestamp") <= theirs["_aws"].pop("Timestamp")
    assert ours == theirs
    assert ours["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["model", "source", "service"], ["model", "service"]]


def lines(environment: Mapping[str, str] | None = None) -> MetricLines:
    return MetricLines("space", "scorer", {"model": "small"}, environment or {})


@given(
    dimensions=st.dictionaries(NAMES.map("d_".__add__), TEXTS, max_size=3),
    metrics=METRICS,
    metadata=st.dictionaries(NAMES.map("m_".__add__), TEXTS, max_size=3),
)
def test_a_line_is_the_one_that_powertools_writes(
    dimensions: dict[str, str], metrics: dict[str, tuple[str, float]], metadata: dict[str, str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr("sys.stdout.write", written.append)
        lines().write(dimensions, metrics, metadata)
        powertools(dimensions, metrics, metadata)
    (ours, end), theirs = (written[0][:-1], written[0][-1]), "".join(written[1:])
    assert end == "\n"
    one, other = json.loads(ours), json.loads(theirs)
    assert abs(one["_aws"].pop("Timestamp") - other["_aws"].pop("Timestamp")) < 60_000, "milliseconds of one minute"
    assert one == other
    # A number may be written otherwise (1e9), a name may not stand elsewhere.
    assert list(one) == list(other)


@pytest.mark.parametrize("disabled", [None, "true", "False", "1", "off"])
@pytest.mark.parametrize("development", [None, "true", "0"])
def test_metrics_are_off_where_powertools_switches_them_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], disabled: str | None, development: str | None
) -> None:
    variables = {"POWERTOOLS_METRICS_DISABLED": disabled, "POWERTOOLS_DEV": development}
    environment = {name: of for name, of in variables.items() if of is not None}
    for name, of in environment.items():
        monkeypatch.setenv(name, of)
    powertools({}, {"Received": (COUNT, 1)}, {})
    theirs = capsys.readouterr().out
    lines(environment).write({}, {"Received": (COUNT, 1)}, {})
    assert bool(capsys.readouterr().out) == bool(theirs)


def test_a_switch_that_says_neither_is_an_error_of_the_settings() -> None:
    with pytest.raises(SettingsInvalid, match="POWERTOOLS_METRICS_DISABLED: expected true or false; got 'perhaps'"):
        lines({"POWERTOOLS_METRICS_DISABLED": "perhaps"})
