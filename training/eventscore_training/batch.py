"""The training job on AWS Batch: `python -m eventscore_training.container batch`, the container's job with its folders on S3.

- ``TRAINING_DATA`` (``s3://bucket/prefix``): its folders are the container's channels, fetched before anything else;
- ``TRAINING_JOB`` (``s3://bucket/prefix``): this job's own. ``checkpoints/`` is kept up to date while the job trains, so that the
  next attempt, on another machine, goes on from there; ``runs/<version>/`` gets the finished run, also one that missed its gates;
  ``result.json`` says what became of it: ``outcome`` is ``started``, ``published``, ``gates-missed`` or ``failed``.

The rest (hyperparameters, the signing key, the local folders, exit codes) is as for `container`. An attempt of a job that has
published does nothing and ends with 0.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from eventscore.errors import EventscoreError, StoreError
from eventscore_training.container import Places, read_order, run_container, train_and_publish
from eventscore_training.errors import ConfigInvalid, GateFailed, TrainingInterrupted
from eventscore_training.ranks import told_ranks
from eventscore_training.run import DONE, load_run
from eventscore_training.s3_folder import S3Folder

DATA = "TRAINING_DATA"
JOB = "TRAINING_JOB"
RESULT = "result.json"
STARTED, PUBLISHED, MISSED, FAILED = "started", "published", "gates-missed", "failed"
_LONGEST_MESSAGE = 2000
"""Of a failure, in `result.json`: it goes on into events and notifications. The log has all of it."""


def run_batch(environment: Mapping[str, str], client: Any = None) -> int:
    """Fetch, train and publish, keep what came of it, and return the exit code. ``client``: boto3's for S3."""

    def work(places: Places, told: Mapping[str, str]) -> None:
        _work(places, told, client or _s3())

    return run_container(environment, work)


def _work(places: Places, environment: Mapping[str, str], client: Any) -> None:
    data, job = (_folder(environment, name, client) for name in (DATA, JOB))
    if (job.document(RESULT) or {}).get("outcome") == PUBLISHED:
        print(f"{job.url}{RESULT}: an earlier attempt has published; nothing to do", flush=True)
        return
    job.put_document(RESULT, {"outcome": STARTED})
    try:
        result = _trained(places, environment, data, job)
    except TrainingInterrupted:
        raise
    except Exception as error:
        missed = isinstance(error, GateFailed)
        if missed:
            _kept(places.model, job)
        # The failure itself is what should be told, whether or not the store takes this.
        with suppress(EventscoreError):
            message = str(error)[:_LONGEST_MESSAGE]
            job.put_document(RESULT, {"outcome": MISSED if missed else FAILED, "message": message})
        raise
    if not _kept(places.model, job):
        del result["run"]
    job.put_document(RESULT, result)


def _trained(places: Places, environment: Mapping[str, str], data: S3Folder, job: S3Folder) -> dict[str, Any]:
    if told_ranks(environment).world > 1:
        raise ConfigInvalid("the batch job", ["expected one process: several would fetch and write side by side"])
    inputs = places.root / "input" / "data"
    shutil.rmtree(inputs, ignore_errors=True)
    if not data.fetch(inputs):
        raise ConfigInvalid(data.url, ["expected folders with the table and contract.toml; there is no file"])
    checkpoints = job.below("checkpoints")
    if checkpoints.fetch(places.checkpoints):
        print(f"going on from {checkpoints.url}", flush=True)
    places = Places.of(environment)  # now its channels are there
    if read_order(places, environment).store is None:
        raise ConfigInvalid(
            "the batch job's hyperparameters", ["expected store, s3://bucket: where to publish; it is not set"]
        )
    with checkpoints.following(places.checkpoints, "*.pt"):
        trained = train_and_publish(places, environment)
    report = trained.report
    return {
        "outcome": PUBLISHED,
        "model": report.model,
        "version": trained.version,
        "figures": {name: value for name, value in trained.metrics.items() if math.isfinite(value)},
        "run": f"{job.url}runs/{trained.version}/",
    }


def _kept(model: Path, job: S3Folder) -> bool:
    """Keep the finished run, and no checkpoint any more. What became of the job is known by now: where S3 fails, this is told only."""
    try:
        for done in sorted(model.glob(f"*/{DONE}")):
            job.below(f"runs/{load_run(done.parent).version}").put_all(done.parent)
        job.below("checkpoints").empty()
    except StoreError as error:
        print(f"the run is not kept: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _folder(environment: Mapping[str, str], name: str, client: Any) -> S3Folder:
    location = environment.get(name)
    if not location:
        raise ConfigInvalid("the batch job's environment", [f"expected {name}, s3://bucket/prefix; it is not set"])
    return S3Folder(location, client)


def _s3() -> Any:
    import boto3  # its transfers take tables of any size, which the store's client does not

    return boto3.client("s3")
