"""What the report shows of each task: what its score means, its figures, its tables, what its decisions do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventscore_training import plots, plots_amounts, plots_several
from eventscore_training.bands import bands_of, places_of
from eventscore_training.judges import Judge, Scores
from eventscore_training.page import Page, Table, percent, told


class BinaryPage(Page):
    """One probability."""

    def meaning(self) -> str:
        """Of which value of the label."""
        label = self.contract.label
        return f"the calibrated probability of {label.field} = {label.positive}" if label else ""

    def figures(self) -> dict[str, str]:
        """Ranking, calibration, the scores themselves."""
        return {
            "ROC": plots.roc(self.label, self.scores),
            "Precision and recall": plots.precision_recall(self.label, self.scores),
            "Reliability (int8)": plots.reliability_diagram(self.label, self.before, self.int8),
            "Scores by truth (int8)": plots.score_histogram(self.label, self.int8),
        }

    def decisions(self) -> Table | None:
        """The confusion at each band, with its cost."""
        bands = bands_of(self.contract, self.label, self.int8)
        costly = any(band.cost is not None for band in bands)
        head = (
            "decision", "from", "events", "positive", "negative", "positive in it", "precision from here up",
            "recall from here up", "false positive rate", *(("cost",) if costly else ()),
        )  # fmt: skip
        rows = []
        for band in bands:
            counts = tuple(f"{count:,}" for count in (band.rows, band.positives, band.negatives))
            shares = tuple(f"{share:.3f}" for share in (band.precision, band.recall, band.false_positive_rate))
            cost = (f"{band.cost:,.0f}" if band.cost is not None else "",) if costly else ()
            inside = percent(band.positives / max(1, band.rows))
            rows.append((band.name, f"{band.start:g}", *counts, inside, *shares, *cost))
        note = "" if costly else "Counts of the test part; the contract gives its decisions no costs."
        return Table(head, tuple(rows), note) if bands else None


class MulticlassPage(Page):
    """A probability for each class; the most likely one is answered."""

    averages = "ROC-AUC and PR-AUC are means over the classes, each against the rest; calibration is that of the most likely class."

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.chosen = self.int8.argmax(axis=1)
        self.right = self.chosen == self.label
        self.truth = self.label[:, None] == np.arange(self.int8.shape[1])

    def meaning(self) -> str:
        """Of which field."""
        field = self.contract.label_fields[0]
        return f"the calibrated probability of each of {len(self.contract.outputs)} values of {field}, which sum to 1"

    def figures(self) -> dict[str, str]:
        """The confusion, each class against the rest, and how far the most likely class is to be believed."""
        names, scores = self.contract.outputs, self.int8
        # Another most likely class before calibration would be another truth: two diagrams in one.
        before = self.before
        same = before is not None and (before.argmax(axis=1) == self.chosen).all()
        return {
            "Confusion (int8)": plots_several.confusion(self.label, self.chosen, names),
            "ROC, one against the rest (int8)": plots_several.roc_each(self.truth, scores, names),
            "Precision and recall, one against the rest": plots_several.precision_recall_each(
                self.truth, scores, names
            ),
            "Reliability of the most likely class": plots.reliability_diagram(
                self.right,
                before.max(axis=1) if before is not None and same else None,
                self.deciding,
                "share that is right",
            ),
            "Probability of the most likely class": plots.score_histogram(
                self.right, self.deciding, ("wrong", "right")
            ),
        }

    def tables(self) -> dict[str, Table]:
        """Each class by itself."""
        rows = []
        for place, name in enumerate(self.contract.outputs):
            true, taken = self.truth[:, place], self.chosen == place
            hits, counts = int((true & taken).sum()), (int(true.sum()), int(taken.sum()))
            one = self.judge_one(true, self.int8[:, place])
            rows.append(
                (
                    name,
                    *(f"{count:,}" for count in counts),
                    *(f"{hits / count:.3f}" if count else "" for count in reversed(counts)),
                    *(told(one.get(key)) for key in ("roc_auc", "pr_auc")),
                )
            )
        return {
            "By class": Table(("class", "events", "answered", "precision", "recall", "ROC-AUC", "PR-AUC"), tuple(rows))
        }

    @staticmethod
    def judge_one(true: NDArray[np.bool_], scores: Scores) -> dict[str, float]:
        """The figures of one output by itself."""
        return Judge("binary", True, 0.5, None, 0.0).metrics(true.astype(np.int8), scores)

    def band_columns(self) -> dict[str, NDArray[Any]]:
        """How often the most likely class is right."""
        return {"mean probability": self.deciding, "share that is right": self.right}

    def changed(self) -> str:
        """Answers of another class."""
        count = int((self.scores["fp32"].argmax(axis=1) != self.chosen).sum())
        parts = (f"{count:,} of {len(self.int8):,} events get another class", super().changed())
        return "; ".join(part for part in parts if part)


class MultilabelPage(Page):
    """An independent probability for each label."""

    averages = "Figures are means over the labels."

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.truth = self.label == 1
        self.named = self.int8 >= np.float32(self.judge.threshold)

    def meaning(self) -> str:
        """Of which labels, and from where on they are named."""
        return (
            f"the calibrated probability of each of {', '.join(self.contract.outputs)}, independently; an answer names those "
            f"that reach {self.judge.threshold:g}"
        )

    def figures(self) -> dict[str, str]:
        """Curves for each label."""
        names = self.contract.outputs
        return {
            "ROC by label (int8)": plots_several.roc_each(self.truth, self.int8, names),
            "Precision and recall by label": plots_several.precision_recall_each(self.truth, self.int8, names),
            "Reliability by label": plots_several.reliability_each(self.truth, self.int8, names),
            "Scores of all labels by truth": plots.score_histogram(self.label.ravel(), self.int8.ravel()),
        }

    def tables(self) -> dict[str, Table]:
        """Each label by itself."""
        rows = []
        for place, name in enumerate(self.contract.outputs):
            true, taken = self.truth[:, place], self.named[:, place]
            hits, counts = int((true & taken).sum()), (int(true.sum()), int(taken.sum()))
            one = MulticlassPage.judge_one(true, self.int8[:, place])
            rows.append(
                (
                    name,
                    *(f"{count:,}" for count in counts),
                    *(f"{hits / count:.3f}" if count else "" for count in reversed(counts)),
                    *(told(one.get(key)) for key in ("roc_auc", "pr_auc", "log_loss", "calibration_error")),
                )
            )
        head = (
            "label", "positives", "named", "precision", "recall", "ROC-AUC", "PR-AUC", "log loss", "calibration error",
        )  # fmt: skip
        return {"By label": Table(head, tuple(rows))}

    def band_columns(self) -> dict[str, NDArray[Any]]:
        """What the highest label's probability says."""
        best = self.truth[np.arange(len(self.truth)), self.int8.argmax(axis=1)]
        return {"mean of the highest": self.deciding, "share whose highest label is right": best}

    def changed(self) -> str:
        """Answers that name other labels."""
        other = self.scores["fp32"] >= np.float32(self.judge.threshold)
        count = int((other != self.named).any(axis=1).sum())
        parts = (f"{count:,} of {len(self.int8):,} events get other labels", super().changed())
        return "; ".join(part for part in parts if part)


class RegressionPage(Page):
    """A number in the label's unit."""

    judged_by_calibration = False

    def meaning(self) -> str:
        """Of what, in which unit, and whether its mean or a quantile."""
        label, quantile = self.contract.label, self.judge.quantile
        unit = f", in {label.unit}" if label and label.unit else ""
        what = f"the prediction of {self.contract.label_fields[0]}{unit}"
        return what if quantile is None else f"{what}: what {100 * quantile:g} of 100 events stay at or below"

    def figures(self) -> dict[str, str]:
        """How far off, where and in which direction."""
        unit = self.contract.label.unit if self.contract.label else ""
        found = {
            "Predicted against true (int8)": plots_amounts.predicted_against_true(self.label, self.int8, unit),
            "Residuals (int8)": plots_amounts.residuals(self.label, self.int8, unit),
            "Error by tenth of the truth": plots_amounts.error_by_truth(self.label, self.int8, unit),
        }
        if self.judge.quantile is not None:
            found["Coverage by tenth of the predictions"] = plots_amounts.coverage_by_prediction(
                self.label, self.int8, self.judge.quantile
            )
        return found

    def band_columns(self) -> dict[str, NDArray[Any]]:
        """Prediction and truth, and whether the truth lies in the band that was decided."""
        same = places_of(self.contract, self.label) == places_of(self.contract, self.int8)
        return {"mean score": self.int8, "mean of the truth": self.label, "share whose truth is in it": same}


class AnomalyPage(BinaryPage):
    """A rank among normal events."""

    judged_by_calibration = False

    def meaning(self) -> str:
        """How a rank reads."""
        known = f"; {self.contract.label_fields[0]} tells known anomalies" if self.judge.labelled else ""
        return f"the share of held-out normal events that the network reconstructs better{known}"

    def figures(self) -> dict[str, str]:
        """How ranks lie, and what they are worth where anomalies are known."""
        found = {"Ranks (int8)": plots_amounts.rank_histogram(self.label if self.judge.labelled else None, self.int8)}
        if self.judge.labelled and 0 < self.label.mean() < 1:
            found["ROC"] = plots.roc(self.label, self.scores)
            found["Precision and recall"] = plots.precision_recall(self.label, self.scores)
        return found

    def decisions(self) -> Table | None:
        """The confusion where anomalies are known; else only how many events are in each band."""
        return super().decisions() if self.judge.labelled else Page.decisions(self)


PAGES: Mapping[str, type[Page]] = {
    "binary": BinaryPage,
    "multiclass": MulticlassPage,
    "multilabel": MultilabelPage,
    "regression": RegressionPage,
    "anomaly": AnomalyPage,
}
"""The page of each task."""
