"""What a stack costs: each part by hand, the cheapest setting within the SLO, and what cannot be read."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cloudformation import Stack, load
from conftest import ROOT
from eventscore.signing import Ed25519Signer
from eventscore_cli import costing
from eventscore_cli.costing import Assumptions, Load, Measured, Setting, bill, cheapest, read_measured
from eventscore_cli.main import cli
from eventscore_cli.price_file import read_prices
from metric_names import FUNCTION, MODEL, lines_of_the_function, of_alarm, of_filters, of_lines

SHIPPED = Path(costing.__file__).parent
PRICES = read_prices(SHIPPED / "prices" / "us-east-1.toml")
MEASURED = Measured(((1, 1.0), (10, 1.9), (100, 6.4)))
NO_COLDS = Assumptions(cold_starts_per_day=0, warm_ups_per_month=0, start="plain")
BUSY = Load(events_per_month=1e9)
"""381 events a second."""


def test_time_between_two_measured_sizes_lies_on_their_line_and_grows_in_proportion_beyond() -> None:
    assert [MEASURED.milliseconds(n) for n in (0.5, 1, 10, 55, 100, 1000)] == pytest.approx(
        [1.0, 1.0, 1.9, 4.15, 6.4, 64.0]
    )


def test_the_parts_of_a_bill_are_those_that_a_hand_adds_up() -> None:
    setting = Setting("sqs", 100, 1, 1769, "arm64")
    told = bill(setting, BUSY, PRICES, MEASURED, NO_COLDS)
    assert told.events_per_batch == 100
    invocations = 1e9 / 100
    # 6.4 ms of work, ten calls to the sink on four threads: three rounds of 8 ms, rounded up to 31 ms.
    seconds = invocations * 0.031
    assert told.parts["Lambda: time"] == pytest.approx(seconds * 1769 / 1024 * PRICES.function.arm64_per_gb_second)
    assert told.parts["Lambda: requests"] == pytest.approx(invocations / 1e6 * 0.20)
    assert told.parts["sink and reject queue (SQS)"] == pytest.approx(1e9 / 10 / 1e6 * 0.40 * 1.001)
    polls = 5 * 730 * 3600 / 20
    assert told.parts["source: SQS requests"] == pytest.approx((2 * 1e9 / 10 + polls) / 1e6 * 0.40)
    assert told.parts["logs"] == pytest.approx(invocations * 1300 / 1e9 * 0.50)
    assert told.total == pytest.approx(sum(told.parts.values()))


def test_half_a_core_takes_twice_as_long_for_the_work_and_no_longer_for_the_sink() -> None:
    def seconds(memory: int) -> float:
        part = bill(Setting("kinesis", 100, 1, memory, "arm64"), BUSY, PRICES, MEASURED, NO_COLDS).parts["Lambda: time"]
        return part / PRICES.function.arm64_per_gb_second / (memory / 1024) / (1e9 / 100)

    assert seconds(1769) == pytest.approx(0.031)
    assert seconds(costing.FULL_CORE_MB * 2) == pytest.approx(0.031)
    assert seconds(885) == pytest.approx(0.037)  # 6.4 * 1769 / 885 = 12.8, and 24 for the sink


def test_large_events_pay_for_each_64_kib_and_kinesis_rounds_to_a_kib() -> None:
    setting = Setting("sqs", 10, 0, 1769, "arm64")
    small, large = (
        bill(setting, Load(1e9, event_bytes=size), PRICES, MEASURED, NO_COLDS).parts["source: SQS requests"]
        for size in (700, 65_536)
    )
    polls = 5 * 730 * 3600 / 20 / 1e6 * 0.40
    assert (large - polls) / (small - polls) == pytest.approx(10)
    stream = Setting("kinesis", 10, 0, 1769, "arm64")
    one, two = (
        bill(stream, Load(1e9, event_bytes=size), PRICES, MEASURED, NO_COLDS).parts["source: Kinesis data in and out"]
        for size in (1, 1025)
    )
    assert two == pytest.approx(2 * one)


def test_a_snapshot_is_paid_for_as_long_as_it_is_kept_and_each_time_it_is_restored() -> None:
    setting = Setting("kinesis", 100, 1, 1024, "arm64")
    kept = bill(setting, BUSY, PRICES, MEASURED, Assumptions(cold_starts_per_day=0, snapshots=1)).parts
    assert kept["Lambda: snapshots"] == pytest.approx(730 * 3600 * PRICES.function.snapshot_per_gb_second)
    restored = bill(setting, BUSY, PRICES, MEASURED, Assumptions(cold_starts_per_day=24, snapshots=1)).parts
    assert restored["Lambda: snapshots"] - kept["Lambda: snapshots"] == pytest.approx(
        730 * PRICES.function.restore_per_gb
    )
    assert restored["Lambda: time"] == kept["Lambda: time"], "a restored environment does not initialise"


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_provisioned_environments_are_paid_for_while_they_wait_and_less_while_they_work(
    architecture: costing.Architecture,
) -> None:
    setting = Setting("kinesis", 100, 1, 1024, architecture)
    plain, ready = (
        bill(setting, BUSY, PRICES, MEASURED, Assumptions(cold_starts_per_day=0, start=start, provisioned=3)).parts
        for start in ("plain", "provisioned")
    )
    waiting = getattr(PRICES.function, f"ready_{architecture}_per_gb_second")
    assert ready["Lambda: provisioned"] == pytest.approx(3 * 730 * 3600 * waiting)
    assert ready["Lambda: time"] < plain["Lambda: time"]


def test_kafka_pollers_are_paid_for_by_fours_and_not_at_all_in_on_demand_mode() -> None:
    setting = Setting("kafka", 100, 1, 1769, "arm64")
    none, one, four, five = (
        bill(setting, BUSY, PRICES, MEASURED, Assumptions(kafka_pollers=pollers)).parts[
            "source: Kafka pollers (without brokers)"
        ]
        for pollers in (0, 1, 4, 5)
    )
    assert none == 0
    assert one == four == pytest.approx(730 * PRICES.function.kafka_poller_unit_hour)
    assert five == pytest.approx(2 * one)


def test_enhanced_fan_out_changes_the_price_of_what_a_stream_gives_out() -> None:
    setting = Setting("kinesis", 100, 1, 1769, "arm64")
    shared, own = (
        bill(setting, BUSY, PRICES, MEASURED, Assumptions(fan_out=fan_out)).parts["source: Kinesis data in and out"]
        for fan_out in (False, True)
    )
    more = PRICES.kinesis.per_gb_fan_out - PRICES.kinesis.per_gb_out
    assert own - shared == pytest.approx(1e9 * 1024 / 1e9 * more)


def test_a_quiet_stream_does_not_fill_its_batches() -> None:
    quiet = Load(events_per_month=730 * 3600.0)
    assert quiet.per_second == 1
    assert bill(Setting("kinesis", 100, 5, 1769, "arm64"), quiet, PRICES, MEASURED, NO_COLDS).events_per_batch == 5


@pytest.mark.parametrize("source", costing.SOURCES)
@pytest.mark.parametrize("slo_ms", [250.0, 1100.0, 6000.0])
def test_no_setting_within_the_slo_is_cheaper_than_the_cheapest(source: costing.Source, slo_ms: float) -> None:
    load = Load(20e6)
    best = cheapest(source, load, PRICES, MEASURED, Assumptions(), slo_ms)
    assert best is not None
    assert best.setting.allowed
    assert best.latency_ms <= slo_ms
    others = [
        bill(Setting(source, batch, window, memory, "x86_64"), load, PRICES, MEASURED, Assumptions())
        for batch, window, memory in product(costing.BATCHES, costing.WINDOWS_S, costing.MEMORIES_MB)
    ]
    within = [each.total for each in others if each.latency_ms <= slo_ms and each.setting.allowed]
    assert within
    assert best.total <= min(within)


def test_where_nothing_keeps_the_slo_nothing_is_recommended() -> None:
    assert cheapest("sqs", Load(1e6), PRICES, MEASURED, Assumptions(), slo_ms=5) is None


def test_a_queue_gathers_more_than_ten_only_within_a_second_or_more() -> None:
    assert not Setting("sqs", 100, 0, 1769, "arm64").allowed
    moved = costing.with_source(Setting("kinesis", 100, 0, 1769, "arm64"), "sqs")
    assert (moved.source, moved.window_s, moved.allowed) == ("sqs", 1, True)


def test_metrics_alarms_and_dashboards_are_as_many_as_the_stacks_have(tmp_path: Path, signer: Ed25519Signer) -> None:
    """Of a stack with a queue."""
    of_sqs = {"FunctionName": FUNCTION, "Model": MODEL, "EventQueueName": "q", "EventDeadLetterQueueName": "d"}
    alarms = Stack(load(ROOT / "stacks" / "alarms.yaml"), **of_sqs)
    given = Assumptions()
    looked_at = [of_alarm(each) for each in alarms.of_type("AWS::CloudWatch::Alarm").values()]
    assert given.alarm_metrics == sum(map(len, looked_at))
    assert given.composite_alarms == len(alarms.of_type("AWS::CloudWatch::CompositeAlarm"))
    dashboards = Stack(load(ROOT / "stacks" / "dashboards.yaml"), FunctionName=FUNCTION, Model=MODEL)
    assert given.dashboards == len(dashboards.of_type("AWS::CloudWatch::Dashboard"))
    wanted = {
        "model": {MODEL},
        "source": {"sqs"},
        "reason": {"not_json", "missing_field", "out_of_bounds"},
        "error": set(),
    }
    written = [
        each
        for each in of_lines(lines_of_the_function(tmp_path, signer))
        if all(value in wanted.get(name, {value}) for name, value in each.dimensions)
    ]
    assert given.metrics == len(written) + len(of_filters(alarms))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["cost", *arguments], env={"COLUMNS": "160"})


def test_the_command_tells_each_part_what_dominates_and_the_cheapest() -> None:
    ended = run("--events-per-month", "3e6", "--json")
    assert ended.exit_code == 0, ended.output
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [each["source"] for each in told] == ["sqs", "kinesis", "kafka"]
    for each in told:
        assert each["dollars_per_month"] == pytest.approx(sum(each["parts"].values()), abs=1e-2)
        assert each["dollars_per_million"] == pytest.approx(each["dollars_per_month"] / 3, rel=1e-3)
        assert each["parts"][each["dominates"]] == max(each["parts"].values())
        assert each["cheapest"]["dollars_per_month"] <= each["dollars_per_month"]
        assert each["prices_as_of"] == PRICES.as_of
    page = run("--events-per-month", "3e6").stdout
    assert f"prices of us-east-1 as of {PRICES.as_of}" in page
    assert "per million events" in page
    assert "a SageMaker endpoint that is always on" in page


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("--prices", None, "No such file"),
        ("--prices", "region = 1", "region: Input should be a valid string"),
        ("--prices", "nonsense = [", "expected a price file"),
        ("--measured", None, "No such file"),
        ("--measured", "", "expected at least one size"),
        ("--measured", '{"records": 1}', "KeyError: 'ours_us'"),
        ("--measured", "[]", "TypeError"),
        ("--measured", '{"records": 0, "ours_us": 1}', "at least one size of one record"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, option: str, content: str | None, said: str) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    ended = run(option, str(file))
    assert ended.exit_code == 1
    assert said in ended.output
    assert ended.output.count("\n") <= 2


def test_your_own_measurement_and_prices_are_used(tmp_path: Path) -> None:
    slow = tmp_path / "slow.jsonl"
    slow.write_text(json.dumps({"records": 100, "ours_us": 1000.0}))
    dear = tmp_path / "dear.toml"
    dear.write_text(
        (SHIPPED / "prices" / "us-east-1.toml")
        .read_text()
        .replace("per_million_requests = 0.20", "per_million_requests = 20")
    )
    usual, own = (
        json.loads(run("--source", "kafka", "--json", *more).stdout)["parts"]
        for more in ((), ("--measured", str(slow), "--prices", str(dear)))
    )
    assert own["Lambda: requests"] == pytest.approx(100 * usual["Lambda: requests"], rel=1e-3)
    assert own["Lambda: time"] > 2 * usual["Lambda: time"]


def test_the_shipped_measurement_is_one_of_the_benchmarks() -> None:
    sizes = [size for size, _ in read_measured(SHIPPED / "measured" / "throughput.jsonl").batch_ms]
    assert sizes == [1, 10, 100, 1_000, 10_000]


def test_the_bill_in_the_docs_is_the_one_that_the_command_makes_now() -> None:
    page = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0]
    arguments = ["cost", "--events-per-month", "30e6", "--source", "sqs", "--slo-ms", "1500"]
    made = CliRunner().invoke(cli, arguments, env={"COLUMNS": "110"}).stdout
    assert [line.rstrip() for line in shown.splitlines()] == [line.rstrip() for line in made.splitlines()]
