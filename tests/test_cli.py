"""The `eventscore` command: what it prints, its exit codes (0 done, 1 not possible, 2 misused), and never a traceback."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest

import small_model
from eventscore.contract import load_contract
from eventscore.decoding import EventDecoder
from eventscore.function import ScoreFunction
from eventscore.manifest import BASELINE, REPORT, GoldenTolerance
from eventscore.signing import Ed25519Signer, Ed25519Verifier
from eventscore.store.versions import ModelVersions
from eventscore_cli.main import cli, main
from eventscore_training.run import RunReport, write_run

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = ROOT / "model_store/flight-delay/contract.toml"
TRUSTED = "EVENTSCORE_TRUSTED_KEYS"
METRICS = {"roc_auc": 0.76, "pr_auc": 0.5, "log_loss": 0.5, "calibration_error": 0.01}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in a folder without a samconfig.toml. An exception other than SystemExit would be a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return Ended(int(str(ended.value.code)), told.out, told.err)

    return call


@pytest.fixture
def key_file(tmp_path: Path, run: Run) -> Path:
    assert run("keys", "new", tmp_path / "signing.pem").code == 0
    return tmp_path / "signing.pem"


_BINS = {"edges": [0.5], "counts": [1, 1]}
_BASELINE = json.dumps(
    {
        "format": 1,
        "numbers": dict.fromkeys(("amount", "balance", "is_new"), _BINS),
        "categories": {name: {"values": {}} for name in ("country", "channel")},
        "score": _BINS,
    }
).encode()


@pytest.fixture
def trained_run(tmp_path: Path) -> Path:
    """A finished run of the small model, as the training job leaves it."""
    contents = small_model.files()
    manifest = small_model.manifest("v-trained", contents)
    report = RunReport(
        model=manifest.model,
        version=manifest.version,
        task="binary",
        created_at=manifest.created_at,
        opset=manifest.opset,
        duration_s=1.0,
        split="time",
        periods={},
        golden=GoldenTolerance(tolerance=1e-4, events=manifest.golden.events),
        metrics={"fp32": METRICS, "int8": {**METRICS, "roc_auc": 0.75}},
        validation_metrics={},
        calibration={},
        gates=(),
        fit=(),
        best=0,
        provenance=manifest.provenance,
    )
    return write_run(tmp_path / "runs", report, {**contents, BASELINE: _BASELINE, REPORT: b"<html></html>"}).folder


def commands() -> Iterator[tuple[str, ...]]:
    """Every command that does something, by its words."""

    def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if not isinstance(command, click.Group):
            yield words
            return
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, (*words, name))

    return walk(cli, ())


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_help_of_each_command_shows_an_example(run: Run, words: tuple[str, ...]) -> None:
    ended = run(*words, "--help")
    assert ended.code == 0
    assert f"Example: eventscore {' '.join(words)} " in ended.out
    assert run(*words, "-h").out == ended.out


def test_the_first_help_tells_the_way_of_a_model(run: Run) -> None:
    ended = run("--help")
    assert ended.code == 0
    for words in ("contract check", "train", "keys new", "publish", "promote", "demo"):
        assert f"eventscore {words}" in ended.out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("--nonsense",),
        ("contract", "check"),
        ("score", "missing.jsonl", "--model", "small"),
        ("publish", "runs/x"),
        ("promote", "small", "v1", "--channel", "beta"),
        ("train", "training.toml", "--device", "tpu"),
        ("demo", "--events", "3"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_how_it_should_be(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert "Usage: " in ended.err


def test_a_sound_contract_is_summed_up(run: Run) -> None:
    ended = run("contract", "check", CONTRACT)
    assert ended.code == 0
    assert "sound" in ended.out
    assert "flight-delay (binary)" in ended.out
    assert "7 categories" in ended.out
    assert "min_roc_auc 0.735" in ended.out


def test_every_mistake_in_a_contract_is_told_at_once(run: Run, tmp_path: Path) -> None:
    text = small_model.CONTRACT_TOML.replace("max = 1000", "max = -1").replace('task = "binary"', 'task = "guess"')
    (tmp_path / "contract.toml").write_text(text)
    ended = run("contract", "check", "contract.toml")
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.startswith("Error: contract.toml: the contract is not valid:\n")
    assert ended.err.count("\n  - ") == 2
    assert "the bounds cross" in ended.err
    assert "guess" in ended.err


@pytest.mark.parametrize("command", ["check", "schema", "example"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected a contract file: No such file"),
        (b"not = [toml", "expected TOML"),
        (b"\xff", "expected TOML"),
        (b"", "model"),
    ],
)
def test_what_is_no_contract_is_said_to_be_none(
    run: Run, tmp_path: Path, command: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "contract.toml").write_bytes(content)
    ended = run("contract", command, "contract.toml")
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err


def test_a_folder_is_no_contract(run: Run, tmp_path: Path) -> None:
    ended = run("contract", "check", tmp_path)
    assert (ended.code, ended.out) == (1, "")
    assert "expected a contract file" in ended.err


def test_the_schema_and_the_example_of_a_contract_fit_each_other_and_the_function(run: Run) -> None:
    import jsonschema

    schema, example = (json.loads(run("contract", command, CONTRACT).out) for command in ("schema", "example"))
    jsonschema.validate(example, schema)
    EventDecoder(load_contract(CONTRACT)).decode(json.dumps(example).encode())


def test_a_new_key_is_for_its_owner_alone_and_shows_its_public_half(run: Run, tmp_path: Path) -> None:
    made = run("keys", "new", "keys/signing.pem")
    assert made.code == 0
    assert len(base64.b64decode(made.out.strip())) == 32
    assert stat.S_IMODE((tmp_path / "keys/signing.pem").stat().st_mode) == 0o600
    assert run("keys", "show", "keys/signing.pem").out == made.out
    assert "PRIVATE" not in made.out + made.err


def test_a_key_is_never_written_over(run: Run, key_file: Path) -> None:
    before = key_file.read_bytes()
    ended = run("keys", "new", key_file)
    assert ended.code == 1
    assert "never written over" in ended.err
    assert key_file.read_bytes() == before


@pytest.mark.parametrize(
    "content", [None, b"", b"-----BEGIN PRIVATE" + b" KEY-----\nAAAA\n-----END PRIVATE" + b" KEY-----\n"]
)
def test_what_is_no_key_is_said_to_be_none(run: Run, tmp_path: Path, trained_run: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "no.pem").write_bytes(content)
    for arguments in (("keys", "show", "no.pem"), ("publish", trained_run, "--signing-key", "no.pem")):
        ended = run(*arguments)
        assert (ended.code, ended.out) == (1, "")
        assert "make one with `eventscore keys new FILE`" in ended.err


def test_a_run_is_published_listed_promoted_and_scores(
    run: Run, tmp_path: Path, key_file: Path, trained_run: Path
) -> None:
    public = run("keys", "show", key_file).out.strip()
    published = run("publish", trained_run, "--signing-key", key_file)
    assert published.code == 0
    assert published.out == "published small v-trained to model_store\n"
    assert not (tmp_path / "model_store/small/channels.json").exists()
    listed = run("versions", "small", "--trusted-key", public)
    assert listed.code == 0
    assert "v-trained" in listed.out
    assert "0.7500" in listed.out
    assert "trusted" in listed.out
    promoted = run("promote", "small", "v-trained", "--trusted-key", public)
    assert promoted.code == 0
    assert promoted.out == "live      v-trained  (was unset)\n"
    assert "live" in run("versions", "small", "--trusted-key", public).out
    (tmp_path / "one.jsonl").write_bytes(small_model.message())
    assert run("score", "one.jsonl", "--model", "small", "--trusted-key", public).lines[0]["version"] == "v-trained"


def test_a_version_is_published_once(run: Run, key_file: Path, trained_run: Path) -> None:
    assert run("publish", trained_run, "--signing-key", key_file, "--promote", "canary").out.endswith(
        "canary -> v-trained\n"
    )
    again = run("publish", trained_run, "--signing-key", key_file)
    assert (again.code, again.out) == (1, "")
    assert "a version is written once" in again.err


def test_publish_points_no_channel_at_a_version_that_does_not_prove_itself(
    run: Run, tmp_path: Path, key_file: Path, trained_run: Path
) -> None:
    golden = trained_run / "golden.jsonl"
    golden.write_text(golden.read_text().replace('"score": 0.', '"score": 0.0'))
    ended = run("publish", trained_run, "--signing-key", key_file, "--promote", "live")
    assert ended.code == 1
    assert "golden event 1 must score" in ended.err
    assert not (tmp_path / "model_store/small/channels.json").exists()


def test_publish_points_no_channel_at_a_version_that_the_stack_does_not_trust(
    run: Run, tmp_path: Path, key_file: Path, trained_run: Path
) -> None:
    strangers = small_model.new_signer().public_key
    (tmp_path / "samconfig.toml").write_text(
        f'[default.global.parameters]\nparameter_overrides = ["TrustedKeys={strangers}"]\n'
    )
    ended = run("publish", trained_run, "--signing-key", key_file, "--promote", "live")
    assert ended.code == 1
    assert "trusted keys: " in ended.err
    assert not (tmp_path / "model_store/small/channels.json").exists()
    own = run("keys", "show", key_file).out.strip()
    assert (
        run(
            "publish",
            trained_run,
            "--signing-key",
            key_file,
            "--store",
            "other",
            "--promote",
            "live",
            "--trusted-key",
            own,
        ).code
        == 0
    )


def test_what_is_no_finished_run_is_not_published(run: Run, tmp_path: Path, key_file: Path, trained_run: Path) -> None:
    (trained_run / "DONE").unlink()
    for folder in (trained_run, tmp_path / "nowhere"):
        ended = run("publish", folder, "--signing-key", key_file)
        assert (ended.code, ended.out) == (1, "")
        assert "DONE" in ended.err


def test_publishing_needs_no_torch(key_file: Path, trained_run: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules.update(torch=None, onnx=None); from eventscore_cli.main import main; main()"
    arguments = ["publish", trained_run, "--signing-key", key_file, "--store", tmp_path / "store"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def store(small_versions: ModelVersions, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the small model, which the environment trusts."""
    monkeypatch.setenv(TRUSTED, signer.public_key)
    monkeypatch.setenv("EVENTSCORE_STORE", small_versions.store.url)
    return Path(small_versions.store.url)


def test_moving_a_channel_says_what_it_was(
    run: Run, store: Path, small_versions: ModelVersions, signer: Ed25519Signer
) -> None:
    small_model.publish(small_versions.store, signer, "v2", bias=0.5)
    assert run("promote", "small", "v1").out.splitlines() == [
        "live      v1  (was v2)",
        "previous  v2  (was v1)",
    ]


def test_a_version_that_does_not_prove_itself_is_not_promoted(run: Run, store: Path) -> None:
    before = (store / "small/channels.json").read_bytes()
    small_model.flip_byte(store / "small/versions/v1/model.onnx")
    ended = run("promote", "small", "v1", "--channel", "canary")
    assert (ended.code, ended.out) == (1, "")
    assert "small/versions/v1/model.onnx: refused" in ended.err
    assert (store / "small/channels.json").read_bytes() == before


def test_versions_names_the_one_that_is_not_trusted(run: Run, store: Path, small_versions: ModelVersions) -> None:
    small_model.publish(small_versions.store, small_model.new_signer(), "v2")
    ended = run("versions", "small")
    assert ended.code == 0
    first, second = ended.out.splitlines()[1:]
    assert first.startswith("v1")
    assert "trusted" in first
    assert "SignatureMismatch" in second


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("versions", "nobody"), "holds no version of 'nobody'"),
        (("versions", "../small"), "expected a model's name"),
        (("promote", "small", "v9"), "no such version (the store's latest: v1)"),
        (("promote", "small", "v9", "--store", "nowhere"), "no such version (the store's latest: none)"),
        (("score", "one.jsonl", "--model", "small", "--version", "v9"), "no such version (the store's latest: v1)"),
        (("score", "one.jsonl", "--model", "small", "--version", "../v1"), "expected a version's name"),
        (("score", "one.jsonl", "--model", "nobody"), "channel 'live' points at no version (channels: none)"),
        (("score", "one.jsonl", "--model", "small", "--channel", "canary"), "points at no version (channels: live)"),
        (("score", "one.jsonl", "--model", "small", "--store", "gs://bucket"), "expected s3://bucket"),
        (("score", "one.jsonl", "--model", "small", "--trusted-key", "abc"), "expected base64 of 32-byte"),
        (("score", "one.jsonl", "--model", "small", "--output", "nowhere/scores.jsonl"), "nowhere/scores.jsonl"),
        (("train", "nowhere.toml"), "nowhere.toml"),
        (("demo",), "is no checkout of eventscore"),
        (("local-stack",), "is no checkout of eventscore"),
        (("sam-local",), "is no checkout of eventscore"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_gets_one_message_and_exit_code_1(
    run: Run, tmp_path: Path, store: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "one.jsonl").write_bytes(small_model.message())
    ended = run(*arguments)
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert ended.err.lstrip().startswith("Error: ")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "a b"), "--name: expected letters, digits and '-', a letter first, got 'a b'"),
        (("--store", "nowhere"), "--store: expected a folder, got 'nowhere': there is none"),
        (("--parameter", "X"), "--parameter: expected NAME=VALUE, got 'X'"),
    ],
)
def test_a_local_stack_that_cannot_be_is_not_begun(
    run: Run, tmp_path: Path, arguments: tuple[str, str], said: str
) -> None:
    (tmp_path / "template.yaml").touch()
    (tmp_path / "model_store").mkdir()
    ended = run("local-stack", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_a_bucket_that_nobody_answers_for_is_no_traceback(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ended = run("versions", "small", "--store", "s3://bucket")
    assert (ended.code, ended.out) == (1, "")
    assert "cannot be had from s3://bucket" in ended.err


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("model.onnx", "model.onnx: refused: the manifest names the bytes"),
        ("manifest.json", "did not sign"),
        ("manifest.sig", "manifest.sig: refused"),
        ("golden.jsonl", "golden.jsonl: refused"),
    ],
)
def test_a_corrupted_version_scores_nothing(run: Run, tmp_path: Path, store: Path, file: str, said: str) -> None:
    (tmp_path / "one.jsonl").write_bytes(small_model.message())
    small_model.flip_byte(store / "small/versions/v1" / file)
    ended = run("score", "one.jsonl", "--model", "small", "--output", "scores.jsonl")
    assert ended.code == 1
    assert said in ended.err
    assert not (tmp_path / "scores.jsonl").exists()


def test_a_version_of_a_stranger_scores_nothing(run: Run, tmp_path: Path, store: Path) -> None:
    (tmp_path / "one.jsonl").write_bytes(small_model.message())
    ended = run("score", "one.jsonl", "--model", "small", "--trusted-key", small_model.new_signer().public_key)
    assert (ended.code, ended.out) == (1, "")
    assert "signed by key" in ended.err


def test_whom_to_trust_must_be_said_somewhere(
    run: Run, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.jsonl").write_bytes(small_model.message())
    key = os.environ[TRUSTED]
    monkeypatch.delenv(TRUSTED)
    ended = run("score", "one.jsonl", "--model", "small")
    assert ended.code == 1
    assert "TrustedKeys" in ended.err
    (tmp_path / "samconfig.toml").write_text(
        f'[default.global.parameters]\nparameter_overrides = ["TrustedKeys={key}"]\n'
    )
    assert run("score", "one.jsonl", "--model", "small").code == 0


MESSAGES = [
    small_model.message(order="good"),
    small_model.message(order="gap", balance=..., country=None),
    b"no json",
    small_model.message(order="shop", channel="shop", amount=250),
    small_model.message(order="far", amount=5000),
]


def test_a_file_of_lines_gets_the_very_scores_of_the_function(
    run: Run, tmp_path: Path, store: Path, signer: Ed25519Signer
) -> None:
    (tmp_path / "orders.jsonl").write_bytes(b"\n".join(MESSAGES) + b"\r\n\n")
    ended = run("score", "orders.jsonl", "--model", "small", "--rejects", "rejects.jsonl")
    assert ended.code == 0
    assert [answer["event_id"] for answer in ended.lines] == ["good", "gap", "shop"]
    function = ScoreFunction.from_environment(
        {"EVENTSCORE_STORE": str(store), "EVENTSCORE_MODEL": "small", TRUSTED: signer.public_key}
    )
    answers = [function([json.loads(MESSAGES[position])], None)[0] for position in (0, 1, 3)]
    for line, answer in zip(ended.lines, answers, strict=True):
        assert line.keys() == answer.keys()
        assert {**line, "scored_at": ""} == {**answer, "scored_at": ""}, "bit for bit, alone and in a file"
    assert "3 scored by small v1, 2 rejected" in ended.err
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["line"], reject["reason"], reject["field"]) for reject in rejects] == [
        (3, "not_json", None),
        (5, "out_of_bounds", "amount"),
    ]


def test_blank_lines_are_no_events_and_rejects_still_name_the_line_in_the_file(
    run: Run, tmp_path: Path, store: Path
) -> None:
    (tmp_path / "orders.jsonl").write_bytes(b"\n".join([MESSAGES[0], b"", b"  ", MESSAGES[2]]))
    run("score", "orders.jsonl", "--model", "small", "--rejects", "rejects.jsonl")
    assert json.loads((tmp_path / "rejects.jsonl").read_text())["line"] == 4


def test_a_parquet_file_gets_the_same_scores(run: Run, tmp_path: Path, store: Path) -> None:
    rows = [
        small_model.event(order=str(number), amount=number, balance=None if number % 3 else 1.5) for number in range(50)
    ]
    pl.DataFrame([*rows, small_model.event(order="far", amount=5000)]).write_parquet(tmp_path / "orders.parquet")
    (tmp_path / "orders.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    parquet = run("score", "orders.parquet", "--model", "small", "--rejects", "rejects.jsonl")
    lines = run("score", "orders.jsonl", "--model", "small")
    scores = [[(line["event_id"], line["score"]) for line in ended.lines] for ended in (parquet, lines)]
    assert len(scores[0]) == 50
    assert scores[0] == scores[1]
    assert json.loads((tmp_path / "rejects.jsonl").read_text())["line"] == 51


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1 cut off"])
def test_what_is_no_parquet_file_is_said_to_be_none(run: Run, tmp_path: Path, store: Path, content: bytes) -> None:
    (tmp_path / "orders.parquet").write_bytes(content)
    ended = run("score", "orders.parquet", "--model", "small")
    assert (ended.code, ended.out) == (1, "")
    assert "orders.parquet: expected a Parquet file" in ended.err


def test_a_parquet_file_with_damaged_data_is_no_traceback(run: Run, tmp_path: Path, store: Path) -> None:
    rows = [small_model.event(order=f"order-{number}", amount=number % 900) for number in range(500)]
    pl.DataFrame(rows).write_parquet(tmp_path / "orders.parquet")
    content = bytearray((tmp_path / "orders.parquet").read_bytes())
    content[4:200] = bytes(196)
    (tmp_path / "orders.parquet").write_bytes(content)
    ended = run("score", "orders.parquet", "--model", "small")
    assert ended.code == 1
    assert "orders.parquet: expected a Parquet file" in ended.err


def test_an_empty_file_has_no_scores_and_leaves_no_older_ones(run: Run, tmp_path: Path, store: Path) -> None:
    (tmp_path / "orders.jsonl").write_bytes(b"")
    for name in ("scores.jsonl", "rejects.jsonl"):
        (tmp_path / name).write_text("of an older run\n")
    ended = run("score", "orders.jsonl", "--model", "small", "--output", "scores.jsonl", "--rejects", "rejects.jsonl")
    assert ended.code == 0
    assert "0 scored by small v1, 0 rejected" in ended.err
    assert [(tmp_path / name).read_bytes() for name in ("scores.jsonl", "rejects.jsonl")] == [b"", b""]


def test_answers_and_rejects_never_go_into_one_file(run: Run, tmp_path: Path, store: Path) -> None:
    (tmp_path / "orders.jsonl").write_bytes(MESSAGES[0])
    ended = run("score", "orders.jsonl", "--model", "small", "--output", "x", "--rejects", tmp_path / "x")
    assert ended.code == 2
    assert "--output and --rejects both name" in ended.err


def test_a_csv_file_is_not_taken_for_json_lines(run: Run, tmp_path: Path, store: Path) -> None:
    (tmp_path / "orders.csv").write_text("order,amount\no-1,3\n")
    ended = run("score", "orders.csv", "--model", "small")
    assert ended.code == 2
    assert "expected JSON Lines or Parquet, got a name that ends in .csv" in ended.err


@pytest.mark.parametrize("option", ["--output", "--rejects"])
def test_the_file_itself_is_never_written_over(run: Run, tmp_path: Path, store: Path, option: str) -> None:
    (tmp_path / "orders.jsonl").write_bytes(MESSAGES[0])
    ended = run("score", "orders.jsonl", "--model", "small", option, tmp_path / "orders.jsonl")
    assert ended.code == 2
    assert "would be written over" in ended.err
    assert (tmp_path / "orders.jsonl").read_bytes() == MESSAGES[0]


def test_another_version_answers_when_it_is_asked_for(
    run: Run, tmp_path: Path, store: Path, small_versions: ModelVersions, signer: Ed25519Signer
) -> None:
    small_model.publish(small_versions.store, signer, "v2", bias=1.0)
    (tmp_path / "one.jsonl").write_bytes(MESSAGES[0])
    live, older, previous = (
        run("score", "one.jsonl", "--model", "small", *arguments).lines[0]
        for arguments in ((), ("--version", "v1"), ("--channel", "previous"))
    )
    assert (live["version"], older["version"], previous["version"]) == ("v2", "v1", "v1")
    assert live["score"] > older["score"] == previous["score"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense = [", "expected TOML"),
        ('contract = "nowhere/contract.toml"\ntable = "nowhere.parquet"\n', "validation_share"),
        ("unknown = 1\n", "unknown"),
    ],
)
def test_a_training_file_that_cannot_be_used_says_why(run: Run, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "training.toml").write_text(content)
    ended = run("train", "training.toml")
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err


def test_training_without_torch_names_the_extra(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "training.toml").write_text(
        'contract = "contract.toml"\ntable = "orders.parquet"\nvalidation_share = 0.2\ntest_share = 0.2\n'
    )
    ended = run("train", "training.toml")
    assert (ended.code, ended.out) == (1, "")
    assert "eventscore[train]" in ended.err


@pytest.fixture(scope="session")
def installed() -> str:
    """The command as it is installed beside this Python."""
    command = shutil.which("eventscore", path=str(Path(sys.executable).parent))
    assert command is not None
    return command


def test_the_installed_command_runs_and_ends_with_its_exit_code(installed: str, tmp_path: Path) -> None:
    def ended(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([installed, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    good, bad, wrong = ended("contract", "check", CONTRACT), ended("contract", "check", "none"), ended("nonsense")
    assert (good.returncode, bad.returncode, wrong.returncode) == (0, 1, 2)
    assert "Traceback" not in bad.stderr + wrong.stderr


def test_help_waits_for_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from eventscore_cli.main import main\n"
        "try:\n    main(['contract', 'check', sys.argv[1]])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'polars', 'onnxruntime', 'boto3', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code, CONTRACT], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_error_message(
    installed: str, tmp_path: Path, store: Path, verifier: Ed25519Verifier
) -> None:
    (tmp_path / "orders.jsonl").write_bytes(b"\n".join([MESSAGES[0]] * 20_000))
    with subprocess.Popen(
        [installed, "score", "orders.jsonl", "--model", "small"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
    assert process.returncode == 1
    assert "Traceback" not in told
    assert "Exception ignored" not in told
