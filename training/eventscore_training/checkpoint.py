"""Checkpoints: a fit that is stopped (a spot machine's SIGTERM) goes on later, and ends with the very weights of one that was not.

A checkpoint is written at every evaluation, whole or not at all, and holds all that the next step depends on: weights, optimiser,
schedule, random numbers, place. After a SIGTERM the next evaluation is the last.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from eventscore_training.config import TrainingConfig
from eventscore_training.distributed import from_first, in_any, ranks
from eventscore_training.errors import CheckpointMismatch, TrainingInterrupted

STATES = "checkpoint-*.pt"
"""One file for each seed's fit: a fit that was done is done again from its last evaluation, and ends as it did."""
JOB = "job.json"
CHECKPOINT_FORMAT = 2


class Stateful(Protocol):
    """A network, an optimiser, a schedule."""

    def state_dict(self) -> Any:
        """Everything that it is."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Become that again."""


@dataclass(frozen=True)
class Place:
    """Where a fit stands: ``steps`` of ``epoch`` are done. ``order_random``: the generator before the epoch's order was drawn."""

    epoch: int
    steps: int
    order_random: Tensor
    random: Tensor
    evaluations: Sequence[Mapping[str, float]]
    best: int
    best_state: dict[str, Tensor]


class Checkpoint:
    """The checkpoint of one job in ``folder``, which appears with the first save. ``fingerprint`` says which job it is of."""

    def __init__(self, folder: Path, config: TrainingConfig, fingerprint: str) -> None:
        self.folder = folder
        self._config = config
        self._fingerprint = fingerprint
        self._stop = False

    def load(self, seed: int, device: torch.device, **parts: Stateful) -> Place | None:
        """Bring the ``parts`` of the seed's fit and torch's own random numbers back to where they were; None if nothing was saved.

        Raises:
            CheckpointMismatch: the contract, a table or the configuration is another one.

        """
        # Process 0 reads it for all: on other machines the file may not be.
        content = from_first(_content, self._file(seed))
        if content is None:
            return None
        saved = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        if (saved["format"], saved["fingerprint"]) != (CHECKPOINT_FORMAT, self._fingerprint):
            raise CheckpointMismatch(self.folder)
        for name, part in parts.items():
            part.load_state_dict(saved["parts"][name])
        torch.set_rng_state(saved["torch_random"].cpu())
        if device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda_random"].cpu(), device)
        place = saved["place"]
        return Place(**{**place, "order_random": place["order_random"].cpu(), "random": place["random"].cpu()})

    def save(self, seed: int, place: Place, device: torch.device, **parts: Stateful) -> None:
        """Write the checkpoint of the seed's fit (process 0 for all).

        Raises:
            TrainingInterrupted: a SIGTERM came, to whichever process, and this was the last thing to do.

        """
        if ranks().first:
            self._write(seed, place, device, parts)
        # All wait here until it is written.
        if in_any(self._stop):
            raise TrainingInterrupted(self.folder)

    def stop_if_asked(self) -> None:
        """Raises ``TrainingInterrupted`` if a SIGTERM came: the last checkpoint is there, and the rest of the job is short."""
        if self._stop:
            raise TrainingInterrupted(self.folder)

    def _write(self, seed: int, place: Place, device: torch.device, parts: Mapping[str, Stateful]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / JOB).write_text(_absolute(self._config).model_dump_json(indent=2), encoding="utf-8")
        state = {
            "format": CHECKPOINT_FORMAT,
            "fingerprint": self._fingerprint,
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "place": {name: getattr(place, name) for name in Place.__dataclass_fields__},
        }
        file = self._file(seed)
        unfinished = file.with_suffix(f".{os.getpid()}")
        torch.save(state, unfinished)
        unfinished.replace(file)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """While this lasts, SIGTERM is noted, and asks for the last checkpoint (in the main thread; no other may watch signals)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._asked)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def discard(self) -> None:
        """The job is done: nothing is left to resume."""
        for file in (*self.folder.glob(STATES), self.folder / JOB):
            file.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, seed: int) -> Path:
        return self.folder / STATES.replace("*", str(seed))

    def _asked(self, *_: object) -> None:
        self._stop = True


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def records(evaluations: Sequence[Any]) -> list[dict[str, float]]:
    """Evaluations as plain values, which is all that a checkpoint holds besides tensors."""
    return [{name: float(value) for name, value in evaluation.as_dict().items()} for evaluation in evaluations]


def fingerprint_of(contract: bytes, tables: Sequence[str], config: TrainingConfig) -> str:
    """Which job it is: the contract's bytes, the tables' digests, and the configuration without its paths."""
    paths = {"contract", "train", "validation", "test", "table", "runs", "limits"}
    plain = config.model_dump(mode="json", exclude=paths)
    return hashlib.sha256(
        json.dumps([hashlib.sha256(contract).hexdigest(), list(tables), plain], sort_keys=True).encode()
    ).hexdigest()


def unfinished_folder(config: TrainingConfig, model: str) -> Path:
    """Where a job of this process keeps its checkpoint, if nobody names another folder."""
    names = (
        f".{model}.{os.getpid()}{suffix}.unfinished"
        for suffix in itertools.chain([""], (f"-{n}" for n in itertools.count(2)))
    )
    return next(folder for name in names if not (folder := config.runs / name).exists())


def saved_configuration(folder: Path) -> TrainingConfig:
    """The configuration of the job whose checkpoint lies in ``folder``.

    Raises:
        CheckpointMismatch: there is no checkpoint.

    """
    if not any(folder.glob(STATES)):
        raise CheckpointMismatch(folder)
    try:
        return TrainingConfig.model_validate_json((folder / JOB).read_bytes())
    except (OSError, ValueError):
        raise CheckpointMismatch(folder) from None


def _absolute(config: TrainingConfig) -> TrainingConfig:
    """``config`` for a process that starts elsewhere."""
    paths = ("contract", "train", "validation", "test", "table", "runs")
    named = {name: getattr(config, name).absolute() for name in paths if getattr(config, name) is not None}
    return config.model_copy(update=named)
