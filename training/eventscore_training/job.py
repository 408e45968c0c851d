"""The training job, from top to bottom: read, encode, fit, export, quantize, calibrate, evaluate, describe, write."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from eventscore.contract import parse_contract
from eventscore.errors import ContractInvalid
from eventscore.manifest import (
    BASELINE,
    CONTRACT,
    GOLDEN,
    GRAPH,
    REPORT,
    GoldenTolerance,
    Provenance,
    TableEntry,
    new_version,
)
from eventscore_training.baseline import build_baseline
from eventscore_training.calibrate import stretches
from eventscore_training.checkpoint import Checkpoint, fingerprint_of, unfinished_folder
from eventscore_training.config import TrainingConfig
from eventscore_training.distributed import from_first, ranks
from eventscore_training.encoded import EncodedPart
from eventscore_training.encoding import learn_encoding
from eventscore_training.evidence import gather_evidence
from eventscore_training.export import OPSET, build_graph, fold_scores, with_logit
from eventscore_training.fit import choose_device
from eventscore_training.gates import gate_results
from eventscore_training.golden import choose_golden_events, golden_lines, golden_tolerance
from eventscore_training.inference import run_graph
from eventscore_training.judges import judge_of
from eventscore_training.latency import graph_cost
from eventscore_training.learn import check_steps, learn
from eventscore_training.network import build_network
from eventscore_training.pages import PAGES
from eventscore_training.progress import OnProgress, Progress
from eventscore_training.provenance import code_commit, library_versions
from eventscore_training.quantization_search import search_quantization
from eventscore_training.report import draw_figures, render_report
from eventscore_training.run import GateRecord, RunReport, TrainedVersion, write_run
from eventscore_training.split import read_parts, time_order
from eventscore_training.table import Table
from eventscore_training.tasks import Calibrated, check_task, new_task, without_anomalies

PHASES = ("read", "encode", "fit", "export", "quantize", "calibrate", "evaluate", "describe", "write")


def run_job(config: TrainingConfig, on_progress: OnProgress, checkpoints: Path | None = None) -> TrainedVersion:
    """Train a version and leave it, unsigned, in ``<config.runs>/<version>/``. See :func:`eventscore_training.train`.

    ``checkpoints``: a folder for the checkpoint, which the job goes on from if there is one.
    """
    with ExitStack() as until_the_end:
        return _run_job(config, on_progress, checkpoints, until_the_end)


def _run_job(  # noqa: PLR0915  read from top to bottom
    config: TrainingConfig, on_progress: OnProgress, checkpoints: Path | None, until_the_end: ExitStack
) -> TrainedVersion:
    started = time.monotonic()
    checkpoint: Checkpoint | None = None

    def begin(phase: str, detail: str = "") -> None:
        if checkpoint is not None:
            checkpoint.stop_if_asked()
        on_progress(Progress(phase, 0, 1, detail))

    # --- read: the contract and the tables, which must keep it
    begin("read")
    contract_bytes = _read_contract(config.contract)
    contract = parse_contract(contract_bytes, str(config.contract))
    check_task(contract, config)
    check_steps(contract.model.task, config)
    parts = read_parts(config, contract)
    train, validation, test = without_anomalies(parts.train, contract), parts.validation, parts.test

    # --- encode: what the training part alone teaches about numbers and vocabularies
    begin("encode", f"{train.rows:,} rows")
    encoding = learn_encoding(train, contract, config.network)
    task = new_task(contract, config.fit, encoding, train.label)
    judge = judge_of(contract, task.quantile)
    encoded = {
        table.part: EncodedPart(*encoding.encode(table.columns, contract), table.label)
        for table in (train, validation, test)
    }

    # --- fit: the network, stopped where the validation part is best
    begin("fit")
    device = choose_device(config.device)
    fingerprint = fingerprint_of(contract_bytes, [table.sha256 for table in parts.all], config)
    folder = from_first(lambda: checkpoints or unfinished_folder(config, contract.model.name))
    checkpoint = Checkpoint(folder, config, fingerprint)
    until_the_end.enter_context(checkpoint.watched())
    learned = learn(
        lambda shape: build_network(encoding, encoded["train"].numbers, shape, task).to(device),
        encoded,
        config,
        cost_of=lambda trained: graph_cost(
            build_graph(contract, encoding, trained.weights(), task), train.columns, contract
        ),
        on_progress=on_progress,
        checkpoint=checkpoint,
    )
    network, history = learned.network, learned.history
    if not ranks().first:
        return from_first(_nowhere)  # process 0 goes on alone, and tells at the end

    # --- export: one graph from raw fields to a score
    begin("export")
    fp32 = build_graph(contract, encoding, network.weights(), task)

    # --- quantize: int8, its scales frozen on training rows, by the cheapest recipe that loses little on the validation part
    begin("quantize")
    quantized = search_quantization(fp32, contract, train, validation, config.quantization, config.seed, judge)

    # --- calibrate: each graph on its own logits of the validation part, folded in
    begin("calibrate")
    graphs: dict[str, bytes] = {}
    calibrations: dict[str, Calibrated] = {}
    fold = stretches(time_order(validation, contract), validation.rows, config.seed)
    for precision, model in (("fp32", fp32), ("int8", quantized.model)):
        logits = run_graph(with_logit(model), validation.columns, contract)
        calibrations[precision] = task.calibrate(logits, validation.label, config.calibration, fold)
        graphs[precision] = fold_scores(model, calibrations[precision].map).SerializeToString()

    # --- evaluate: the very bytes that will be shipped, on the test part
    begin("evaluate")
    scores = {precision: run_graph(graph, test.columns, contract) for precision, graph in graphs.items()}
    validation_scores = {
        precision: run_graph(graph, validation.columns, contract) for precision, graph in graphs.items()
    }
    truth, known = (table.label if judge.labelled else None for table in (test, validation))
    metrics = {precision: judge.metrics(truth, values) for precision, values in scores.items()}
    validation_metrics = {precision: judge.metrics(known, values) for precision, values in validation_scores.items()}

    calibrates = len(task.calibrations) > 1
    uncalibrated = run_graph(quantized.model.SerializeToString(), test.columns, contract) if calibrates else None
    evidence = gather_evidence(contract, parts, graphs["int8"], scores, judge)

    # --- describe: golden events, baseline, report
    begin("describe")
    created_at = datetime.now(UTC).replace(microsecond=0)
    graph = graphs["int8"]
    deciding = judge.deciding(scores["int8"])
    events = choose_golden_events(test, deciding, contract)
    files = {
        GRAPH: graph,
        CONTRACT: contract_bytes,
        GOLDEN: golden_lines(graph, events, contract),
        BASELINE: json.dumps(build_baseline(train.columns, contract, scores["int8"], deciding)).encode(),
    }
    report = RunReport(
        model=contract.model.name,
        version=new_version(graph, created_at),
        task=contract.model.task,
        created_at=created_at,
        opset=OPSET,
        duration_s=round(time.monotonic() - started, 1),
        split=parts.method,
        periods=parts.periods,
        golden=GoldenTolerance(tolerance=golden_tolerance(graph, validation, contract, task.unit), events=len(events)),
        metrics=metrics,
        validation_metrics=validation_metrics,
        main_figure=judge.main.name,
        quantile=judge.quantile,
        calibration=calibrations["int8"].as_dict(),
        distillation=learned.distillation,
        pruning=learned.pruning,
        quantization=quantized.as_dicts(),
        **evidence.as_dict(),
        gates=(),
        fit=tuple(evaluation.as_dict() for evaluation in history.evaluations),
        best=history.best,
        provenance=Provenance(
            tables=tuple(_entry(table) for table in parts.all),
            commit=code_commit(Path(__file__).parent),
            libraries=library_versions(),
            seed=config.seed,
            device=str(device),
            configuration=_configuration(config),
        ),
    )
    # The size gate counts the report, whose size hardly depends on that gate's figure: rendered once without, once with.
    page = PAGES[contract.model.task](contract, judge, test.label, scores, uncalibrated)
    figures = draw_figures(report, judge, page)
    for _ in range(2):
        files[REPORT] = render_report(report, contract, config.limits, judge, page, figures).encode()
        size_bytes = sum(len(content) for content in files.values())
        gates = gate_results(
            contract.gates, metrics["fp32"], metrics["int8"], size_bytes, report.measured, report.details
        )
        report = report.model_copy(update={"gates": tuple(GateRecord(**asdict(gate)) for gate in gates)})

    # --- write: the version's folder, unsigned, DONE last
    begin("write")
    trained = write_run(config.runs, report, files)
    checkpoint.discard()
    on_progress(Progress("write", 1, 1, str(trained.folder)))
    return from_first(lambda: trained)


def _nowhere() -> TrainedVersion:
    raise RuntimeError("process 0 makes the version")


def _read_contract(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractInvalid(str(path), (f"expected a contract file: {error.strerror}",)) from None


def _entry(table: Table) -> TableEntry:
    return TableEntry(part=table.part, sha256=table.sha256, rows=table.rows, positive_share=table.positive_share)


def _configuration(config: TrainingConfig) -> dict[str, object]:
    """The configuration without what only says where things lay on this machine."""
    paths = {"contract", "train", "validation", "test", "table", "runs", "limits"}
    return config.model_dump(mode="json", exclude=paths, exclude_none=True)
