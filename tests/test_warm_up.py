"""As many environments are warm as the schedule asks for: each warm-up holds its own until the others have reached theirs."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import small_model
from eventscore import settings
from eventscore.errors import InvocationNotRecognised
from eventscore.function import ScoreFunction
from eventscore.holding import MAX_HOLD_MS, hold
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from eventscore.time_left import NO_LIMIT, TimeLeft
from eventscore_local.environment_pool import EnvironmentPool
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.layers import build_for_host
from function_apps import load_app

ROOT = Path(__file__).resolve().parent.parent
warm_up = load_app("warm_up")


def variables(folder: Path, signer: Ed25519Signer) -> dict[str, str]:
    return {
        settings.STORE: str(folder),
        settings.MODEL: small_model.MODEL,
        settings.TRUSTED_KEYS: signer.public_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class TooManyRequestsException(Exception):
    """By its name what boto3 raises when all environments that a function may have are busy."""


def test_a_warm_up_is_held_as_long_as_it_asks_and_no_longer_than_the_invocation_lasts() -> None:
    waited: list[float] = []
    first = hold({"hold_ms": 250}, NO_LIMIT, waited.append)
    second = hold({"hold_ms": MAX_HOLD_MS}, TimeLeft(lambda: 2.5), waited.append)
    assert waited == [0.25, 2.0]
    assert first == second, "it is the same environment"
    assert hold({}, NO_LIMIT, waited.append) == {}
    assert len(waited) == 2


@pytest.mark.parametrize("asked", [-1, MAX_HOLD_MS + 1, 0.5, "500", True, [1]])
def test_a_hold_that_is_no_time_is_refused(asked: object) -> None:
    with pytest.raises(InvocationNotRecognised, match=f"whole number from 0 to {MAX_HOLD_MS}"):
        hold({"hold_ms": asked}, NO_LIMIT, lambda _: pytest.fail("it waited"))


def test_the_score_function_says_which_environment_it_held(
    small_versions: ModelVersions, store_folder: Path, signer: Ed25519Signer
) -> None:
    function = ScoreFunction.from_environment(variables(store_folder, signer))
    plain, held = (function({"eventscore": "warm-up", **more}, None) for more in ({}, {"hold_ms": 0}))
    assert plain == {"model": "small", "version": "v1"}
    assert held == {**plain, "environment": held["environment"]}


def test_every_warm_up_is_under_way_before_the_first_is_answered() -> None:
    together = threading.Barrier(5, timeout=30)

    def invoke(payload: bytes) -> dict[str, Any]:
        assert json.loads(payload) == {"eventscore": "warm-up", "hold_ms": warm_up.HOLD_MS}
        return {"environment": str(together.wait())}

    assert warm_up.keep_warm(invoke, 5) == {"asked": 5, "warm": 5, "busy": 0}


def test_environments_that_are_busy_with_events_count_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    turns = iter(range(4))

    def invoke(_: bytes) -> dict[str, Any]:
        if next(turns) >= 2:
            raise TooManyRequestsException
        return {"environment": "the only one"}

    assert warm_up.keep_warm(invoke, 4) == {"asked": 4, "warm": 1, "busy": 2}
    told = json.loads(capsys.readouterr().out)
    assert told == {"level": "INFO", "message": "environments warmed", "asked": 4, "warm": 1, "busy": 2, "failures": []}


def test_a_warm_up_that_fails_is_an_error_and_the_others_are_made_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    turns = iter(range(3))

    def invoke(_: bytes) -> dict[str, Any]:
        if next(turns) == 0:
            raise ValueError("no model")
        return {"environment": "one"}

    with pytest.raises(warm_up.WarmUpFailed, match="ValueError: no model"):
        warm_up.keep_warm(invoke, 3)
    assert json.loads(capsys.readouterr().out)["warm"] == 1


@pytest.mark.emulator
@pytest.mark.timeout(180)
def test_three_of_four_environments_are_warm_and_stay_the_same_three(tmp_path: Path, signer: Ed25519Signer) -> None:
    small_model.publish(FolderStore(tmp_path), signer)
    layers = build_for_host(ROOT)
    function = FunctionConfiguration(
        ROOT / "functions" / "score", layers.managed_runtime, layers.layers, variables(tmp_path, signer)
    )
    answered: list[str] = []
    with EnvironmentPool(ROOT, function, 4) as pool:

        def invoke(payload: bytes) -> dict[str, Any]:
            result = pool.invoke(payload)
            assert result.error is None, result.error
            answer: dict[str, Any] = json.loads(result.payload)
            answered.append(answer["environment"])
            return answer

        for _ in range(2):
            # Held for longer than on Lambda: this machine may have other things to do.
            assert warm_up.keep_warm(invoke, 3, hold_ms=3000) == {"asked": 3, "warm": 3, "busy": 0}
        assert len(pool.init_durations_ms) == 3, "the fourth was never needed, and nobody was started twice"
    assert set(answered[:3]) == set(answered[3:])
