"""The manifest of a version: every file with its digest and size, and where the version came from.

A version is a folder, written once, manifest last; the signature (`eventscore.signing`) covers the manifest's exact bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from eventscore.errors import ManifestInvalid
from eventscore.served_manifest import CONTRACT, GOLDEN, GRAPH, MANIFEST, SERVED_FILES, SIGNATURE, check_identity

__all__ = [
    "BASELINE",
    "CONTRACT",
    "GOLDEN",
    "GRAPH",
    "MANIFEST",
    "REPORT",
    "SERVED_FILES",
    "SIGNATURE",
    "FileEntry",
    "GoldenTolerance",
    "Manifest",
    "Provenance",
    "TableEntry",
    "new_version",
    "parse_manifest",
]

BASELINE = "baseline.json"
REPORT = "report.html"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Record):
    """One file of a version: SHA-256 in hex, size in bytes."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]

    @classmethod
    def of(cls, content: bytes) -> FileEntry:
        """The entry that describes ``content``."""
        return cls(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


class TableEntry(_Record):
    """One table that the training read: its part in the split, its digest, its rows, the share of positives."""

    part: Literal["train", "validation", "test"]
    sha256: Sha256
    rows: Annotated[int, Field(gt=0)]
    positive_share: Annotated[float, Field(ge=0, le=1)] | None = None


class Provenance(_Record):
    """Where a version came from, enough to make it again."""

    tables: tuple[TableEntry, ...]
    commit: str | None
    """The code's commit, ``+dirty`` behind it where the working tree differed; None outside a checkout."""
    libraries: Mapping[str, str]
    seed: int
    device: str
    configuration: Mapping[str, Any]


class GoldenTolerance(_Record):
    """How far a golden score may lie from the recorded one on another CPU, and what that figure rests on."""

    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    events: Annotated[int, Field(gt=0)]


class Manifest(_Record):
    """A version's manifest. ``metrics`` is keyed by precision (``fp32``, ``int8``), then by metric, on the test part."""

    format: Literal[1] = 1
    model: str
    version: Version
    task: str
    created_at: datetime
    opset: int
    files: Mapping[FileName, FileEntry]
    golden: GoldenTolerance
    metrics: Mapping[str, Mapping[str, float]]
    provenance: Provenance

    @model_validator(mode="after")
    def _tolerance_tells_scores_apart(self) -> Self:
        if self.task != "regression" and self.golden.tolerance >= 0.5:
            raise ValueError(f"golden.tolerance: expected less than 0.5, got {self.golden.tolerance:g}")
        return self

    def to_bytes(self) -> bytes:
        """The exact bytes that are signed and stored."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def parse_manifest(raw: bytes, key: str, *, model: str, version: str) -> Manifest:
    """Read a manifest and check that it speaks of this very model and version.

    A signed manifest copied under another name would otherwise pass as that other version.

    Raises:
        ManifestInvalid: unreadable, of a newer format, incomplete, or of another model or version.

    """
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the document"
        raise ManifestInvalid(key, f"refused: {where}: {first['msg']} (this code reads manifest format 1)") from None
    check_identity(manifest.model, manifest.version, manifest.files, key, model=model, version=version)
    return manifest


def new_version(graph: bytes, at: datetime | None = None) -> str:
    """A name for a new version: the UTC second, then the first 8 hex digits of the graph's digest. Names sort by time.

    >>> new_version(b"", datetime(2026, 11, 21, 10, 15, tzinfo=UTC))
    '20261121T101500Z-e3b0c442'
    """
    moment = (at or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%SZ}-{hashlib.sha256(graph).hexdigest()[:8]}"
