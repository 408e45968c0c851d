"""The configuration of a training job: small frozen values, read from TOML, in which an unknown key is an error."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from eventscore_training.config_fit import FitConfig
from eventscore_training.config_grammar import Section, Share
from eventscore_training.config_network import NetworkConfig
from eventscore_training.config_steps import DistillConfig, PruneConfig
from eventscore_training.errors import ConfigInvalid

__all__ = [
    "FitConfig",
    "NetworkConfig",
    "QuantizationConfig",
    "TrainingConfig",
    "load_training_config",
    "parse_training_config",
]


class QuantizationConfig(Section):
    """Which int8 recipes are tried (`quantization_search`): ``auto`` tries each, a name only that one.

    No recipe is begun after ``budget_s`` seconds, except the first.
    """

    weights: Literal["auto", "per-channel", "per-tensor"] = Field(
        default="auto", description="Scales of the weights; `auto` tries both."
    )
    ranges: Literal["auto", "min-max", "percentile", "entropy"] = Field(
        default="auto", description="How the activations' ranges are found; `auto` tries each."
    )
    float_layers: Literal["auto"] | tuple[str, ...] = Field(
        default="auto",
        description="Layers that stay in float, by their nodes' names; `auto` chooses where no whole int8 graph keeps the gates.",
    )
    budget_s: Annotated[float, Field(gt=0)] = Field(
        default=120.0, description="No further recipe is begun after so many seconds."
    )


class TrainingConfig(Section):
    """A whole job: the contract, the tables, the network.

    Tables: either ``train``, ``validation`` and ``test``, one file each; or one ``table`` that is split by the event's time,
    at ``validation_from`` and ``test_from`` or by the shares ``validation_share`` and ``test_share`` of its rows.
    Files are Parquet or CSV (by their suffix). ``limits`` are sentences for the report: what the model cannot know.
    """

    contract: Path = Field(description="The contract's file.")
    train: Path | None = Field(
        default=None,
        description="The table to learn from, Parquet or CSV. With `validation` and `test`, or instead of the three `table`.",
    )
    validation: Path | None = Field(default=None, description="The table to choose by.")
    test: Path | None = Field(default=None, description="The table to judge by.")
    table: Path | None = Field(default=None, description="One table, split by the event's time.")
    validation_from: datetime | None = Field(default=None, description="Where the validation part begins.")
    test_from: datetime | None = Field(default=None, description="Where the test part begins.")
    validation_share: Share | None = Field(default=None, description="Or its share of the rows, before the test part.")
    test_share: Share | None = Field(default=None, description="And that of the test part, at the end.")
    runs: Path = Field(default=Path("runs"), description="Where runs are left.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Of all random numbers; on a CPU the same seed and tables make the same bytes."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto` is CUDA where there is one.")
    calibration: Literal["auto", "none", "temperature", "vector", "platt", "isotonic"] = Field(
        default="auto", description="Of the score, on held-out rows; `auto` takes the best that fits the task."
    )
    limits: tuple[str, ...] = Field(default=(), description="Sentences for the report: what the model cannot know.")
    network: NetworkConfig = Field(default=NetworkConfig(), description="The section `[network]`.")
    fit: FitConfig = Field(default=FitConfig(), description="The section `[fit]`.")
    distill: DistillConfig | None = Field(default=None, description="The section `[distill]`.")
    prune: PruneConfig | None = Field(default=None, description="The section `[prune]`.")
    quantization: QuantizationConfig = Field(default=QuantizationConfig(), description="The section `[quantization]`.")

    @model_validator(mode="after")
    def _steps_fit_the_network(self) -> Self:
        kind, members = self.network.kind, self.network.members
        pruning = self.prune.problem(kind, members) if self.prune else None
        problem = self.distill.problem(kind, members, self.network.widths) if self.distill else None
        if pruning or problem:
            raise ValueError(pruning or problem)
        return self

    @model_validator(mode="after")
    def _tables_are_told_once(self) -> Self:
        parts = (self.train, self.validation, self.test)
        cuts = (self.validation_from, self.test_from, self.validation_share, self.test_share)
        if self.table is None:
            if None in parts:
                raise ValueError("expected train, validation and test, or one table to split by the event's time")
            if any(cut is not None for cut in cuts):
                raise ValueError("validation_from, test_from and the shares split one table; here the parts are given")
            return self
        if any(part is not None for part in parts):
            raise ValueError("expected train, validation and test, or one table; got both")
        by_date = self.validation_from is not None and self.test_from is not None
        by_share = self.validation_share is not None and self.test_share is not None
        if by_date == by_share or sum(cut is not None for cut in cuts) != 2:
            raise ValueError("one table needs validation_from and test_from, or validation_share and test_share")
        if self.validation_from and self.test_from:
            if None in (self.validation_from.tzinfo, self.test_from.tzinfo):
                raise ValueError("validation_from and test_from need an offset: 2013-09-01T00:00:00Z")
            if self.validation_from >= self.test_from:
                raise ValueError("expected validation_from before test_from")
        if (self.validation_share or 0) + (self.test_share or 0) >= 1:
            raise ValueError("validation_share and test_share leave nothing to train on; their sum must be below 1")
        return self


_PATHS = ("contract", "train", "validation", "test", "table", "runs")


def load_training_config(path: Path, overrides: Mapping[str, Any] | None = None) -> TrainingConfig:
    """Read a job's TOML file. Its relative paths start at the file's folder; ``overrides`` (as given) beat the file.

    ``runs`` is an exception: where the file does not name it, it is ``runs/`` in the working directory.

    Raises:
        ConfigInvalid: with a sentence for each mistake.

    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(str(path), [f"expected a TOML file: {error.strerror}"]) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(str(path), [f"expected TOML: {error}"]) from None
    for key in _PATHS:
        if isinstance(document.get(key), str):
            document[key] = Path(os.path.normpath(path.parent / document[key]))
    return parse_training_config({**document, **(overrides or {})}, str(path))


def parse_training_config(document: Mapping[str, Any], origin: str) -> TrainingConfig:
    """A configuration from plain values; ``origin`` names them in errors.

    Raises:
        ConfigInvalid: with a sentence for each mistake.

    """
    try:
        return TrainingConfig.model_validate(dict(document))
    except ValidationError as error:
        raise ConfigInvalid(origin, [_sentence(dict(detail)) for detail in error.errors(include_url=False)]) from None


def _sentence(detail: dict[str, Any]) -> str:
    where = ".".join(str(step) for step in detail["loc"])
    if detail["type"] == "extra_forbidden":
        sections: dict[str, type[BaseModel]] = {
            "network": NetworkConfig,
            "fit": FitConfig,
            "distill": DistillConfig,
            "prune": PruneConfig,
            "quantization": QuantizationConfig,
        }
        section = sections.get(str(detail["loc"][0]), TrainingConfig)
        return f"{where}: unknown key (known here: {', '.join(section.model_fields)})"
    if detail["type"] == "missing":
        return f"{where}: missing"
    if detail["type"] == "value_error":
        return f"{where}: {detail['ctx']['error']}" if where else str(detail["ctx"]["error"])
    return f"{where}: {detail['msg'].replace('Input should be', 'expected')}; got {detail['input']!r}"
