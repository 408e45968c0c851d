"""The training job: a table with a label and a contract become one signed version of a model.

The way of a table, by file name; `job` walks it from top to bottom:

- `config`: what a job is told; `progress`: what it tells;
- `table`, `split`: rows that keep the contract, cut by time;
- `encoding`, `number_embedding`, `layers`, `network`: what is learned;
- `sanity`, `optimise`, `fit`, `seeds`, `divergence`: how it is learned, and what stops it;
- `export`, `quantize`, `calibrate`: the one graph from raw fields to a calibrated score, in int8;
- `evaluate`, `gates`: how good it is, and whether that is enough;
- `baseline`, `golden`, `report`: what travels with it;
- `publish`: manifest, signature, model store.

Serving never imports this package, and importing it does not import torch.
"""

from eventscore_training.config import FitConfig, NetworkConfig, TrainingConfig, load_training_config
from eventscore_training.errors import (
    ConfigInvalid,
    GateFailed,
    GateResult,
    NothingLearned,
    RunIncomplete,
    TableInvalid,
    TaskNotSupported,
    TrainingDiverged,
    TrainingError,
)
from eventscore_training.progress import OnProgress, Progress
from eventscore_training.publish import publish
from eventscore_training.run import TrainedVersion, load_run

__all__ = [
    "ConfigInvalid",
    "FitConfig",
    "GateFailed",
    "GateResult",
    "NetworkConfig",
    "NothingLearned",
    "OnProgress",
    "Progress",
    "RunIncomplete",
    "TableInvalid",
    "TaskNotSupported",
    "TrainedVersion",
    "TrainingConfig",
    "TrainingDiverged",
    "TrainingError",
    "load_run",
    "load_training_config",
    "publish",
    "train",
]


def train(config: TrainingConfig, on_progress: OnProgress | None = None) -> TrainedVersion:
    """Train a version and leave it, unsigned, in ``<config.runs>/<version>/``.

    Raises:
        ContractInvalid: the contract cannot be used.
        TrainingError: a table breaks the contract, the task is not trained yet, or the loss diverged.

    """
    # torch and onnx cost seconds, and whoever only publishes or reads help needs neither.
    from eventscore_training.job import run_job
    from eventscore_training.progress import silent

    return run_job(config, on_progress or silent)
