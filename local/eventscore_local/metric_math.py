"""CloudWatch's metric math over series in memory, as much of it as the dashboards and alarms of this repository use.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Series = Sequence[float | None]
"""One value for each period, the oldest first; None where there was no data."""

_COMPARED: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}
_COMPUTED: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class ExpressionUnknown(ValueError):
    """The expression uses something that is not computed here."""


def evaluate(expression: str, series: Mapping[str, Series]) -> list[float | None]:
    """The values of an expression over series of one length.

    >>> evaluate("IF(b > 1, FILL(a, 0) / b, 0)", {"a": [4, None], "b": [2, 2]})
    [2.0, 0.0]
    """
    (length,) = {len(one) for one in series.values()}
    text = re.sub(r"\bIF\(", "IF_(", re.sub(r"\bAND\b", "and", re.sub(r"\bOR\b", "or", expression)))
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise ExpressionUnknown(expression) from None
    return [_at(tree, series, place) for place in range(length)]


def _at(node: ast.AST, series: Mapping[str, Series], place: int) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return series[name][place]
        case ast.List(elts=parts):
            return [_at(part, series, place) for part in parts]
        case ast.UnaryOp(op=ast.USub(), operand=of):
            return -_at(of, series, place)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _COMPUTED:
            one, other = _at(left, series, place), _at(right, series, place)
            if one is None or other is None or (isinstance(op, ast.Div) and other == 0):
                return None
            return _COMPUTED[type(op)](one, other)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
            one, other = _at(left, series, place), _at(right, series, place)
            return None if one is None or other is None else float(_COMPARED[type(op)](one, other))
        case ast.BoolOp(op=op, values=values):
            truths = [_at(value, series, place) for value in values]
            if None in truths:
                return None
            return float(all(truths) if isinstance(op, ast.And) else any(truths))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _called(name, arguments, series, place)
    raise ExpressionUnknown(ast.dump(node))


def _called(name: str, arguments: Sequence[ast.expr], series: Mapping[str, Series], place: int) -> Any:
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
    raise ExpressionUnknown(name)
