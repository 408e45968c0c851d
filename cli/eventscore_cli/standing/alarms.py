"""The stack's alarms that are in ALARM and tell somebody, each with its runbook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_PER_CALL = 100
_LINK = re.compile(r"https?://\S+")


@dataclass(frozen=True)
class AlarmState:
    """``held_back``: it is in ALARM, and a roll-out keeps it from telling anybody."""

    name: str
    since: str
    says: str
    runbook: str | None
    held_back: bool


@dataclass(frozen=True)
class Alarms:
    """How many alarms there are, and those that are in ALARM."""

    known: int
    ringing: tuple[AlarmState, ...]


def alarms(cloudwatch: Any, names: tuple[str, ...]) -> Alarms:
    """Of the alarms so called those in ALARM. Readings that other alarms are made of have no actions, and are left out."""
    ringing = []
    known = 0
    for start in range(0, len(names), _PER_CALL):
        answer = cloudwatch.describe_alarms(
            AlarmNames=list(names[start : start + _PER_CALL]), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for told in (*answer.get("CompositeAlarms", ()), *answer.get("MetricAlarms", ())):
            if not told.get("AlarmActions"):
                continue
            known += 1
            if told["StateValue"] != "ALARM":
                continue
            description = told.get("AlarmDescription", "")
            link = _LINK.search(description)
            says = re.sub(r"\s+", " ", description.partition("Runbook:")[0]).strip()
            since = told.get("StateTransitionedTimestamp") or told.get("StateUpdatedTimestamp", "")
            held_back = bool(told.get("ActionsSuppressedBy"))
            ringing.append(AlarmState(told["AlarmName"], str(since), says, link[0] if link else None, held_back))
    return Alarms(known, tuple(ringing))
