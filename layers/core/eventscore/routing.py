"""Which model of a function an event is for: that of its source, the one that a field of the event names, or the only one there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from eventscore.errors import ContractViolation, SettingsInvalid
from eventscore.records import Record
from eventscore.scorer import NO_MODEL, NO_VERSION, Scorer
from eventscore.settings import DIRECT, MODEL_SOURCES
from eventscore.sources.origin import source_names

if TYPE_CHECKING:
    from eventscore.scoring import Outcome

UNKNOWN_MODEL: Final = "unknown_model"


class Router:
    """Chooses among ``models``: by ``field`` of the event or by ``sources`` (source to model), or without either the only one."""

    def __init__(
        self, models: tuple[str, ...], field: str | None = None, sources: Mapping[str, str] | None = None
    ) -> None:
        self.models = models
        self._sources = sources or {}
        self._field = field
        self._named: msgspec.json.Decoder[Any] | None = None
        if self._field is not None:
            of_event = msgspec.defstruct(
                "NamesItsModel", [("model", Any, msgspec.field(default=None, name=self._field))]
            )
            self._named = msgspec.json.Decoder(of_event)
        self.nobody: Scorer = _Nobody(self._model_named_in)
        """Rejects the messages that are for no model of the function, each for its own reason."""

    def batch(self, invocation: Mapping[str, Any], records: Sequence[Record]) -> dict[str | None, Sequence[int]]:
        """The positions of a batch's records by model; under None those that name none of the function's.

        Raises:
            SettingsInvalid: the settings name no model for the source.

        """
        if self._field is not None:
            return self._by_field([record.payload for record in records])
        if not self._sources:
            return {self.models[0]: range(len(records))}
        names = source_names(invocation)
        for name in names:
            if name in self._sources:
                return {self._sources[name]: range(len(records))}
        raise SettingsInvalid(MODEL_SOURCES, f"a model for the source {' or '.join(names) or 'of this batch'}", None)

    def direct(self, messages: Sequence[bytes | None]) -> dict[str | None, Sequence[int]]:
        """The same for the events of a direct invocation; where they do not name their model they are for the first."""
        if self._field is not None:
            return self._by_field(messages)
        return {self._sources.get(DIRECT, self.models[0]): range(len(messages))}

    def _by_field(self, messages: Sequence[bytes | None]) -> dict[str | None, Sequence[int]]:
        groups: dict[str | None, list[int]] = {}
        for position, message in enumerate(messages):
            named = self._model_named_in(message)
            groups.setdefault(named if isinstance(named, str) else None, []).append(position)
        return dict(groups)

    def _model_named_in(self, message: bytes | None) -> str | ContractViolation:
        if not message or self._named is None:
            return ContractViolation("tombstone", "expected an event, got a message without content")
        try:
            named = self._named.decode(message).model
        except msgspec.ValidationError:
            return ContractViolation("not_an_object", "expected a JSON object, got another value")
        except RecursionError:
            return ContractViolation("too_nested", "expected a flat object, got one nested too deeply to read")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            from eventscore.violations import violation_of_bytes  # only what cannot be read needs it

            return violation_of_bytes(message, str(error))
        if isinstance(named, str) and named in self.models:
            return named
        return ContractViolation(UNKNOWN_MODEL, f"expected one of {', '.join(self.models)}; got another", self._field)


_OF_A_MODEL = ContractViolation(UNKNOWN_MODEL, "it names a model, and was asked of nobody")


class _Nobody:
    """For messages that are for no model of the function."""

    model = NO_MODEL
    version = NO_VERSION
    is_rule = False

    def __init__(self, model_named_in: Callable[[bytes | None], str | ContractViolation]) -> None:
        self._model_named_in = model_named_in

    def score(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """Why each is for no model."""
        return [
            named if isinstance(named := self._model_named_in(message), ContractViolation) else _OF_A_MODEL
            for message in messages
        ]
