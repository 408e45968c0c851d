"""Hooks around SnapStart's snapshot: Lambda calls them when the function is published, and each time a snapshot wakes up."""

from __future__ import annotations

from collections.abc import Callable


def register(before_snapshot: Callable[[], None], after_restore: Callable[[], None]) -> bool:
    """Have Lambda's runtime call both; False where the runtime does not know hooks. Neither may raise: Lambda would give up.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    try:
        # The managed runtime brings it; nothing else needs it.
        from snapshot_restore_py import register_after_restore, register_before_snapshot
    except ImportError:
        return False
    register_before_snapshot(before_snapshot)
    register_after_restore(after_restore)
    return True
