"""Sections of the configuration for the steps around the fit that are off unless they are asked for: a teacher, pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class PruneConfig(BaseModel):
    """What of the trained network is kept: ``members`` of an ensemble, and a share of the ``units`` of each hidden layer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="Of a `tabm`: how many members are kept."
    )
    units: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="Share of each hidden layer's units that is kept."
    )

    def problem(self, kind: str, members: int) -> str | None:
        """Why this does not fit a network of that kind, if it does not."""
        if self.members is None:
            return "prune: expected members or units below 1, or there is nothing to prune" if self.units == 1 else None
        if kind != "tabm":
            return f"prune.members belongs to network.kind = 'tabm', and that is {kind!r}: it has no members"
        if self.members >= members:
            return f"prune.members is {self.members}: expected fewer than network.members, which is {members}"
        return None


class DistillConfig(BaseModel):
    """The teacher: ``seeds`` ensembles of ``members`` with layers of ``widths``, trained for ``epochs`` (those of the fit if left out).

    The network learns ``weight`` times what they answer and 1 - ``weight`` times the label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: Annotated[int, Field(ge=2, le=64)] = Field(
        default=32, description="Members of the teacher, an ensemble over the same encoding."
    )
    widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1, max_length=8)] = Field(
        default=(256, 256), description="Its hidden layers."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.1, description="Its dropout.")
    seeds: Annotated[int, Field(ge=1, le=20)] = Field(
        default=1, description="How many teachers; their probabilities are averaged."
    )
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Epochs of each; those of the fit if left out."
    )
    weight: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="The network learns this share of the teacher's answer, and the rest of the label."
    )

    def problem(self, kind: str, members: int, widths: Sequence[int]) -> str | None:
        """Why this does not fit a network of that kind and shape, if it does not."""
        if kind == "tabm" and self.seeds == 1 and self.members <= members and sum(self.widths) <= sum(widths):
            return (
                f"distill: a teacher of {self.members} members and widths {list(self.widths)} is no larger than the network "
                f"({members} members, {list(widths)}): raise distill.members, distill.widths or distill.seeds"
            )
        return None
