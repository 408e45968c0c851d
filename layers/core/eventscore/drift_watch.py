"""Counts what one version scores into the bins of its baseline: every event once, some hundreds at a time.

A batch only leaves its columns here. They are counted when some hundred rows have come together or the sketch is taken: a column
is sorted, and its bins' borders are looked up in it, which takes a third of what looking up each value would.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from eventscore.baseline import Baseline
from eventscore.sketch import SKETCH_FORMAT, CategoryCounts, NumberCounts, Sketch

if TYPE_CHECKING:
    import numpy.typing as npt

    from eventscore.columns import Table
    from eventscore.contract import AnyContract

ROWS_THAT_WAIT = 512
"""Fewer than so many rows wait to be counted. A batch of more is counted at once: what is kept of it would have to be paged in anew."""
_BYTES_THAT_WAIT = 8 * 2**20
"""Where rows can be large, fewer wait: what they can hold stays below this."""
_ROWS_AT_ONCE = 2_048
"""So many rows are sorted at once: they fit into the processor's memory."""


class DriftWatch:
    """Of one version. Methods belong to the invocation's thread, and never raise: what cannot be counted ends the watch.

    ``began`` is when it began to count, or was last taken from, in seconds of wall time.
    """

    def __init__(self, model: str, version: str, contract: AnyContract, baseline: Baseline, began: float) -> None:
        self.model = model
        self.version = version
        self.began = began
        self.is_over = False
        """Whether the version has been replaced: what is left is taken at once, and nothing more comes."""
        self.error: Exception | None = None
        """Why the watch ended, where something could not be counted."""
        self._numbers = contract.numbers
        self._categories = contract.categories
        self._outputs = contract.outputs
        self._bands = [decision.name for decision in contract.decisions]
        self._of_numbers = _Bins([baseline.numbers[name].edges for name in self._numbers])
        self._of_values = [_Values(tuple(baseline.categories[name].values)) for name in self._categories]
        self._of_score = _Bins([baseline.score.edges])
        self._of_outputs = _Bins([baseline.outputs[name].edges for name in self._outputs])
        # A score is in the last band whose start it reaches: the border belongs to the band above it.
        starts = [float(np.nextafter(decision.start, -np.inf)) for decision in contract.decisions[1:]]
        self._of_bands = _Bins([starts])
        self._waiting: list[tuple[npt.NDArray[np.float64] | None, list[str], npt.NDArray[np.float32]]] = []
        self._waiting_rows = 0
        self._rows_that_wait = max(1, min(ROWS_THAT_WAIT, _BYTES_THAT_WAIT // _largest_row(contract)))
        self.events = 0
        """How many were counted since the sketch was last taken, and wait to be."""

    def observe(self, table: Table, scores: npt.NDArray[np.float32]) -> None:
        """These events were scored."""
        if self.error is not None:
            return
        # Without the matrix of texts: it holds what the list holds.
        self._waiting.append((table.columns.get("numbers"), table.values, scores))
        self._waiting_rows += len(scores)
        self.events += len(scores)
        if self._waiting_rows >= self._rows_that_wait:
            try:
                self._count()
            except Exception as error:  # whatever it is: the events are scored, and that is what they came for
                self._end(error)

    def due(self, now: float, every_s: float) -> bool:
        """Whether there is something to take or to tell; a clock that was set back makes it so."""
        return self.is_over or self.error is not None or not 0 <= now - self.began < every_s

    def take(self, now: float) -> Sketch | None:
        """The sketch of what was scored until ``now``, and begin another; None where that is nothing."""
        began, self.began = self.began, now
        if self.events == 0 or self.error is not None:
            return None
        try:
            self._count()
            return self._sketch(_timestamp(began), _timestamp(now))
        except Exception as error:
            self._end(error)
            return None

    def _end(self, error: Exception) -> None:
        self.error = error
        self._waiting.clear()
        self._waiting_rows = self.events = 0

    def _count(self) -> None:
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if not waiting:
            return
        scores = _together([scores for _, _, scores in waiting]).astype(np.float64)
        main = scores if scores.ndim == 1 else scores.max(axis=1)
        self._of_score.count(main[:, None])
        self._of_bands.count(main[:, None])
        if self._outputs:
            self._of_outputs.count(scores)
        if self._numbers:
            self._of_numbers.count(_together([numbers for numbers, _, _ in waiting if numbers is not None]))
        texts = list(chain.from_iterable([values for _, values, _ in waiting]))
        for place, values in enumerate(self._of_values):
            values.count(texts[place :: len(self._of_values)])

    def _sketch(self, began: str, ended: str) -> Sketch:
        numbers = self._of_numbers.take()
        (score, _), *_ = self._of_score.take()
        (bands, _), *_ = self._of_bands.take()
        events, self.events = self.events, 0
        return Sketch(
            format=SKETCH_FORMAT,
            model=self.model,
            version=self.version,
            began=began,
            ended=ended,
            events=events,
            numbers={name: NumberCounts(*each) for name, each in zip(self._numbers, numbers, strict=True)},
            categories={
                name: CategoryCounts(*values.take())
                for name, values in zip(self._categories, self._of_values, strict=True)
            },
            score=score,
            outputs={name: counts for name, (counts, _) in zip(self._outputs, self._of_outputs.take(), strict=True)},
            decisions=dict(zip(self._bands, bands, strict=False)),
        )


def _together(matrices: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return matrices[0] if len(matrices) == 1 else np.concatenate(matrices)


def _largest_row(contract: AnyContract) -> int:
    """The most bytes that a row's values can hold: a text takes up to four for each character, if one of them needs four."""
    features = [contract.features[name] for name in contract.categories]
    characters = sum(feature.max_length for feature in features if feature.type == "category")
    return 8 * len(contract.numbers) + 4 * min(characters, contract.event.max_bytes) + 1


def _timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat(timespec='milliseconds')[:23]}Z"


class _Bins:
    """The bins of several columns of numbers."""

    def __init__(self, edges: Sequence[Sequence[float]]) -> None:
        # Behind the last border stands infinity: what lies behind that, once it is sorted, is NaN, a gap.
        self._borders = [np.array([*each, np.inf]) for each in edges]
        self._up_to = [np.zeros(len(each), np.int64) for each in self._borders]
        self._rows = 0

    def count(self, matrix: npt.NDArray[np.float64]) -> None:
        """One more matrix ``[rows, columns]``."""
        for start in range(0, len(matrix), _ROWS_AT_ONCE):
            columns = matrix[start : start + _ROWS_AT_ONCE].T.copy()
            columns.sort(axis=1)
            for place, borders in enumerate(self._borders):
                self._up_to[place] += columns[place].searchsorted(borders, "right")
        self._rows += len(matrix)

    def take(self) -> list[tuple[tuple[int, ...], int]]:
        """Of each column the count of each bin and that of the gaps; and begin again."""
        taken = [(tuple(np.diff(up_to, prepend=0).tolist()), self._rows - int(up_to[-1])) for up_to in self._up_to]
        self._up_to = [np.zeros_like(each) for each in self._up_to]
        self._rows = 0
        return taken


class _Values:
    """The values of a category that are counted by name; the others are counted together."""

    def __init__(self, values: Sequence[str]) -> None:
        self._names = len(values)
        self._place = {value: place for place, value in enumerate(values)}
        self._other, missing = len(values), len(values) + 1
        self._place[""] = missing
        self._places_of: Any = bytes if missing < 256 else list
        self._counts = np.zeros(missing + 1, np.int64)

    def count(self, values: Sequence[str]) -> None:
        """So many more; "" is a gap."""
        places = self._places_of(map(self._place.get, values, repeat(self._other)))
        if type(places) is bytes:
            places = np.frombuffer(places, np.uint8)
        self._counts += np.bincount(places, minlength=len(self._counts))

    def take(self) -> tuple[tuple[int, ...], int, int]:
        """The count of each value, of all others and of the gaps; and begin again."""
        *counts, other, missing = self._counts.tolist()
        self._counts = np.zeros_like(self._counts)
        return tuple(counts), other, missing
