"""A message's text as services want it: free of characters that they refuse, or with its attributes inside."""

from __future__ import annotations

import re

import msgspec

from eventscore.delivery.sink import AnyMessage

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_safe(body: str) -> str:
    """The JSON text without characters that XML, and so SQS and SNS, does not know.

    In a JSON text they only occur inside strings, where an escape says the same.
    """
    if body.isascii() and "\x7f" not in body:
        return body
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", body)


def with_attributes(message: AnyMessage) -> str:
    """The JSON object with the message's attributes as more of its fields, for services that have no place beside the body."""
    more = msgspec.json.encode(message.attributes).decode()
    return message.body if more == "{}" else f"{message.body[:-1]},{more[1:]}"


def utf8_length(text: str) -> int:
    """Bytes of the text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
