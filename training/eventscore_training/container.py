"""The training job in a container: `python -m eventscore_training.container`, as SageMaker starts it; with ``batch`` behind it,
as AWS Batch does (see `batch`).

Folders below ``/opt/ml`` (another root: ``ML_ROOT``), each of which an environment variable can put elsewhere:

- ``input/config/hyperparameters.json`` (``SM_INPUT_CONFIG_DIR``, or its JSON in ``SM_HPS``): keys of the training configuration
  (``seed``, ``fit.epochs``), every value a string as SageMaker passes it; ``store`` and ``promote`` publish the version;
- ``input/data/<channel>`` (``SM_CHANNEL_<CHANNEL>``): ``train``, ``validation`` and ``test``, or ``table``, with one file each;
  ``contract.toml``, ``training.toml`` and the key that signs (``*.pem``) may lie in any channel;
- ``model`` (``SM_MODEL_DIR``): the finished run; ``checkpoints`` (``SM_CHECKPOINT_DIR``): gone on from after an interruption;
- ``output/failure`` (``SM_OUTPUT_DIR``): the message, if it fails.

Several GPUs: ``torchrun --nproc-per-node 4 -m eventscore_training.container``; process 0 writes and publishes.

The key that signs may also be named by ``EVENTSCORE_SIGNING_KEY``, a file or ``kms:alias/...``; ``EVENTSCORE_TRUSTED_KEYS`` says whose
live version a gate may be compared with (default: that key's).

Exit codes: 0 done, 1 failed, 3 the version misses a gate of its contract and was not published, 75 stopped by SIGTERM with a
checkpoint: start it again.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventscore.errors import EventscoreError
from eventscore.settings import SIGNING_KEY, TRUSTED_KEYS
from eventscore_training.config import TrainingConfig, parse_training_config
from eventscore_training.errors import ConfigInvalid, GateFailed, TrainingInterrupted
from eventscore_training.progress import Progress
from eventscore_training.ranks import told_ranks
from eventscore_training.threads import wait_asleep

if TYPE_CHECKING:
    from eventscore_training.run import TrainedVersion

ROOT = "ML_ROOT"
GATES_MISSED = 3
STOPPED = 75
_TABLES = ("train", "validation", "test", "table")
_OF_THE_CONTAINER = ("store", "promote")


@dataclass(frozen=True)
class Places:
    """The folders of one container."""

    root: Path
    channels: Mapping[str, Path]
    hyperparameters: Path
    model: Path
    checkpoints: Path
    output: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Places:
        """The folders as the environment tells them."""
        root = Path(environment.get(ROOT) or "/opt/ml")
        data = root / "input" / "data"
        channels = (
            {folder.name: folder for folder in sorted(data.iterdir()) if folder.is_dir()} if data.is_dir() else {}
        )
        prefix = "SM_CHANNEL_"
        told = {
            name.removeprefix(prefix).lower(): Path(at) for name, at in environment.items() if name.startswith(prefix)
        }
        return cls(
            root=root,
            channels={**channels, **told},
            hyperparameters=Path(environment.get("SM_INPUT_CONFIG_DIR") or root / "input" / "config")
            / "hyperparameters.json",
            model=Path(environment.get("SM_MODEL_DIR") or root / "model"),
            checkpoints=Path(environment.get("SM_CHECKPOINT_DIR") or root / "checkpoints"),
            output=Path(environment.get("SM_OUTPUT_DIR") or root / "output"),
        )


@dataclass(frozen=True)
class Order:
    """What the container is to do: the job, and where to publish its version (None: nowhere)."""

    config: TrainingConfig
    store: str | None
    promote: str | None


def read_order(places: Places, environment: Mapping[str, str]) -> Order:
    """Put the configuration together: ``training.toml``, over it the hyperparameters, over them the channels' tables.

    Raises:
        ConfigInvalid: no contract, a channel without its one table, a hyperparameter that is no key.

    """
    told = _hyperparameters(places.hyperparameters, environment)
    extras = {name: str(told.pop(name)) for name in _OF_THE_CONTAINER if name in told}
    document: dict[str, Any] = {}
    written = _one_of(places, "training.toml")
    if written is not None:
        try:
            document = tomllib.loads(written.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigInvalid(str(written), [f"expected TOML: {error}"]) from None
    # Its paths are those of another machine; here the channels say where things are.
    document = {key: value for key, value in document.items() if key not in ("contract", "runs", *_TABLES)}
    for name, value in told.items():
        section, _, key = name.rpartition(".")
        if section:
            document[section] = {**document.get(section, {}), key: value}
        else:
            document[key] = value
    contract = _one_of(places, "contract.toml")
    if contract is None:
        there = ", ".join(f"{name} ({folder})" for name, folder in places.channels.items()) or "none"
        raise ConfigInvalid("the container's channels", [f"expected a contract.toml in one of them; channels: {there}"])
    document |= {"contract": contract, "runs": places.model}
    for channel in _TABLES:
        if channel in places.channels:
            document[channel] = _table(channel, places.channels[channel])
    return Order(
        parse_training_config(document, "the container's configuration"), extras.get("store"), extras.get("promote")
    )


def run_container(
    environment: Mapping[str, str], work: Callable[[Places, Mapping[str, str]], object] | None = None
) -> int:
    """Do the ``work`` (default: `train_and_publish`) and return the exit code. A failure is written where SageMaker looks for it."""
    places = Places.of(environment)
    try:
        (work or train_and_publish)(places, environment)
    except TrainingInterrupted as error:
        print(error, flush=True)
        return STOPPED
    except GateFailed as error:
        _fail(places, str(error))
        return GATES_MISSED
    except EventscoreError as error:
        _fail(places, str(error))
        return 1
    except Exception:
        _fail(places, traceback.format_exc())
        return 1
    return 0


def train_and_publish(places: Places, environment: Mapping[str, str]) -> TrainedVersion:
    """Train; publish if told so, and point the channel at the version if one is named.

    Raises:
        EventscoreError: what `train` and `publish` of this package raise, and what makes the order impossible.

    """
    from eventscore.artifact import load_artifact
    from eventscore.kms_signing import open_signer
    from eventscore.signing import Ed25519Verifier, parse_trusted_keys
    from eventscore.store.location import open_store
    from eventscore.store.versions import ModelVersions

    order = read_order(places, environment)
    # A key or a store that cannot be used is told now, not after hours of training.
    store = signer = verifier = None
    if order.store is not None:
        store, signer = open_store(order.store), open_signer(_key(places, environment))
        verifier = Ed25519Verifier(parse_trusted_keys(environment.get(TRUSTED_KEYS) or signer.public_key))
    wait_asleep()
    from eventscore_training.launch import launch  # torch

    trained = launch(order.config, _told, places.checkpoints)
    if not told_ranks(environment).first:
        return trained
    for name, value in trained.metrics.items():
        print(f"test {name}={value:.6f};", flush=True)  # for SageMaker's metric definitions
    if store is not None and signer is not None and verifier is not None:
        from eventscore_training.publish import publish

        manifest = publish(trained, store, signer, verifier, order.config.test or order.config.table)
        print(f"published {manifest.model} {manifest.version} to {store.url}", flush=True)
        if order.promote is not None:
            versions = ModelVersions(store, manifest.model)
            seen = versions.channels()
            # Nothing is pointed at that has not proved itself.
            load_artifact(versions, manifest.version, verifier)
            versions.promote(manifest.version, order.promote, seen)
    return trained


def _told(step: Progress) -> None:
    print(f"{step.phase} {step.done}/{step.total} {step.detail}".rstrip(), flush=True)


def _fail(places: Places, message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    places.output.mkdir(parents=True, exist_ok=True)
    (places.output / "failure").write_text(message, encoding="utf-8")


def _hyperparameters(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Hyperparameters as values: SageMaker passes every one as a string, ``"12"`` or ``"[64, 32]"`` or ``"cpu"``."""
    text = file.read_text(encoding="utf-8") if file.is_file() else environment.get("SM_HPS") or "{}"
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigInvalid(str(file), [f"expected JSON: {error}"]) from None
    if not isinstance(document, dict):
        raise ConfigInvalid(str(file), ["expected a JSON object of hyperparameters"])
    return {name: _value(value) for name, value in document.items()}


def _value(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _one_of(places: Places, name: str) -> Path | None:
    found = [folder / name for folder in places.channels.values() if (folder / name).is_file()]
    if len(found) > 1:
        raise ConfigInvalid("the container's channels", [f"{name} lies in more than one: {', '.join(map(str, found))}"])
    return found[0] if found else None


def _table(channel: str, folder: Path) -> Path:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".parquet", ".csv")) if folder.is_dir() else []
    if len(files) != 1:
        got = ", ".join(file.name for file in files) or "none"
        raise ConfigInvalid(str(folder), [f"channel {channel!r}: expected one .parquet or .csv file, got {got}"])
    return files[0]


def _key(places: Places, environment: Mapping[str, str]) -> str:
    if environment.get(SIGNING_KEY):
        return environment[SIGNING_KEY]
    files = sorted(file for folder in places.channels.values() for file in folder.glob("*.pem"))
    if len(files) != 1:
        problem = f"publishing to a store needs the key that signs: one .pem file in a channel, or {SIGNING_KEY}; got {len(files)}"
        raise ConfigInvalid("the container's channels", [problem])
    return str(files[0])


if __name__ == "__main__":
    if sys.argv[1:] == ["batch"]:
        from eventscore_training.batch import run_batch

        sys.exit(run_batch(os.environ))
    sys.exit(run_container(os.environ))
