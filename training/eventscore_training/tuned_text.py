"""The text of a tuned configuration: the file that the search began with, as TOML, with the best values in it."""

from __future__ import annotations

import os
import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any

from eventscore_training.toml_text import quoted
from eventscore_training.tune import Tuned

_PATHS = ("contract", "train", "validation", "test", "table", "runs")


def tuned_text(configuration: Path, output: Path, tuned: Tuned) -> str:
    """``configuration`` with the changes of ``tuned``, its relative paths as seen from the folder of ``output``."""
    document: dict[str, Any] = tomllib.loads(configuration.read_text(encoding="utf-8"))
    for key in _PATHS:
        if key in document:
            document[key] = Path(os.path.relpath(configuration.parent / document[key], output.parent)).as_posix()
    for section, changes in tuned.changes.items():
        merged = {**document.get(section, {}), **changes}
        document[section] = {key: value for key, value in merged.items() if value is not None}
    before = "" if tuned.began_with is None else f", from {tuned.began_with:.4f}"
    lines = [
        f"# The best of {tuned.trials} trials of `eventscore tune {configuration.name}`: {tuned.metric} {tuned.value:.4f}{before},",
        "# on the validation part. That part chose it, so judge it by the test part: eventscore train does.",
    ]
    lines += [f"{key} = {_toml(value)}" for key, value in document.items() if not isinstance(value, dict)]
    for section, values in document.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)
