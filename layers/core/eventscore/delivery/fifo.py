"""What FIFO queues and topics want beside a message: a group, within which order is kept, and an id that drops duplicates.

Both are made of the event: its id is the group, so that the answers of one event stay in order and those of different events do not wait
for each other, and its id with the model and version that answered is the deduplication id. Events that share an id within the five
minutes in which AWS remembers are one event there.
"""

from __future__ import annotations

import hashlib
import re

from eventscore.delivery.sink import AnyMessage

SUFFIX = ".fifo"
_PLAIN = re.compile(r"[A-Za-z0-9_.:@/-]{1,128}")


def group_id(message: AnyMessage) -> str:
    """The id of the message's group."""
    key = message.key
    return key if _PLAIN.fullmatch(key) else hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def deduplication_id(message: AnyMessage) -> str:
    """The same for the same event answered by the same version; each rejection has its own."""
    answer = message.answer
    content = message.body if answer is None else repr((answer.model, answer.version, answer.event_id))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
