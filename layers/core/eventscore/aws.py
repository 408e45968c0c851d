"""AWS clients for the function: botocore's, from one session, with timeouts that fit into an invocation.

boto3 would make the same clients and load a resource layer and a transfer manager that nothing here uses: some 50 ms of a cold start.
Credentials, region and endpoints are found as boto3 finds them, by the same session underneath.
"""

from __future__ import annotations

import threading
from functools import cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import botocore.session


def client(service: str, *, connect_timeout_s: float, read_timeout_s: float, attempts: int = 3) -> Any:
    """A client of ``service``. Raises botocore's errors where there is no region or the endpoint makes no sense."""
    from botocore.config import Config

    config = Config(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    # A session makes one client at a time (botocore's are not thread-safe), and sinks and stores ask from threads.
    with _making:
        return _session().create_client(service, config=config)


_making = threading.Lock()


@cache
def _session() -> botocore.session.Session:
    import botocore.session

    return botocore.session.get_session()


class DeferredClient:
    """A client of ``service`` that is made, and botocore imported, when it is first called: an answer is not sent before it exists."""

    def __init__(self, service: str, *, connect_timeout_s: float, read_timeout_s: float, attempts: int) -> None:
        self._make = partial(
            client, service, connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s, attempts=attempts
        )
        self._client: Any = None
        self._lock = threading.Lock()

    def __getattr__(self, operation: str) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make()
        return getattr(self._client, operation)
