"""The function's settings: every environment variable that eventscore reads is declared and read here, and nowhere else.

Lambda's AWS_LAMBDA_FUNCTION_MEMORY_SIZE and AWS_LAMBDA_INITIALIZATION_TYPE are read here, too. botocore, and the plain way beside it
(`eventscore.plain_access`), read their own: AWS_DEFAULT_REGION, AWS_ENDPOINT_URL and so on; so do Powertools and `eventscore.telemetry`:
POWERTOOLS_SERVICE_NAME, POWERTOOLS_METRICS_NAMESPACE and POWERTOOLS_LOG_LEVEL.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from eventscore.errors import SettingsInvalid
from eventscore.signing import parse_trusted_keys
from eventscore.store.versions import CHANNEL_NAMES, LIVE

PREFIX = "EVENTSCORE_"
STORE = "EVENTSCORE_STORE"
MODEL = "EVENTSCORE_MODEL"
MODEL_FIELD = "EVENTSCORE_MODEL_FIELD"
MODEL_SOURCES = "EVENTSCORE_MODEL_SOURCES"
MODEL_MEMORY_MB = "EVENTSCORE_MODEL_MEMORY_MB"
CHANNEL = "EVENTSCORE_CHANNEL"
TRUSTED_KEYS = "EVENTSCORE_TRUSTED_KEYS"
REFRESH_SECONDS = "EVENTSCORE_REFRESH_SECONDS"
MAX_FILE_MB = "EVENTSCORE_MAX_FILE_MB"
SKETCH_SECONDS = "EVENTSCORE_SKETCH_SECONDS"
FALLBACK_CONTRACTS = "EVENTSCORE_FALLBACK_CONTRACTS"
SINK = "EVENTSCORE_SINK"
IDEMPOTENCY_TABLE = "EVENTSCORE_IDEMPOTENCY_TABLE"
REJECT_QUEUE_URL = "EVENTSCORE_REJECT_QUEUE_URL"
WHOLE_BATCHES = "EVENTSCORE_WHOLE_BATCHES"
SIGNING_KEY = "EVENTSCORE_SIGNING_KEY"
"""Read by the command line only: the file with the private key that signs versions."""
_OF_THE_FUNCTION = (
    *(STORE, MODEL, MODEL_FIELD, MODEL_SOURCES, MODEL_MEMORY_MB, CHANNEL, TRUSTED_KEYS, REFRESH_SECONDS, MAX_FILE_MB),
    *(SKETCH_SECONDS, FALLBACK_CONTRACTS, SINK, IDEMPOTENCY_TABLE, REJECT_QUEUE_URL, WHOLE_BATCHES),
)
_FUNCTION_MEMORY_MB = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"
_INITIALIZATION_TYPE = "AWS_LAMBDA_INITIALIZATION_TYPE"
ON_DEMAND, SNAP_START, PROVISIONED = "on-demand", "snap-start", "provisioned-concurrency"
_SOURCES = ("sqs", "kinesis", "kafka")
DIRECT = "direct"
"""Stands for direct invocations among the sources."""

_MEBIBYTE = 2**20
_DEFAULT_REFRESH_S = 60
_DEFAULT_SKETCH_S = 60
_MEMORY_TO_FILE = 18
"""A version is reckoned to hold nine times its graph (`Artifact.memory_bytes`), and while it is replaced there are two."""
_DEFAULT_FUNCTION_MEMORY_MB = 1024


class Settings(msgspec.Struct, frozen=True):
    """What the function is configured to do. The sink and the reject queue may be None where it is only called directly.

    Of several ``models`` an event's is chosen by ``model_field``, a field of the event, or by ``model_sources``, which maps the ARN
    of a source, the name of a Kafka topic or ``direct`` to a model. ``whole_batches`` names the sources whose mapping knows no partial
    batch response. ``initialization`` is Lambda's word for how the environment is started: ``on-demand``, ``provisioned-concurrency``
    or ``snap-start``.
    """

    store: str
    models: tuple[str, ...]
    model_field: str | None
    model_sources: Mapping[str, str]
    model_memory_bytes: int
    channel: str
    trusted_keys: tuple[bytes, ...]
    refresh_s: int
    max_file_bytes: int
    sketch_s: int
    fallback_contracts: str | None
    sink: str | None
    reject_queue_url: str | None
    idempotency_table: str | None
    whole_batches: tuple[str, ...]
    initialization: str

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
        function_memory_mb = int(environment.get(_FUNCTION_MEMORY_MB) or _DEFAULT_FUNCTION_MEMORY_MB)
        models = _models(environment)
        return cls(
            store=_required(environment, STORE, "s3://bucket, s3://bucket/prefix or a folder's path"),
            models=models,
            model_field=environment.get(MODEL_FIELD) or None,
            model_sources=_sources(environment, models),
            model_memory_bytes=_number(environment, MODEL_MEMORY_MB, 1, function_memory_mb // 2) * _MEBIBYTE,
            channel=channel,
            trusted_keys=parse_trusted_keys(
                _required(environment, TRUSTED_KEYS, "the public keys that may sign versions, base64")
            ),
            refresh_s=_number(environment, REFRESH_SECONDS, 0, _DEFAULT_REFRESH_S),
            max_file_bytes=_number(environment, MAX_FILE_MB, 1, max(1, function_memory_mb // _MEMORY_TO_FILE))
            * _MEBIBYTE,
            sketch_s=_number(environment, SKETCH_SECONDS, 0, _DEFAULT_SKETCH_S),
            fallback_contracts=environment.get(FALLBACK_CONTRACTS) or None,
            sink=environment.get(SINK) or None,
            reject_queue_url=environment.get(REJECT_QUEUE_URL) or None,
            idempotency_table=environment.get(IDEMPOTENCY_TABLE) or None,
            whole_batches=_whole_batches(environment),
            initialization=environment.get(_INITIALIZATION_TYPE) or ON_DEMAND,
        )


def _models(environment: Mapping[str, str]) -> tuple[str, ...]:
    text = _required(environment, MODEL, "the name of a model in the store, or several with commas between them")
    models = tuple(name.strip() for name in text.split(","))
    if "" in models or len(set(models)) < len(models):
        raise SettingsInvalid(MODEL, "names of models, each once, with one comma between two", text)
    chosen_by = [name for name in (MODEL_FIELD, MODEL_SOURCES) if environment.get(name)]
    if len(models) > 1 and len(chosen_by) != 1:
        got = " and ".join(chosen_by) or None
        raise SettingsInvalid(
            MODEL_FIELD, f"either it or {MODEL_SOURCES}, to choose among {', '.join(models)}", got and f"both: {got}"
        )
    if len(models) == 1 and chosen_by:
        raise SettingsInvalid(chosen_by[0], f"several models in {MODEL} to choose among", models[0])
    return models


def _sources(environment: Mapping[str, str], models: tuple[str, ...]) -> Mapping[str, str]:
    text = environment.get(MODEL_SOURCES)
    if not text:
        return {}
    expected = f'JSON, {{"<ARN of a source, Kafka topic or {DIRECT}>": "<model>"}}, of the models in {MODEL}'
    try:
        sources = msgspec.json.decode(text.encode(), type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise SettingsInvalid(MODEL_SOURCES, expected, f"{text[:60]} ({error})") from None
    for source, model in sources.items():
        if model not in models:
            raise SettingsInvalid(MODEL_SOURCES, expected, f"{model} for {source}")
    return sources


def _whole_batches(environment: Mapping[str, str]) -> tuple[str, ...]:
    text = environment.get(WHOLE_BATCHES) or ""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    if not set(names) <= set(_SOURCES):
        raise SettingsInvalid(WHOLE_BATCHES, f"some of {', '.join(_SOURCES)}, with commas between them", text)
    return names


def _number(environment: Mapping[str, str], name: str, least: int, default: int) -> int:
    text = environment.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) < 2**31):
        raise SettingsInvalid(name, f"a whole number from {least} up", text)
    return int(text)


def _required(environment: Mapping[str, str], name: str, expected: str) -> str:
    value = environment.get(name)
    if not value:
        raise SettingsInvalid(name, expected, None)
    return value
