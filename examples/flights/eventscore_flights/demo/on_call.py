"""The on-call dashboard of the stack, drawn from what the demo's function wrote: the panels, lines and expressions of its template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eventscore_local.dashboard import MetricStore, Panel, dashboard_body, panels
from eventscore_local.emf import MetricValues

PERIOD_S = 1.0
"""The dashboard has a minute; the demo is over by then."""
_SAYS = {" a minute": " a second", " over 5 minutes": " over a second"}
"""What a panel of the stack says of its period, and what is true of this one."""


def on_call_panels(root: Path, model: str, service: str, values: Sequence[MetricValues]) -> tuple[Panel, ...]:
    """The panels with what there is on this machine. Metrics of AWS's own (queues, invocations) are not there, and say so."""
    elsewhere = ("Queue", "DeadLetterQueue", "RejectQueue", "StreamFailureQueue", "Msk", "LogGroup", "Alarms")
    names = {
        "Model": model,
        "ServiceName": service,
        "FunctionName": "score",
        "AWS::Region": "local",
        **dict.fromkeys(elsewhere, "none"),
    }
    body = dashboard_body(root / "stacks" / "dashboards.yaml", "OnCallDashboard", names)
    return tuple(map(_by_the_second, panels(body, MetricStore(values, PERIOD_S))))


def _by_the_second(panel: Panel) -> Panel:
    lines = tuple(replace(line, label=_said(line.label)) for line in panel.lines)
    return replace(panel, title=_said(panel.title), lines=lines, absent=tuple(map(_said, panel.absent)))


def _said(text: str) -> str:
    for of_the_stack, here in _SAYS.items():
        text = text.replace(of_the_stack, here)
    return text
