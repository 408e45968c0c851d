"""CloudWatch's metric math and alarm rules, as much of them as the stack uses, so that thresholds are proved with numbers.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html and AlarmThatSendsEmail.html
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Series = Sequence[float | None]
"""One value for each period, the oldest first; None where there was no data."""

_COMPARED: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}
_COMPUTED: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_BREACHES = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def evaluate(expression: str, series: Mapping[str, Series]) -> list[float | None]:
    """The values of an expression over series of one length."""
    (length,) = {len(one) for one in series.values()}
    text = re.sub(r"\bIF\(", "IF_(", re.sub(r"\bAND\b", "and", re.sub(r"\bOR\b", "or", expression)))
    tree = ast.parse(text, mode="eval").body
    return [_at(tree, series, place) for place in range(length)]


def _at(node: ast.AST, series: Mapping[str, Series], place: int) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return series[name][place]
        case ast.List(elts=parts):
            return [_at(part, series, place) for part in parts]
        case ast.BinOp(left=left, op=op, right=right):
            one, other = _at(left, series, place), _at(right, series, place)
            if one is None or other is None or (isinstance(op, ast.Div) and other == 0):
                return None
            return _COMPUTED[type(op)](one, other)
        case ast.UnaryOp(op=ast.USub(), operand=of):
            return -_at(of, series, place)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            one, other = _at(left, series, place), _at(right, series, place)
            return None if one is None or other is None else float(_COMPARED[type(op)](one, other))
        case ast.BoolOp(op=op, values=values):
            truths = [_at(value, series, place) for value in values]
            if None in truths:
                return None
            return float(all(truths) if isinstance(op, ast.And) else any(truths))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _called(name, arguments, series, place)
    raise AssertionError(f"the tests do not know {ast.dump(node)}")


def _called(name: str, arguments: list[ast.expr], series: Mapping[str, Series], place: int) -> Any:
    first = _at(arguments[0], series, place)
    match name:
        case "IF_":
            return None if first is None else _at(arguments[1 if first else 2], series, place)
        case "FILL":
            return _at(arguments[1], series, place) if first is None else first
        case "MAX":
            return max((one for one in first if one is not None), default=None)
        case "DIFF":
            before = _at(arguments[0], series, place - 1) if place else None
            return None if first is None or before is None else first - before
    raise AssertionError(f"the tests do not know {name}")


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
    python = re.sub(r"ALARM\(([^)]+)\)", lambda found: str(states[found[1].strip('"')] == "ALARM"), text)
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
