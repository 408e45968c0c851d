"""One model in memory: the graph in ONNX Runtime, run once per batch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# ONNX Runtime's wheels from 1.29 on carry telemetry (a thread, files under ~/.cache); only this, before the import, ends it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort

from eventscore.columns import Columns
from eventscore.errors import GraphInvalid

if TYPE_CHECKING:
    import numpy.typing as npt

    from eventscore.contract import AnyContract

_OUTPUTS = ["score"]
_RUN = ort.RunOptions()
"""The defaults, which `run` would make anew for each run."""
_ONNX_TYPES = {"numbers": "tensor(double)", "categories": "tensor(string)"}


def load_graph(graph: bytes, key: str) -> ort.InferenceSession:
    """A graph that ONNX Runtime has loaded; ``key`` names it in errors. It does not hold the interpreter: other threads run meanwhile.

    Raises:
        GraphInvalid: ONNX Runtime does not load it.

    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Its own arena makes a run of one event a tenth slower than the allocator that Python's process has anyway, and gives nothing back.
    options.enable_cpu_mem_arena = False
    # That fusion makes one split of the gathers that take the categories apart, and a squeeze for each: more nodes, more copies of strings.
    try:
        return ort.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=["GatherSliceToSplitFusion"]
        )
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise GraphInvalid(key, f"refused: ONNX Runtime does not load it: {_first_line(error)}") from None


class ScoringSession:
    """Scores columns with one graph, on one thread: Lambda gives a fraction of a core, and batches are small."""

    def __init__(self, graph: bytes | ort.InferenceSession, contract: AnyContract, key: str) -> None:
        """Take ``graph``, its bytes or what ``load_graph`` made of them; ``key`` names it in errors.

        Raises:
            GraphInvalid: ONNX Runtime does not load it, or its inputs and outputs are not those of the contract.

        """
        self._session = load_graph(graph, key) if isinstance(graph, bytes) else graph
        # What `run` calls itself once it has compared the names of the inputs with those of the graph, which is done below, once.
        self._run = getattr(self._session, "_sess", self._session).run
        expected = {
            name: (_ONNX_TYPES[name], len(columns))
            for name, columns in (("numbers", contract.numbers), ("categories", contract.categories))
            if columns
        }
        got = {node.name: (node.type, node.shape[-1] if node.shape else None) for node in self._session.get_inputs()}
        # Column counts of the output; None where it has one dimension, one score for each event.
        wanted = [("score", "tensor(float)", len(contract.outputs) or None)]
        outputs = [
            (node.name, node.type, node.shape[1] if len(node.shape) == 2 else None)
            for node in self._session.get_outputs()
        ]
        if got != expected or outputs != wanted:
            raise GraphInvalid(
                key,
                f"refused: by the contract it must take {expected} and answer {wanted}; it takes {got} and answers {outputs}",
            )

    def score(self, columns: Columns) -> npt.NDArray[np.float32]:
        """Scores, float32: one per row ``[n]``, or a column for each of the contract's ``outputs`` ``[n, outputs]``."""
        scores: npt.NDArray[np.float32] = self._run(_OUTPUTS, columns, _RUN)[0]
        return scores


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
