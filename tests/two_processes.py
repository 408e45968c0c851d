"""What each of two processes does in test_training_processes.py: `python two_processes.py FOLDER`, with torchrun's environment."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

import orders
from eventscore_training.checkpoint import Checkpoint
from eventscore_training.config import FitConfig, NetworkConfig, TrainingConfig
from eventscore_training.distributed import joined
from eventscore_training.encoded import EncodedPart
from eventscore_training.encoding import learn_encoding
from eventscore_training.errors import RankLost, TrainingInterrupted
from eventscore_training.fit import FitHistory, fit
from eventscore_training.network import Network, build_network
from eventscore_training.progress import OnProgress, Progress, silent
from eventscore_training.ranks import told_ranks

FIT = FitConfig(epochs=3, batch_size=101, learning_rate=0.01, value_dropout=0.2, evaluations_per_epoch=2, patience=3)


def fitted(
    config: FitConfig = FIT,
    dropout: float = 0.0,
    checkpoint: Checkpoint | None = None,
    told: OnProgress = silent,
) -> tuple[Network, FitHistory]:
    """A small network, fitted to the orders by as many processes as there are."""
    table, contract = orders.table(rows=1500), orders.contract()
    shape = NetworkConfig(kind="tabm", members=4, widths=(16, 8), embedding_width=3, min_count=10, dropout=dropout)
    encoding = learn_encoding(table, contract, shape)
    part = EncodedPart(*encoding.encode(table.columns, contract), table.label)
    torch.manual_seed(7)
    network = build_network(encoding, part.numbers, shape)
    return network, fit(network, part, part, config, seed=7, checkpoint=checkpoint, on_progress=told)


def saved(folder: Path, name: str, network: Network, history: FitHistory) -> None:
    """Leave the weights and the evaluations of this process in ``folder``."""
    evaluations = [
        (each.epoch, each.train_loss, each.figures["log_loss"], each.figures["roc_auc"]) for each in history.evaluations
    ]
    torch.save({"weights": network.state_dict(), "evaluations": evaluations}, folder / f"{name}-{told_ranks().rank}.pt")


def main(folder: Path) -> None:
    """Fit; fit with a SIGTERM to process 1 alone and go on; fit until process 1 fails."""
    rank = told_ranks().rank

    def of_process_1(evaluation: int, act: OnProgress) -> OnProgress:
        seen: list[Progress] = []

        def told(step: Progress) -> None:
            seen.append(step)
            if rank == 1 and len(seen) == evaluation:
                act(step)

        return told

    def fail(step: Progress) -> None:
        raise ZeroDivisionError(step.detail)

    saved(folder, "plain", *fitted())
    saved(folder, "dropout", *fitted(dropout=0.3))
    config = TrainingConfig(contract=Path("c"), train=Path("a"), validation=Path("b"), test=Path("c"))
    checkpoint = Checkpoint(folder / "unfinished", config, "one job")
    with checkpoint.watched():
        try:
            fitted(
                dropout=0.3,
                checkpoint=checkpoint,
                told=of_process_1(3, lambda _: os.kill(os.getpid(), signal.SIGTERM)),
            )
        except TrainingInterrupted:
            (folder / f"interrupted-{rank}").touch()
    saved(folder, "resumed", *fitted(dropout=0.3, checkpoint=Checkpoint(folder / "unfinished", config, "one job")))
    try:
        fitted(told=of_process_1(1, fail))
    except RankLost as error:
        (folder / f"lost-{rank}").write_text(str(error))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined("cpu"):
        main(Path(sys.argv[1]))
