"""Nothing unverified is loaded: each file of a version is checked, and the error names the one that gave it away."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small_model
from eventscore.artifact import Artifact, load_artifact
from eventscore.errors import (
    ArtifactRefused,
    DigestMismatch,
    FileMissing,
    GoldenMismatch,
    GraphInvalid,
    ManifestInvalid,
    SettingsInvalid,
    SignatureMismatch,
)
from eventscore.manifest import (
    CONTRACT,
    GOLDEN,
    GRAPH,
    MANIFEST,
    SIGNATURE,
    GoldenTolerance,
    new_version,
    parse_manifest,
)
from eventscore.signing import Ed25519Signer, Ed25519Verifier, key_id, parse_trusted_keys, write_new_key
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions

FOLDER = "small/versions/v1"


def write(store_folder: Path, signer: Ed25519Signer, contents: dict[str, bytes], **changes: object) -> ModelVersions:
    """Publish ``contents`` as v1, properly signed, with ``changes`` to the manifest."""
    versions = ModelVersions(FolderStore(store_folder), small_model.MODEL)
    document = small_model.manifest("v1", contents).model_copy(update=changes).to_bytes()
    versions.write("v1", contents, document, signer.sign(document))
    return versions


def test_a_sound_version_is_loaded(small_versions: ModelVersions, verifier: Ed25519Verifier) -> None:
    artifact = load_artifact(small_versions, "v1", verifier)
    assert (artifact.model, artifact.version, artifact.contract.model.name) == ("small", "v1", "small")


@pytest.mark.parametrize("file", [GRAPH, CONTRACT, GOLDEN])
def test_one_flipped_bit_in_a_file_is_found_by_its_digest(
    small_versions: ModelVersions, store_folder: Path, verifier: Ed25519Verifier, file: str
) -> None:
    small_model.flip_byte(store_folder / FOLDER / file)
    with pytest.raises(DigestMismatch, match=f"{FOLDER}/{file}") as refused:
        load_artifact(small_versions, "v1", verifier)
    assert refused.value.file == f"{FOLDER}/{file}"


def test_another_spelling_of_the_same_signature_is_refused(
    small_versions: ModelVersions, store_folder: Path, verifier: Ed25519Verifier
) -> None:
    """64 bytes leave four bits of the last base64 digit unused: a decoder takes any value of them."""
    path = store_folder / FOLDER / SIGNATURE
    text = path.read_text()
    digit = text.index("==") - 1
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    path.write_text(text[:digit] + alphabet[alphabet.index(text[digit]) ^ 1] + text[digit + 1 :])
    with pytest.raises(SignatureMismatch, match="it was changed"):
        load_artifact(small_versions, "v1", verifier)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_changed_byte_anywhere_in_manifest_or_signature_is_found(
    tmp_path_factory: pytest.TempPathFactory, signer: Ed25519Signer, verifier: Ed25519Verifier, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("store")
    versions = small_model.publish(FolderStore(folder), signer)
    path = folder / FOLDER / data.draw(st.sampled_from([MANIFEST, SIGNATURE]))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    with pytest.raises(SignatureMismatch, match=f"{FOLDER}/{SIGNATURE}"):
        load_artifact(versions, "v1", verifier)


@pytest.mark.parametrize("file", [GRAPH, CONTRACT, GOLDEN, MANIFEST, SIGNATURE])
def test_a_missing_file_is_named(
    small_versions: ModelVersions, store_folder: Path, verifier: Ed25519Verifier, file: str
) -> None:
    (store_folder / FOLDER / file).unlink()
    with pytest.raises(FileMissing, match=f"{FOLDER}/{file}"):
        load_artifact(small_versions, "v1", verifier)


def test_a_key_that_is_not_trusted_is_refused_by_its_id(small_versions: ModelVersions, signer: Ed25519Signer) -> None:
    other = base64.b64decode(small_model.new_signer().public_key)
    with pytest.raises(SignatureMismatch) as refused:
        load_artifact(small_versions, "v1", Ed25519Verifier([other]))
    assert f"signed by key {key_id(base64.b64decode(signer.public_key))}" in str(refused.value)
    assert f"trusted keys: {key_id(other)}" in str(refused.value)


def test_another_key_cannot_pass_as_a_trusted_one(
    small_versions: ModelVersions, store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    forger = small_model.new_signer()
    forged = forger.sign((store_folder / FOLDER / MANIFEST).read_bytes()).decode()
    own, trusted = (key_id(base64.b64decode(each.public_key)) for each in (forger, signer))
    (store_folder / FOLDER / SIGNATURE).write_text(forged.replace(own, trusted))
    with pytest.raises(SignatureMismatch, match=f"did not sign {FOLDER}/{MANIFEST} as it is here"):
        load_artifact(small_versions, "v1", verifier)


@pytest.mark.parametrize("content", [b"", b"x", b"{}", b'{"algorithm":"none","key_id":"","signature":""}'])
def test_what_is_no_signature_is_refused(
    small_versions: ModelVersions, store_folder: Path, verifier: Ed25519Verifier, content: bytes
) -> None:
    (store_folder / FOLDER / SIGNATURE).write_bytes(content)
    with pytest.raises(SignatureMismatch):
        load_artifact(small_versions, "v1", verifier)


def test_a_signed_version_does_not_pass_under_another_name(
    small_versions: ModelVersions, store_folder: Path, verifier: Ed25519Verifier
) -> None:
    (store_folder / "small/versions/v1").rename(store_folder / "small/versions/v2")
    with pytest.raises(ManifestInvalid, match="it belongs to small/v1, and was found as small/v2"):
        load_artifact(small_versions, "v2", verifier)


def test_a_signed_graph_that_is_none_is_refused(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    versions = write(store_folder, signer, small_model.files() | {GRAPH: b"not a graph"})
    with pytest.raises(GraphInvalid, match=f"{FOLDER}/{GRAPH}: refused: expected an ONNX model"):
        load_artifact(versions, "v1", verifier)


def test_a_graph_that_does_not_fit_the_contract_is_refused(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    narrower = small_model.CONTRACT_TOML.replace('[features.is_new]\ntype = "boolean"\nmissing = "median"\n', "")
    versions = write(store_folder, signer, small_model.files() | {CONTRACT: narrower.encode()})
    with pytest.raises(GraphInvalid, match="by the contract it must take"):
        load_artifact(versions, "v1", verifier)


def test_a_graph_that_answers_otherwise_than_its_golden_events_is_refused(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    versions = write(store_folder, signer, small_model.files() | {GRAPH: small_model.graph(bias=0.01)})
    with pytest.raises(GoldenMismatch, match="golden event 1 must score 0.932453 within 0.0001, and scores 0.933"):
        load_artifact(versions, "v1", verifier)


def test_a_graph_that_answers_nan_is_refused(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    versions = write(store_folder, signer, small_model.files() | {GRAPH: small_model.graph(bias=float("nan"))})
    with pytest.raises(GoldenMismatch, match="scores nan"):
        load_artifact(versions, "v1", verifier)


def test_golden_events_that_do_not_fit_the_contract_are_refused(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    line = json.dumps({"event": small_model.event(amount=...), "score": 0.5}).encode()
    versions = write(store_folder, signer, small_model.files() | {GOLDEN: line})
    with pytest.raises(GraphInvalid, match="a golden event does not fit the contract: amount"):
        load_artifact(versions, "v1", verifier)


def test_a_version_without_its_golden_events_is_refused(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    versions = write(
        store_folder, signer, small_model.files() | {GOLDEN: b""}, golden=GoldenTolerance(tolerance=1e-4, events=4)
    )
    with pytest.raises(GraphInvalid, match="names 4 golden events, here are 0"):
        load_artifact(versions, "v1", verifier)


def test_a_contract_of_another_model_is_refused(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    other = small_model.CONTRACT_TOML.replace('name = "small"', 'name = "large"')
    versions = write(store_folder, signer, small_model.files() | {CONTRACT: other.encode()})
    with pytest.raises(ManifestInvalid, match="it is the contract of 'large', expected 'small'"):
        load_artifact(versions, "v1", verifier)


def test_a_contract_that_is_invalid_is_refused_as_a_part_of_the_version(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    versions = write(store_folder, signer, small_model.files() | {CONTRACT: b"format = 7"})
    with pytest.raises(ArtifactRefused, match=f"{FOLDER}/{CONTRACT}"):
        load_artifact(versions, "v1", verifier)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"format": 2}', b'{"format": 1}'])
def test_a_manifest_that_cannot_be_read_is_refused(raw: bytes) -> None:
    with pytest.raises(ManifestInvalid, match=r"m/versions/v/manifest.json: refused: .*manifest format 1"):
        parse_manifest(raw, "m/versions/v/manifest.json", model="m", version="v")


def test_a_manifest_that_does_not_name_the_graph_is_refused() -> None:
    contents = small_model.files()
    document = small_model.manifest("v1", {GOLDEN: contents[GOLDEN], CONTRACT: contents[CONTRACT]}).to_bytes()
    with pytest.raises(ManifestInvalid, match="does not name model.onnx"):
        parse_manifest(document, "key", model="small", version="v1")


def test_versions_sort_by_time() -> None:
    assert new_version(b"a") <= new_version(b"a")
    assert len(new_version(b"a")) == len("20261121T101500Z-1a2b3c4d")


def test_a_new_key_is_readable_by_its_owner_only_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    signer = write_new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Ed25519Signer.from_file(path).public_key == signer.public_key
    with pytest.raises(FileExistsError):
        write_new_key(path)


def test_a_file_without_a_private_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("no key")
    for wrong in (path, tmp_path / "nowhere.pem"):
        with pytest.raises(SettingsInvalid, match="expected a PEM file with an Ed25519 private key"):
            Ed25519Signer.from_file(wrong)


@pytest.mark.parametrize("text", ["", " , ", "abc", "AAAA", "x" * 44, "é"])
def test_trusted_keys_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(
        SettingsInvalid, match="EVENTSCORE_TRUSTED_KEYS: expected base64 of 32-byte Ed25519 public keys"
    ):
        parse_trusted_keys(text)


def test_several_keys_may_be_trusted_at_once(small_versions: ModelVersions, signer: Ed25519Signer) -> None:
    text = f"{small_model.new_signer().public_key}, {signer.public_key}"
    artifact: Artifact = load_artifact(small_versions, "v1", Ed25519Verifier(parse_trusted_keys(text)))
    assert artifact.signed_by == key_id(base64.b64decode(signer.public_key))
