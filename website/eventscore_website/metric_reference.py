"""The page of the metrics: every line that `eventscore.telemetry` writes is written once, and read."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eventscore.service import BatchResult
from eventscore.telemetry import NAMESPACE, Telemetry
from eventscore_website.errors import WordsMissing
from eventscore_website.tables import code, table

_WHERE = "website/eventscore_website/metric_reference.py"
WORDS: Final[Mapping[str, str]] = {
    "Received": "Events of an invocation. Always the sum of the next three.",
    "Scored": "Events whose answers every sink took, or that were answered directly.",
    "Rejected": "Events that break the contract, with their bytes in the reject queue.",
    "Returned": "Events that went back to their source for another try.",
    "BatchSize": "Events of an invocation, for its distribution: maximum and percentiles.",
    "Latency": "Time in the handler, from the invocation to its answer.",
    "RejectedByReason": "Rejected events with this [reason](reasons.md).",
    "ColdStart": "A model is loaded in a new environment.",
    "ColdStartConnect": "Opening the store. It runs beside the imports, as do the next two.",
    "ColdStartPointer": "Reading `channels.json`.",
    "ColdStartPull": "Reading the version's files.",
    "ColdStartProcess": "From the start of the process until everything is imported.",
    "ColdStartWait": "Waiting for what was not pulled by then.",
    "ColdStartVerify": "Signature and digests.",
    "ColdStartSession": "ONNX Runtime's session.",
    "ColdStartGolden": "The version's golden events.",
    "ColdStartTotal": "From the start of the process to the model being ready.",
    "Restored": "An environment was started from its snapshot (SnapStart).",
    "ModelAgeDays": "Days since the version that begins to answer was made; at each cold start, restore and replacement.",
    "ModelLoadFailed": "A version, or the pointer to one, could not be had; the log says why, and who answers meanwhile.",
    "ModelLoaded": "Another version answers from now on in a warm environment.",
    "SketchFailed": "A version answers, and what it meets is not counted; the log says why.",
    "FallbackAnswers": "Events that the contract's fallback rule answered.",
}
"""What each metric says."""


class _Metrics(Telemetry):
    """Telemetry that writes its metrics, and logs nothing."""

    def _log(self, level: str, message: str, extra: Mapping[str, Any]) -> None:
        pass


_VERSION = "20261121T101500Z-1a2b3c4d"
_SAMPLES: Final[Mapping[str, Any]] = {
    "source": "sqs",
    "version": _VERSION,
    "result": BatchResult(received=3, scored=1, rejected=Counter({"not_json": 1}), returned={2: "throttled"}),
    "latency_ms": 1.0,
    "origins": {2: "message"},
    "scored": 1,
    "rejected": 1,
    "parts_ms": {
        name.removeprefix("ColdStart").lower(): 1.0
        for name in WORDS
        if name.startswith("ColdStart") and name != "ColdStart"
    },
    "signed_by": "key",
    "error": ValueError("an example"),
    "serving": None,
    "retry_in_s": 1.0,
    "replaced": None,
    "moved": True,
    "origin": "contract.toml",
    "answers": 1,
    "sketch": {},
}
"""An example of each argument that the methods of `Telemetry` take."""


def emitted() -> dict[str, tuple[str, list[list[str]]]]:
    """Each metric that the function can emit, with its unit and its sets of dimensions.

    Raises:
        WordsMissing: a method of `Telemetry` takes an argument of which there is no example here.

    """
    telemetry = _Metrics("model", {})
    metrics: dict[str, tuple[str, list[list[str]]]] = {}
    for name, method in inspect.getmembers(telemetry, inspect.ismethod):
        if name.startswith("_"):
            continue
        names = inspect.signature(method).parameters
        if strange := names.keys() - _SAMPLES.keys():
            raise WordsMissing(f"arguments of Telemetry.{name}", strange, f"_SAMPLES of {_WHERE}")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            method(**{argument: _SAMPLES[argument] for argument in names})
        for line in said.getvalue().splitlines():
            for directive in json.loads(line).get("_aws", {}).get("CloudWatchMetrics", []):
                for metric in directive["Metrics"]:
                    _, sets = metrics.setdefault(metric["Name"], (metric["Unit"], []))
                    sets += [found for found in directive["Dimensions"] if found not in sets]
    return metrics


def write(root: Path) -> str:
    """The page.

    Raises:
        WordsMissing: a metric has no description.

    """
    found = emitted()
    if mute := found.keys() - WORDS.keys():
        raise WordsMissing("metrics", mute, f"WORDS of {_WHERE}")
    order = list(WORDS)
    rows = [
        [code(name), unit, "<br>".join(", ".join(map(code, of)) for of in sets), WORDS[name]]
        for name, (unit, sets) in sorted(found.items(), key=lambda item: order.index(item[0]))
    ]
    head = f"The namespace is `{NAMESPACE}`, unless `POWERTOOLS_METRICS_NAMESPACE` says otherwise.\n\n"
    return head + table(["metric", "unit", "dimensions", "what it counts"], rows)
