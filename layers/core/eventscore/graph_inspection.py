"""What a graph may hold is checked in its bytes, before ONNX Runtime sees them: no files beside it, no operators of others.

A graph is a protocol buffer (onnx.proto); this reads the few fields that matter and skips the rest, so that neither `onnx` nor
`protobuf` is needed. Refused are tensors whose data lies in another file (a path into the function's file system), operators and
functions of domains other than ONNX's own (``com.microsoft`` among them, whose ``EPContext`` reads files), and whatever is no ONNX
model but would be loaded as one (ONNX Runtime's own flatbuffer format).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from eventscore.errors import GraphInvalid

DOMAINS: Final = frozenset({b"", b"ai.onnx", b"ai.onnx.ml"})
"""The operators that a graph may use: those of the ONNX standard, under both spellings of its main domain, and of ONNX-ML."""

_DEPTH = 16
_ORT_FORMAT = b"ORTM"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Field numbers of onnx.proto, by message.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 8, 20, 25
_OPSET_DOMAIN = 1
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 13, 14
_TENSOR_NAME = 8
# Entries of an attribute's lists of floats (7), integers (8) and short strings (9): a vocabulary has thousands of them, none of
# which matters here, and this passes over them at the speed of C.
_LIST_ENTRIES = re.compile(
    rb"(?s:\x3d.{4}|\x40[\x80-\xff]{0,9}[\x00-\x7f]|\x4a(?:"
    + b"|".join(b"\\x%02x.{%d}" % (length, length) for length in range(64))
    + rb"))*+"
)


class _NotProtobuf(Exception):
    pass


def inspect_graph(graph: bytes, key: str) -> None:
    """Check the bytes of a graph; ``key`` names it in errors.

    Raises:
        GraphInvalid: it is no ONNX model, or holds what a version must not.

    """
    if graph[4:8] == _ORT_FORMAT:
        raise GraphInvalid(key, "refused: expected an ONNX model, got one in ONNX Runtime's own format")
    try:
        _model(memoryview(graph), key)
    except _NotProtobuf as error:
        raise GraphInvalid(key, f"refused: expected an ONNX model; {error}") from None


def _model(model: memoryview, key: str) -> None:
    graphs = 0
    for number, value in _fields(model):
        if number == _MODEL_GRAPH:
            graphs += 1
            _graph(value, key, _DEPTH)
        elif number == _MODEL_OPSET:
            for field, domain in _fields(value):
                if field == _OPSET_DOMAIN:
                    _check_domain(bytes(domain), "operators", key)
        elif number == _MODEL_FUNCTION:
            raise GraphInvalid(key, "refused: it defines functions of its own; expected operators of ONNX only")
        elif number == _MODEL_TRAINING:
            raise GraphInvalid(key, "refused: it holds a training graph; expected one that scores")
    if graphs != 1:
        raise GraphInvalid(key, f"refused: expected an ONNX model with one graph, got {graphs}")


def _graph(graph: memoryview, key: str, depth: int) -> None:
    if depth == 0:
        raise GraphInvalid(key, f"refused: graphs inside graphs, more than {_DEPTH} deep")
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            _node(value, key, depth)
        elif number == _GRAPH_INITIALIZER:
            _tensor(value, key)
        elif number == _GRAPH_SPARSE:
            _sparse_tensor(value, key)


def _node(node: memoryview, key: str, depth: int) -> None:
    operator = domain = b""
    for number, value in _fields(node):
        if number == _NODE_ATTRIBUTE:
            _attribute(value, key, depth)
        elif number == _NODE_OPERATOR:
            operator = bytes(value)
        elif number == _NODE_DOMAIN:
            domain = bytes(value)
    _check_domain(domain, f"the operator {operator.decode('utf-8', 'replace')[:80]}", key)


def _attribute(attribute: memoryview, key: str, depth: int) -> None:
    for number, value in _fields(attribute, _LIST_ENTRIES):
        if number in _ATTRIBUTE_TENSORS:
            _tensor(value, key)
        elif number in _ATTRIBUTE_GRAPHS:
            _graph(value, key, depth - 1)
        elif number in _ATTRIBUTE_SPARSE:
            _sparse_tensor(value, key)


def _sparse_tensor(sparse: memoryview, key: str) -> None:
    for number, value in _fields(sparse):
        if number in _SPARSE_TENSORS:
            _tensor(value, key)


def _tensor(tensor: memoryview, key: str) -> None:
    name, external = b"", False
    for number, value in _fields(tensor):
        if number == _TENSOR_NAME:
            name = bytes(value)
        elif number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_LOCATION and bytes(value) != b"\x00"):
            external = True
    if external:
        told = name.decode("utf-8", "replace")[:80]
        raise GraphInvalid(
            key, f"refused: the data of tensor {told!r} lies in another file; a version has one graph file"
        )


def _check_domain(domain: bytes, what: str, key: str) -> None:
    if domain not in DOMAINS:
        told = domain.decode("utf-8", "replace")[:80]
        raise GraphInvalid(key, f"refused: {what} of domain {told!r}; expected operators of ONNX and ai.onnx.ml only")


def _fields(message: memoryview, uninteresting: re.Pattern[bytes] | None = None) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message: number and content. A varint's content are its own bytes; what has a fixed length is skipped.

    Fields that ``uninteresting`` matches are skipped, too.

    Wire format: https://protobuf.dev/programming-guides/encoding/
    """
    at, end = 0, len(message)
    try:
        while at < end:
            if uninteresting is not None and (run := uninteresting.match(message, at)):
                at = run.end()
                if at == end:
                    break
            tag = message[at]
            at += 1
            if tag > 0x7F:
                tag, at = _varint(message, at - 1)
                if tag > 0xFFFFFFFF:  # a reader of 32 bits would see another field
                    raise _NotProtobuf(f"byte {at - 1} ends no field's number")
            kind = tag & 7
            if kind == _BYTES:
                length = message[at]
                at += 1
                if length > 0x7F:
                    length, at = _varint(message, at - 1)
                if at + length > end:
                    raise _NotProtobuf("it ends in the middle of a field")
                yield tag >> 3, message[at : at + length]
                at += length
            elif kind == _VARINT:
                began = at
                while message[at] > 0x7F:
                    at += 1
                at += 1
                yield tag >> 3, message[began:at]
            elif kind == _FIXED32:
                at += 4
            elif kind == _FIXED64:
                at += 8
            else:
                raise _NotProtobuf(f"byte {at - 1} begins no field of a protocol buffer")
    except IndexError:
        raise _NotProtobuf("it ends in the middle of a field") from None
    if at != end:
        raise _NotProtobuf("it ends in the middle of a field")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _NotProtobuf(f"byte {at - 1} begins no number of a protocol buffer")
