"""A version that has proved itself: signature, digests, graph and contract, golden events checked, in this order.

Nothing of a version reaches the parser of the next step before the step at hand has passed; an `Artifact` exists only if all did.
Graph and contract are one step: ONNX Runtime loads the one, whose bytes were inspected, while the other is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from eventscore.background import Background
from eventscore.errors import (
    ContractInvalid,
    ContractViolation,
    DigestMismatch,
    GoldenMismatch,
    GraphInvalid,
    ManifestInvalid,
)
from eventscore.graph_inspection import inspect_graph
from eventscore.served_manifest import (
    CONTRACT,
    GOLDEN,
    GRAPH,
    MANIFEST,
    PULLED_FILES,
    SERVED_FILES,
    SIGNATURE,
    ServedFile,
    ServedManifest,
    parse_served_manifest,
)
from eventscore.session import ScoringSession, load_graph
from eventscore.signing import Verifier
from eventscore.stopwatch import Stopwatch
from eventscore.store.versions import ModelVersions

if TYPE_CHECKING:
    from eventscore.decoding import EventDecoder
    from eventscore.manifest import FileEntry, Manifest
    from eventscore.served_contract import ServedContract


class GoldenEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of ``golden.jsonl``: a raw event, and the score that the version must give it, or its scores."""

    event: msgspec.Raw
    score: float | tuple[float, ...]


class Artifact(msgspec.Struct, frozen=True):
    """A verified version, ready to score."""

    model: str
    version: str
    contract: ServedContract
    manifest: Manifest | ServedManifest
    signed_by: str
    decoder: EventDecoder
    session: ScoringSession

    @property
    def memory_bytes(self) -> int:
        """What the version is reckoned to hold in memory."""
        return _MEMORY_OF_A_VERSION_BYTES + _MEMORY_PER_GRAPH_BYTE * self.manifest.files[GRAPH].size_bytes


_MEMORY_PER_GRAPH_BYTE = 9
"""What a vocabulary, the most expensive part of a graph, takes for each byte of its file; weights take two (benchmarks/model_memory.py)."""
_MEMORY_OF_A_VERSION_BYTES = 2**20


def load_artifact(
    versions: ModelVersions, version: str, verifier: Verifier, watch: Stopwatch | None = None
) -> Artifact:
    """Pull ``version`` from the store, verify it and load it; ``watch`` learns what each step took.

    Raises:
        ArtifactRefused: something of the version is not what it claims to be; the error names the file.
        StoreError: the store does not answer.

    """
    watch = watch or Stopwatch()
    with watch.part("pull"):
        files = versions.read_files(version, PULLED_FILES)
    return prove_pulled(versions, version, files, verifier, watch)


def prove_pulled(
    versions: ModelVersions, version: str, files: Mapping[str, bytes], verifier: Verifier, watch: Stopwatch
) -> Artifact:
    """Verify and load a version of which ``PULLED_FILES`` are here. Raises ``ArtifactRefused``."""
    with watch.part("verify"):
        manifest, signed_by = _trusted_manifest(versions, version, files, verifier)
    return prove(manifest, files, signed_by, lambda name: versions.key(version, name), watch)


def trusted_contract(versions: ModelVersions, version: str, verifier: Verifier) -> ServedContract:
    """The contract of ``version``, signed and whole, whatever else may be wrong with the version. Raises as ``load_artifact`` does."""
    files = versions.read_files(version, (MANIFEST, SIGNATURE, CONTRACT))
    manifest, _ = _trusted_manifest(versions, version, files, verifier)
    key = versions.key(version, CONTRACT)
    check_digest(key, files[CONTRACT], manifest.files[CONTRACT])
    return _contract(files[CONTRACT], key, manifest.model)


def _trusted_manifest(
    versions: ModelVersions, version: str, files: Mapping[str, bytes], verifier: Verifier
) -> tuple[ServedManifest, str]:
    """The manifest of a version, and the id of the trusted key that signed it."""
    key = versions.key(version, MANIFEST)
    signature_key = versions.key(version, SIGNATURE)
    signed_by = verifier.verify(files[MANIFEST], files[SIGNATURE], key=key, signature_key=signature_key)
    return parse_served_manifest(files[MANIFEST], key, model=versions.model, version=version), signed_by


def prove(
    manifest: Manifest | ServedManifest,
    files: Mapping[str, bytes],
    signed_by: str,
    key: Callable[[str], str],
    watch: Stopwatch | None = None,
) -> Artifact:
    """Load the version whose manifest is trusted already: digests, contract, graph, golden events.

    ``key`` gives the name of a file in errors. Raises ``ArtifactRefused``.
    """
    watch = watch or Stopwatch()
    with watch.part("verify"):
        for name in SERVED_FILES:
            check_digest(key(name), files[name], manifest.files[name])
    with watch.part("session"):
        inspect_graph(files[GRAPH], key(GRAPH))
        # ONNX Runtime lets go of the interpreter while it loads a graph: the contract is read beside it.
        reading = Background(partial(_read_contract, files[CONTRACT], key(CONTRACT), manifest.model))
        graph = load_graph(files[GRAPH], key(GRAPH))
        contract, decoder = reading.result()
        session = ScoringSession(graph, contract, key(GRAPH))
        artifact = Artifact(
            model=manifest.model,
            version=manifest.version,
            contract=contract,
            manifest=manifest,
            signed_by=signed_by,
            decoder=decoder,
            session=session,
        )
    with watch.part("golden"):
        check_golden_events(artifact, files[GOLDEN], key(GOLDEN))
    return artifact


def check_digest(key: str, content: bytes, entry: FileEntry | ServedFile) -> None:
    """Compare a file with its entry in the manifest. Raises ``DigestMismatch``."""
    got = ServedFile.of(content)
    if (got.sha256, got.size_bytes) != (entry.sha256, entry.size_bytes):
        raise DigestMismatch(
            key,
            f"SHA-256 {entry.sha256[:16]}... ({entry.size_bytes} bytes)",
            f"{got.sha256[:16]}... ({got.size_bytes} bytes)",
        )


def check_golden_events(artifact: Artifact, golden: bytes, key: str) -> None:
    """Score the golden events and compare, within the manifest's tolerance.

    Raises:
        GoldenMismatch: a score differs.
        GraphInvalid: a golden event cannot be read, or the graph fails on it.

    """
    try:
        decode = msgspec.json.Decoder(GoldenEvent).decode
        lines = [decode(line) for line in golden.splitlines()]
        decoded = artifact.decoder.decode_all([bytes(line.event) for line in lines])
        if decoded.refused:
            raise decoded.refused[min(decoded.refused)]
    except (msgspec.MsgspecError, UnicodeDecodeError, ContractViolation) as error:
        raise GraphInvalid(key, f"refused: a golden event does not fit the contract: {error}") from None
    if len(lines) != artifact.manifest.golden.events:
        raise GraphInvalid(
            key, f"refused: the manifest names {artifact.manifest.golden.events} golden events, here are {len(lines)}"
        )
    try:
        scores = artifact.session.score(decoded.table.columns)
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise GraphInvalid(key, f"refused: the graph fails on its golden events: {error}") from None
    tolerance = artifact.manifest.golden.tolerance
    columns = len(artifact.contract.outputs)
    for number, (line, row) in enumerate(zip(lines, scores.tolist(), strict=True), start=1):
        expected = line.score if isinstance(line.score, tuple) else (line.score,)
        if len(expected) != (columns or 1) or isinstance(line.score, tuple) != bool(columns):
            raise GraphInvalid(
                key, f"refused: golden event {number} names {len(expected)} scores, the contract {columns or 1}"
            )
        for want, score in zip(expected, row if columns else (row,), strict=True):
            # Written so that NaN fails, too.
            if not abs(score - want) <= tolerance:
                raise GoldenMismatch(key, number, want, score, tolerance)


def _read_contract(raw: bytes, key: str, model: str) -> tuple[ServedContract, EventDecoder]:
    """The contract, and what is made of it to read events."""
    # As late as this, imports too go on beside the loading of the graph.
    from eventscore.decoding import EventDecoder

    contract = _contract(raw, key, model)
    return contract, EventDecoder(contract)


def _contract(raw: bytes, key: str, model: str) -> ServedContract:
    from eventscore.served_contract import parse_served_contract  # and tomllib with it

    try:
        contract = parse_served_contract(raw, key)
    except ContractInvalid as error:
        raise ManifestInvalid(key, f"refused: {'; '.join(error.problems)}") from None
    if contract.model.name != model:
        raise ManifestInvalid(key, f"refused: it is the contract of {contract.model.name!r}, expected {model!r}")
    return contract
