"""The training job: a table with a label and a contract become one signed version of a model.

The way of a table, by file name; `job` walks it from top to bottom:

- `draft` (`draft_label`, `draft_columns`, `draft_leaks`, `draft_judging`, `draft_text`, `toml_text`): what to begin with;
- `config`: what a job is told; `progress`: what it tells;
- `table`, `split`: rows that keep the contract, cut by time;
- `encoding`, `number_embedding`, `layers`, `network`: what is learned;
- `sanity`, `optimise`, `fit`, `seeds`, `divergence`: how it is learned, and what stops it; `checkpoint`: so that it survives that;
- `batches`, `dropout`, `precision`, `compilation`, `threads`: what makes a step fast;
- `ranks`, `distributed`, `launch`: several processes at once;
- `export`, `quantize`, `calibrate`: the one graph from raw fields to a calibrated score, in int8;
- `figures`, `weighted`, `evaluate`, `judges`: how good it is, in the figures of its task; `gates`, `live`: whether that is enough;
- `evidence` (`bootstrap`, `slices`, `importance`, `latency`): how sure that is, where it is weak, what it rests on, what it costs;
- `baseline`, `golden`, `report` (`page`, `pages`, `bands`, `plots`, `plots_several`, `plots_amounts`): what travels with it;
- `tracking`: MLflow, where it is asked for; `vitals`: what it hears of the steps;
- `tune`, `tune_space`, `tuned_text`: the search for a better configuration;
- `publish`: manifest, signature, model store;
- `container`: all of it as SageMaker and AWS Batch start it.

Serving never imports this package, and importing it does not import torch.
"""

from pathlib import Path

from eventscore_training.config import FitConfig, NetworkConfig, TrainingConfig, load_training_config
from eventscore_training.errors import (
    CheckpointMismatch,
    ConfigInvalid,
    DraftImpossible,
    GateFailed,
    GateResult,
    NothingLearned,
    RankLost,
    RunIncomplete,
    TableInvalid,
    TrackingUnavailable,
    TrainingDiverged,
    TrainingError,
    TrainingInterrupted,
    TuningFruitless,
)
from eventscore_training.progress import OnProgress, Progress
from eventscore_training.publish import publish
from eventscore_training.run import TrainedVersion, load_run
from eventscore_training.threads import wait_asleep

__all__ = [
    "CheckpointMismatch",
    "ConfigInvalid",
    "DraftImpossible",
    "FitConfig",
    "GateFailed",
    "GateResult",
    "NetworkConfig",
    "NothingLearned",
    "OnProgress",
    "Progress",
    "RankLost",
    "RunIncomplete",
    "TableInvalid",
    "TrackingUnavailable",
    "TrainedVersion",
    "TrainingConfig",
    "TrainingDiverged",
    "TrainingError",
    "TrainingInterrupted",
    "TuningFruitless",
    "load_run",
    "load_training_config",
    "publish",
    "resume",
    "train",
]


def train(config: TrainingConfig, on_progress: OnProgress | None = None) -> TrainedVersion:
    """Train a version and leave it, unsigned, in ``<config.runs>/<version>/``.

    Raises:
        ContractInvalid: the contract cannot be used.
        TrainingError: a table breaks the contract, the task is not trained yet, or the loss diverged.
        TrainingInterrupted: a SIGTERM came during the fit; :func:`resume` goes on from its folder.

    """
    return _run(config, on_progress, None)


def resume(folder: Path, on_progress: OnProgress | None = None) -> TrainedVersion:
    """Go on with a training that was interrupted; on a CPU its weights end up as if it had not been, bit for bit.

    Raises:
        CheckpointMismatch: ``folder`` holds no checkpoint, or a table or the contract has changed since.
        TrainingError: as for :func:`train`.

    """
    from eventscore_training.checkpoint import saved_configuration  # torch

    return _run(saved_configuration(folder), on_progress, folder)


def _run(config: TrainingConfig, on_progress: OnProgress | None, checkpoints: Path | None) -> TrainedVersion:
    # torch and onnx cost seconds, and whoever only publishes or reads help needs neither.
    wait_asleep()
    from eventscore_training.launch import launch
    from eventscore_training.progress import silent

    return launch(config, on_progress or silent, checkpoints)
