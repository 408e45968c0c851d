"""Which of several processes this is, as torchrun tells each in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """Process ``rank`` of ``world``, ``local_rank`` on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates, exports and writes."""
        return self.rank == 0


ALONE = Ranks()


def told_ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """What the environment says: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``; alone without them."""
    told = os.environ if environment is None else environment
    world = int(told.get("WORLD_SIZE") or 1)
    return Ranks(int(told.get("RANK") or 0), world, int(told.get("LOCAL_RANK") or 0)) if world > 1 else ALONE
