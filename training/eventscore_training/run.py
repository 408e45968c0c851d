"""A run's folder: an unsigned version, ``report.json`` with all its figures, and ``DONE``, written last."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eventscore.manifest import BASELINE, CONTRACT, GOLDEN, GRAPH, REPORT, GoldenTolerance, Provenance
from eventscore_training.errors import RunIncomplete

RUN_REPORT = "report.json"
DONE = "DONE"
VERSION_FILES = (GRAPH, CONTRACT, GOLDEN, BASELINE, REPORT)
"""What of a run is published; ``report.json`` becomes the manifest."""


class GateRecord(BaseModel):
    """A gate as it was measured at the end of the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    limit: float
    measured: float
    passed: bool
    detail: str = ""

    @field_validator("measured", mode="before")
    @classmethod
    def _no_figure(cls, value: object) -> object:
        """JSON has no NaN: a figure that the run did not measure is written as null."""
        return float("nan") if value is None else value


class RunReport(BaseModel):
    """Everything that a run found out, in ``report.json``. ``metrics``: ``fp32`` and ``int8``, on the test part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: str
    version: str
    task: str
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    opset: int
    duration_s: Annotated[float, Field(ge=0)]
    split: str
    periods: Mapping[str, tuple[str, str]]
    golden: GoldenTolerance
    metrics: Mapping[str, Mapping[str, float]]
    validation_metrics: Mapping[str, Mapping[str, float]]
    main_figure: str = "roc_auc"
    """The figure that judges this task first (`figures.main_figure`); ``importance`` tells its costs."""
    quantile: float | None = None
    """What a regression learned instead of the mean."""
    calibration: Mapping[str, Any]
    """Of the shipped graph: method, scale and shift or knots, and ``held_out``: the log loss of each method that was tried."""
    distillation: Mapping[str, Any] = Field(default_factory=dict)
    """Where a teacher was asked for: teacher, network with and without it on the validation part, and which was ``kept``."""
    pruning: Mapping[str, Any] = Field(default_factory=dict)
    """Where pruning was asked for: ``kept_members``, and the network ``before`` and ``after``."""
    quantization: tuple[Mapping[str, Any], ...] = ()
    """Each recipe that was tried (`quantization_search.Candidate`), and the float32 graph."""
    measured: Mapping[str, float] = Field(default_factory=dict)
    """By gate: what is measured during the run and cannot be derived from ``metrics``."""
    details: Mapping[str, str] = Field(default_factory=dict)
    """By gate: which slice or which groups that was."""
    slices: tuple[Mapping[str, Any], ...] = ()
    groups: tuple[Mapping[str, Any], ...] = ()
    intervals: Mapping[str, Any] = Field(default_factory=dict)
    """``metrics``: the 95 % interval of each figure of the int8 graph; ``blocks``: what was resampled for it."""
    importance: tuple[Mapping[str, Any], ...] = ()
    """By feature: what shuffling it costs in the main figure."""
    unseen: Mapping[str, float] = Field(default_factory=dict)
    """By category: the share of test events whose value the training part never held."""
    gates: tuple[GateRecord, ...]
    fit: tuple[Mapping[str, float], ...]
    """The validation part after each evaluation: epoch, train_loss, and the figures of the fit (binary: log_loss, roc_auc)."""
    best: int
    """The place in ``fit`` whose weights were kept."""
    provenance: Provenance


@dataclass(frozen=True)
class TrainedVersion:
    """A finished run: its folder, the version's name, the figures of the shipped int8 graph on the test part."""

    folder: Path
    version: str
    metrics: Mapping[str, float]
    report: RunReport

    @property
    def size_bytes(self) -> int:
        """Size of the files that would be published, without manifest and signature."""
        return sum((self.folder / name).stat().st_size for name in VERSION_FILES)


def write_run(runs: Path, report: RunReport, files: Mapping[str, bytes]) -> TrainedVersion:
    """Write a run under its version's name. It appears whole or not at all; ``DONE`` is its last file."""
    unfinished = runs / f".{report.version}.{os.getpid()}.unfinished"
    unfinished.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (unfinished / name).write_bytes(content)
    (unfinished / RUN_REPORT).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (unfinished / DONE).write_text(f"{report.version}\n", encoding="utf-8")
    folder = runs / report.version
    unfinished.rename(folder)
    return TrainedVersion(folder, report.version, report.metrics["int8"], report)


def load_run(folder: Path) -> TrainedVersion:
    """The finished run in ``folder``.

    Raises:
        RunIncomplete: a file of it is missing, or ``report.json`` cannot be read.

    """
    for name in (DONE, RUN_REPORT, *VERSION_FILES):
        if not (folder / name).is_file():
            raise RunIncomplete(folder, name)
    try:
        document: Any = json.loads((folder / RUN_REPORT).read_bytes())
        report = RunReport.model_validate(document)
    except (ValueError, ValidationError) as error:
        raise RunIncomplete(folder, f"a readable {RUN_REPORT} ({error})") from None
    return TrainedVersion(folder, report.version, report.metrics["int8"], report)
