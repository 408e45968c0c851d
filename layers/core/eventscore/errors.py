"""Every error that eventscore raises, as one tree.

.. code-block:: text

    EventscoreError
    ├── ContractInvalid           a contract.toml that does not say what a contract must
    ├── SettingsInvalid           the environment of the function is incomplete or contradicts itself
    ├── InvocationNotRecognised   the function was called with something that no source sends
    ├── RecordsReturned           a source takes back whole batches only, and some of one must come back
    ├── ContractViolation         one event breaks its contract: permanent, the event is rejected
    ├── BaselineInvalid           a baseline without bins for its contract: its version scores, and is not watched for drift
    ├── SketchesDiffer            two sketches that cannot be added up
    ├── ArtifactRefused           a version is not what it claims to be: nothing of it is loaded
    │   ├── FileMissing           the manifest names a file that is not there
    │   ├── DigestMismatch        a file's bytes are not those that the manifest names
    │   ├── SignatureMismatch     the manifest is not signed by a trusted key
    │   ├── ManifestInvalid       the manifest cannot be read, or speaks of another model or version
    │   ├── GraphInvalid          the graph does not load, or does not fit the contract
    │   └── GoldenMismatch        the graph does not answer its golden events as it must
    └── StoreError                the model store
        ├── NotInStore            no object under that key
        ├── ObjectTooLarge        an object larger than any that belongs there
        ├── AlreadyPublished      versions are written once
        ├── PointerMoved          another writer moved the channel first
        ├── NoSuchVersion         a version that the store does not hold
        ├── NoSuchChannel         a channel that points nowhere
        └── StoreUnavailable      the store did not answer, or refused the caller

Errors carry their facts as attributes, say what was expected and what came, and know nothing of HTTP, SQS or exit codes.
"""

from __future__ import annotations


class EventscoreError(Exception):
    """Root of the tree: everything that eventscore raises on purpose."""


class ContractInvalid(EventscoreError):
    """A contract that cannot be used.

    ``problems`` holds one sentence for each mistake, all of them, so that one reading mends them all.
    """

    def __init__(self, origin: str, problems: tuple[str, ...]) -> None:
        self.origin = origin
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{origin}: the contract is not valid:{lines}")


class BaselineInvalid(EventscoreError):
    """A version's ``baseline.json`` cannot be counted with; ``file`` is its key."""

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        super().__init__(f"{file}: no sketch can be made: {problem}")


class SketchesDiffer(EventscoreError):
    """Sketches of two versions, or with other bins, were to be added up."""

    def __init__(self, expected: str, got: str) -> None:
        self.expected = expected
        self.got = got
        super().__init__(f"sketches of one version can be added up: expected one of {expected}, got {got}")


class SettingsInvalid(EventscoreError):
    """An environment variable is missing or cannot be understood."""

    def __init__(self, variable: str, expected: str, got: str | None) -> None:
        self.variable = variable
        self.expected = expected
        self.got = got
        came = "it is not set" if got is None else f"got {got!r}"
        what = f"environment variable {variable}" if variable.isupper() else variable
        super().__init__(f"{what}: expected {expected}; {came}")


class InvocationNotRecognised(EventscoreError):
    """An invocation that is no SQS, Kinesis or Kafka batch, no list of events and no warm-up."""

    def __init__(self, got: str) -> None:
        self.got = got
        super().__init__(
            "expected an SQS, Kinesis or Kafka batch, a list of events (a direct invocation) "
            f'or {{"eventscore": "warm-up"}}; got {got}'
        )


class RecordsReturned(EventscoreError):
    """Some records of a batch were not delivered, and their source knows no partial batch response: all of it has to come back."""

    def __init__(self, source: str, returned: int, received: int, reasons: tuple[str, ...]) -> None:
        self.source = source
        self.returned = returned
        self.received = received
        self.reasons = reasons
        super().__init__(
            f"{returned} of {received} {source} records were not delivered ({', '.join(reasons)}), and their mapping takes back whole "
            "batches only: all of them will come again"
        )


class ContractViolation(EventscoreError):
    """One event breaks its contract, and will break it again: it is rejected and never retried.

    ``reason`` is one of :data:`eventscore.violations.REASONS`, ``field`` the event's field where one is to blame.
    The message holds no value of the event: it goes to logs as well as to the reject queue.
    """

    def __init__(self, reason: str, detail: str, field: str | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.field = field
        super().__init__(f"{field}: {detail}" if field else detail)


class ArtifactRefused(EventscoreError):
    """A version that must not be loaded. ``file`` is the key of the file that gave it away."""

    def __init__(self, file: str, message: str) -> None:
        self.file = file
        super().__init__(f"{file}: {message}")


class FileMissing(ArtifactRefused):
    """The version is incomplete."""

    def __init__(self, file: str) -> None:
        super().__init__(file, "refused: the version needs this file and the store does not hold it")


class DigestMismatch(ArtifactRefused):
    """The bytes of a file are not those that the manifest names."""

    def __init__(self, file: str, expected: str, got: str) -> None:
        self.expected = expected
        self.got = got
        super().__init__(file, f"refused: the manifest names the bytes with {expected}, the store holds {got}")


class SignatureMismatch(ArtifactRefused):
    """No trusted key signed the manifest."""


class ManifestInvalid(ArtifactRefused):
    """The manifest cannot be read, is of a newer format, or belongs to another model or version."""


class GraphInvalid(ArtifactRefused):
    """ONNX Runtime does not load the graph, or its inputs are not those of the contract."""


class GoldenMismatch(ArtifactRefused):
    """The graph answers a golden event otherwise than when it was made."""

    def __init__(self, file: str, line: int, expected: float, got: float, tolerance: float) -> None:
        self.line = line
        self.expected = expected
        self.got = got
        self.tolerance = tolerance
        super().__init__(
            f"{file}",
            f"refused: golden event {line} must score {expected:.6f} within {tolerance:g}, and scores {got:.6f} here",
        )


class StoreError(EventscoreError):
    """The model store cannot do what was asked. ``key`` is where."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        super().__init__(f"{key}: {message}")


class NotInStore(StoreError):
    """No object under the key."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "the store holds no such object")


class ObjectTooLarge(StoreError):
    """The object is larger than any that belongs there; nothing of it was read."""

    def __init__(self, key: str, size_bytes: int, max_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes
        super().__init__(key, f"refused: expected at most {max_bytes} bytes, the store holds {size_bytes}")


class AlreadyPublished(StoreError):
    """A version is written once and never changed."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "already there; a version is written once (publish the change as a new version)")


class PointerMoved(StoreError):
    """The compare-and-swap lost: somebody else moved the channel since it was read."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "another writer changed the channels meanwhile; read them again and decide again")


class NoSuchVersion(StoreError):
    """The model has no such version."""

    def __init__(self, model: str, version: str, known: tuple[str, ...]) -> None:
        self.model = model
        self.version = version
        held = ", ".join(known[-5:]) if known else "none"
        super().__init__(f"{model}/versions/{version}", f"no such version (the store's latest: {held})")


class NoSuchChannel(StoreError):
    """The channel points at no version."""

    def __init__(self, model: str, channel: str, known: tuple[str, ...]) -> None:
        self.model = model
        self.channel = channel
        held = ", ".join(known) if known else "none"
        super().__init__(f"{model}/channels.json", f"channel {channel!r} points at no version (channels: {held})")


class StoreUnavailable(StoreError):
    """The store did not answer, or does not let the caller in."""
