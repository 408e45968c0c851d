"""What a version met in some minutes: counts in the bins of its baseline. Sketches of one version are added up in any order.

JSON, format 1: ``{"format": 1, "model", "version", "from", "to", "events", "numbers": {name: {"counts", "missing"}}, "categories":
{name: {"counts", "other", "missing"}}, "score": [...], "outputs": {name: [...]}, "decisions": {name: count}}``. Bins and values are
those of the version's ``baseline.json``, in its order; the sketch names none of them, and holds nothing else of an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from eventscore.errors import SketchesDiffer

SKETCH_FORMAT: Final = 1
_Count = Annotated[int, Meta(ge=0)]
_Counts = tuple[_Count, ...]


class NumberCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number's or boolean's: how many values each bin got, and how many were missing."""

    counts: _Counts
    missing: _Count


class CategoryCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A category's: how often each of the baseline's values came, any other, none."""

    counts: _Counts
    other: _Count
    missing: _Count


class Sketch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The counts of ``events`` scored events. ``began`` and ``ended`` are RFC 3339 in UTC; written as ``from`` and ``to``."""

    format: Literal[1]
    model: str
    version: str
    began: str = msgspec.field(name="from")
    ended: str = msgspec.field(name="to")
    events: _Count
    numbers: dict[str, NumberCounts]
    categories: dict[str, CategoryCounts]
    score: _Counts
    outputs: dict[str, _Counts]
    decisions: dict[str, _Count]

    def __add__(self, other: Sketch) -> Sketch:
        """Both together.

        Raises:
            SketchesDiffer: they are not of one version, or do not have the same bins.

        """
        if (self.model, self.version) != (other.model, other.version):
            raise SketchesDiffer(f"{self.model}/{self.version}", f"{other.model}/{other.version}")
        if self._bins() != other._bins():
            raise SketchesDiffer(f"the bins {self._bins()}", f"{other._bins()}")
        return Sketch(
            format=SKETCH_FORMAT,
            model=self.model,
            version=self.version,
            began=min(self.began, other.began),
            ended=max(self.ended, other.ended),
            events=self.events + other.events,
            numbers={
                name: NumberCounts(
                    _sum(one.counts, other.numbers[name].counts), one.missing + other.numbers[name].missing
                )
                for name, one in self.numbers.items()
            },
            categories={
                name: CategoryCounts(
                    _sum(one.counts, other.categories[name].counts),
                    one.other + other.categories[name].other,
                    one.missing + other.categories[name].missing,
                )
                for name, one in self.categories.items()
            },
            score=_sum(self.score, other.score),
            outputs={name: _sum(counts, other.outputs[name]) for name, counts in self.outputs.items()},
            decisions={name: count + other.decisions[name] for name, count in self.decisions.items()},
        )

    def _bins(self) -> dict[str, int]:
        return {
            **{f"number {name}": len(each.counts) for name, each in self.numbers.items()},
            **{f"category {name}": len(each.counts) for name, each in self.categories.items()},
            **{f"output {name}": len(counts) for name, counts in self.outputs.items()},
            **dict.fromkeys((f"decision {name}" for name in self.decisions), 1),
            "score": len(self.score),
        }


def parse_sketch(line: bytes) -> Sketch:
    """Read a sketch from its JSON. Raises ``msgspec.MsgspecError``."""
    return msgspec.json.decode(line, type=Sketch)


def _sum(one: Sequence[int], other: Sequence[int]) -> _Counts:
    return tuple(map(int.__add__, one, other))
