"""The model that is committed: trusted by the stack, and the same score for an event alone and in any batch, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from conftest import ROOT
from eventscore.artifact import Artifact, GoldenEvent, load_artifact
from eventscore.manifest import GOLDEN
from eventscore.signing import Ed25519Verifier, parse_trusted_keys
from eventscore.store.folder import FolderStore
from eventscore.store.versions import LIVE, ModelVersions
from eventscore_cli.options import stack_trusted_keys

VERSIONS = ModelVersions(FolderStore(ROOT / "model_store"), "flight-delay")


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    keys = stack_trusted_keys(ROOT / "samconfig.toml")
    assert keys is not None
    return load_artifact(VERSIONS, VERSIONS.resolve(LIVE), Ed25519Verifier(parse_trusted_keys(keys)))


@pytest.mark.parametrize("size", [2, 3, 5, 8, 15, 16, 17, 33, 64])
def test_an_event_gets_the_same_bits_alone_and_in_a_batch(artifact: Artifact, size: int) -> None:
    lines = VERSIONS.read_file(artifact.version, GOLDEN).splitlines()
    events = [bytes(msgspec.json.decode(line, type=GoldenEvent).event) for line in lines]

    def scores(batch: Sequence[bytes]) -> npt.NDArray[np.float32]:
        return artifact.session.score(artifact.decoder.decode_all(batch).table.columns)

    alone = np.concatenate([scores([event]) for event in events])
    order = np.random.default_rng(size).permutation(len(events))
    for start in range(0, len(events), size):
        batch = order[start : start + size]
        assert scores([events[position] for position in batch]).tobytes() == alone[batch].tobytes()


def test_the_committed_files_of_the_live_version_are_small_enough_to_commit() -> None:
    folder = ROOT / "model_store" / "flight-delay" / "versions"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2_000_000
