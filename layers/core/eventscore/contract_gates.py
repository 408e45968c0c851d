"""``[gates]``: what a version must reach before it may be published, and which gate a task can be asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from eventscore.contract_grammar import DecisionName, FieldName, Finite, Section, Task, list_as_tuple, with_article

_Share = Annotated[float, Field(ge=0, le=1)]
_PositiveShare = Annotated[float, Field(gt=0, le=1)]
_Positive = Annotated[Finite, Field(gt=0)]


class SliceGates(Section):
    """``[gates.slices]``: the worst slice of the test part, by the values of each field, must still reach this."""

    fields: Annotated[tuple[FieldName, ...], Field(min_length=1)]
    min_roc_auc: _Share | None = None
    max_calibration_error: _PositiveShare | None = None
    max_rmse: _Positive | None = None
    max_mae: _Positive | None = None
    min_rows: Annotated[int, Field(ge=1)] = 200

    @field_validator("fields", mode="before")
    @classmethod
    def _from_toml_array(cls, fields: object) -> object:
        return list_as_tuple(fields)


class GroupGates(Section):
    """``[gates.groups]``: how far the groups of ``field`` may lie apart, where ``decision`` and the bands above it count as chosen.

    ``field`` may be any column of the test table, also one that is no feature.
    """

    field: FieldName
    decision: DecisionName
    max_rate_difference: _Share | None = None
    max_true_positive_rate_difference: _Share | None = None
    max_false_positive_rate_difference: _Share | None = None
    min_rows: Annotated[int, Field(ge=1)] = 200


class Gates(Section):
    """``[gates]``: what a version must reach before it may be published. A gate that is left out is not checked."""

    min_roc_auc: _Share | None = None
    min_pr_auc: _Share | None = None
    min_accuracy: _Share | None = None
    min_macro_f1: _Share | None = None
    min_r2: Annotated[Finite, Field(le=1)] | None = None
    max_log_loss: _Positive | None = None
    max_calibration_error: _PositiveShare | None = None
    max_rmse: _Positive | None = None
    max_mae: _Positive | None = None
    max_pinball_loss: _Positive | None = None
    max_int8_auc_loss: _PositiveShare | None = None
    max_int8_rmse_increase: _Positive | None = None
    max_int8_row_difference: _Positive | None = None
    max_size_bytes: Annotated[int, Field(gt=0)] | None = None
    max_latency_us: _Positive | None = None
    not_worse_than_live: bool = False
    live_tolerance: _Share = 0.0
    slices: SliceGates | None = None
    groups: GroupGates | None = None


_PROBABILITY = frozenset({"min_roc_auc", "min_pr_auc", "max_log_loss", "max_calibration_error", "max_int8_auc_loss"})
_RANK = frozenset({"min_roc_auc", "min_pr_auc", "max_int8_auc_loss"})
_ERROR = frozenset({"min_r2", "max_rmse", "max_mae", "max_pinball_loss", "max_int8_rmse_increase"})
_OF_THE_TASK: dict[Task, frozenset[str]] = {
    "binary": _PROBABILITY,
    "multiclass": _PROBABILITY | {"min_accuracy", "min_macro_f1"},
    "multilabel": _PROBABILITY | {"min_macro_f1"},
    "regression": _ERROR,
    "anomaly": _RANK,
}
_ANY_TASK = frozenset(
    {"max_int8_row_difference", "max_size_bytes", "max_latency_us", "not_worse_than_live", "live_tolerance"}
)
_OF_SLICES: dict[Task, frozenset[str]] = {
    "binary": frozenset({"min_roc_auc", "max_calibration_error"}),
    "multiclass": frozenset({"min_roc_auc", "max_calibration_error"}),
    "multilabel": frozenset({"min_roc_auc", "max_calibration_error"}),
    "regression": frozenset({"max_rmse", "max_mae"}),
    "anomaly": frozenset({"min_roc_auc"}),
}
_WANT_TWO_CLASSES = ("max_true_positive_rate_difference", "max_false_positive_rate_difference")


def gates_beside_the_task(gates: Gates, task: Task, *, labelled: bool) -> str | None:
    """What is wrong with ``[gates]`` for a model of this task, in one sentence; None where they fit.

    ``labelled``: whether the table holds the truth, without which nothing can be compared with it.
    """
    known = _ANY_TASK | _OF_THE_TASK[task]
    for name in (*Gates.model_fields,):
        if name in ("slices", "groups") or name not in gates.model_fields_set:
            continue
        if name not in known:
            return _stray(f"gates.{name}", task, known)
        if not labelled and name in (*_OF_THE_TASK[task], "not_worse_than_live"):
            return f"gates.{name} compares scores with the truth, and the contract has no [label]"
    if task != "regression" and (gates.max_int8_row_difference or 0) > 1:
        return (
            f"gates.max_int8_row_difference: expected at most 1, a score of {with_article(task)} model lies between 0 and 1; "
            f"got {gates.max_int8_row_difference:g}"
        )
    slices = gates.slices.model_fields_set - {"fields", "min_rows"} if gates.slices else frozenset[str]()
    for name in sorted(slices):
        if name not in _OF_SLICES[task]:
            return _stray(f"gates.slices.{name}", task, _OF_SLICES[task])
        if not labelled:
            return f"gates.slices.{name} compares scores with the truth, and the contract has no [label]"
    groups = gates.groups.model_fields_set if gates.groups else frozenset[str]()
    for name in _WANT_TWO_CLASSES:
        if name in groups and (task not in ("binary", "anomaly") or not labelled):
            return f"gates.groups.{name} tells positives from negatives, which this {task} model's table does not"
    return None


def _stray(name: str, task: Task, known: frozenset[str]) -> str:
    return f"{name} is no gate of {with_article(task)} model (known here: {', '.join(sorted(known))})"
