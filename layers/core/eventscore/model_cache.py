"""The models of one function: each loaded when first asked for, the least recently used let go where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from eventscore.live_model import LiveModel
from eventscore.scorer import Scorer
from eventscore.stopwatch import Stopwatch


class Models(Protocol):
    """What the function asks of whoever holds its models."""

    def get(self, model: str, watch: Stopwatch | None = None) -> Scorer:
        """Who answers for ``model``. Raises as `LiveModel.get` does."""
        ...

    def held(self) -> list[LiveModel]:
        """The models that answer now and want to be refreshed."""
        ...


class OneScorer:
    """Always the same scorer, which is never refreshed: for benchmarks, and for programs that bring their model."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def get(self, model: str, watch: Stopwatch | None = None) -> Scorer:
        """The scorer, whatever the model is called."""
        return self._scorer

    def held(self) -> list[LiveModel]:
        """Nothing is to be refreshed."""
        return []


class ModelCache:
    """Holds live models by name. ``make`` makes one that has loaded nothing yet.

    Together the models may hold ``max_bytes``, as `Artifact.memory_bytes` reckons; the one that was asked for last is always kept,
    and while it is loaded the others are still there.
    """

    def __init__(self, make: Callable[[str], LiveModel], max_bytes: int) -> None:
        self._make = make
        self._max_bytes = max_bytes
        self._models: dict[str, LiveModel] = {}  # the least recently used first

    def get(self, model: str, watch: Stopwatch | None = None) -> Scorer:
        """Who answers for ``model``. Raises as `LiveModel.get` does."""
        live = self._live(model)
        self._models[model] = self._models.pop(model)
        scorer = live.get(watch)
        if len(self._models) > 1:
            self._evict(live)
        return scorer

    def prepare(self, model: str) -> None:
        """Begin to pull ``model``, which will be asked for soon."""
        self._live(model).prepare()

    def _live(self, model: str) -> LiveModel:
        if model not in self._models:
            self._models[model] = self._make(model)
        return self._models[model]

    def held(self) -> list[LiveModel]:
        """The models that answer now, the least recently used first."""
        return [live for live in self._models.values() if live.serving is not None]

    def _evict(self, keep: LiveModel) -> None:
        held = sum(live.memory_bytes for live in self._models.values())
        for live in self._models.values():
            if held <= self._max_bytes:
                return
            if live is not keep and live.memory_bytes:
                held -= live.memory_bytes
                live.release()
