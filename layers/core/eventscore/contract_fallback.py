"""``[fallback]``: what every event is answered with while no version of the model can be had."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eventscore.contract_grammar import DecisionName, Finite, Section

_Share = Annotated[float, Field(ge=0, le=1)]


class FallbackSection(Section):
    """The rule: a score or the name of its decision band, or, where an event has several scores, all of them by name."""

    score: Finite | None = Field(default=None, description="The score (binary, regression, anomaly).")
    decision: DecisionName | None = Field(
        default=None, description="Instead of the score or beside it: the band, from whose start the score is taken."
    )
    scores: dict[str, _Share] | None = Field(
        default=None, description="Multiclass, multilabel: the probability of each class or label."
    )
