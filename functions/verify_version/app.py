"""Before a new version of the score function gets traffic: it must give the golden events of the live model their scores.

CodeDeploy calls it as the hook before traffic and waits for its word. Whatever goes wrong is a "Failed", which leaves the old version
where it is. The score function proves the model to itself when it loads it; this proves the new version's code, layers, settings and
rights together, from the invocation to the answer.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

SUCCEEDED, FAILED = "Succeeded", "Failed"
# Lambda takes 6 MB; a golden event on its way is JSON in ASCII, which may be some bytes longer than its line.
MOST_BYTES = 4_000_000
# Two tries of it end within this function's own 900 s: killed, it would tell CodeDeploy nothing, which then waits for an hour.
READ_TIMEOUT_S = 400
TRIES = 2
# The pointer may move between a look at it and the answers.
LOOKS = 3

Read = Callable[[str], bytes | None]
"""An object of the model store by its key, None where there is none."""
Invoke = Callable[[bytes], Any]
"""Calls the new version with a JSON document; answers what it answered."""


class NotTheSame(Exception):
    """The new version did not answer as the model demands. Says what was expected, and what came."""


class _Moved(Exception):
    """Another version of the model answered than the channel pointed at."""


def verify(read: Read, invoke: Invoke, models: Sequence[str], channel: str, field: str, sources: str) -> list[str]:
    """Score every model's golden events through the new version; what was verified, in words.

    ``field`` and ``sources`` are EVENTSCORE_MODEL_FIELD and EVENTSCORE_MODEL_SOURCES: where sources tell models apart, a direct
    invocation reaches one of them only, and only that is verified.

    Raises:
        NotTheSame: an answer is not what it should be.

    """
    by_field = field or len(models) == 1
    reached = models if by_field else [json.loads(sources).get("direct", models[0])]
    return [_verify_model(read, invoke, model, channel, {field: model} if field else {}) for model in reached]


def _verify_model(read: Read, invoke: Invoke, model: str, channel: str, chosen_by: Mapping[str, str]) -> str:
    for look in range(1, LOOKS + 1):
        pointers = read(f"{model}/channels.json")
        version = json.loads(pointers)["channels"].get(channel) if pointers is not None else None
        if version is None:
            # The first model comes after the first deployment; a repair of the code must not wait for one either.
            return f"{model}: nothing is {channel} yet, so there is nothing to verify with"
        folder = f"{model}/versions/{version}"
        manifest, golden = read(f"{folder}/manifest.json"), read(f"{folder}/golden.jsonl")
        if manifest is None or golden is None:
            raise NotTheSame(f"{model}: {channel} is {version}, which has no manifest or no golden events")
        lines = [json.loads(line) for line in golden.splitlines()]
        if not lines:
            raise NotTheSame(f"{model} {version}: expected golden events in golden.jsonl, found none")
        tolerance = json.loads(manifest)["golden"]["tolerance"]
        try:
            farthest = max(
                _farthest(invoke, part, model, version, tolerance, chosen_by) for part in _parts(lines, MOST_BYTES)
            )
        except _Moved as moved:
            if look == LOOKS:
                raise NotTheSame(f"{model}: expected answers of {version}, which is {channel}; {moved}") from None
        else:
            return f"{model} {version}: {len(lines)} golden events, at most {farthest:.2g} from their scores"
    raise AssertionError("unreachable")


def _parts(lines: Sequence[Any], most_bytes: int) -> Iterator[list[Any]]:
    part: list[Any] = []
    size = 0
    for line in lines:
        length = len(json.dumps(line["event"])) + 2
        if part and size + length > most_bytes:
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    yield part


def _farthest(
    invoke: Invoke, lines: Sequence[Any], model: str, version: str, tolerance: float, chosen_by: Mapping[str, str]
) -> float:
    """How far the answer that is farthest off lies from its golden score."""
    answers = invoke(json.dumps([line["event"] | chosen_by for line in lines]).encode())
    if not isinstance(answers, list) or len(answers) != len(lines):
        raise NotTheSame(
            f"{model} {version}: expected {len(lines)} answers to as many golden events; got something else"
        )
    farthest = 0.0
    for number, (line, answer) in enumerate(zip(lines, answers, strict=True), start=1):
        if answer.get("fallback") or answer.get("version") != version:
            raise _Moved(f"{answer.get('model')} {answer.get('version')} answered")
        if "rejected" in answer:
            raise NotTheSame(f"{model} {version}: golden event {number} was rejected: {answer['rejected']['reason']}")
        wanted = line["score"] if isinstance(line["score"], list) else [line["score"]]
        got = list(answer["scores"].values()) if isinstance(line["score"], list) else [answer["score"]]
        if len(got) != len(wanted):
            raise NotTheSame(f"{model} {version}: golden event {number}: expected {len(wanted)} scores, got {len(got)}")
        for want, score in zip(wanted, got, strict=True):
            # Written so that NaN fails, too.
            if not abs(score - want) <= tolerance:
                raise NotTheSame(
                    f"{model} {version}: golden event {number}: expected {want} within {tolerance}, got {score}"
                )
            farthest = max(farthest, abs(score - want))
    return farthest


def answer_hook(event: Mapping[str, str], check: Callable[[], Sequence[str]], report: Callable[..., Any]) -> str:
    """Run ``check`` and tell CodeDeploy how it went; never raises for what ``check`` found, so that nobody waits for an hour."""
    try:
        status, told = SUCCEEDED, list(check())
    except Exception as error:  # any: a version that cannot be verified gets no traffic
        status, told = FAILED, [f"{type(error).__name__}: {error}"]
    level = "INFO" if status == SUCCEEDED else "ERROR"
    print(json.dumps({"level": level, "message": "version verified", "status": status, "details": told}))
    report(
        deploymentId=event["DeploymentId"],
        lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
        status=status,
    )
    return status


def _store(bucket: str) -> Read:
    import boto3

    s3 = boto3.client("s3")

    def read(key: str) -> bytes | None:
        try:
            return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None

    return read


def _version(arn: str) -> Invoke:
    import boto3
    from botocore.config import Config

    client: Any = boto3.client(
        "lambda", config=Config(read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": TRIES})
    )

    def invoke(payload: bytes) -> Any:
        answer = client.invoke(FunctionName=arn, Payload=payload)
        content: Any = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise NotTheSame(f"the new version failed: {content.get('errorType')}: {content.get('errorMessage')}")
        return content

    return invoke


def handler(event: Mapping[str, str], context: Any) -> str:
    """What CodeDeploy calls before it shifts traffic."""
    import boto3

    environment = os.environ

    def check() -> Sequence[str]:
        return verify(
            _store(environment["MODEL_BUCKET"]),
            _version(environment["NEW_VERSION"]),
            environment["MODELS"].split(","),
            environment["CHANNEL"],
            environment["MODEL_FIELD"],
            environment["MODEL_SOURCES"],
        )

    return answer_hook(event, check, boto3.client("codedeploy").put_lifecycle_event_hook_execution_status)
