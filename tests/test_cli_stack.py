"""`--stack NAME`: the commands read from a deployed stack where its models are and whom its function trusts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient

import small_model
from deployed_stack import BUCKET, NAME, deploy, emulated_aws
from eventscore import aws
from eventscore.signing import Ed25519Signer
from eventscore.store.versions import ModelVersions
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


def in_the_bucket() -> dict[str, bytes]:
    s3 = boto3.client("s3")
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {each["Key"]: s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read() for each in found}


class TestAVersionThatIsSignedAlready:
    """It goes into a stack's bucket by one command, without the key that signed it."""

    @pytest.fixture
    def version(self, small_versions: ModelVersions, store_folder: Path) -> Path:
        return store_folder / "small" / "versions" / "v1"

    def test_it_goes_over_to_the_byte_by_conditional_writes_the_signature_last(
        self, run: Run, version: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deploy(TrustedKeys=signer.public_key)
        # A key for other commands may stand in the environment; it is not even looked at.
        monkeypatch.setenv("EVENTSCORE_SIGNING_KEY", "no-such-file.pem")
        written: list[tuple[str, Any]] = []
        call = BaseClient._make_api_call  # type: ignore[attr-defined]

        def heard(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
            if operation == "PutObject":
                written.append((arguments["Key"], arguments.get("IfNoneMatch")))
            return call(client, operation, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", heard)
        ended = run("publish", version, "--stack", NAME, "--promote", "live")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == f"published small v1 to s3://{BUCKET}\nlive -> v1\n"
        names = [key.removeprefix("small/versions/v1/") for key, _ in written]
        assert names[-3:] == ["manifest.json", "manifest.sig", "small/channels.json"]
        assert {condition for _, condition in written} == {"*"}, "what the bucket's policy asks for"
        files = {f"small/versions/v1/{file.name}": file.read_bytes() for file in version.iterdir()}
        assert {key: content for key, content in in_the_bucket().items() if "/versions/" in key} == files

    def test_again_it_changes_nothing_and_says_so(self, run: Run, version: Path, signer: Ed25519Signer) -> None:
        deploy(TrustedKeys=signer.public_key)
        assert run("publish", version, "--stack", NAME).code == 0
        before = in_the_bucket()
        ended = run("publish", version, "--stack", NAME)
        assert (ended.code, ended.out) == (0, f"already there, to the byte: small v1 in s3://{BUCKET}\n")
        assert in_the_bucket() == before
        # From there it goes on to another place, as from one stack to the next.
        ended = run(
            "publish", f"s3://{BUCKET}/small/versions/v1/", "--store", "other", "--trusted-key", signer.public_key
        )
        assert (ended.code, ended.out) == (0, "published small v1 to other\n")

    def test_what_an_interrupted_copy_left_is_completed(self, run: Run, version: Path, signer: Ed25519Signer) -> None:
        deploy(TrustedKeys=signer.public_key)
        boto3.client("s3").upload_file(str(version / "model.onnx"), BUCKET, "small/versions/v1/model.onnx")
        assert run("publish", version, "--stack", NAME, "--promote", "live").code == 0

    @pytest.mark.parametrize("file", ["model.onnx", "golden.jsonl", "manifest.json", "manifest.sig", "contract.toml"])
    def test_nothing_is_written_of_a_version_that_is_not_what_was_signed(
        self, run: Run, version: Path, signer: Ed25519Signer, file: str
    ) -> None:
        deploy(TrustedKeys=signer.public_key)
        (version / file).write_bytes((version / file).read_bytes() + b" ")
        ended = run("publish", version, "--stack", NAME, "--promote", "live")
        assert (ended.code, ended.out) == (1, "")
        assert file in ended.err
        assert in_the_bucket() == {}

    def test_what_the_function_never_loads_is_held_to_its_digest_too(
        self, run: Run, store_folder: Path, key_file: Path, trained_run: Path, own_key: str
    ) -> None:
        deploy(TrustedKeys=own_key)
        assert run("publish", trained_run, "--store", store_folder, "--signing-key", key_file).code == 0
        version = store_folder / "small" / "versions" / "v-trained"
        (version / "report.html").write_bytes(b"<html>other</html>")
        ended = run("publish", version, "--stack", NAME)
        assert ended.code == 1
        assert "report.html" in ended.err
        assert in_the_bucket() == {}

    def test_nothing_is_written_that_the_function_would_refuse(self, run: Run, version: Path, own_key: str) -> None:
        deploy(TrustedKeys=own_key)
        ended = run("publish", version, "--stack", NAME)
        assert ended.code == 1
        assert "trusted keys: " in ended.err
        assert in_the_bucket() == {}

    def test_another_version_of_its_name_stays_as_it_is(self, run: Run, version: Path, signer: Ed25519Signer) -> None:
        deploy(TrustedKeys=signer.public_key)
        for name in ("manifest.json", "manifest.sig"):
            boto3.client("s3").put_object(Bucket=BUCKET, Key=f"small/versions/v1/{name}", Body=b"another")
        before = in_the_bucket()
        ended = run("publish", version, "--stack", NAME, "--promote", "live")
        assert ended.code == 1
        assert "already there; a version is written once" in ended.err
        assert in_the_bucket() == before

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("model_store/small/versions/v1", "--signing-key", "signing.pem"), "leave --signing-key out"),
            (("model_store/small/versions/v1", "--test", "t.parquet"), "leave --test out"),
            (("model_store/small",), "name it, as model_store/small/versions/v1"),
            (("model_store",), "name it, as model_store/small/versions/v1"),
            (("model_store/small/versions",), "name it, as model_store/small/versions/v1"),
            (("s3://scores-models/v1",), "expected <store>/<model>/versions/<version>"),
            (("nowhere",), "got nowhere: there is none"),
        ],
    )
    def test_what_cannot_be_meant_is_said(self, run: Run, version: Path, arguments: tuple[str, ...], said: str) -> None:
        ended = run("publish", *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err.replace("\n", " ")


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
