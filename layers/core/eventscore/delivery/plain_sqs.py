"""SQS without botocore: one signed POST for a batch of messages, as the queue's JSON protocol has it.

Only a plain answer counts. Whatever else happens (a throttle, a refusal, an error on the way) botocore sends the same batch again, and
its word is the one that counts. A batch may arrive twice by that. Only where no answer came in time it is not sent again here: that
cost seconds, and the sink decides whether there are more.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eventscore.plain_access import PlainAccess
from eventscore.plain_http import HttpPool, Origin, TooLong
from eventscore.signature_v4 import now, signed_headers

_MAX_ANSWER_BYTES = 2**20


class _Entry(msgspec.Struct):
    Id: str


class _Answer(msgspec.Struct):
    Successful: list[_Entry] = []
    Failed: list[dict[str, Any]] = []


class PlainSqsClient:
    """Has the one operation that a sink calls; ``whole`` is botocore's client, which is called where the plain way ends."""

    def __init__(self, access: PlainAccess, whole: Any, *, connect_timeout_s: float, read_timeout_s: float) -> None:
        self._access = access
        self._whole = whole
        host = f"sqs.{access.region}.amazonaws.com"
        self._pool = HttpPool(
            access.endpoint or Origin(True, host, 443, host),
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )

    def send_message_batch(self, **request: Any) -> Any:
        """``QueueUrl`` and ``Entries`` as botocore takes them; the answer as botocore gives it."""
        try:
            answer = self._send(msgspec.json.encode(request))
        except TimeoutError:  # the batch may have arrived; the sink asks again if there is time
            raise
        except (OSError, ValueError, TooLong, msgspec.MsgspecError):
            answer = None
        return self._whole.send_message_batch(**request) if answer is None else answer

    def _send(self, body: bytes) -> dict[str, Any] | None:
        headers = signed_headers(
            self._access.credentials(),
            "POST",
            "/",
            authority=self._pool.origin.authority,
            headers={"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessageBatch"},
            body=body,
            region=self._access.region,
            service="sqs",
            timestamp=now(),
        )
        answer = self._pool.request("POST", "/", headers, body, _MAX_ANSWER_BYTES)
        if answer.status != 200:
            return None
        found = msgspec.json.decode(answer.body, type=_Answer)
        return {"Successful": [{"Id": each.Id} for each in found.Successful], "Failed": found.Failed}
