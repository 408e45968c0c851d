"""What a careful engineer writes to train the same network: TensorDataset, DataLoader, AdamW; and scikit-learn's MLPClassifier."""

from __future__ import annotations

import math
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import OneHotEncoder
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training_table import VALUES, Part, Parts

from eventscore_training.config import FitConfig


class Fitted(NamedTuple):
    """How long a fit took, and its probabilities for the test part."""

    seconds: float
    scores: NDArray[np.float64]


class PlainNetwork(nn.Module):
    """The network as torch's documentation would have it written."""

    def __init__(self, numbers: int, categories: int, embedding: int, widths: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(VALUES + 2, embedding) for _ in range(categories))
        layers: list[nn.Module] = []
        width = numbers + categories * embedding
        for after in widths:
            layers += [nn.Linear(width, after), nn.ReLU(), nn.Dropout(dropout)]
            width = after
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        """Logits ``[n]``."""
        embedded = [embedding(rows[:, place]) for place, embedding in enumerate(self.embeddings)]
        logits: Tensor = self.layers(torch.cat([numbers, *embedded], dim=1))
        return logits.squeeze(1)


def fit_dataloader_loop(
    parts: Parts,
    settings: FitConfig,
    device: str,
    workers: int,
    embedding: int,
    widths: tuple[int, ...],
    dropout: float,
) -> Fitted:
    """The usual loop: shuffled batches from a DataLoader, one evaluation an epoch."""
    torch.manual_seed(0)
    numbers, rows, label = (torch.from_numpy(array) for array in parts.train)
    network = PlainNetwork(numbers.shape[1], rows.shape[1], embedding, widths, dropout).to(device)
    loader = DataLoader(
        TensorDataset(numbers, rows, label.float()),
        batch_size=settings.batch_size,
        shuffle=True,
        drop_last=len(label) >= settings.batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device == "cuda",
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=device == "cuda"
    )
    steps = settings.epochs * len(loader)
    rising = round(steps * settings.warm_up)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            (step + 1) / (rising + 1)
            if step < rising
            else 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
        ),
    )
    loss_of = nn.BCEWithLogitsLoss()
    began = time.perf_counter()
    for _ in range(settings.epochs):
        network.train()
        for batch in loader:
            inputs, categories, truth = (tensor.to(device, non_blocking=True) for tensor in batch)
            optimizer.zero_grad()
            loss = loss_of(network(inputs, categories), truth)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
            optimizer.step()
            schedule.step()
        scores = _scores(network, parts.validation, device)
        log_loss(parts.validation.label, scores), roc_auc_score(parts.validation.label, scores)
    seconds = time.perf_counter() - began
    return Fitted(seconds, _scores(network, parts.test, device))


def fit_sklearn(parts: Parts, settings: FitConfig, widths: tuple[int, ...]) -> Fitted:
    """MLPClassifier of the same hidden layers; it has no embeddings, so categories enter one-hot, as a sparse matrix."""
    encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(parts.train.rows)

    def inputs(part: Part) -> csr_matrix:
        return csr_matrix(hstack([csr_matrix(part.numbers), encoder.transform(part.rows)]))

    model = MLPClassifier(
        widths,
        batch_size=min(settings.batch_size, len(parts.train.label)),
        learning_rate_init=settings.learning_rate,
        max_iter=settings.epochs,
        random_state=0,
    )
    encoded = inputs(parts.train)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all stop after the same epochs
        model.fit(encoded, parts.train.label)
    seconds = time.perf_counter() - began
    return Fitted(seconds, model.predict_proba(inputs(parts.test))[:, 1])


def _scores(network: nn.Module, part: Part, device: str) -> NDArray[np.float64]:
    network.eval()
    answers = []
    with torch.inference_mode():
        for start in range(0, len(part.label), 16_384):
            numbers, rows = (torch.from_numpy(array[start : start + 16_384]).to(device) for array in part[:2])
            answers.append(torch.sigmoid(network(numbers, rows)).cpu())
    return torch.cat(answers).numpy().astype(np.float64)
