"""Warm-ups that hold their execution environment for a moment, so that others of the same moment meet other environments."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from eventscore.errors import InvocationNotRecognised
from eventscore.sources.recognise import HOLD_MS
from eventscore.time_left import TimeLeft

MAX_HOLD_MS: Final = 10_000
"""Who asks for more gets an error: a held environment is billed, and serves nobody."""
_ENVIRONMENT: Final = os.urandom(8).hex()
"""Tells this environment from the others: made when the module is first imported, which no snapshot has done."""


def hold(
    invocation: Mapping[str, Any], time_left: TimeLeft, wait: Callable[[float], None] = time.sleep
) -> dict[str, str]:
    """Wait for the ``hold_ms`` milliseconds that a warm-up asks for, and say which environment did; {} if it asks for none.

    Raises:
        InvocationNotRecognised: it is no whole number from 0 to ``MAX_HOLD_MS``.

    """
    asked = invocation.get(HOLD_MS)
    if asked is None:
        return {}
    if type(asked) is not int or not 0 <= asked <= MAX_HOLD_MS:
        raise InvocationNotRecognised(f"a warm-up whose {HOLD_MS} is no whole number from 0 to {MAX_HOLD_MS}")
    wait(min(asked / 1000, time_left.seconds()))
    return {"environment": _ENVIRONMENT}
