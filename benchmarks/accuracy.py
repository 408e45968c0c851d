"""How good the shipped graph is beside boosted trees and a linear model, on the same features, the same split, the same budget.

Example: python benchmarks/accuracy.py --json flights adult
         python benchmarks/accuracy.py --data ~/tables --budget 120 covtype-10k california

`flights` needs the tables of `python -m eventscore_flights`; the others need theirs in --data: adult-train.csv and adult-test.csv of the
UCI repository (no header), covtype-10k-sample.csv, california-housing.csv. Ours is the int8 graph through ONNX Runtime. LightGBM
takes categories as such, stops early, and is searched at random until its time is over: what our training took, or --budget. The
linear model is a logistic regression, for numbers a ridge regression. Nothing but the validation part chooses.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accuracy_tasks import TASKS, Task
from baselines import Clock, boosted_trees, linear_model
from machine import describe_machine

from eventscore.manifest import GRAPH
from eventscore_training import train
from eventscore_training.evaluate import metrics_of

FIGURES: Mapping[str, tuple[str, ...]] = {
    "binary": ("roc_auc", "pr_auc", "log_loss", "calibration_error"),
    "multiclass": ("accuracy", "macro_f1", "roc_auc", "pr_auc", "log_loss", "calibration_error"),
    "regression": ("rmse", "mae", "r2"),
}
"""What is printed of each task."""


def compare(task: Task, budget_s: float | None, clock: Clock = time.monotonic) -> dict[str, Any]:
    """Train and evaluate all three on the test part; ``clock`` tells the seconds that each may take."""
    started = clock()
    version = train(task.config)
    ours_s = clock() - started
    kind, metrics = task.contract.model.task, version.report.metrics
    test = task.parts["test"].label
    ours, fp32 = _figures(kind, metrics["int8"]), _figures(kind, metrics["fp32"])
    trees, tried, trees_s = boosted_trees(task, budget_s or ours_s, clock)
    linear, linear_s = linear_model(task, clock)
    graph_bytes = (version.folder / GRAPH).stat().st_size
    return {
        "ours": {**ours, "seconds": round(ours_s, 1), "graph_bytes": graph_bytes},
        "lightgbm": {**_figures(kind, metrics_of(kind, test, trees)), "seconds": round(trees_s, 1), "tried": tried},
        "logistic": {**_figures(kind, metrics_of(kind, test, linear)), "seconds": round(linear_s, 1)},
        "int8_minus_fp32": {name: round(ours[name] - value, 6) for name, value in fp32.items()},
    }


def _figures(kind: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: round(metrics[name], 6) for name in FIGURES[kind]}


def main() -> None:
    """Print one line for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", choices=tuple(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where the tables lie")
    parser.add_argument("--budget", type=float, help="seconds for LightGBM's search; otherwise what ours took")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count the seconds of this process's threads, not the wall clock's: for a machine that others use",
    )
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor_time else time.monotonic
    if not arguments.json:
        print(describe_machine(("torch", "onnxruntime", "lightgbm", "scikit-learn")))
    for name in arguments.tasks:
        with tempfile.TemporaryDirectory() as scratch:
            task = TASKS[name](Path(scratch), arguments.data)
            result = {"task": name, **compare(task, arguments.budget, clock)}
        if arguments.json:
            print(json.dumps(result), flush=True)
            continue
        for side, figures in result.items():
            print(f"{side}: {figures}", flush=True)


if __name__ == "__main__":
    main()
