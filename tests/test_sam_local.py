"""`make sam-local`: the accounts of every sample invocation, the way out of a container, and the whole where a Docker daemon answers."""

import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from eventscore_flights import sam_local
from eventscore_flights.sam_local import Invoked, run_all
from eventscore_local import container_network
from eventscore_local.container_network import docker
from eventscore_local.errors import LocalError, ToolMissing

ROOT = Path(__file__).parent.parent
RELAY = Path(container_network.__file__).with_name("socket_relay.py")
EVENTS = sorted((ROOT / "events").glob("*.json"))


def docker_answers() -> bool:
    try:
        docker("info", "--format", "{{.ServerVersion}}")
    except LocalError:
        return False
    return True


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server of 127.0.0.1 that answers each connection with what it read, in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    text = b""
                    while chunk := connection.recv(65_536):
                        text += chunk
                    connection.sendall(text.upper())

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def relay(listen: str, target: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-I", str(RELAY), listen, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    return process


def test_what_goes_into_the_socket_comes_out_of_the_server_and_back(tmp_path: Path, echo_port: int) -> None:
    path = tmp_path / "aws"
    with relay(f"unix:{path}", f"tcp:127.0.0.1:{echo_port}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"a" * 1_000_000)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer == b"A" * 1_000_000


def test_a_relay_ends_with_the_process_that_started_it_though_a_connection_is_open(
    tmp_path: Path, echo_port: int
) -> None:
    path = tmp_path / "aws"
    process = relay(f"unix:{path}", f"tcp:127.0.0.1:{echo_port}")
    with process, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_connection_without_a_server_behind_it_is_closed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    path = tmp_path / "aws"
    with relay(f"unix:{path}", f"tcp:127.0.0.1:{port}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert client.recv(1) == b""


def test_every_record_that_is_missing_or_came_back_is_complained_of() -> None:
    good = Invoked("sqs.json", 5, 3, Counter(not_json=2), 0, {"batchItemFailures": []})
    assert good.complaint is None
    lost = Invoked("sqs.json", 5, 3, Counter(not_json=1), 0, {"batchItemFailures": []})
    assert lost.complaint == "5 records went in, 4 came out"
    back = Invoked("sqs.json", 5, 4, Counter(), 1, {"batchItemFailures": [{"itemIdentifier": "m"}]})
    assert "1 records came back" in str(back.complaint)
    failed = Invoked(
        "warm-up.json", 0, 0, Counter(), 0, {"errorType": "ModelLoadError", "errorMessage": "no live version"}
    )
    assert failed.complaint == "the function failed: ModelLoadError: no live version"


def test_without_docker_the_message_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="no `docker` on PATH"):
        docker("info")


def test_without_a_built_template_the_message_says_how_to_build(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make sam-local"):
        next(run_all(ROOT, tmp_path / "template.yaml", "", EVENTS))


def test_what_the_template_names_beside_itself_is_found_from_its_copy_elsewhere(tmp_path: Path) -> None:
    built, scratch = tmp_path / "built", tmp_path / "scratch"
    built.mkdir()
    scratch.mkdir()
    (built / "template.yaml").write_text(
        "Resources:\n  ScoreFunction: {Type: F, Properties: {CodeUri: Score}}\n"
        "  Layer: {Type: L, Properties: {ContentUri: Core}}\n  Alarms: {Type: A, Properties: {Location: Alarms/template.yaml}}\n"
    )
    copied = yaml.safe_load(sam_local._with_variables(built / "template.yaml", {"A": "b"}, scratch).read_text())
    named = [
        value
        for made in copied["Resources"].values()
        for value in made["Properties"].values()
        if value.__class__ is str
    ]
    assert set(named) == {str(built / name) for name in ("Score", "Core", "Alarms/template.yaml")}
    assert copied["Resources"]["ScoreFunction"]["Properties"]["Environment"] == {"Variables": {"A": "b"}}


@pytest.mark.docker
@pytest.mark.timeout(900)
@pytest.mark.skipif(not docker_answers(), reason="no Docker daemon answers")
def test_in_lambda_s_container_every_sample_record_ends_as_it_should() -> None:
    done = subprocess.run(["make", "sam-local"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = {
        words[0]: [int(word) for word in words[1:5]]
        for words in map(str.split, done.stdout.splitlines())
        if words[:1] and words[0].endswith(".json")
    }
    broken = {"poison-sqs.json": 10, "poison-kinesis.json": 12, "poison-kafka.json": 11}
    good = {"warm-up.json": 0} | dict.fromkeys(broken, 3)
    for file in EVENTS:
        scored = good.get(file.name, 5)
        assert counts[file.name] == [scored + broken.get(file.name, 0), scored, broken.get(file.name, 0), 0], file.name
