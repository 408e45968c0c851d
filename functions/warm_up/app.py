"""Keeps several execution environments of the score function warm.

A warm-up reaches one environment, so as many go out at once as shall be warm, and each asks the score function to hold its
environment until the others have reached theirs.
"""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Longer than it takes to send fifty requests, and short enough to cost nothing: an environment that is held is billed.
HOLD_MS = 500
# The score function's longest timeout, and time to start.
READ_TIMEOUT_S = 910
# Lambda's word for "all environments that you may have are busy": those are warm.
BUSY = "TooManyRequestsException"
FAILED = "failed: "

Invoke = Callable[[bytes], Mapping[str, Any]]
"""Calls the score function with a JSON document; answers what it answered."""


class WarmUpFailed(Exception):
    """An environment did not answer a warm-up; Lambda's metric of errors counts it."""


def keep_warm(invoke: Invoke, environments: int, hold_ms: int = HOLD_MS) -> dict[str, int]:
    """Warm ``environments`` environments up; the answer counts those that answered and the invocations that found all of them busy.

    Raises:
        WarmUpFailed: an invocation failed. The others were made all the same.

    """
    payload = json.dumps({"eventscore": "warm-up", "hold_ms": hold_ms}).encode()
    with ThreadPoolExecutor(environments) as threads:
        outcomes = list(threads.map(lambda _: _outcome(invoke, payload), range(environments)))
    failures = sorted({outcome.removeprefix(FAILED) for outcome in outcomes if outcome.startswith(FAILED)})
    told = {
        "asked": environments,
        "warm": len({outcome for outcome in outcomes if outcome != BUSY and not outcome.startswith(FAILED)}),
        "busy": outcomes.count(BUSY),
    }
    print(
        json.dumps(
            {"level": "ERROR" if failures else "INFO", "message": "environments warmed", **told, "failures": failures}
        )
    )
    if failures:
        raise WarmUpFailed("; ".join(failures))
    return told


def _outcome(invoke: Invoke, payload: bytes) -> str:
    """The environment that answered, BUSY, or why there was no answer."""
    try:
        return str(invoke(payload)["environment"])
    except Exception as error:  # any: the other environments are none the worse for it
        return BUSY if type(error).__name__ == BUSY else f"{FAILED}{type(error).__name__}: {error}"


def _lambda(function: str, connections: int) -> Invoke:
    import boto3
    from botocore.config import Config

    client: Any = boto3.client(
        "lambda",
        config=Config(max_pool_connections=connections, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 1}),
    )

    def invoke(payload: bytes) -> Mapping[str, Any]:
        answer = client.invoke(FunctionName=function, Payload=payload)
        content: Any = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise WarmUpFailed(f"{content.get('errorType')}: {content.get('errorMessage')}")
        return dict(content)

    return invoke


def handler(event: Any, context: Any) -> dict[str, int]:
    """What the schedule calls; FUNCTION is the ARN of the alias, ENVIRONMENTS how many of its environments shall be warm."""
    environments = int(os.environ["ENVIRONMENTS"])
    return keep_warm(_lambda(os.environ["FUNCTION"], environments), environments)
