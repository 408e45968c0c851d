"""What the test part says of the shipped graph beyond its metrics: intervals, figures for the gates, slices, groups, importance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eventscore.contract import Contract
from eventscore_training.bootstrap import blocks_of, intervals
from eventscore_training.importance import Importance, permutation_importance
from eventscore_training.judges import Judge, Scores
from eventscore_training.latency import latency_us
from eventscore_training.slices import Group, Slice, groups_of, measured_groups, measured_slices, slices_of
from eventscore_training.split import Parts, time_order

DEFAULT_MIN_ROWS = 200


@dataclass(frozen=True)
class Evidence:
    """``measured`` and ``details`` by gate (`gates`); slices by the contract's fields, or by categories and booleans."""

    measured: Mapping[str, float]
    details: Mapping[str, str]
    slices: tuple[Slice, ...]
    groups: tuple[Group, ...]
    intervals: Mapping[str, tuple[float, float]]
    """The 95 % interval of each metric of the int8 graph."""
    blocks: str
    """What was resampled for the intervals, in words."""
    importance: tuple[Importance, ...]
    unseen: Mapping[str, float]
    """By category: the share of test events whose value the training part never held."""

    def as_dict(self) -> dict[str, Any]:
        """The fields of ``RunReport`` that bear these names. A figure that does not exist is null."""
        return {
            "measured": dict(self.measured),
            "details": dict(self.details),
            "slices": tuple(each.as_dict() for each in self.slices),
            "groups": tuple(asdict(each) for each in self.groups),
            "intervals": {
                "blocks": self.blocks,
                "metrics": {name: list(ends) for name, ends in self.intervals.items()},
            },
            "importance": tuple(asdict(each) for each in self.importance),
            "unseen": dict(self.unseen),
        }


def gather_evidence(
    contract: Contract, parts: Parts, graph: bytes, scores: Mapping[str, Scores], judge: Judge
) -> Evidence:
    """Measure ``graph`` (int8, calibrated) on the test part; ``scores`` by precision are those of that part."""
    test = parts.test
    label = test.label if judge.labelled else None
    gates = contract.gates
    moved = np.abs(scores["int8"].astype(np.float64) - scores["fp32"].astype(np.float64))
    measured = {
        "max_int8_row_difference": float(moved.max()),
        "max_latency_us": round(latency_us(graph, test.columns, contract), 3),
    }
    details: dict[str, str] = {}
    fields = gates.slices.fields if gates.slices else _telling_fields(contract)
    least = gates.slices.min_rows if gates.slices else DEFAULT_MIN_ROWS
    slices = slices_of(test, fields, scores["int8"], least, judge)
    groups = groups_of(test, gates.groups, contract, scores["int8"], judge) if gates.groups else ()
    found = [measured_slices(slices)] if gates.slices else []
    found += [measured_groups(groups, gates.groups.field)] if gates.groups else []
    for figures, places in found:
        measured |= figures
        details |= places
    block, blocks = blocks_of(time_order(test, contract), test.rows)
    return Evidence(
        measured,
        details,
        slices,
        groups,
        intervals=intervals(judge.figures(label, scores["int8"]), block),
        blocks=blocks,
        importance=permutation_importance(graph, contract, test, judge),
        unseen=_unseen(parts, contract),
    )


def _telling_fields(contract: Contract) -> tuple[str, ...]:
    """Categories and booleans: what people ask about first. Numbers are sliced where the contract names them."""
    return tuple(name for name, feature in contract.features.items() if feature.type != "number")


def _unseen(parts: Parts, contract: Contract) -> dict[str, float]:
    shares = {}
    for name in contract.categories:
        values = parts.test.columns[name].drop_nulls()
        known = parts.train.columns[name].drop_nulls().unique().implode()
        shares[name] = float((~values.is_in(known)).sum() / max(1, parts.test.rows))
    return shares
