"""Several sinks as one: each message goes to every sink that its decision is routed to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eventscore.delivery.sink import HELD_BACK, AnyMessage, Lanes, NotTaken, Sink
from eventscore.time_left import NO_LIMIT, TimeLeft


@dataclass(frozen=True, slots=True)
class Route:
    """A sink, and the decisions whose messages it gets; None means all."""

    sink: Sink
    decisions: frozenset[str] | None = None

    def takes(self, message: AnyMessage) -> bool:
        """Whether the message goes this way. An answer without a decision goes to sinks that take all."""
        if self.decisions is None:
            return True
        return message.answer is not None and message.answer.decision in self.decisions


class RoutedSink:
    """Delivers to the sinks one after the other, in the order of the routes.

    In order, the first message of each lane goes through all its sinks before any other goes to one: while a sink is down, the source comes
    back again and again, and the other sinks get that one message again, not the whole batch.

    A message is taken once every sink of its routes took it. What one sink did not take is not sent to those behind it, since it will come
    back and be sent to all of them again. A message that no route takes is not taken: nothing goes nowhere unless a route to
    :class:`Discard` says so.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)

    def deliver(
        self, messages: Sequence[AnyMessage], time_left: TimeLeft = NO_LIMIT, lanes: Lanes | None = None
    ) -> Mapping[int, NotTaken]:
        """Deliver; the answer maps the position of each message that a sink of its routes did not take."""
        not_taken: dict[int, NotTaken] = {}
        if lanes is None:
            self._deliver(messages, range(len(messages)), not_taken, time_left, None)
        else:
            heads = {lane: position for position, lane in reversed([*enumerate(lanes)])}
            self._deliver(messages, sorted(heads.values()), not_taken, time_left, lanes)
            rest = [position for position, lane in enumerate(lanes) if position != heads[lane]]
            self._deliver(messages, rest, not_taken, time_left, lanes)
        return not_taken

    def _deliver(
        self,
        messages: Sequence[AnyMessage],
        positions: Sequence[int],
        not_taken: dict[int, NotTaken],
        time_left: TimeLeft,
        lanes: Lanes | None,
    ) -> None:
        """Deliver the messages at ``positions``, and add to ``not_taken`` those that a sink of theirs did not take."""
        # First, so that in order nothing behind them goes out.
        for position in positions:
            if not any(route.takes(messages[position]) for route in self._routes):
                answer = messages[position].answer
                what = None if answer is None else answer.decision
                not_taken[position] = NotTaken(f"no sink takes the decision {what!r}: name it, or discard it")
        for route in self._routes:
            mine = [position for position in positions if route.takes(messages[position])]
            going = [position for position in mine if position not in not_taken]
            if lanes is not None:
                free = _ahead(going, not_taken, lanes)
                not_taken.update((position, HELD_BACK) for position in going if position not in free)
                going = [position for position in going if position in free]
            if going:
                failed = route.sink.deliver(
                    [messages[position] for position in going],
                    time_left,
                    None if lanes is None else [lanes[position] for position in going],
                )
                not_taken.update((going[index], reason) for index, reason in failed.items())


class Discard:
    """Takes every message and drops it: for decisions that nobody wants to hear of."""

    def deliver(
        self, messages: Sequence[AnyMessage], time_left: TimeLeft = NO_LIMIT, lanes: Lanes | None = None
    ) -> Mapping[int, NotTaken]:
        """Nothing is left over."""
        return {}


def _ahead(positions: Sequence[int], not_taken: Mapping[int, NotTaken], lanes: Lanes) -> set[int]:
    """The positions that no failure lies before, in their lane."""
    first: dict[object, int] = {}
    for position, failure in not_taken.items():
        if not failure.permanent:  # it is rejected, and its source does not come back to it
            first[lanes[position]] = min(position, first.get(lanes[position], position))
    return {position for position in positions if position < first.get(lanes[position], position + 1)}
