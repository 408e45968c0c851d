"""Where to cut a number: quantiles, but a value that very many rows share takes one cut, and leaves the others to the rest.

Plain quantiles of a number that is mostly zero fall on the zero again and again: `capital_gain` of the adult table, zero in eleven of
twelve rows, would keep three different cuts of 33, and all that its other values say would be lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread_knots(values: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """At most ``count`` (two or more) different values of ``values``, rising, about as many rows between each two.

    The least and the largest are among them; all are, where no more are different.

    >>> spread_knots(np.array([0.0] * 96 + [1.0, 2.0, 3.0, 4.0]), 3).tolist()
    [0.0, 2.0, 4.0]

    """
    distinct, rows = np.unique(values.astype(np.float64), return_counts=True)
    if len(distinct) <= count:
        return distinct
    chosen = np.zeros(len(distinct), np.bool_)
    chosen[[0, -1]] = True
    # A value with more rows than a cut's fair share is a cut itself; what remains is shared anew, until no value is that heavy.
    while True:
        cuts = count - int(chosen.sum())
        heavy = ~chosen & (rows * cuts > rows[~chosen].sum())
        if not heavy.any():
            break
        chosen |= heavy
    light = np.flatnonzero(~chosen)
    gone = np.cumsum(rows[light])
    # The middles of as many stretches; none of what is left is longer than a stretch, so no two fall on one value.
    places = np.searchsorted(gone * 2 * cuts, (2 * np.arange(cuts) + 1) * gone[-1])
    chosen[light[places]] = True
    return distinct[chosen]


def middle_ranks(values: NDArray[np.floating], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each knot, the share of ``values`` that lie below it, its equals counted by half."""
    rising = np.sort(values.astype(np.float64))
    below, through = (np.searchsorted(rising, knots, side=side) for side in ("left", "right"))
    return (below + through) / (2 * len(rising))
