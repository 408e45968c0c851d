"""The whole loop in small: made flights over real protocols through the function in Lambda's emulator, every message accounted for."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import made_flights
import small_model
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from eventscore_cli.main import main
from eventscore_cli.options import stack_trusted_keys
from eventscore_flights.demo.plan import SOURCES, Plan, Planned, make_plan
from eventscore_flights.demo.poison import POISON
from eventscore_flights.demo.report import render_report
from eventscore_flights.demo.run import DemoFailed, DemoOptions, Snapshot, Watcher, run_demo
from eventscore_flights.demo.stack import BUCKET, DemoStack, function_variables, set_up, sync_folder
from eventscore_flights.demo.summary import Summary
from eventscore_local.environment_pool import EnvironmentPool
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.layers import build_for_host
from eventscore_local.ministack import Ministack
from test_local_emulators import below, is_alive, listening_addresses
from test_sources import kinesis, sqs
from throttled_sqs import ThrottledSqs

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parent.parent
MODEL_STORE = ROOT / "model_store"
FLIGHTS = 300


@pytest.fixture(scope="module")
def flight_store(tmp_path_factory: pytest.TempPathFactory, signer: Ed25519Signer) -> Path:
    """A folder with a small version of flight-delay, live."""
    folder = tmp_path_factory.mktemp("model_store")
    made_flights.publish(FolderStore(folder), signer)
    return folder


def options(store: Path, signer: Ed25519Signer, **changes: Any) -> DemoOptions:
    return DemoOptions(ROOT, store, signer.public_key, environments=2, deadline_s=60, **changes)


def with_every_poison(plan: Plan) -> Plan:
    """The plan, and behind it each way to break an event once over each source that can carry it."""
    messages = {source: list(lane) for source, lane in plan.messages.items()}
    row = made_flights.event(made_flights.flights(1, seed=7)[0])
    for source in SOURCES:
        for number, (reason, broken) in enumerate(POISON[source]):
            messages[source].append(Planned(broken(row), f"poison-{number}", f"N{number}", reason))
    return Plan(messages, plan.labels)


@dataclass(frozen=True)
class Run:
    """A demo that has run: what was planned, what it said, what it started, what came out."""

    plan: Plan
    summary: Summary
    steps: list[str]
    snapshots: list[Snapshot]
    started: set[int]
    addresses: set[str]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, flight_store: Path, signer: Ed25519Signer) -> Run:
    table = made_flights.write_table(tmp_path_factory.mktemp("flights") / "test.parquet", FLIGHTS)
    plan = with_every_poison(make_plan(table, FLIGHTS))
    steps: list[str] = []
    snapshots: list[Snapshot] = []
    started: set[int] = set()
    addresses: set[str] = set()
    before = below(os.getpid())

    def moved(snapshot: Snapshot) -> None:
        snapshots.append(snapshot)
        if sys.platform == "linux" and not started:
            started.update(below(os.getpid()) - before)
            addresses.update(listening_addresses(started | {os.getpid()}))

    summary = run_demo(options(flight_store, signer), Watcher(steps.append, moved), plan)
    return Run(plan, summary, steps, snapshots, started, addresses)


def test_nothing_is_lost_and_every_message_ends_in_one_place(demo: Run) -> None:
    assert demo.summary.problems == ()
    for source, account in demo.summary.sources.items():
        assert account.lost == account.wrong == account.returned == 0
        assert account.sent == len(demo.plan.messages[source]) > FLIGHTS / 3
        assert account.sent == account.scored + account.rejected + account.returned


def test_each_poison_is_rejected_for_its_own_reason(demo: Run) -> None:
    planned = Counter(message.poison for lane in demo.plan.messages.values() for message in lane if message.poison)
    assert demo.summary.reasons == planned
    assert len(planned) >= 9, "the demo breaks events in at least nine ways"


def test_the_scores_are_those_of_the_version_and_are_held_against_the_true_labels(demo: Run) -> None:
    assert len(demo.summary.series.scores) == FLIGHTS, "a duplicate is a message of its own, and no flight of its own"
    rows = made_flights.flights(FLIGHTS)
    expected = [made_flights.expected_score(row) for row in rows]
    assert sorted(demo.summary.series.scores.tolist()) == pytest.approx(sorted(expected), abs=1e-6)
    late = [score for row, score in zip(rows, expected, strict=True) if row["late"]]
    in_time = [score for row, score in zip(rows, expected, strict=True) if not row["late"]]
    above = sum((one > other) + (one == other) / 2 for one in late for other in in_time)
    assert demo.summary.roc_auc == pytest.approx(above / (len(late) * len(in_time)), abs=1e-4)


def test_cloudwatch_counts_the_same(demo: Run) -> None:
    for source, account in demo.summary.sources.items():
        counts = demo.summary.cloudwatch[source]
        assert counts["received"] == counts["scored"] + counts["rejected"] + counts["returned"]
        assert counts["received"] == account.sent + account.delivered_again
        assert (counts["scored"], counts["rejected"]) == (account.scored, account.rejected)


def test_summary_json_holds_what_readers_of_it_count_on(demo: Run) -> None:
    document = json.loads(json.dumps(demo.summary.document))
    assert document["model"] == made_flights.MODEL
    assert document["version"] == made_flights.VERSION
    for source in SOURCES:
        assert set(document["sources"][source]) >= {"sent", "scored", "rejected", "returned", "lost"}
    for figure in ("events_per_s", "roc_auc", "p50_ms", "p99_ms", "cold_start_ms"):
        assert document[figure] > 0, figure
    assert document["p50_ms"] <= document["p99_ms"]
    assert {"pull", "verify", "session", "golden"} <= set(document["cold_start_parts_ms"])
    assert document["function_errors"] == 0
    assert document["problems"] == []


def test_the_report_is_one_page_that_needs_no_other(demo: Run) -> None:
    page = render_report(demo.summary)
    assert 'src="http' not in page
    assert "<link" not in page


def test_the_report_draws_the_on_call_dashboard_over_what_the_function_wrote(demo: Run) -> None:
    page = render_report(demo.summary)
    panels = {panel.title: panel for panel in demo.summary.series.on_call}
    assert all(title in page for title in panels)
    ends = {
        line.label: sum(filter(None, line.values)) for line in panels["events a second, and where they ended"].lines
    }
    counts = demo.summary.cloudwatch.values()
    assert ends["received"] == sum(each["received"] for each in counts)
    assert ends["scored"] == sum(each["scored"] for each in counts)
    assert ends["rejected"] == sum(each["rejected"] for each in counts)
    assert [line.label for line in panels["latency of the handler, ms"].lines] == ["p50", "p95", "p99"]


def test_progress_reaches_its_end(demo: Run) -> None:
    last = demo.snapshots[-1]
    assert last.planned == last.sent == last.ended == {s: len(lane) for s, lane in demo.plan.messages.items()}
    assert any("execution environments" in step for step in demo.steps)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_that_was_started_stays_and_nothing_was_open_to_the_network(demo: Run) -> None:
    assert len(demo.started) >= 5
    assert demo.addresses == {"0100007F"}
    assert not any(is_alive(pid) for pid in demo.started)


def show(
    summary: Summary, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """What `eventscore demo` makes of a run that ended so: its exit code, and all that it says, on a terminal of 80 columns."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("eventscore_cli.demo.run_demo", lambda options, watcher: summary)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--store", str(MODEL_STORE), "--out", str(folder)])
    told = capsys.readouterr()
    return int(str(ended.value.code)), told.out + told.err


def test_the_command_shows_the_figures_and_writes_them_down(
    demo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = show(demo.summary, tmp_path / "out", monkeypatch, capsys)
    assert code == 0
    assert json.loads((tmp_path / "out/summary.json").read_text()) == json.loads(json.dumps(demo.summary.document))
    assert made_flights.VERSION in (tmp_path / "out/report.html").read_text()
    (header,) = [line for line in told.splitlines() if line.strip().startswith("source")]
    assert header.split() == [
        "source",
        "sent",
        "scored",
        "rejected",
        "returned",
        "lost",
        "events/s",
        "p50",
        "ms",
        "p99",
        "ms",
    ]
    for source, account in demo.summary.sources.items():
        row, *_ = [line for line in told.splitlines() if line.strip().startswith(f"{source} ")]
        assert row.split()[1:4] == [str(account.sent), str(account.scored), str(account.rejected)]


def test_the_command_ends_with_1_if_anything_was_lost(
    demo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka = demo.summary.sources["kafka"]
    lossy = replace(
        demo.summary, sources={**demo.summary.sources, "kafka": replace(kafka, scored=kafka.scored - 1, lost=1)}
    )
    code, told = show(lossy, tmp_path / "out", monkeypatch, capsys)
    assert code == 1
    assert f"Error: kafka: 1 of {kafka.sent} messages are lost" in told
    assert json.loads((tmp_path / "out/summary.json").read_text())["sources"]["kafka"]["lost"] == 1


def lanes(per_source: int) -> Plan:
    """``per_source`` good flights over each source."""
    rows = made_flights.flights(per_source * len(SOURCES), seed=3)
    messages: dict[str, list[Planned]] = {source: [] for source in SOURCES}
    for number, row in enumerate(rows):
        lane = messages[SOURCES[number % len(SOURCES)]]
        lane.append(
            Planned(json.dumps(made_flights.event(row)).encode(), row["flight_id"], row["tailnum"] or row["flight"])
        )
    return Plan(messages, {row["flight_id"]: row["late"] for row in rows})


def test_what_the_sink_refuses_goes_back_to_its_source_and_ends_in_its_dead_letter_queue(
    flight_store: Path, signer: Ed25519Signer
) -> None:
    plan = lanes(30)
    never = {message.event_id for lane in plan.messages.values() for message in (lane[8], lane[20])}
    at_first = {message.event_id for lane in plan.messages.values() for message in (lane[5], lane[15], lane[25])}
    seen: set[str] = set()

    def refuse(answer: dict[str, Any]) -> bool:
        event_id = answer["event_id"]
        first = event_id not in seen
        seen.add(event_id)
        return event_id in never or (first and event_id in at_first)

    with ExitStack() as faults:
        proxies: list[ThrottledSqs] = []

        def variables(aws: Ministack, stack: DemoStack, model: str, keys: str) -> Mapping[str, str]:
            proxies.append(faults.enter_context(ThrottledSqs(aws.endpoint_url, stack.scores_url, refuse, 7)))
            return {
                **function_variables(aws, stack, model, keys),
                "AWS_ENDPOINT_URL_SQS": proxies[0].endpoint_url,
            }

        summary = run_demo(
            options(flight_store, signer, visibility_timeout_s=1, quiet_s=1.0), Watcher(), plan, variables
        )
    assert proxies[0].unavailable, "calls that were refused as a whole are tried again by the function itself"
    assert summary.problems == ()
    for source, account in summary.sources.items():
        assert (account.lost, account.wrong) == (0, 0)
        assert (account.sent, account.scored, account.returned) == (30, 28, 2), source
        assert summary.cloudwatch[source]["returned"] >= 2 + 3, "two until they were given up, three once"
    assert summary.errors == (), "a throttled sink is no error of the function"


@dataclass(frozen=True)
class Deployed:
    """The function, one environment of it, cold, before a bucket with the committed model; and what it logs."""

    pool: EnvironmentPool
    s3: Any
    log: list[str]

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)


@pytest.fixture
def deployed() -> Iterator[Deployed]:
    layers = build_for_host(ROOT)
    trusted = stack_trusted_keys(ROOT / "samconfig.toml")
    assert trusted is not None
    log: list[str] = []
    with Ministack(ROOT) as aws:
        stack = set_up(aws)
        sync_folder(stack.s3, MODEL_STORE, BUCKET)
        function = FunctionConfiguration(
            ROOT / "functions" / "score",
            layers.managed_runtime,
            layers.layers,
            function_variables(aws, stack, made_flights.MODEL, trusted),
        )
        with EnvironmentPool(ROOT, function, 1, log.append) as pool:
            yield Deployed(pool, stack.s3, log)


def test_one_flipped_byte_in_the_bucket_is_refused_by_the_name_of_its_file(deployed: Deployed) -> None:
    events = json.loads((ROOT / "events" / "direct.json").read_text())
    versions = ModelVersions(FolderStore(MODEL_STORE), made_flights.MODEL)
    live = versions.resolve("live")
    good = json.dumps(events[0])
    batches = [sqs(good), kinesis(good.encode()), events, {"eventscore": "warm-up"}]
    for file, error in (
        ("model.onnx", "DigestMismatch"),
        ("manifest.json", "SignatureMismatch"),
        ("manifest.sig", "SignatureMismatch"),
    ):
        key = versions.key(live, file)
        content = (MODEL_STORE / key).read_bytes()
        flipped = bytearray(content)
        flipped[len(flipped) // 2] ^= 0x01
        deployed.put(key, bytes(flipped))
        for batch in batches:
            refused = deployed.pool.invoke(json.dumps(batch).encode()).error
            assert refused is not None
            assert refused.type == error
            assert key in refused.message
        assert any("ModelLoadFailed" in line for line in deployed.log)
        assert any(key in line and '"level":"ERROR"' in line for line in deployed.log)
        deployed.log.clear()
        deployed.put(key, content)
    answer = deployed.pool.invoke(json.dumps(events).encode())
    assert answer.error is None, "the repaired bucket is served by the same environment"
    answers = json.loads(answer.payload)
    assert [one["event_id"] for one in answers] == [event["flight_id"] for event in events]
    assert {one["version"] for one in answers} == {live}


def test_a_demo_that_cannot_load_its_model_says_which_file_and_leaves_nothing_running(
    tmp_path: Path, signer: Ed25519Signer
) -> None:
    made_flights.publish(FolderStore(tmp_path), signer)
    small_model.flip_byte(tmp_path / made_flights.MODEL / "versions" / made_flights.VERSION / "model.onnx")
    before = below(os.getpid())
    with pytest.raises(DemoFailed, match=r"the function cannot start: DigestMismatch: .*model\.onnx: refused"):
        run_demo(options(tmp_path, signer), Watcher(), lanes(1))
    assert not {pid for pid in below(os.getpid()) - before if is_alive(pid)}
