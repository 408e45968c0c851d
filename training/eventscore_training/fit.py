"""Fit the network: steps over batches that the device has at hand, early stopping on the validation part."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.batches import Batches
from eventscore_training.checkpoint import Checkpoint, Place, Stateful, records
from eventscore_training.compilation import compiled
from eventscore_training.config import FitConfig
from eventscore_training.distributed import agree, apart, from_first, ranks, sum_gradients
from eventscore_training.divergence import first_not_finite
from eventscore_training.encoded import EncodedPart
from eventscore_training.errors import ConfigInvalid, TrainingDiverged
from eventscore_training.figures import TITLES
from eventscore_training.network import Network, add_noise, drop_values
from eventscore_training.optimise import new_optimizer, new_schedule
from eventscore_training.precision import choose_precision, in_precision
from eventscore_training.progress import OnProgress, Progress, silent
from eventscore_training.vitals import Vitals

EVALUATION_BATCH = 16_384
_WITHOUT_FIGURE = "fit.select_by: the rows of the validation part have no {}, so nothing could choose among the weights"


@dataclass(frozen=True)
class Evaluation:
    """The validation part after ``epoch`` epochs (a fraction): the task's ``figures``."""

    epoch: float
    train_loss: float
    figures: Mapping[str, float]

    def as_dict(self) -> dict[str, float]:
        """All as plain numbers."""
        return {"epoch": self.epoch, "train_loss": self.train_loss, **self.figures}

    @staticmethod
    def of(told: Mapping[str, float]) -> Evaluation:
        """The evaluation that :meth:`as_dict` told."""
        rest = {name: value for name, value in told.items() if name not in ("epoch", "train_loss")}
        return Evaluation(told["epoch"], told["train_loss"], rest)


@dataclass(frozen=True)
class FitHistory:
    """Every evaluation, and the place of the best, whose weights the network has in the end."""

    evaluations: tuple[Evaluation, ...]
    best: int


def choose_device(wanted: str) -> torch.device:
    """``auto`` is CUDA where there is one."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted, ranks().local_rank) if wanted == "cuda" and ranks().world > 1 else torch.device(wanted)


def fit(  # noqa: PLR0915  read from top to bottom
    network: Network,
    train: EncodedPart,
    validation: EncodedPart,
    config: FitConfig,
    *,
    seed: int,
    on_progress: OnProgress = silent,
    checkpoint: Checkpoint | None = None,
) -> FitHistory:
    """Train ``network`` in place, on the device where it lies; the best weights on the validation part stay.

    A fit goes on where ``checkpoint`` left it, and writes it at each evaluation.

    Raises:
        TrainingDiverged: the loss is NaN or infinite.
        TrainingInterrupted: the checkpoint was asked to be the last.

    """
    device = next(network.parameters()).device
    here = ranks()
    task = network.task
    target = task.target(train.label) if train.target is None else train.target[:, None].astype(np.float32)
    arrays = train.numbers, train.rows, target
    batches = Batches(arrays, device, config.batch_size, config.device_memory_bytes, here)
    balance = task.class_weights(train.label) if config.class_weights == "balanced" else None
    weights = None if balance is None else torch.from_numpy(balance).to(device)
    selection = task.selection(config)
    answers_of = in_precision(network.answers, choose_precision(config, device), device)
    steps = batches.steps
    loss_of = compiled(
        lambda noisy, dropped, truth, numbers, rows: task.loss(
            answers_of(noisy, dropped), truth, numbers, rows, weights
        ),
        config,
        device,
        steps * config.epochs,
    )
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    agree(network)
    apart(seed, 0)
    optimizer = new_optimizer(network, config)
    schedule = new_schedule(optimizer, config, steps)
    vitals = Vitals(network.parameters(), optimizer)
    evaluate_at = {round(steps * (k + 1) / config.evaluations_per_epoch) for k in range(config.evaluations_per_epoch)}
    evaluations: list[Evaluation] = []
    best, best_state = 0, copy.deepcopy(network.state_dict())
    moving: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    place = checkpoint.load(seed, device, **moving) if checkpoint else None
    if place is not None:
        evaluations = [Evaluation.of(evaluation) for evaluation in place.evaluations]
        best, best_state = place.best, place.best_state
        apart(seed, place.epoch * steps + place.steps)
    for epoch in range(place.epoch if place else 0, config.epochs):
        resumed = place if place and place.epoch == epoch else None
        if resumed:
            generator.set_state(resumed.order_random)
        order_random = generator.get_state()
        order = torch.randperm(batches.rows, generator=generator, device=device)
        if resumed:
            generator.set_state(resumed.random)
        summed, since = torch.zeros((), device=device), 0
        first = resumed.steps if resumed else 0
        for step, batch in enumerate(batches.epoch(order, first), first):
            vitals.begin()
            network.train()
            optimizer.zero_grad(set_to_none=True)
            numbers, rows, truth = batch.tensors
            inputs = (
                add_noise(numbers, task.noise, generator, batch.start, batch.rows),
                drop_values(rows, config.value_dropout, generator, batch.start, batch.rows),
            )
            loss = loss_of(*inputs, truth, numbers, rows)
            if here.world > 1:
                loss = loss * batch.share
            loss.backward()  # type: ignore[no-untyped-call]
            if here.world > 1:
                loss = sum_gradients(network.parameters(), loss)
            # On a GPU a look at the loss would wait for it; there it is looked at with each evaluation.
            if device.type == "cpu" and not torch.isfinite(loss):
                raise TrainingDiverged(epoch + 1, step + 1, config.learning_rate, first_not_finite(network, *inputs))
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip or float("inf"))
            vitals.step(norm, batch.rows)
            optimizer.step()
            schedule.step()
            summed, since = summed + loss.detach(), since + 1
            if step + 1 not in evaluate_at:
                continue
            train_loss = float(summed) / since
            if not np.isfinite(train_loss):
                raise TrainingDiverged(epoch + 1, step + 1, config.learning_rate, first_not_finite(network, *inputs))
            summed, since, went = torch.zeros((), device=device), 0, vitals.told()
            # Process 0 looks, and all go by what it saw.
            now = from_first(_evaluated, network, validation, epoch + (step + 1) / steps, train_loss)
            if not np.isfinite(now.train_loss):
                raise TrainingDiverged(epoch + 1, step + 1, config.learning_rate, first_not_finite(network, *inputs))
            if selection.name not in now.figures:
                raise ConfigInvalid("the training configuration", [_WITHOUT_FIGURE.format(selection.name)])
            evaluations.append(now)
            if len(evaluations) == 1 or selection.better(now.figures, evaluations[best].figures):
                best, best_state = len(evaluations) - 1, copy.deepcopy(network.state_dict())
            done, total = epoch * steps + step + 1, config.epochs * steps
            on_progress(Progress("fit", done, total, _told(now, selection.name), {**now.as_dict(), **went}))
            if len(evaluations) - 1 - best >= config.patience:
                network.load_state_dict(best_state)
                return FitHistory(tuple(evaluations), best)
            if checkpoint is not None:
                random = generator.get_state()
                now_at = Place(epoch, step + 1, order_random, random, records(evaluations), best, best_state)
                checkpoint.save(seed, now_at, device, **moving)
            apart(seed, done)
    network.load_state_dict(best_state)
    return FitHistory(tuple(evaluations), best)


def _evaluated(network: Network, validation: EncodedPart, epoch: float, train_loss: float) -> Evaluation:
    logits = predict_logits(network, validation)
    if not np.isfinite(logits).all():
        return Evaluation(epoch, float("nan"), {})
    return Evaluation(epoch, train_loss, network.task.figures(logits, validation.label))


def _told(now: Evaluation, selected: str) -> str:
    name = "roc_auc" if "roc_auc" in now.figures else selected
    return f"{TITLES.get(name, name.replace('_', ' '))} {now.figures.get(name, float('nan')):.4f}"


def predict_logits(network: Network, part: EncodedPart) -> NDArray[np.float32]:
    """The task's logits of a part, ``[n]`` or ``[n, outputs]`` float32, without dropout."""
    device = next(network.parameters()).device
    network.eval()
    answers: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(part.label), EVALUATION_BATCH):
            numbers = torch.from_numpy(part.numbers[start : start + EVALUATION_BATCH]).to(device)
            rows = torch.from_numpy(part.rows[start : start + EVALUATION_BATCH]).to(device)
            answers.append(network(numbers, rows).cpu())
    return torch.cat(answers).numpy()
