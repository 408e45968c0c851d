"""The report of every task, on made truths and scores: it shows the task's own figures, and nothing that the task does not have."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

import orders
from eventscore.contract import Contract, parse_contract
from eventscore.manifest import GoldenTolerance, Provenance, TableEntry
from eventscore_training.bands import places_of
from eventscore_training.figures import TITLES
from eventscore_training.gates import gate_results
from eventscore_training.judges import Judge, judge_of
from eventscore_training.pages import PAGES
from eventscore_training.report import draw_figures, render_report
from eventscore_training.run import GateRecord, RunReport
from eventscore_training.slices import Group, groups_of, measured_slices, slices_of
from eventscore_training.table import check_table
from test_training_figures import made

pytestmark = pytest.mark.training

ROWS = 3000
BINARY = '[label]\nfield = "returned"\npositive = 1\n'
LABELS = {
    "binary": BINARY,
    "multiclass": '[label]\nfield = "fate"\nclasses = ["kept", "back <now>", "$lost_$", "_stolen"]\n',
    "multilabel": '[label]\nfields = ["late", "broken", "wrong"]\nthreshold = 0.4\n',
    "regression": '[label]\nfield = "minutes"\nmin = 0\nunit = "$ & min"\n',
    "anomaly": '[label]\nfield = "fraud"\n',
    "anomaly without a label": "",
}
MEASURED = """
[gates]
{}
[gates.slices]
fields = ["country", "channel"]
min_rows = 100
{}
[gates.groups]
field = "channel"
decision = "check"
"""
GATES = {
    "binary": ("min_roc_auc = 0.99", "min_roc_auc = 0.99"),
    "multiclass": ("min_accuracy = 0.99\nmin_macro_f1 = 0.1\nmax_int8_auc_loss = 0.5", "min_roc_auc = 0.99"),
    "multilabel": (
        "min_macro_f1 = 0.99\nmin_pr_auc = 0.1\nmax_calibration_error = 0.9",
        "max_calibration_error = 1e-9",
    ),
    "regression": ("max_rmse = 1\nmin_r2 = 0.1\nmax_int8_rmse_increase = 0.5", "max_mae = 1"),
    "anomaly": ("min_pr_auc = 0.99\nmin_roc_auc = 0.1", "min_roc_auc = 0.99"),
    "anomaly without a label": ("max_int8_row_difference = 1e-9", ""),
}


def contract(task: str) -> Contract:
    """The orders under another truth; decisions from 100 on where the score is no probability."""
    text = orders.CONTRACT_TOML.replace('"binary"', f'"{task.split(maxsplit=1)[0]}"').replace(BINARY, LABELS[task])
    text = text.replace("from = 0.4", "from = 100") if task == "regression" else text
    return parse_contract((text + MEASURED.format(*GATES[task])).encode(), task)


class Made:
    """A model of ``task`` that was never trained: a table of orders, truths and scores that say something of them."""

    def __init__(self, task: str) -> None:
        self.contract = contract(task)
        # Read with the orders' own label: only the columns are looked at.
        columns = check_table(orders.frame(ROWS), orders.contract(), "test", "orders", "0" * 64).columns
        label, self.int8 = made(task.split(maxsplit=1)[0], ROWS)
        self.label = None if "without" in task else label
        self.judge = judge_of(self.contract, 0.8 if task == "regression" else None)
        self.table = FakeTable(columns, label)
        noise = np.random.default_rng(3).normal(0, 0.003, self.int8.shape).astype(np.float32)
        fp32 = self.int8 + (100 * noise if task == "regression" else noise)
        self.scores = {"fp32": fp32 if task == "regression" else fp32.clip(0, 1), "int8": self.int8}

    def report(self) -> RunReport:
        """What a run would have found out of it."""
        metrics = {name: self.judge.metrics(self.label, scores) for name, scores in self.scores.items()}
        slices = slices_of(self.table, ("country", "channel"), self.int8, 100, self.judge)  # type: ignore[arg-type]
        assert self.contract.gates.groups is not None
        groups = groups_of(self.table, self.contract.gates.groups, self.contract, self.int8, self.judge)  # type: ignore[arg-type]
        measured, details = measured_slices(slices)
        measured |= {"max_int8_row_difference": 0.02, "max_latency_us": 3.0}
        gates = gate_results(self.contract.gates, metrics["fp32"], metrics["int8"], 9, measured, details)
        watched = self.judge.main.name
        share = 0.3 if self.judge.positives(self.label) is not None else None
        return RunReport(
            model="orders", version="v1", task=self.contract.model.task, opset=21, duration_s=1.0, split="by time",
            periods={"test": ("2026-01-01", "2026-02-01")}, golden=GoldenTolerance(tolerance=0.001, events=64),
            metrics=metrics, validation_metrics=metrics, calibration={"method": "none"},
            quantization=(
                {"recipe": "float32", "size_bytes": 9, "latency_us": 1.0, "loss": 0.0, "mean_difference": 0.0,
                 "largest_difference": 0.0, "passed": True, "chosen": False},
            ),
            measured=measured, details=details,
            slices=tuple(each.as_dict() for each in slices), groups=tuple(vars(each) for each in groups),
            intervals={"blocks": "20 days", "metrics": {watched: [0.1, 0.2]}},
            importance=tuple({"feature": name, "cost": 1 / (place + 1)} for place, name in enumerate(self.contract.features)),
            gates=tuple(GateRecord(**vars(gate)) for gate in gates),
            fit=tuple({"epoch": float(at), "train_loss": 1 / at, watched: 1 / at} for at in range(1, 5)), best=2,
            provenance=Provenance(
                tables=(TableEntry(part="test", sha256="0" * 64, rows=ROWS, positive_share=share),),
                commit=None, libraries={"numpy": "2"}, seed=0, device="cpu", configuration={},
            ),
        )  # fmt: skip

    def page(self) -> str:
        """Its report.html."""
        before = None if self.contract.model.task in ("regression", "anomaly") else self.scores["fp32"]
        limits = ("made up",)
        report = self.report()
        page = PAGES[self.contract.model.task](self.contract, self.judge, self.label, self.scores, before)
        return render_report(report, self.contract, limits, self.judge, page, draw_figures(report, self.judge, page))


class FakeTable:
    """What the slices look at."""

    def __init__(self, columns: pl.DataFrame, label: np.ndarray) -> None:
        self.columns, self.label, self.rows, self.aside = columns, label, columns.height, columns


WORDS: Mapping[str, tuple[str, ...]] = {
    "binary": ("PR-AUC", "precision from here up", "Reliability (int8)", "of the positives", "the lowest ROC-AUC"),
    "multiclass": (
        "Confusion (int8)", "By class", "back &lt;now&gt;", "Reliability of the most likely class", "get another class",
        "one against the rest", "accuracy", "macro F1", "of 4 values of fate",
    ),
    "multilabel": ("By label", "ROC by label", "broken", "get other labels", "that reach 0.4", "all labels right"),
    "regression": (
        "Predicted against true", "Residuals", "Error by tenth", "Coverage by tenth", "pinball loss", "increase of RMSE",
        "$ &amp; min", "80 of 100 events", "share whose truth is in it", "the highest pinball loss",
    ),
    "anomaly": ("Ranks (int8)", "rank error", "reconstructs better", "precision from here up", "fraud tells known"),
    "anomaly without a label": ("Ranks (int8)", "rank error", "mean move of a rank", "of all"),
}  # fmt: skip
STRANGE: Mapping[str, tuple[str, ...]] = {
    "binary": ("RMSE", "accuracy", "Confusion"),
    "multiclass": ("RMSE", "of the positives", "Ranks"),
    "multilabel": ("RMSE", "Confusion", "of the positives"),
    "regression": ("ROC", "alibration", "of the positives"),
    "anomaly": ("alibration", "Confusion", "RMSE"),
    "anomaly without a label": ("ROC", "alibration", "precision", "of the positives"),
}


@pytest.mark.parametrize("task", LABELS)
def test_the_page_shows_what_its_task_has_and_nothing_else(task: str) -> None:
    page = Made(task).page()
    text = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
    for words in WORDS[task]:
        assert words in text, words
    for words in STRANGE[task]:
        assert words not in text, words
    assert "back <now>" not in page, "a name of the data is markup"
    assert len(page) < 400_000
    assert not re.search(r">\s*(nan|None)\b", text)
    for name in Made(task).report().metrics["int8"]:
        assert f"<td>{TITLES[name]}</td>" in text, name


@pytest.mark.parametrize("task", LABELS)
def test_every_gate_of_a_task_is_measured_and_the_missed_one_is_told(task: str) -> None:
    report = Made(task).report()
    assert all(np.isfinite(gate.measured) for gate in report.gates), report.gates
    missed = {gate.name for gate in report.gates if not gate.passed}
    first, sliced = (line.split(" = ")[0] for line in GATES[task])
    assert missed == {first, *([f"slices.{sliced}"] if sliced else [])}
    if sliced:
        assert re.match(r"(country|channel) = .+, [\d,]+ rows$", report.details[f"slices.{sliced}"])


@pytest.mark.parametrize("task", LABELS)
def test_groups_are_told_apart_by_the_score_that_decides(task: str) -> None:
    model = Made(task)
    terms, gates = model.contract, model.contract.gates.groups
    assert gates is not None
    groups: tuple[Group, ...] = groups_of(model.table, gates, terms, model.int8, model.judge)  # type: ignore[arg-type]
    highest = model.int8 if model.int8.ndim == 1 else model.int8.max(axis=1)
    web = (model.table.columns["channel"] == "web").to_numpy()
    rates = {group.value: group.rate for group in groups}
    assert rates["web"] == pytest.approx(float((places_of(terms, highest)[web] == 1).mean()))
    told = task in ("binary", "anomaly")
    assert all((group.true_positive_rate is not None) == told for group in groups)


def test_int8_is_judged_by_the_figure_of_the_task() -> None:
    random = np.random.default_rng(0)
    judges: dict[str, Judge] = {task: judge_of(contract(task)) for task in LABELS}
    truth = random.normal(100, 20, 500)
    scores = truth + random.normal(0, 5, 500)
    worse = truth + 1.1 * (scores - truth)
    assert judges["regression"].int8_loss(truth, scores, worse) == pytest.approx(0.1)
    assert (judges["regression"].int8_limit, judges["binary"].int8_limit) == (0.5, 0.001)
    yes = (random.random(500) < 0.5).astype(np.int8)
    ranked = np.where(yes, 0.7, 0.3)
    assert judges["binary"].int8_loss(yes, ranked, 1 - ranked) == 1
    moved = judges["binary"].int8_loss(np.zeros(500), ranked, 1 - ranked)
    assert moved == pytest.approx(0.4), "one class has no ranking to lose; what is left is how far scores move"
    errors = random.gamma(2, 100, 500).astype(np.float32)
    alone = judges["anomaly without a label"]
    reference = alone.comparable(errors, errors)
    assert 0 <= reference.min() <= reference.max() < 1
    assert alone.int8_loss(None, reference, alone.comparable(2 * errors, errors)) > 0.1
    assert alone.int8_loss(None, reference, alone.comparable(errors * np.float32(1 + 1e-6), errors)) < 0.01
    assert (judges["binary"].comparable(ranked, errors) == ranked).all()


def test_zeros_of_a_table_without_a_label_are_no_truth() -> None:
    judge, ranks = judge_of(contract("anomaly without a label")), np.linspace(0, 1, 50).astype(np.float32)
    assert set(judge.metrics(np.zeros(50, np.int8), ranks)) == {"rank_error", "mean_score"}
    assert set(judge.figures(np.zeros(50, np.int8), ranks).measure(np.ones(50))) == {"rank_error", "mean_score"}


def test_a_value_below_the_first_band_is_decided_as_the_first() -> None:
    assert places_of(contract("regression"), np.array([-5.0, 0, 99, 100], np.float32)).tolist() == [0, 0, 0, 1]
