"""Rows per second of the training code beside a DataLoader loop of the same network and scikit-learn's MLPClassifier.

Example: python benchmarks/training.py
         python benchmarks/training.py --json --rows 200000 --epochs 3 --threads 2
         python benchmarks/training.py --device cuda --rows 2000000

One made table (20 numbers, 6 categories of 500 values, a binary label that needs both), one network (embeddings of 8, hidden layers 256
and 128), the same batches' size, epochs and optimiser for all. Contestants take turns, `--rounds` times; a ratio is the median of the
rounds' ratios. A time is a whole fit on encoded arrays, with one evaluation an epoch.
"""

# ruff: noqa: E402  how threads wait is told before torch is imported

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eventscore_training.threads import wait_asleep

wait_asleep()  # as the job does, before torch is imported; the DataLoader's loop gains by it, too

import torch
from gpu_utilization import utilization_of
from machine import describe_machine
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score
from training_peers import Fitted, fit_dataloader_loop, fit_sklearn
from training_table import VALUES, Parts, make_parts

from eventscore_training.config import FitConfig, NetworkConfig
from eventscore_training.encoded import EncodedPart
from eventscore_training.encoding import Vocabulary
from eventscore_training.fit import fit, predict_logits
from eventscore_training.network import Network

EMBEDDING, WIDTHS, DROPOUT = 8, (256, 128), 0.1


@dataclass(frozen=True)
class Measured:
    """One contestant's fit: rows that it learned from per second, and how good it is on rows that none has seen.

    ``cpu_us_per_row``: processor time of all its threads and processes, which other work on the machine hardly changes.
    """

    rows_per_second: float
    cpu_us_per_row: float
    roc_auc: float
    log_loss: float
    gpu_utilization: float | None


def fit_ours(parts: Parts, settings: FitConfig, device: str) -> Fitted:
    """The training job's own fit, with the settings that the job would have."""
    train, validation, test = (EncodedPart(*part) for part in parts)
    torch.manual_seed(0)
    network = new_network(train.numbers.shape[1], train.rows.shape[1]).to(torch.device(device))
    began = time.perf_counter()
    fit(network, train, validation, settings, seed=0)
    seconds = time.perf_counter() - began
    return Fitted(seconds, _probabilities(predict_logits(network, test)))


def new_network(numbers: int, categories: int) -> Network:
    """The job's network for the benchmark's table."""
    values = tuple(map(str, range(VALUES)))
    vocabularies = [Vocabulary(f"category_{place}", values, EMBEDDING) for place in range(categories)]
    shape = NetworkConfig(widths=WIDTHS, embedding_width=EMBEDDING, dropout=DROPOUT)
    return Network(numbers, vocabularies, shape)


def measured(contestant: Callable[[], Fitted], parts: Parts, epochs: int, device: str) -> Measured:
    """Let a contestant fit, and judge it."""
    before = _cpu_seconds()
    with utilization_of(device) as utilization:
        fitted = contestant()
    gc.collect()  # ends the DataLoader's workers, whose time counts only then
    learned = epochs * len(parts.train[2])
    cpu_us = (_cpu_seconds() - before) / learned * 1e6
    truth = parts.test[2]
    return Measured(
        rows_per_second=learned / fitted.seconds,
        cpu_us_per_row=cpu_us,
        roc_auc=float(roc_auc_score(truth, fitted.scores)),
        log_loss=float(log_loss(truth, fitted.scores.astype(np.float64))),
        gpu_utilization=utilization(),
    )


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--rows", type=int, default=200_000, help="of the training part [200000]")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="of torch [one for each CPU]")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="of the DataLoader; the fastest counts")
    parser.add_argument("--without-sklearn", action="store_true", help="scikit-learn knows no GPU and takes its time")
    told = parser.parse_args(arguments)
    if told.threads:
        torch.set_num_threads(told.threads)
    parts = make_parts(told.rows)
    settings = FitConfig(
        epochs=told.epochs,
        batch_size=told.batch_size,
        learning_rate=3e-3,
        value_dropout=0.0,
        evaluations_per_epoch=1,
        sanity=False,
    )
    contestants: dict[str, Callable[[], Fitted]] = {"ours": lambda: fit_ours(parts, settings, told.device)}
    for workers in told.workers:
        contestants[f"dataloader, {workers} workers"] = lambda workers=workers: fit_dataloader_loop(
            parts, settings, told.device, workers, EMBEDDING, WIDTHS, DROPOUT
        )
    if not told.without_sklearn:
        contestants["sklearn"] = lambda: fit_sklearn(parts, settings, WIDTHS)
    machine = describe_machine(["torch", "scikit-learn", "numpy"])
    rounds = [
        {
            name: measured(contestant, parts, told.epochs, told.device if name != "sklearn" else "cpu")
            for name, contestant in contestants.items()
        }
        for _ in range(told.rounds)
    ]
    document = _document(rounds)
    document = {"device": _device(told.device), "threads": torch.get_num_threads(), **document, "machine": machine}
    print(json.dumps(document) if told.json else _table(document))


def _document(rounds: list[dict[str, Measured]]) -> dict[str, object]:
    speeds = {name: statistics.median(results[name].rows_per_second for results in rounds) for name in rounds[0]}
    peer = max((name for name in speeds if name.startswith("dataloader")), key=lambda name: speeds[name])
    named = {"ours": "ours", "dataloader": peer, "sklearn": "sklearn"}
    document: dict[str, object] = {}
    for key, name in named.items():
        if name not in speeds:
            continue
        last = rounds[-1][name]
        document[key] = {
            "rows_per_second": round(speeds[name]),
            "cpu_us_per_row": round(statistics.median(results[name].cpu_us_per_row for results in rounds), 2),
            "roc_auc": last.roc_auc,
            "log_loss": last.log_loss,
        }
        if last.gpu_utilization is not None:
            document[key] |= {"gpu_utilization": last.gpu_utilization}  # type: ignore[operator]
    document["dataloader_workers"] = int(peer.split()[1])
    for key in ("dataloader", "sklearn"):
        if named[key] in speeds:
            ratios = [results["ours"].rows_per_second / results[named[key]].rows_per_second for results in rounds]
            document[f"ours_to_{key}"] = round(statistics.median(ratios), 2)
    return document


def _device(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def _table(document: dict[str, object]) -> str:
    lines = [str(document["machine"]), f"{document['device']}, {document['threads']} threads", ""]
    lines.append(f"{'':<12}{'rows/s':>12}{'CPU us/row':>12}{'ROC-AUC':>10}{'log loss':>10}{'to it':>8}")
    for name in ("ours", "dataloader", "sklearn"):
        found = document.get(name)
        if isinstance(found, dict):
            ratio = f"{document[f'ours_to_{name}']} x" if name != "ours" else ""
            line = f"{name:<12}{found['rows_per_second']:>12,}{found['cpu_us_per_row']:>12.2f}"
            line += f"{found['roc_auc']:>10.4f}{found['log_loss']:>10.4f}{ratio:>8}"
            used = found.get("gpu_utilization")
            lines.append(line + (f"   GPU {used:.0f} %" if used is not None else ""))
    lines.append(f"(the DataLoader's best number of workers: {document['dataloader_workers']})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
