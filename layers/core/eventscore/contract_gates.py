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

    fields: Annotated[tuple[FieldName, ...], Field(min_length=1)] = Field(
        description="Features, or other columns of the tables, that are cut by value; numbers into quarters."
    )
    min_roc_auc: _Share | None = Field(
        default=None, description="Least ROC-AUC of the worst slice. Not for regression."
    )
    max_calibration_error: _PositiveShare | None = Field(
        default=None, description="Largest calibration error of the worst slice. Binary, multiclass, multilabel."
    )
    max_rmse: _Positive | None = Field(default=None, description="Largest RMSE of the worst slice. Regression.")
    max_mae: _Positive | None = Field(
        default=None, description="Largest mean absolute error of the worst slice. Regression."
    )
    min_rows: Annotated[int, Field(ge=1)] = Field(default=200, description="A slice with fewer events is not judged.")

    @field_validator("fields", mode="before")
    @classmethod
    def _from_toml_array(cls, fields: object) -> object:
        return list_as_tuple(fields)


class GroupGates(Section):
    """``[gates.groups]``: how far the groups of ``field`` may lie apart, where ``decision`` and the bands above it count as chosen.

    ``field`` may be any column of the test table, also one that is no feature.
    """

    field: FieldName = Field(description="The feature, or other column of the tables, that makes the groups.")
    decision: DecisionName = Field(description="Events in this band or above it are chosen.")
    max_rate_difference: _Share | None = Field(
        default=None, description="How far the groups' shares of chosen events may lie apart."
    )
    max_true_positive_rate_difference: _Share | None = Field(
        default=None, description="The same among the positives. Binary, and anomaly with a label."
    )
    max_false_positive_rate_difference: _Share | None = Field(
        default=None, description="The same among the negatives. Binary, and anomaly with a label."
    )
    min_rows: Annotated[int, Field(ge=1)] = Field(default=200, description="A group with fewer events is not judged.")


class Gates(Section):
    """``[gates]``: what a version must reach before it may be published. A gate that is left out is not checked."""

    min_roc_auc: _Share | None = Field(
        default=None,
        description="Least ROC-AUC of the int8 graph; of several classes or labels the mean of each against the rest. Not for regression.",
    )
    min_pr_auc: _Share | None = Field(
        default=None, description="Least area under precision and recall, in the same way. Not for regression."
    )
    min_accuracy: _Share | None = Field(default=None, description="Multiclass: least share of right classes.")
    min_macro_f1: _Share | None = Field(
        default=None, description="Multiclass, multilabel: least mean F1 over classes or labels."
    )
    min_r2: Annotated[Finite, Field(le=1)] | None = Field(
        default=None, description="Regression: least share of the variance that is explained."
    )
    max_log_loss: _Positive | None = Field(
        default=None, description="Largest log loss. Binary, multiclass, multilabel."
    )
    max_calibration_error: _PositiveShare | None = Field(
        default=None, description="Largest expected calibration error over 15 bins. Binary, multiclass, multilabel."
    )
    max_rmse: _Positive | None = Field(
        default=None, description="Regression: largest root of the mean squared error, in the label's unit."
    )
    max_mae: _Positive | None = Field(
        default=None, description="Regression: largest mean absolute error, in the label's unit."
    )
    max_pinball_loss: _Positive | None = Field(
        default=None, description="Regression, where a quantile is learned: largest pinball loss."
    )
    max_int8_auc_loss: _PositiveShare | None = Field(
        default=None, description="ROC-AUC that int8 may cost. Not for regression."
    )
    max_int8_rmse_increase: _Positive | None = Field(
        default=None, description="Regression: by what share int8 may raise the RMSE."
    )
    max_int8_row_difference: _Positive | None = Field(
        default=None, description="How far int8 may move any single score, in the score's unit."
    )
    max_size_bytes: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Largest size of the version's files together."
    )
    max_latency_us: _Positive | None = Field(
        default=None,
        description="Most microseconds per event at a batch of 100, the graph alone on one thread of the machine that trains.",
    )
    not_worse_than_live: bool = Field(
        default=False, description="No worse than the live version on the same test set, in the task's main figures."
    )
    live_tolerance: _Share = Field(
        default=0.0,
        description="How much worse than the live version is still let through; of an RMSE or pinball loss a share.",
    )
    slices: SliceGates | None = Field(default=None, description="The section `[gates.slices]`.")
    groups: GroupGates | None = Field(default=None, description="The section `[gates.groups]`.")


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
