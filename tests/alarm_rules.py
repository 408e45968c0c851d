"""Alarms and their rules as CloudWatch evaluates them, as much of it as the stack uses, so that thresholds are proved with numbers.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping
from typing import Any

from eventscore_local.metric_math import Series, evaluate

_BREACHES = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def state(alarm: Mapping[str, Any], data: Mapping[str, Series]) -> str:
    """``ALARM`` or ``OK`` of an alarm (its properties) after these data, by metric id, or by metric name where it has no expression."""
    if "MetricName" in alarm:
        values: Series = data[alarm["MetricName"]]
    else:
        (expression,) = [query["Expression"] for query in alarm["Metrics"] if "Expression" in query]
        ids = [query["Id"] for query in alarm["Metrics"] if "MetricStat" in query]
        (length,) = {len(data[name]) for name in ids if name in data}
        never: Series = [None] * length  # a metric that was not written at all
        values = evaluate(expression, {name: data.get(name, never) for name in ids})
    periods = int(alarm["EvaluationPeriods"])
    assert len(values) >= periods, "not enough data for the alarm to look at"
    assert alarm["TreatMissingData"] in ("notBreaching", "ignore")
    breaches, threshold = _BREACHES[alarm["ComparisonOperator"]], float(alarm["Threshold"])
    breaching = sum(1 for value in values[-periods:] if value is not None and breaches(value, threshold))
    return "ALARM" if breaching >= int(alarm.get("DatapointsToAlarm", periods)) else "OK"


def rule(text: str, states: Mapping[str, str]) -> str:
    """``ALARM`` or ``OK`` of a composite alarm's rule, given the states of its children."""
    python = re.sub(r"ALARM\(([^)]+)\)", lambda found: str(states[found[1].strip('"<>')] == "ALARM"), text)
    words = set(re.findall(r"[A-Za-z]+", python))
    assert words <= {"True", "False", "AND", "OR", "NOT"}, words
    tree = ast.parse(python.replace("AND", "and").replace("OR", "or").replace("NOT", "not"), mode="eval")
    return "ALARM" if _truth(tree.body) else "OK"


def _truth(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=bool() as value):
            return value
        case ast.BoolOp(op=op, values=values):
            truths = [_truth(value) for value in values]
            return all(truths) if isinstance(op, ast.And) else any(truths)
        case ast.UnaryOp(op=ast.Not(), operand=of):
            return not _truth(of)
    raise AssertionError(ast.dump(node))
