"""The payload of a Kinesis or Kafka record, which Lambda hands over in base64."""

from __future__ import annotations

import base64
import binascii


def decode_payload(text: str) -> bytes:
    """The bytes behind ``text``; what is no base64 is kept as it came, for the decoder to reject with all its bytes."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "surrogatepass")
