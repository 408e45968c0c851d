"""The gates of the contract: what a version must reach before it may be published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventscore.contract import Gates
from eventscore_training.errors import GateFailed, GateResult


def gate_results(
    gates: Gates, fp32: Mapping[str, float], int8: Mapping[str, float], size_bytes: int
) -> tuple[GateResult, ...]:
    """Every gate that the contract sets, against the metrics of the int8 graph on the test part and the version's size."""
    measured = {
        "min_roc_auc": int8["roc_auc"],
        "min_pr_auc": int8["pr_auc"],
        "max_log_loss": int8["log_loss"],
        "max_calibration_error": int8["calibration_error"],
        "max_int8_auc_loss": fp32["roc_auc"] - int8["roc_auc"],
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
