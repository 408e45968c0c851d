"""A part of the status that may be out of reach: what it says, or why it cannot say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from click import ClickException

from eventscore.errors import EventscoreError
from eventscore_cli.aws_problems import aws_problem

T = TypeVar("T")


@dataclass(frozen=True)
class Part(Generic[T]):
    """``value``, or the reason why there is none."""

    value: T | None
    unreadable: str | None


def read_part(work: Callable[[], T]) -> Part[T]:
    """What the work says. A right that is missing, or a service that does not answer, is its own affair."""
    try:
        return Part(work(), None)
    except ClickException as error:
        return Part(None, error.message)
    except EventscoreError as error:
        return Part(None, str(error))
    except Exception as error:
        problem = aws_problem(error)
        if problem is None:
            raise
        return Part(None, problem)
