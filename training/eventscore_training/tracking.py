"""MLflow: parameters, figures of every evaluation, artifacts of a run, when ``MLFLOW_TRACKING_URI`` is set.

The experiment is ``MLFLOW_EXPERIMENT_NAME``, else ``eventscore``. A server that does not answer is told before the training; one that
goes away later costs its record only, and the training goes on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from eventscore_training.config import TrainingConfig
from eventscore_training.errors import TrackingUnavailable, TrainingInterrupted
from eventscore_training.progress import OnProgress, Progress
from eventscore_training.run import TrainedVersion

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TRACKING_URI = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
_LONGEST_PARAMETER = 6000
_OF_THE_STEPS = ("epoch", "train_loss", "learning_rate", "gradient_norm", "parameter_norm", "rows_per_second")
_logger = logging.getLogger(__name__)

Job = Callable[[OnProgress], TrainedVersion]


def tracked(config: TrainingConfig, on_progress: OnProgress, job: Job) -> TrainedVersion:
    """Run ``job``; if MLflow is asked for, what it does is recorded there.

    Raises:
        TrackingUnavailable: MLflow is asked for and not installed, or does not answer.

    """
    uri = os.environ.get(TRACKING_URI)
    if not uri:
        return job(on_progress)
    record = _Record(uri, config)

    def told(step: Progress) -> None:
        on_progress(step)
        if step.figures:
            record.figures({_metric(name): value for name, value in step.figures.items()}, step.done)

    try:
        trained = job(told)
    except BaseException as error:
        record.end("KILLED" if isinstance(error, TrainingInterrupted | KeyboardInterrupt) else "FAILED")
        raise
    record.finished(trained)
    return trained


def _metric(name: str) -> str:
    """``log_loss`` of an evaluation is that of the validation part; what the steps before it say keeps its name."""
    return name if name in _OF_THE_STEPS else f"validation_{name}"


class _Record:
    """One MLflow run."""

    def __init__(self, uri: str, config: TrainingConfig) -> None:
        try:
            from mlflow.tracking import MlflowClient  # seconds, which only those pay who ask for it
        except ImportError:
            raise TrackingUnavailable(uri, "mlflow is not installed: pip install 'eventscore[tracking]'") from None
        name = os.environ.get(EXPERIMENT) or "eventscore"
        try:
            self._client: MlflowClient = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
            self._run = self._client.create_run(experiment, run_name=config.contract.parent.name or None).info.run_id
            for key, value in _flat(config.model_dump(mode="json", exclude_none=True)).items():
                self._client.log_param(self._run, key, str(value)[:_LONGEST_PARAMETER])
        except Exception as error:
            raise TrackingUnavailable(
                uri, str(error).splitlines()[0] if str(error) else type(error).__name__
            ) from error
        self._lost = False

    def figures(self, figures: dict[str, float], step: int) -> None:
        """Record figures of one moment."""
        self._try(
            lambda: [
                self._client.log_metric(self._run, name, float(value), step=step) for name, value in figures.items()
            ]
        )

    def finished(self, trained: TrainedVersion) -> None:
        """Record what came out: figures of the test part, gates, the version's files."""
        for precision, metrics in trained.report.metrics.items():
            self.figures({f"test_{precision}_{name}": value for name, value in metrics.items()}, 0)
        self.figures({"size_bytes": trained.size_bytes, "duration_s": trained.report.duration_s}, 0)
        tags = {
            "version": trained.version,
            "model": trained.report.model,
            "commit": trained.report.provenance.commit or "",
        }
        tags |= {f"gate.{gate.name}": "passed" if gate.passed else "missed" for gate in trained.report.gates}
        self._try(lambda: [self._client.set_tag(self._run, name, value) for name, value in tags.items()])
        self._try(lambda: self._client.log_artifacts(self._run, str(trained.folder)))
        self.end("FINISHED")

    def end(self, status: str) -> None:
        """The run is over."""
        self._try(lambda: self._client.set_terminated(self._run, status))

    def _try(self, record: Callable[[], Any]) -> None:
        if self._lost:
            return
        try:
            record()
        except Exception as error:
            self._lost = True
            _logger.warning("MLflow no longer answers, the rest of this run is not recorded: %s", error)
            with suppress(Exception):
                self._client.set_terminated(self._run, "FAILED")


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
