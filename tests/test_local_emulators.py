"""The emulators as processes: ministack, Lambda's execution environments, and that nothing of them stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventscore_local.emf import MetricForwarder
from eventscore_local.environment_pool import EnvironmentPool
from eventscore_local.errors import EmulatorFailed, ToolMissing
from eventscore_local.event_source_mappings.batching import BatchLimits
from eventscore_local.event_source_mappings.kinesis import KinesisMapping
from eventscore_local.event_source_mappings.sqs import SqsMapping
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.invocation import PAYLOAD_LIMIT_BYTES, Failure
from eventscore_local.isolated_tools import find_ministack, find_runtime_interface_emulator
from eventscore_local.kafka_cluster import KafkaCluster
from eventscore_local.layers import HostLayers, build_for_host
from eventscore_local.ministack import CREDENTIALS, Ministack

pytestmark = pytest.mark.emulator

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 30.0
HANDLER = """
import importlib.util, json, os, sys, time
def handler(event, context):
    what = event.get("do")
    if what == "raise": raise ValueError("boom")
    if what == "sleep": time.sleep(60)
    if what == "exit": os._exit(3)
    if what == "kill-emulator": os.kill(os.getppid(), 9)
    if what == "find": return {name: getattr(importlib.util.find_spec(name), "origin", None) for name in event["names"]}
    if what == "environment": return dict(os.environ)
    if what == "remaining": return context.get_remaining_time_in_millis()
    print("event", json.dumps(event)[:40])
    return {"batchItemFailures": []}
"""


@pytest.fixture(scope="module")
def host_layers() -> HostLayers:
    return build_for_host(ROOT)


@pytest.fixture
def function(tmp_path: Path, host_layers: HostLayers) -> FunctionConfiguration:
    (tmp_path / "app.py").write_text(HANDLER)
    return FunctionConfiguration(
        tmp_path, host_layers.managed_runtime, host_layers.layers, {"OWN": "value"}, timeout_s=5
    )


@pytest.fixture(params=["emulator", "worker"])
def force_worker(request: pytest.FixtureRequest) -> bool:
    if request.param == "emulator" and find_runtime_interface_emulator(ROOT) is None:
        pytest.skip("no Runtime Interface Emulator for this platform")
    return bool(request.param == "worker")


@pytest.fixture
def pool(function: FunctionConfiguration, force_worker: bool) -> Iterator[EnvironmentPool]:
    with EnvironmentPool(ROOT, function, 1, force_worker=force_worker) as pool:
        yield pool


def do(what: str, **more: object) -> bytes:
    return json.dumps({"do": what, **more}).encode()


def below(pid: int) -> set[int]:
    """Ids of all processes below one."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in pairs if parent in fresh} - found
        found |= fresh
    return {one for one in found if is_alive(one)}  # ps itself has ended


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def listening_addresses(pids: set[int]) -> set[str]:
    """Addresses (hexadecimal, as in /proc/net) on which these processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def test_the_function_sees_its_layers_and_the_managed_runtime_and_nothing_else(
    pool: EnvironmentPool, host_layers: HostLayers
) -> None:
    ours = ["eventscore", "numpy", "boto3"]
    foreign = ["pytest", "click", "torch", "eventscore_cli", "eventscore_training", "eventscore_local", "moto"]
    found = json.loads(pool.invoke(do("find", names=ours + foreign)).payload)
    assert {name for name, origin in found.items() if origin} == set(ours)
    homes = [*host_layers.layers, host_layers.managed_runtime]
    assert all(any(Path(found[name]).is_relative_to(home) for home in homes) for name in ours)


def test_the_environment_holds_only_what_was_given(pool: EnvironmentPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTSCORE_SECRET_OF_THE_DEVELOPER", "x")
    variables = json.loads(pool.invoke(do("environment")).payload)
    assert variables["OWN"] == "value"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "score"
    assert not {"EVENTSCORE_SECRET_OF_THE_DEVELOPER", "HOME", "VIRTUAL_ENV"} & set(variables)


def test_exception_timeout_and_exit_are_told_apart_and_the_next_invocation_works(pool: EnvironmentPool) -> None:
    for what, failure in (("raise", Failure.EXCEPTION), ("sleep", Failure.TIMEOUT), ("exit", Failure.EXIT)):
        error = pool.invoke(do(what)).error
        assert error is not None
        assert error.failure is failure
        assert pool.invoke(do("remaining")).error is None
    assert len(pool.init_durations_ms) == 3, "it was initialised anew after the timeout and after the exit"


def test_a_failed_import_is_an_initialisation_failure(function: FunctionConfiguration, force_worker: bool) -> None:
    for code, error_type in (("import nope", "Runtime.ImportModuleError"), ("raise OSError('no model')", "OSError")):
        (function.folder / "app.py").write_text(code)
        with EnvironmentPool(ROOT, function, 1, force_worker=force_worker) as pool:
            error = pool.invoke(b"{}").error
        assert error is not None
        assert (error.failure, error.type) == (Failure.INIT, error_type)


def test_the_first_invocation_tells_the_initialisation_and_later_ones_are_warm(pool: EnvironmentPool) -> None:
    first, second = pool.invoke(b"{}"), pool.invoke(b"{}")
    assert first.init_duration_ms is not None
    assert 0 < first.init_duration_ms <= first.duration_ms
    assert second.init_duration_ms is None
    assert pool.warm_durations_ms == (second.duration_ms,)


def test_a_payload_over_six_megabytes_is_refused(pool: EnvironmentPool) -> None:
    error = pool.invoke(b'"' + b"x" * PAYLOAD_LIMIT_BYTES + b'"').error
    assert error is not None
    assert error.failure is Failure.PAYLOAD_TOO_LARGE


def test_a_payload_just_below_six_megabytes_arrives_whole(pool: EnvironmentPool) -> None:
    names = ["x" * (PAYLOAD_LIMIT_BYTES - 100)]
    result = pool.invoke(do("nothing", names=names))
    assert result.error is None


def test_what_the_function_prints_is_handed_on(function: FunctionConfiguration, force_worker: bool) -> None:
    lines: list[str] = []
    with EnvironmentPool(ROOT, function, 1, lines.append, force_worker=force_worker) as pool:
        pool.invoke(b'{"a": 1}')
    assert 'event {"a": 1}' in lines


def test_an_emulator_that_dies_says_so_and_is_started_anew(function: FunctionConfiguration) -> None:
    if find_runtime_interface_emulator(ROOT) is None:
        pytest.skip("no Runtime Interface Emulator for this platform")
    with EnvironmentPool(ROOT, function, 1) as pool:
        with pytest.raises(EmulatorFailed, match="died during an invocation"):
            pool.invoke(do("kill-emulator"))
        assert pool.invoke(b"{}").error is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_everything_listens_on_loopback_only_and_is_gone_after_the_context(function: FunctionConfiguration) -> None:
    before = below(os.getpid())
    with Ministack(ROOT), KafkaCluster(), EnvironmentPool(ROOT, function, 1) as pool:
        pool.invoke(b"{}")
        started = below(os.getpid()) - before
        assert len(started) >= 5, "a leash and ministack; a leash, the emulator and Python"
        assert listening_addresses(started | {os.getpid()}) == {"0100007F"}
    assert not any(is_alive(pid) for pid in started)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("whole_group", [False, True])
def test_everything_ends_when_the_process_that_started_it_is_killed(
    function: FunctionConfiguration, whole_group: bool
) -> None:
    script = f"""
import time
from pathlib import Path
from eventscore_local.environment_pool import EnvironmentPool
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.ministack import Ministack
root = Path({str(ROOT)!r})
function = FunctionConfiguration(Path({str(function.folder)!r}), Path({str(function.managed_runtime)!r}))
with Ministack(root), EnvironmentPool(root, function, 1) as pool:
    pool.invoke(b"{{}}")
    print("ready", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = below(process.pid)
        assert len(started) >= 5
        if whole_group:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not any(is_alive(pid) for pid in started))


def test_queue_and_stream_reach_the_function_and_its_metrics_reach_cloudwatch(function: FunctionConfiguration) -> None:
    emf = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {"Namespace": "test", "Dimensions": [["service"]], "Metrics": [{"Name": "received", "Unit": "Count"}]}
            ],
        },
        "service": "score",
    }
    (function.folder / "app.py").write_text(
        "import json\n"
        f"EMF = {emf!r}\n"
        "def handler(event, context):\n"
        "    print(json.dumps({**EMF, 'received': len(event['Records'])}))\n"
    )
    with Ministack(ROOT) as aws:
        metrics = MetricForwarder(aws.client("cloudwatch"))
        with EnvironmentPool(ROOT, function, 2, metrics.add) as pool:
            sqs, kinesis = aws.client("sqs"), aws.client("kinesis")
            queue = sqs.create_queue(QueueName="events")["QueueUrl"]
            kinesis.create_stream(StreamName="events", ShardCount=2)
            stream = kinesis.describe_stream_summary(StreamName="events")["StreamDescriptionSummary"]["StreamARN"]
            for n in range(100):
                sqs.send_message(QueueUrl=queue, MessageBody=str(n))
                kinesis.put_record(StreamARN=stream, Data=str(n).encode(), PartitionKey=str(n))
            with (
                SqsMapping(pool.invoke, sqs, queue, batch=BatchLimits(50, 1)) as from_queue,
                KinesisMapping(pool.invoke, kinesis, stream) as from_stream,
            ):
                assert from_queue.wait_until_idle(TIMEOUT_S)
                assert from_stream.wait_until_idle(TIMEOUT_S)
            assert (from_queue.stats.received, from_stream.stats.received) == (100, 100)
        metrics.flush()
        (total,) = aws.client("cloudwatch").get_metric_statistics(
            Namespace="test",
            MetricName="received",
            Dimensions=[{"Name": "service", "Value": "score"}],
            StartTime=time.time() - 3600,
            EndTime=time.time() + 3600,
            Period=7200,
            Statistics=["Sum"],
        )["Datapoints"]
        assert total["Sum"] == 200
    assert CREDENTIALS["AWS_REGION"] == "us-east-1"


def test_missing_tools_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make setup"):
        find_ministack(tmp_path)
    if sys.platform == "linux":
        with pytest.raises(ToolMissing, match="make setup"):
            find_runtime_interface_emulator(tmp_path)
