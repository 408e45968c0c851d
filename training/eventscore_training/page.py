"""What the report can show of any task; `pages` fills it in, task by task.

Texts and cells are plain (the template escapes them); only the plots are markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore_training.bands import places_of
from eventscore_training.judges import Judge, Scores, Truth


@dataclass(frozen=True)
class Table:
    """A table of the page: the head and the rows, of cells as they are shown; the first column is text, the others are numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def told(value: float | None) -> str:
    """A figure as it is shown: four decimals, fewer where it is large; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """A share as it is shown."""
    return "" if value is None else f"{100 * value:.1f} %"


class Page:
    """What is shown of a version on its test part. ``before``: the int8 graph's scores without calibration, where it has one."""

    judged_by_calibration: ClassVar[bool] = True
    """Whether the scores are probabilities, of which calibration is told before and after."""

    def __init__(
        self, contract: Contract, judge: Judge, label: Truth, scores: Mapping[str, Scores], before: Scores | None
    ) -> None:
        self.contract, self.judge = contract, judge
        self.scores, self.before = dict(scores), before if self.judged_by_calibration else None
        self.int8 = scores["int8"]
        self.label: NDArray[Any] = np.zeros(len(self.int8), np.int8) if label is None else label
        self.deciding = judge.deciding(self.int8)

    def meaning(self) -> str:
        """What the score is."""
        raise NotImplementedError

    averages: ClassVar[str] = ""
    """What figures of several scores are averages of."""

    def figures(self) -> dict[str, str]:
        """The plots by title."""
        raise NotImplementedError

    def tables(self) -> dict[str, Table]:
        """Further tables by title."""
        return {}

    def decisions(self) -> Table | None:
        """What the contract's decisions do; None where it has none."""
        if not self.contract.decisions:
            return None
        place = places_of(self.contract, self.deciding)
        extra = self.band_columns()
        rows = []
        for index, decision in enumerate(self.contract.decisions):
            inside = place == index
            cells = [told(float(values[inside].mean())) if inside.any() else "" for values in extra.values()]
            rows.append(
                (decision.name, f"{decision.start:g}", f"{inside.sum():,}", percent(float(inside.mean())), *cells)
            )
        return Table(("decision", "from", "events", "of all", *extra), tuple(rows))

    def band_columns(self) -> dict[str, NDArray[Any]]:
        """By column of the decisions' table: the values ``[n]`` whose mean in a band is told."""
        return {}

    def changed(self) -> str:
        """How int8 changes what is answered, beside the scores themselves."""
        decided = [places_of(self.contract, self.judge.deciding(each)) for each in self.scores.values()]
        count = int((decided[0] != decided[1]).sum()) if self.contract.decisions else 0
        return f"{count:,} of {len(self.int8):,} events get another decision" if self.contract.decisions else ""
