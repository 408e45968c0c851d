"""`--stack NAME`: the commands read from a deployed stack where its models are and whom its function trusts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

import small_model
from deployed_stack import BUCKET, NAME, deploy, emulated_aws
from eventscore import aws
from eventscore.signing import Ed25519Signer
from eventscore_cli.stack import Stack, StackUnusable, find_stack, usable_stack
from test_cli import Run, key_file, run, trained_run

__all__ = ["key_file", "run", "trained_run"]


@pytest.fixture(autouse=True)
def _aws() -> Iterator[None]:
    with emulated_aws():
        yield


@pytest.fixture
def own_key(run: Run, key_file: Path) -> str:
    return run("keys", "show", key_file).out.strip()


def test_a_run_is_published_promoted_listed_and_scored_with_no_other_configuration_than_the_stacks_name(
    run: Run, tmp_path: Path, key_file: Path, trained_run: Path, own_key: str
) -> None:
    deploy(TrustedKeys=own_key)
    published = run("publish", trained_run, "--stack", NAME, "--signing-key", key_file, "--promote", "live")
    assert (published.code, published.err) == (0, "")
    assert published.out == f"published small v-trained to s3://{BUCKET}\nlive -> v-trained\n"
    listed = run("versions", "--stack", NAME)
    assert listed.code == 0
    assert "v-trained" in listed.out
    assert run("promote", "v-trained", "--channel", "canary", "--stack", NAME).code == 0
    assert run("promote", "small", "v-trained", "--channel", "shadow", "--stack", NAME).code == 0
    (tmp_path / "one.jsonl").write_bytes(small_model.message())
    assert run("score", "one.jsonl", "--stack", NAME).lines[0]["version"] == "v-trained"


def test_nothing_is_written_that_is_to_be_promoted_and_that_the_function_would_refuse(
    run: Run, key_file: Path, trained_run: Path, own_key: str, signer: Ed25519Signer
) -> None:
    deploy(TrustedKeys=signer.public_key)
    ended = run("publish", trained_run, "--stack", NAME, "--signing-key", key_file, "--promote", "live")
    assert (ended.code, ended.out) == (1, "")
    assert "expected a signing key that it trusts" in ended.err
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=BUCKET)
    # Published only, it may wait for a deployment that trusts its key; promoted it may not be before.
    assert run("publish", trained_run, "--stack", NAME, "--signing-key", key_file).code == 0
    ended = run("promote", "v-trained", "--stack", NAME)
    assert ended.code == 1
    assert "trusted keys: " in ended.err


def test_a_model_that_the_stacks_function_does_not_have_is_not_published_there(
    run: Run, key_file: Path, trained_run: Path, own_key: str
) -> None:
    deploy(TrustedKeys=own_key, ModelName="other", MoreModels="third, fourth")
    ended = run("publish", trained_run, "--stack", NAME, "--signing-key", key_file)
    assert ended.code == 1
    assert "expected a model of its function (other, third, fourth), got small" in ended.err
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=BUCKET)


def test_a_stack_that_is_not_there_is_said_to_be_so_with_the_region(run: Run) -> None:
    ended = run("versions", "--stack", "nowhere")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error: stack nowhere: no such stack in us-east-1; ")


@pytest.mark.parametrize("missing", ["ModelBucketName", "TrustedKeys", "ModelName"])
def test_an_output_that_is_missing_is_named(run: Run, missing: str, own_key: str) -> None:
    deploy({"TrustedKeys": own_key, missing: None})
    ended = run("versions", "--stack", NAME)
    assert (ended.code, ended.out) == (1, "")
    assert f"expected an output {missing}, got " in ended.err
    assert "older template" in ended.err


class _CloudFormation:
    class meta:  # noqa: N801  boto3's name
        region_name = "eu-west-1"

    def __init__(self, status: str) -> None:
        self._status = status

    def describe_stacks(self, StackName: str) -> Any:  # noqa: N803
        return {"Stacks": [{"StackName": StackName, "StackStatus": self._status, "StackStatusReason": "no rights"}]}


@pytest.mark.parametrize(
    ("status", "usable"),
    [
        ("CREATE_COMPLETE", True),
        ("UPDATE_COMPLETE", True),
        ("UPDATE_IN_PROGRESS", True),
        ("UPDATE_ROLLBACK_COMPLETE", True),
        ("CREATE_IN_PROGRESS", False),
        ("CREATE_FAILED", False),
        ("ROLLBACK_COMPLETE", False),
        ("UPDATE_ROLLBACK_FAILED", False),
        ("DELETE_IN_PROGRESS", False),
        ("REVIEW_IN_PROGRESS", False),
    ],
)
def test_a_stack_whose_last_operation_failed_is_not_relied_on(status: str, usable: bool) -> None:
    if usable:
        assert usable_stack("scores", _CloudFormation(status)).region == "eu-west-1"
        return
    with pytest.raises(StackUnusable, match=rf"expected one that is deployed, got {status} \(no rights\)"):
        usable_stack("scores", _CloudFormation(status))
    assert find_stack("scores", _CloudFormation(status)).status == status


@pytest.mark.parametrize("arguments", [("--store", "x"), ("--trusted-key", "k")])
def test_what_the_stack_says_is_not_said_twice(run: Run, arguments: tuple[str, str]) -> None:
    ended = run("versions", "small", "--stack", NAME, *arguments)
    assert ended.code == 2
    assert f"--stack says what {arguments[0]} says" in ended.err


@pytest.mark.parametrize("arguments", [("versions",), ("promote", "v1"), ("promote", "a", "b", "c")])
def test_without_a_stack_the_model_has_to_be_named(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert "MODEL" in ended.err


class TestWhatBotocoreSays:
    """Every command ends with one line, whichever way AWS cannot be had."""

    def ended(self, run: Run) -> str:
        ended = run("versions", "--stack", NAME)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.count("\n") == 1
        return ended.err

    def test_no_credentials(self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        aws._session.cache_clear()
        assert "expected credentials, got none" in self.ended(run)

    def test_no_region(self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        aws._session.cache_clear()
        assert "expected a region, got none" in self.ended(run)

    def test_no_such_profile(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        aws._session.cache_clear()
        assert "nobody" in self.ended(run)

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("AccessDenied", "DescribeStacks is not allowed"),
            ("AccessDeniedException", "DescribeStacks is not allowed"),
            ("ExpiredToken", "log in again"),
            ("InvalidClientTokenId", "not known there"),
            ("InternalFailure", "An error occurred (InternalFailure)"),
        ],
    )
    def test_a_refusal(self, run: Run, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
        from botocore.exceptions import ClientError

        def refuse(name: str) -> Stack:
            raise ClientError({"Error": {"Code": code, "Message": "User: x is not\nauthorized"}}, "DescribeStacks")

        monkeypatch.setattr("eventscore_cli.place.usable_stack", refuse)
        assert said in self.ended(run)

    def test_nobody_there(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        from botocore.exceptions import EndpointConnectionError

        def refuse(name: str) -> Stack:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

        monkeypatch.setattr("eventscore_cli.place.usable_stack", refuse)
        assert "no answer" in self.ended(run)
