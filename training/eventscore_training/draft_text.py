"""The text of a drafted contract and configuration: TOML in which a comment says why each line is as it is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from eventscore_training.draft_columns import Column

LARGE_VOCABULARY = 10_000
CLOSED_LIST = 10
"""A closed list is drafted for at most so many values, all of which occur early and late in the table."""
_STABLE_ROWS = 200


@dataclass(frozen=True)
class ContractDraft:
    """What the contract says. ``positive`` is TOML already; ``best_alone`` the ROC-AUC of the best single feature."""

    name: str
    origin: str
    rows: int
    id: str
    time: str
    label: str
    positive: str
    positive_why: str
    positive_share: float
    best_alone: float
    features: Sequence[tuple[Column, float]]
    """Each feature with its ROC-AUC alone, in the order of the table."""
    left_out: Sequence[tuple[str, str]]


def contract_text(draft: ContractDraft) -> str:
    """``contract.toml``."""
    lines = [
        f"# Drafted by `eventscore init` from {draft.origin}: {draft.rows:,} rows, {draft.positive_share:.2%} positive.",
        "# It is yours now: read each line; the table shows what was, you know what may be.",
        "format = 1",
        "",
        "[model]",
        f"name = {quoted(draft.name)}",
        'task = "binary"',
        "",
        "[event]",
        f"id = {quoted(draft.id)}  # different in every row",
        f"time = {quoted(draft.time)}  # the table is split by it: what is tested on lies after what was learned from",
        'extra_fields = "ignore"  # producers may send more fields than the model reads',
        "",
        "[label]",
        f"field = {quoted(draft.label)}",
        f"positive = {draft.positive}  # {draft.positive_why}",
    ]
    for column, auc in draft.features:
        lines += ["", *_feature(column, auc, draft.rows)]
    if draft.left_out:
        lines += ["", "# Left out:"]
        lines += [f"# - {_comment(name)}: {_comment(why)}" for name, why in draft.left_out]
    return "\n".join([*lines, *_decisions(draft), *_gates(draft)]) + "\n"


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
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """``text`` as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _feature(column: Column, auc: float, rows: int) -> list[str]:
    gaps = column.values.null_count()
    lines = [f"[features.{column.name}]  # alone it reaches a ROC-AUC of {auc:.2f}"]
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


def _decisions(draft: ContractDraft) -> list[str]:
    rate = draft.positive_share
    medium, high = float(f"{rate:.2g}"), float(f"{rate + (1 - rate) / 3:.2g}")
    bands = [("low", 0.0), ("medium", medium), ("high", high)]
    why = {
        "low": "scores below the share of positives",
        "medium": f"above the share of positives ({rate:.2%}); put your costs in its place",
        "high": "a third of the way from there to certainty",
    }
    lines = ["", "# What a score means to whoever acts on it: names and thresholds are yours to choose."]
    kept = [band for at, band in enumerate(bands) if at == 0 or bands[at - 1][1] < band[1] < 1]
    for name, start in kept:
        lines += ["[[decisions]]", f"name = {quoted(name)}", f"from = {start:g}  # {why[name]}", ""]
    return lines


def _gates(draft: ContractDraft) -> list[str]:
    tested = draft.rows * 0.2
    least = max(0.51, math.floor((0.5 + (draft.best_alone - 0.5) / 2) * 100) / 100)
    finest = 0.05 if tested >= 5000 else 0.1 if tested >= 1000 else 0.2
    return [
        "# A version that misses a gate is not published. Tighten them after the first run.",
        "[gates]",
        f"min_roc_auc = {least:g}  # half as far above chance as the best feature alone ({draft.best_alone:.2f})",
        f"max_calibration_error = {finest:g}  # {tested:,.0f} test rows measure no finer",
        f"max_int8_auc_loss = {0.002 if tested >= 5000 else 0.01:g}  # what the cheaper arithmetic may cost",
        "max_size_bytes = 20000000  # 20 MB: pulled and verified at every cold start",
    ]
