"""The configuration of a training job: small frozen values, read from TOML, in which an unknown key is an error."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eventscore_training.config_steps import DistillConfig, PruneConfig
from eventscore_training.errors import ConfigInvalid

Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Section):
    """The network: its kind and shape, how categories and numbers enter it, what stands between its layers.

    ``kind``: ``mlp``; ``wide-and-deep`` (a linear model of the raw fields beside it); ``tabm``, an ensemble of ``members`` that
    share their weights (arXiv 2410.24210); without ``adapt_inputs`` they scale what the first layer answers but not what goes in,
    and it is computed once for all of them. ``min_count``: a category value with fewer training rows has no row of its own, it
    trains the shared one. ``scaling``: ``standard`` (mean and deviation), ``robust`` (median and quartiles), ``quantile`` (to a
    normal distribution). ``clip_at``: a scaled number z enters as z / sqrt(1 + (z / clip_at)^2), which never leaves +-clip_at
    (smooth clipping: arXiv 2407.04491, section 3). ``number_embedding``: arXiv 2203.05556; ``bins`` belong to
    ``piecewise-linear``, ``frequencies`` and ``frequency_scale`` (their deviation at first) to ``periodic``.
    ``bottleneck``: the width in the middle of an anomaly model, whose layers are ``widths`` and then ``widths`` backwards (left out:
    half of what it says, at most 32). ``initialisation``: ``auto`` is Xavier for tanh and He for the others.
    """

    kind: Literal["mlp", "wide-and-deep", "tabm"] = "mlp"
    members: Annotated[int, Field(ge=2, le=64)] = 8
    adapt_inputs: bool = True
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)] = (256, 128)
    embedding_width: Annotated[int, Field(ge=1, le=64)] = 8
    min_count: Annotated[int, Field(ge=1)] = 20
    scaling: Literal["standard", "robust", "quantile"] = "standard"
    clip_at: Annotated[float, Field(gt=0, le=100)] = 3.0
    number_embedding: Literal["none", "piecewise-linear", "periodic"] = "none"
    number_embedding_width: Annotated[int, Field(ge=1, le=64)] = 8
    bins: Annotated[int, Field(ge=2, le=256)] = 16
    frequencies: Annotated[int, Field(ge=1, le=128)] = 16
    frequency_scale: Annotated[float, Field(gt=0, le=10)] = 0.1
    bottleneck: Annotated[int, Field(ge=1, le=4096)] | None = None
    activation: Literal["relu", "leaky-relu", "gelu", "silu", "tanh"] = "relu"
    norm: Literal["none", "batch", "layer"] = "none"
    initialisation: Literal["auto", "he", "xavier"] = "auto"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _pairs_fit(self) -> Self:
        _refuse_strays(
            self,
            {
                "members": ("kind", ("tabm",)),
                "adapt_inputs": ("kind", ("tabm",)),
                "number_embedding_width": ("number_embedding", ("piecewise-linear", "periodic")),
                "bins": ("number_embedding", ("piecewise-linear",)),
                "frequencies": ("number_embedding", ("periodic",)),
                "frequency_scale": ("number_embedding", ("periodic",)),
            },
        )
        if self.initialisation == "he" and self.activation == "tanh":
            raise ValueError(
                "initialisation = 'he' is made for activations that drop negative values, and activation is 'tanh': "
                "expected 'xavier' or 'auto'"
            )
        return self


class FitConfig(_Section):
    """How the network learns. ``loss``: ``auto`` fits the task: ``cross-entropy`` (binary, multiclass, multilabel), ``mse``
    (regression, which also has ``mae``, ``huber`` and ``quantile``), ``reconstruction`` (anomaly). ``quantile``: what is predicted
    instead of the mean; ``huber_delta``: from how many standard deviations on an error counts linearly. ``value_dropout`` of the
    category values are taken for unseen, so the shared row learns.

    ``schedule``: the learning rate rises over the first ``warm_up`` share of all steps, then stays (``constant``), is
    multiplied by ``step_factor`` after every ``step_epochs`` (``step``), or falls to nothing (``cosine``). ``gradient_clip``:
    the longest gradient, 0 for any. ``class_weights``: ``balanced`` lets all classes weigh the same; calibration mends the
    probabilities that this moves. ``seeds``: how many networks are trained; the best on the validation table is kept.
    ``sanity``: first let a copy learn 128 rows by heart, and stop where it cannot. Training stops early when ``patience``
    evaluations in a row (``evaluations_per_epoch`` in each epoch) did not improve ``select_by`` on the validation table (``auto``: what the
    loss stands for); the best weights are kept. ``precision``: ``auto`` is bfloat16 on a GPU that has it, else float32.
    ``compile``: torch.compile; ``auto`` uses it for long fits on CUDA. ``device_memory_bytes``: what the encoded training table
    may take on the device; a larger one is streamed (left out: half of a GPU's free memory, anything on a CPU).
    """

    loss: Literal["auto", "cross-entropy", "mse", "mae", "huber", "quantile", "reconstruction"] = "auto"
    quantile: Share = 0.5
    huber_delta: Annotated[float, Field(gt=0, le=100)] = 1.0
    epochs: Annotated[int, Field(ge=1, le=1000)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 1024
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    embedding_weight_decay: Annotated[float, Field(ge=0)] = 1e-1
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    step_epochs: Annotated[int, Field(ge=1)] = 2
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    class_weights: Literal["none", "balanced"] = "none"
    value_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=100)] = 4
    patience: Annotated[int, Field(ge=1)] = 8
    select_by: Literal[
        "auto",
        "log_loss",
        "roc_auc",
        "pr_auc",
        "accuracy",
        "macro_f1",
        "rmse",
        "mae",
        "pinball_loss",
        "reconstruction_error",
    ] = "auto"
    seeds: Annotated[int, Field(ge=1, le=20)] = 1
    sanity: bool = True
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "never", "always"] = "auto"
    device_memory_bytes: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _pairs_fit(self) -> Self:
        _refuse_strays(
            self,
            {
                "quantile": ("loss", ("quantile",)),
                "huber_delta": ("loss", ("huber",)),
                "momentum": ("optimizer", ("sgd",)),
                "step_epochs": ("schedule", ("step",)),
                "step_factor": ("schedule", ("step",)),
            },
        )
        return self


def _refuse_strays(section: _Section, owners: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
    """A key that the chosen kind does not read is a mistake, unless it says what is the default anyway."""
    for key, (owner, values) in owners.items():
        chosen = getattr(section, owner)
        if chosen not in values and getattr(section, key) != type(section).model_fields[key].default:
            readers = " or ".join(repr(value) for value in values)
            raise ValueError(f"{key} belongs to {owner} = {readers}, and {owner} is {chosen!r}: nothing would read it")


class QuantizationConfig(_Section):
    """Which int8 recipes are tried (`quantization_search`): ``auto`` tries each, a name only that one.

    No recipe is begun after ``budget_s`` seconds, except the first.
    """

    weights: Literal["auto", "per-channel", "per-tensor"] = "auto"
    ranges: Literal["auto", "min-max", "percentile", "entropy"] = "auto"
    float_layers: Literal["auto"] | tuple[str, ...] = "auto"
    budget_s: Annotated[float, Field(gt=0)] = 120.0


class TrainingConfig(_Section):
    """A whole job: the contract, the tables, the network.

    Tables: either ``train``, ``validation`` and ``test``, one file each; or one ``table`` that is split by the event's time,
    at ``validation_from`` and ``test_from`` or by the shares ``validation_share`` and ``test_share`` of its rows.
    Files are Parquet or CSV (by their suffix). ``limits`` are sentences for the report: what the model cannot know.
    """

    contract: Path
    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    table: Path | None = None
    validation_from: datetime | None = None
    test_from: datetime | None = None
    validation_share: Share | None = None
    test_share: Share | None = None
    runs: Path = Path("runs")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    calibration: Literal["auto", "none", "temperature", "vector", "platt", "isotonic"] = "auto"
    limits: tuple[str, ...] = ()
    network: NetworkConfig = NetworkConfig()
    fit: FitConfig = FitConfig()
    distill: DistillConfig | None = None
    prune: PruneConfig | None = None
    quantization: QuantizationConfig = QuantizationConfig()

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
