"""What the sections of a training configuration share: frozen tables in which an unknown key is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refuse_strays(section: Section, owners: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
    """A key that the chosen kind does not read is a mistake, unless it says what is the default anyway."""
    for key, (owner, values) in owners.items():
        chosen = getattr(section, owner)
        if chosen not in values and getattr(section, key) != type(section).model_fields[key].default:
            readers = " or ".join(repr(value) for value in values)
            raise ValueError(f"{key} belongs to {owner} = {readers}, and {owner} is {chosen!r}: nothing would read it")
