"""The gates of the contract: what a version must reach before it may be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventscore.contract import Gates
from eventscore_training.errors import GateFailed, GateResult


def gate_results(
    gates: Gates,
    fp32: Mapping[str, float],
    int8: Mapping[str, float],
    size_bytes: int,
    measured_once: Mapping[str, float] | None = None,
) -> tuple[GateResult, ...]:
    """Every gate that the contract sets, against the metrics of the int8 graph on the test part and the version's size.

    ``measured_once``, by gate: what only the run could measure and `report.json` keeps (``RunReport.measured``).
    """
    # A figure that the run did not measure is NaN, and NaN passes no gate.
    unknown = float("nan")
    measured = {
        "min_roc_auc": int8.get("roc_auc", unknown),
        "min_pr_auc": int8.get("pr_auc", unknown),
        "max_log_loss": int8.get("log_loss", unknown),
        "max_calibration_error": int8.get("calibration_error", unknown),
        "max_int8_auc_loss": fp32.get("roc_auc", unknown) - int8.get("roc_auc", unknown),
        "max_int8_row_difference": unknown,
        **(measured_once or {}),
        "max_size_bytes": float(size_bytes),
    }
    results = []
    for name, value in measured.items():
        limit = getattr(gates, name)
        if limit is not None:
            # Written so that NaN fails.
            passed = value >= limit if name.startswith("min_") else value <= limit
            results.append(GateResult(name, float(limit), float(value), bool(passed)))
    return tuple(results)


def require_gates(results: Sequence[GateResult]) -> None:
    """Stop here if a gate is missed.

    Raises:
        GateFailed: names each missed gate, its limit and by how much.

    """
    failed = [result for result in results if not result.passed]
    if failed:
        raise GateFailed(failed)
