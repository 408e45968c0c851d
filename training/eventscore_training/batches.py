"""Batches on the device: the whole table where it fits, else chunk after chunk, the next one fetched while this one is learned from.

The order of an epoch is one permutation of all rows in either case. A chunk is the next stretch of that order, gathered from host
memory, so streaming shuffles as well as a resident table does and gives the same batches, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from eventscore_training.errors import ConfigInvalid
from eventscore_training.ranks import ALONE, Ranks

_SHARE_OF_FREE_MEMORY = 0.5
"""Of a GPU's free memory for the table; the rest is for activations, gradients and the optimiser."""
_CHUNKS_AT_ONCE = 2


@dataclass(frozen=True)
class Batch:
    """This process's rows of one step, one tensor for each array: ``rows`` are in the whole step, these begin at ``start``."""

    tensors: tuple[Tensor, ...]
    start: int
    rows: int

    @property
    def share(self) -> float:
        """The share of the step's rows that this process has."""
        return len(self.tensors[0]) / self.rows


@dataclass(frozen=True)
class _Chunk:
    """Steps' rows on the device, ``arrived`` once the event has happened (None: they are there)."""

    tensors: tuple[Tensor, ...]
    arrived: torch.cuda.Event | None

    def await_arrival(self, device: torch.device) -> None:
        """Let the device's stream, not this process, wait for the copy."""
        if self.arrived is None:
            return
        stream = torch.cuda.current_stream(device)
        stream.wait_event(self.arrived)
        for tensor in self.tensors:
            tensor.record_stream(stream)


class Batches:
    """A table, ``arrays`` of equal length, in batches of ``batch_size`` rows.

    ``memory_bytes``: what the table may take on the device (None: half of a GPU's free memory, anything on a CPU). The remainder of
    an epoch below one batch joins its last batch.
    """

    def __init__(
        self,
        arrays: Sequence[NDArray[Any]],
        device: torch.device,
        batch_size: int,
        memory_bytes: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.rows = len(arrays[0])
        self.steps = max(1, self.rows // batch_size)
        self._batch_size, self._device, self._ranks = batch_size, device, ranks
        if min(batch_size, self.rows) < ranks.world:
            problem = f"expected at least one row of each batch for each of {ranks.world} processes"
            raise ConfigInvalid("fit.batch_size", [f"{problem}, got {min(batch_size, self.rows)} rows"])
        self._host = tuple(torch.from_numpy(array) for array in arrays)
        row_bytes = sum(tensor[:1].nbytes for tensor in self._host)
        limit = _free_bytes(device) if memory_bytes is None else memory_bytes
        self.chunk_steps = self.steps
        self._resident: tuple[Tensor, ...] | None = None
        if limit is None or self.rows * row_bytes <= limit:
            self._resident = tuple(tensor.to(device) for tensor in self._host)
        else:
            of_a_step = row_bytes * -(-batch_size // ranks.world)
            self.chunk_steps = min(self.steps, max(1, limit // (_CHUNKS_AT_ONCE * of_a_step)))
        self._copies: torch.cuda.Stream | None = None
        if device.type == "cuda" and self._resident is None:
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @property
    def streamed(self) -> bool:
        """Whether the table is too large for the device."""
        return self._resident is None

    def epoch(self, order: Tensor, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch in which the rows stand in ``order`` ``[rows]``, from step ``first`` on."""
        return self._of_chunks(order.cpu(), first) if self._resident is None else self._of_table(order, first)

    def _of_table(self, order: Tensor, first: int) -> Iterator[Batch]:
        for step in range(first, self.steps):
            begin, end, start, rows = self._span(step)
            places = order[begin:end]
            yield Batch(tuple(tensor.index_select(0, places) for tensor in self._resident or ()), start, rows)

    def _of_chunks(self, order: Tensor, first: int) -> Iterator[Batch]:
        chunks = [
            range(begin, min(begin + self.chunk_steps, self.steps))
            for begin in range(first, self.steps, self.chunk_steps)
        ]
        with ThreadPoolExecutor(1, "next-chunk") as thread:
            coming: Future[_Chunk] | None = thread.submit(self._fetch, order, chunks[0]) if chunks else None
            for place, steps in enumerate(chunks):
                if coming is None:
                    raise RuntimeError("a chunk was not asked for")
                chunk, coming = coming.result(), None
                chunk.await_arrival(self._device)
                at = 0
                for step in steps:
                    begin, end, start, rows = self._span(step)
                    yield Batch(tuple(tensor[at : at + end - begin] for tensor in chunk.tensors), start, rows)
                    at += end - begin
                    # Asked for after the first batch of this chunk: until then the batch before it kept the last chunk in memory.
                    if coming is None and place + 1 < len(chunks):
                        coming = thread.submit(self._fetch, order, chunks[place + 1])

    def _fetch(self, order: Tensor, steps: range) -> _Chunk:
        spans = [self._span(step) for step in steps]
        places = torch.cat([order[begin:end] for begin, end, _, _ in spans])
        if self._copies is None:
            return _Chunk(tuple(tensor.index_select(0, places).to(self._device) for tensor in self._host), None)
        with torch.cuda.device(self._device), torch.cuda.stream(self._copies):
            tensors = []
            for tensor in self._host:
                # Pinned, so that the copy runs beside the computation; torch reuses the memory once the copy is done.
                gathered = torch.empty((len(places), *tensor.shape[1:]), dtype=tensor.dtype, pin_memory=True)
                torch.index_select(tensor, 0, places, out=gathered)
                tensors.append(gathered.to(self._device, non_blocking=True))
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._copies)
        return _Chunk(tuple(tensors), arrived)

    def _span(self, step: int) -> tuple[int, int, int, int]:
        """This process's rows of a step in the epoch's order (from, to), where they begin in the step, and the step's rows."""
        begin = step * self._batch_size
        rows = (self.rows if step + 1 == self.steps else begin + self._batch_size) - begin
        start, end = (rows * rank // self._ranks.world for rank in (self._ranks.rank, self._ranks.rank + 1))
        return begin + start, begin + end, start, rows


def _free_bytes(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0] * _SHARE_OF_FREE_MEMORY)
