"""AWS clients for the function: botocore's, from one session, with timeouts that fit into an invocation.

boto3 would make the same clients and load a resource layer and a transfer manager that nothing here uses: some 50 ms of a cold start.
Credentials, region and endpoints are found as boto3 finds them, by the same session underneath.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config

_ATTEMPTS = 3


def client(service: str, *, connect_timeout_s: float, read_timeout_s: float, attempts: int = _ATTEMPTS) -> Any:
    """A client of ``service``. Raises botocore's errors where there is no region or the endpoint makes no sense."""
    config = Config(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    return _session().create_client(service, config=config)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()
