"""The gates of the contract: what a version must reach before it may be published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from eventscore.contract_gates import Gates
from eventscore_training.errors import GateFailed, GateResult
from eventscore_training.figures import RMSE, ROC_AUC

_UNKNOWN = float("nan")
"""A figure that the run did not measure is NaN, and NaN passes no gate."""


def gate_results(
    gates: Gates,
    fp32: Mapping[str, float],
    int8: Mapping[str, float],
    size_bytes: int,
    measured_once: Mapping[str, float] | None = None,
    details: Mapping[str, str] | None = None,
) -> tuple[GateResult, ...]:
    """Every gate that the contract sets, against the metrics of the int8 graph on the test part and the version's size.

    A gate is named as the figure that it bounds: ``min_accuracy``, ``max_rmse``. A figure that the test part does not have passes none.

    ``measured_once`` and ``details``, by gate: what only the run could measure and `report.json` keeps. The comparison with the live
    version is not among these: it is made when the version is published (`live`).
    """
    measured = {
        **{f"{bound}_{name}": value for name, value in int8.items() for bound in ("min", "max")},
        "max_int8_auc_loss": ROC_AUC.loss(fp32.get("roc_auc", _UNKNOWN), int8.get("roc_auc", _UNKNOWN)),
        "max_int8_rmse_increase": RMSE.loss(fp32.get("rmse", _UNKNOWN), int8.get("rmse", _UNKNOWN)),
        **(measured_once or {}),
        "max_size_bytes": float(size_bytes),
    }
    return tuple(
        gate_result(name, limit, measured.get(name, _UNKNOWN), (details or {}).get(name, ""))
        for name, limit in _limits(gates)
    )


def gate_result(name: str, limit: float, measured: float, detail: str = "") -> GateResult:
    """Whether ``measured`` keeps ``limit``, by the gate's name: ``min_...`` or ``max_...``. Written so that NaN fails."""
    at_least = name.rpartition(".")[2].startswith("min_")
    passed = measured >= limit if at_least else measured <= limit
    return GateResult(name, float(limit), float(measured), bool(passed), detail)


def require_gates(results: Sequence[GateResult]) -> None:
    """Stop here if a gate is missed.

    Raises:
        GateFailed: names each missed gate, its limit and by how much.

    """
    failed = [result for result in results if not result.passed]
    if failed:
        raise GateFailed(failed)


def _limits(gates: Gates) -> Iterator[tuple[str, float]]:
    """Each limit that is set, with its path below ``[gates]``; what says no limit (fields, tolerances) is left out."""
    for prefix, section in (("", gates), ("slices.", gates.slices), ("groups.", gates.groups)):
        for name in type(section).model_fields if section is not None else ():
            limit = getattr(section, name)
            if name.startswith(("min_", "max_")) and name != "min_rows" and limit is not None:
                yield f"{prefix}{name}", float(limit)
