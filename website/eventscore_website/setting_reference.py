"""The page of the function's settings, from the names that `eventscore.settings` declares and what the stack gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eventscore import settings
from eventscore_website.errors import WordsMissing
from eventscore_website.tables import code, table
from eventscore_website.template import parameters_in, read_template

_WHERE = "website/eventscore_website/setting_reference.py"
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    settings.STORE: ("required", "The model store: `s3://bucket`, `s3://bucket/prefix` or a folder."),
    settings.MODEL: ("required", "The model's name, or several with commas between them."),
    settings.MODEL_FIELD: ("", "Several models: the field of an event that names its model. Either this or the next."),
    settings.MODEL_SOURCES: (
        "",
        "Several models: JSON, an object of the ARN of a source, a Kafka topic or `direct`, each with its model.",
    ),
    settings.MODEL_MEMORY_MB: (
        "half of the function's memory",
        "Several models: what they may hold in memory together.",
    ),
    settings.CHANNEL: ("`live`", "The channel that the function follows: `live`, `canary`, `shadow` or `previous`."),
    settings.TRUSTED_KEYS: (
        "required",
        "Public keys that may sign versions: base64 of the raw 32 bytes, commas between them.",
    ),
    settings.REFRESH_SECONDS: ("60", "How often a warm environment looks whether another version is live. 0: never."),
    settings.MAX_FILE_MB: (
        "an eighteenth of the function's memory",
        "A version with a larger file is refused before the file is read.",
    ),
    settings.SKETCH_SECONDS: (
        "60",
        "How often an environment tells its [drift sketch](../function.md#the-drift-sketch), at most. 0: no sketch.",
    ),
    settings.WHOLE_BATCHES: (
        "none",
        "Sources whose mapping knows no partial batch response (`kafka`): where a record is returned, the invocation fails.",
    ),
    settings.FALLBACK_CONTRACTS: (
        "none",
        "Folder of contracts deployed with the function: their [fallback rule](../contract.md#fallback) where the store is silent.",
    ),
    settings.SINK: (
        "none",
        "Where answers go: an address, or several with `;` between them ([sinks](../function.md#sinks)).",
    ),
    settings.IDEMPOTENCY_TABLE: (
        "none",
        "A DynamoDB table that remembers what was sent on: `TABLE` or `TABLE?hours=24`.",
    ),
    settings.REJECT_QUEUE_URL: (
        "none",
        "URL of the reject queue. May be left out together with the sink where the function is only called directly.",
    ),
    settings.SIGNING_KEY: ("none", "Read by the command line only: the file with the private key that signs versions."),
}
"""Default and meaning of each setting."""

_OTHERS: Final = (
    (
        "POWERTOOLS_SERVICE_NAME",
        "`eventscore`",
        "The dimension `service` of every metric, and `service` in every line of the log.",
    ),
    ("POWERTOOLS_METRICS_NAMESPACE", "`eventscore`", "The namespace of the metrics."),
    ("POWERTOOLS_LOG_LEVEL", "`INFO`", "The least level that is logged."),
    ("POWERTOOLS_METRICS_DISABLED", "`false`", "No metrics are written."),
    ("POWERTOOLS_DEV", "`false`", "Powertools' development mode: no metrics are written."),
    ("AWS_DEFAULT_REGION", "set by Lambda", "The region of bucket, queues and streams."),
    (
        "AWS_ENDPOINT_URL",
        "none",
        "Another address for all of AWS's services; `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL_SQS` for one.",
    ),
    (
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "set by Lambda",
        "The function's memory, of which the defaults above are shares.",
    ),
    (
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "set by Lambda",
        "How the environment was started: `on-demand`, `provisioned-concurrency`, `snap-start`.",
    ),
    ("ORT_DISABLE_TELEMETRY", "`1`", "ONNX Runtime would otherwise start a thread that sends telemetry."),
    ("OPENBLAS_NUM_THREADS", "`1`", "Numpy starts no threads that nobody uses."),
)


def declared() -> set[str]:
    """The names that the settings declare."""
    values = {value for value in vars(settings).values() if isinstance(value, str)}
    return {value for value in values if value.startswith(settings.PREFIX) and value != settings.PREFIX}


def write(root: Path) -> str:
    """The page.

    Raises:
        WordsMissing: a setting has no description.

    """
    mute = declared() - WORDS.keys()
    if mute:
        raise WordsMissing("settings", mute, _WHERE)
    function = read_template(root / "template.yaml")["Resources"]["ScoreFunction"]["Properties"]
    given = function["Environment"]["Variables"]
    rows = [
        [code(name), default, ", ".join(code(of) for of in parameters_in(given.get(name))), words]
        for name, (default, words) in WORDS.items()
    ]
    others = "\n## Read by what the function is made of\n\n"
    return (
        table(["variable", "default", "set by", "meaning"], rows)
        + others
        + table(["variable", "default", "meaning"], [(code(name), *words) for name, *words in _OTHERS])
    )
