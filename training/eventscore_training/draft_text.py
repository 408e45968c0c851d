"""The text of a drafted contract and configuration: TOML in which a comment says why each line is as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eventscore.contract_grammar import Task
from eventscore_training.draft_columns import Column
from eventscore_training.draft_judging import Judging, decision_lines, gate_lines
from eventscore_training.draft_label import DraftLabel
from eventscore_training.draft_leaks import Alone
from eventscore_training.toml_text import quoted

LARGE_VOCABULARY = 10_000
CLOSED_LIST = 10
"""A closed list is drafted for at most so many values, all of which occur early and late in the table."""
_STABLE_ROWS = 200
_HINTS: Mapping[Task, str] = {
    "multiclass": '# class_weights = "balanced"  # lets rare classes weigh as much as frequent ones while the network learns',
    "multilabel": '# class_weights = "balanced"  # lets rare labels weigh as much as frequent ones while the network learns',
    "regression": (
        '# loss = "mae"  # the default "mse" aims at the mean, "mae" at the median, which a few huge values do not pull'
    ),
}


@dataclass(frozen=True)
class ContractDraft:
    """What the contract says."""

    name: str
    origin: str
    rows: int
    id: str
    time: str
    label: DraftLabel
    features: Sequence[tuple[Column, Alone]]
    """Each feature with what it tells alone, in the order of the table."""
    left_out: Sequence[tuple[str, str]]


def contract_text(draft: ContractDraft) -> str:
    """``contract.toml``."""
    lines = [
        f"# Drafted by `eventscore init` from {draft.origin}: {draft.rows:,} rows, {_comment(draft.label.told)}.",
        "# It is yours now: read each line; the table shows what was, you know what may be.",
        "format = 1",
        "",
        "[model]",
        f"name = {quoted(draft.name)}",
        f'task = "{draft.label.task}"',
        "",
        "[event]",
        f"id = {quoted(draft.id)}  # different in every row",
        f"time = {quoted(draft.time)}  # the table is split by it: what is tested on lies after what was learned from",
        'extra_fields = "ignore"  # producers may send more fields than the model reads',
    ]
    if draft.label.lines:
        lines += ["", *draft.label.lines]
    for column, alone in draft.features:
        lines += ["", *_feature(column, draft.label.target.told(alone), draft.rows)]
    if draft.left_out:
        lines += ["", "# Left out:"]
        lines += [f"# - {_comment(name)}: {_comment(why)}" for name, why in draft.left_out]
    judging = Judging(draft.label, draft.rows, max(alone.usual for _, alone in draft.features))
    return "\n".join([*lines, *decision_lines(judging), *gate_lines(judging)]) + "\n"


def training_text(draft: ContractDraft, table: str) -> str:
    """``training.toml``; ``table`` is its path as the configuration's folder sees it."""
    small = draft.rows < 20_000
    lines = [
        "# Drafted by `eventscore init`; every key: docs/training.md.",
        'contract = "contract.toml"',
        f"table = {quoted(table)}",
        "# The last fifth by time is tested on, the fifth before it decides when to stop and calibrates.",
        "validation_share = 0.2",
        "test_share = 0.2",
    ]
    if small:
        lines += [
            "",
            f"# {draft.rows:,} rows are few: a small network, small batches, more epochs (it stops by itself).",
            "[network]",
            "widths = [64, 32]",
            f"min_count = {max(2, min(20, draft.rows // 200))}  # a value with fewer rows shares the row of unseen ones",
            "",
            "[fit]",
            "epochs = 30",
            f"batch_size = {128 if draft.rows >= 2000 else 32}",
            "evaluations_per_epoch = 1",
        ]
    hint = _HINTS.get(draft.label.task)
    if hint:
        lines += [*([] if small else ["", "[fit]"]), hint]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _feature(column: Column, told: str, rows: int) -> list[str]:
    gaps = column.values.null_count()
    lines = [f"[features.{column.name}]{f'  # {told}' if told else ''}"]
    if column.kind == "number":
        lines += ['type = "number"', *_bounds(column)]
    elif column.kind == "boolean":
        lines += ['type = "boolean"']
    else:
        lines += ['type = "category"', *_vocabulary(column)]
    if gaps:
        missing = "own" if column.kind == "category" else "median"
        means = "a row of its own" if missing == "own" else "the median is filled in, and the network is told"
        lines += [f'missing = "{missing}"  # {gaps / rows:.1%} of the rows have a gap: {means}']
    else:
        lines += ['missing = "refuse"  # no gap in the table, so the network cannot learn what one means']
    return lines


def _bounds(column: Column) -> list[str]:
    low, high = float(column.values.min()), float(column.values.max())  # type: ignore[arg-type]
    if {low, high} <= {0.0, 1.0}:
        return ["min = 0  # 0 and 1, as the table has them", "max = 1"]
    spread = max(high - low, abs(high) * 0.1, 1e-6)
    # An event outside the bounds is rejected: room for as much again as the table spans.
    least = 0.0 if low >= 0 else _rounded(low - spread, up=False)
    most = 0.0 if high <= 0 else _rounded(high + spread, up=True)
    below = "never negative in the table" if low >= 0 else "with head room"
    return [
        f"min = {_number(least)}  # the table's least is {low:g}; {below}",
        f"max = {_number(most)}  # its most is {high:g}; with head room: what lies outside is rejected",
    ]


def _rounded(value: float, up: bool) -> float:
    """``value`` away from zero to two digits, within what float32 holds."""
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    rounded = (math.ceil(value / step) if up else math.floor(value / step)) * step
    return max(-3.4e38, min(3.4e38, float(f"{rounded:.3g}")))


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _vocabulary(column: Column) -> list[str]:
    longest = int(column.values.str.len_chars().max() or 1)  # type: ignore[arg-type]
    room = 2 ** math.ceil(math.log2(max(8, 2 * longest)))
    lines = [f"max_length = {room}  # the longest value has {longest} characters; with head room"]
    known = column.values.drop_nulls()
    half = len(known) // 2
    early, late = set(known.head(half).unique()), set(known.tail(half).unique())
    if column.distinct <= CLOSED_LIST and len(known) >= _STABLE_ROWS and early == late:
        values = ", ".join(quoted(value) for value in sorted(early))
        lines += [
            f"values = [{values}]  # the same few all the time",
            'unseen = "shared"  # another value is scored like a rare one; "refuse" would reject it',
        ]
    else:
        lines += [
            f'unseen = "shared"  # {column.distinct:,} values so far, more may come: they share a row with rare ones'
        ]
    return lines
