"""What the function reads of a version's manifest, without pydantic, whose import alone is a third of a cold start's allowance.

The manifest itself is `eventscore.manifest`, for those who write and judge versions. The two agree on what they take; a test
compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from eventscore.digests import sha256
from eventscore.errors import ManifestInvalid

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
GRAPH = "model.onnx"
CONTRACT = "contract.toml"
GOLDEN = "golden.jsonl"
BASELINE = "baseline.json"
SERVED_FILES = (GRAPH, CONTRACT, GOLDEN)
"""What the function needs of a version; the rest is for people and for the drift watch."""
PULLED_FILES = (MANIFEST, SIGNATURE, *SERVED_FILES)

_Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
_Share = Annotated[float, Meta(ge=0, le=1)]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ServedFile(_Record, frozen=True):
    """One file of a version: SHA-256 in hex, size in bytes."""

    sha256: _Sha256
    size_bytes: Annotated[int, Meta(ge=0)]

    @classmethod
    def of(cls, content: bytes) -> ServedFile:
        """The entry that describes ``content``."""
        return cls(sha256(content).hex(), len(content))


class ServedTolerance(_Record, frozen=True):
    """How far a golden score may lie from the recorded one on another CPU."""

    tolerance: Annotated[float, Meta(gt=0)]
    events: Annotated[int, Meta(gt=0)]


class _Table(_Record, frozen=True):
    part: Literal["train", "validation", "test"]
    sha256: _Sha256
    rows: Annotated[int, Meta(gt=0)]
    positive_share: _Share | None = None


class _Provenance(_Record, frozen=True):
    tables: tuple[_Table, ...]
    commit: str | None
    libraries: dict[str, str]
    seed: int
    device: str
    configuration: dict[str, Any]


class ServedManifest(_Record, frozen=True):
    """A version's manifest, as the function needs it. What it does not use is read all the same: a half-known manifest is none."""

    model: str
    version: _Name
    task: str
    created_at: datetime
    opset: int
    files: dict[_Name, ServedFile]
    golden: ServedTolerance
    metrics: dict[str, dict[str, float]]
    provenance: _Provenance
    format: Literal[1] = 1

    def __post_init__(self) -> None:
        if self.task != "regression" and self.golden.tolerance >= 0.5:
            raise ValueError(f"golden.tolerance: expected less than 0.5, got {self.golden.tolerance:g}")


def parse_served_manifest(raw: bytes, key: str, *, model: str, version: str) -> ServedManifest:
    """Read a manifest and check that it speaks of this very model and version.

    A signed manifest copied under another name would otherwise pass as that other version.

    Raises:
        ManifestInvalid: unreadable, of a newer format, incomplete, or of another model or version.

    """
    try:
        manifest = msgspec.json.decode(raw, type=ServedManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestInvalid(key, f"refused: {error} (this code reads manifest format 1)") from None
    check_identity(manifest.model, manifest.version, manifest.files, key, model=model, version=version)
    return manifest


def check_identity(
    of_model: str, of_version: str, files: Mapping[str, Any], key: str, *, model: str, version: str
) -> None:
    """Whether a manifest speaks of ``model`` and ``version`` and names the files that are served. Raises ``ManifestInvalid``."""
    if (of_model, of_version) != (model, version):
        raise ManifestInvalid(
            key, f"refused: it belongs to {of_model}/{of_version}, and was found as {model}/{version}"
        )
    for name in SERVED_FILES:
        if name not in files:
            raise ManifestInvalid(key, f"refused: it does not name {name}, which every version has")
