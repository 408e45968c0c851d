"""The function's settings: every environment variable that eventscore reads is declared and read here, and nowhere else.

boto3 and Powertools read their own: AWS_REGION, AWS_ENDPOINT_URL and so on, POWERTOOLS_SERVICE_NAME,
POWERTOOLS_METRICS_NAMESPACE and POWERTOOLS_LOG_LEVEL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventscore.errors import SettingsInvalid
from eventscore.signing import parse_trusted_keys
from eventscore.store.versions import CHANNEL_NAMES, LIVE

PREFIX = "EVENTSCORE_"
STORE = "EVENTSCORE_STORE"
MODEL = "EVENTSCORE_MODEL"
CHANNEL = "EVENTSCORE_CHANNEL"
TRUSTED_KEYS = "EVENTSCORE_TRUSTED_KEYS"
SINK = "EVENTSCORE_SINK"
IDEMPOTENCY_TABLE = "EVENTSCORE_IDEMPOTENCY_TABLE"
REJECT_QUEUE_URL = "EVENTSCORE_REJECT_QUEUE_URL"
SIGNING_KEY = "EVENTSCORE_SIGNING_KEY"
"""Read by the command line only: the file with the private key that signs versions."""
_OF_THE_FUNCTION = (STORE, MODEL, CHANNEL, TRUSTED_KEYS, SINK, IDEMPOTENCY_TABLE, REJECT_QUEUE_URL)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the function is configured to do. The sink and the reject queue may be None where it is only called directly."""

    store: str
    model: str
    channel: str
    trusted_keys: tuple[bytes, ...]
    sink: str | None
    reject_queue_url: str | None
    idempotency_table: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            SettingsInvalid: a variable is missing, not understood, or unknown under the prefix ``EVENTSCORE_``.

        """
        for name in environment:
            if name.startswith(PREFIX) and name not in (*_OF_THE_FUNCTION, SIGNING_KEY):
                raise SettingsInvalid(name, f"one of {', '.join(_OF_THE_FUNCTION)}", "an unknown name")
        channel = environment.get(CHANNEL) or LIVE
        if channel not in CHANNEL_NAMES:
            raise SettingsInvalid(CHANNEL, f"one of {', '.join(CHANNEL_NAMES)}", channel)
        return cls(
            store=_required(environment, STORE, "s3://bucket, s3://bucket/prefix or a folder's path"),
            model=_required(environment, MODEL, "the name of a model in the store"),
            channel=channel,
            trusted_keys=parse_trusted_keys(
                _required(environment, TRUSTED_KEYS, "the public keys that may sign versions, base64")
            ),
            sink=environment.get(SINK) or None,
            reject_queue_url=environment.get(REJECT_QUEUE_URL) or None,
            idempotency_table=environment.get(IDEMPOTENCY_TABLE) or None,
        )


def _required(environment: Mapping[str, str], name: str, expected: str) -> str:
    value = environment.get(name)
    if not value:
        raise SettingsInvalid(name, expected, None)
    return value
