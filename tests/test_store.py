"""The model store: a folder or a bucket, versions written once, channels moved by compare-and-swap."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from moto import mock_aws

import small_model
from eventscore.errors import (
    AlreadyPublished,
    FileMissing,
    NoSuchChannel,
    NoSuchVersion,
    NotInStore,
    ObjectTooLarge,
    PointerMoved,
    StoreError,
    StoreUnavailable,
)
from eventscore.manifest import SIGNATURE
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.store.location import open_store
from eventscore.store.objects import ObjectStore
from eventscore.store.s3 import S3Store
from eventscore.store.versions import ModelVersions


@pytest.fixture(params=["folder", "s3", "s3 with a prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "folder":
        yield FolderStore(tmp_path / "store")
        return
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        yield S3Store("models", "" if request.param == "s3" else "some/prefix/", client)


def test_what_was_written_is_read_again(store: ObjectStore) -> None:
    store.write_once("a/b.txt", b"content")
    assert store.read("a/b.txt").content == b"content"


def test_an_object_that_is_not_there_is_told_by_its_key(store: ObjectStore) -> None:
    with pytest.raises(NotInStore, match="a/b.txt"):
        store.read("a/b.txt")


def test_an_object_is_written_once(store: ObjectStore) -> None:
    store.write_once("a", b"first")
    with pytest.raises(AlreadyPublished, match="written once"):
        store.write_once("a", b"second")
    assert store.read("a").content == b"first"


def test_a_swap_needs_the_tag_of_what_it_replaces(store: ObjectStore) -> None:
    store.replace("pointer", b"1", None)
    seen = store.read("pointer").etag
    store.replace("pointer", b"2", seen)
    with pytest.raises(PointerMoved):
        store.replace("pointer", b"3", seen)
    with pytest.raises(PointerMoved):
        store.replace("pointer", b"3", None)
    assert store.read("pointer").content == b"2"


def test_a_swap_of_something_that_was_deleted_fails(store: ObjectStore) -> None:
    with pytest.raises(PointerMoved):
        store.replace("pointer", b"1", '"0123456789abcdef0123456789abcdef"')


def test_names_are_those_right_below_a_prefix(store: ObjectStore) -> None:
    for key in ("m/versions/v2/x", "m/versions/v1/x", "m/channels.json", "m2/versions/v9/x"):
        store.write_once(key, b"")
    assert store.list_names("m/versions/") == ("v1", "v2")
    assert store.list_names("m/") == ("channels.json", "versions")
    assert store.list_names("nothing/") == ()


def test_a_version_is_published_promoted_and_found(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = small_model.publish(store, signer, "v1")
    small_model.publish(store, signer, "v2", bias=0.5)
    assert versions.versions() == ("v1", "v2")
    assert versions.resolve("live") == "v2"
    assert versions.resolve("previous") == "v1"


def test_promoting_what_is_live_keeps_previous(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = small_model.publish(store, signer, "v1")
    small_model.publish(store, signer, "v2")
    versions.promote("v2")
    assert dict(versions.channels().versions) == {"live": "v2", "previous": "v1"}


def test_a_version_is_never_written_over(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = small_model.publish(store, signer, "v1")
    before = versions.read_file("v1", "model.onnx")
    contents = small_model.files(bias=1.0)
    with pytest.raises(AlreadyPublished):
        versions.write("v1", contents, b"{}", b"{}")
    assert versions.read_file("v1", "model.onnx") == before


def test_a_version_without_its_signature_does_not_count_yet(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = small_model.publish(store, signer, "v1")
    store.write_once(versions.key("v2", "model.onnx"), b"half")
    assert versions.versions() == ("v1",)
    with pytest.raises(NoSuchVersion, match=r"v2.*latest: v1"):
        versions.promote("v2")


def test_of_two_writers_one_wins_and_the_other_is_told(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = small_model.publish(store, signer, "v1")
    small_model.publish(store, signer, "v2")
    seen = versions.channels()
    versions.promote("v1", seen=seen)
    with pytest.raises(PointerMoved, match="another writer"):
        versions.promote("v2", seen=seen)
    assert versions.resolve("live") == "v1"


def test_many_writers_at_once_never_lose_a_swap(tmp_path: Path) -> None:
    """Each writer counts up until its own step is in; a lost update would make the sum too small."""
    store = FolderStore(tmp_path)
    store.replace("counter", b"0", None)
    steps, writers = 20, 4

    def count_up() -> None:
        done = 0
        while done < steps:
            seen = store.read("counter")
            try:
                store.replace("counter", str(int(seen.content) + 1).encode(), seen.etag)
            except PointerMoved:
                continue
            done += 1

    threads = [threading.Thread(target=count_up) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("counter").content == str(steps * writers).encode()


def test_of_many_writers_of_one_version_exactly_one_succeeds(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    barrier = threading.Barrier(8)
    won: list[int] = []

    def write(number: int) -> None:
        barrier.wait()
        try:
            store.write_once("versions/v1/manifest.json", str(number).encode() * 10_000)
        except AlreadyPublished:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("versions/v1/manifest.json").content == str(won[0]).encode() * 10_000


def test_a_channel_that_points_nowhere_says_which_there_are(small_versions: ModelVersions) -> None:
    with pytest.raises(NoSuchChannel, match=r"channel 'canary' points at no version \(channels: live\)"):
        small_versions.resolve("canary")


def test_a_file_that_a_version_lacks_is_named(small_versions: ModelVersions) -> None:
    with pytest.raises(FileMissing, match="small/versions/v1/report.html"):
        small_versions.read_file("v1", "report.html")


@pytest.mark.parametrize("name", ["../other", "a/b", "", ".hidden", "v1/../../x"])
def test_names_cannot_leave_the_store(small_versions: ModelVersions, name: str) -> None:
    with pytest.raises(StoreError, match="expected a"):
        small_versions.read_file(name, "model.onnx")
    with pytest.raises(StoreError, match="expected a"):
        ModelVersions(small_versions.store, name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "cannot be read"),
        (b'{"format": 2, "model": "small", "channels": {}}', "expected format 1"),
        (b'{"format": 1, "model": "other", "channels": {}}', "expected format 1 of model 'small'"),
        (b'{"format": 1, "model": "small", "channels": {"live": "../v1"}}', "expected names of versions"),
    ],
)
def test_channels_that_cannot_be_trusted_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "channels.json").write_bytes(content)
    with pytest.raises(StoreError, match=said):
        ModelVersions(FolderStore(tmp_path), "small").resolve("live")


def test_a_bucket_that_is_not_there_is_no_missing_file() -> None:
    with mock_aws(), pytest.raises(StoreUnavailable, match=r"s3://nowhere.*NoSuchBucket"):
        S3Store("nowhere", "", boto3.client("s3")).read("a")


def test_a_location_is_a_folder_or_a_bucket(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).url == str(tmp_path)
    assert open_store("s3://models/some/prefix/").url == "s3://models/some/prefix"
    for wrong in ("s3:/models", "s3:models", "gs://models", "s3://"):
        with pytest.raises(StoreUnavailable, match="expected s3://bucket"):
            open_store(wrong)


def test_the_signature_is_written_last(tmp_path: Path, signer: Ed25519Signer) -> None:
    written: list[str] = []

    class Watched(FolderStore):
        def write_once(self, key: str, content: bytes) -> None:
            written.append(key.rpartition("/")[2])
            super().write_once(key, content)

    small_model.publish(Watched(tmp_path), signer)
    assert written[-2:] == ["manifest.json", SIGNATURE]


def test_an_interrupted_publish_is_completed_by_the_next_try(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = ModelVersions(store, small_model.MODEL)
    contents = small_model.files()
    document = small_model.manifest("v1", contents).to_bytes()
    store.write_once(versions.key("v1", "model.onnx"), contents["model.onnx"])
    versions.write("v1", contents, document, signer.sign(document))
    assert versions.versions() == ("v1",)
    with pytest.raises(AlreadyPublished):
        versions.write("v1", contents, document, signer.sign(document))


def test_what_is_left_of_another_version_is_not_completed(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = ModelVersions(store, small_model.MODEL)
    contents = small_model.files()
    document = small_model.manifest("v1", contents).to_bytes()
    store.write_once(versions.key("v1", "model.onnx"), b"another graph")
    with pytest.raises(AlreadyPublished, match="model.onnx"):
        versions.write("v1", contents, document, signer.sign(document))
    assert versions.versions() == ()


def test_an_object_that_is_too_large_is_refused_before_it_is_read(store: ObjectStore) -> None:
    store.write_once("a", b"x" * 100)
    assert len(store.read("a", 100).content) == 100
    with pytest.raises(ObjectTooLarge, match="a: refused: expected at most 99 bytes, the store holds 100"):
        store.read("a", 99)


def test_s3_is_asked_again_while_another_write_of_the_key_is_under_way() -> None:
    waits: list[float] = []
    client = boto3.client("s3")
    with Stubber(client) as stub:
        for _ in range(2):
            stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_response("put_object", {"ETag": '"x"'})
        S3Store("models", "", client, waits.append).write_once("a", b"content")
    assert len(waits) == 2
    assert waits == sorted(waits)


def test_a_swap_whose_answer_was_lost_is_no_lost_race() -> None:
    """botocore repeats a request that got no answer; where the first one was carried out, the second meets its own result."""
    client = boto3.client("s3")
    body = StreamingBody(io.BytesIO(b"new"), 3)
    with Stubber(client) as stub:
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
        stub.add_response("get_object", {"Body": body, "ETag": '"x"', "ContentLength": 3})
        S3Store("models", "", client).replace("channels.json", b"new", '"old"')


def test_a_folder_store_keeps_nothing_but_its_objects(tmp_path: Path, signer: Ed25519Signer) -> None:
    small_model.publish(FolderStore(tmp_path), signer)
    assert [path.name for path in tmp_path.rglob(".*")] == []


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a b"])
def test_a_path_may_hold_what_a_url_may_not(tmp_path: Path, name: str) -> None:
    assert open_store(str(tmp_path / name)).url == str(tmp_path / name)
    assert open_store(f"s3://models/{name}").url == f"s3://models/{name}"


def test_a_conditional_read_answers_only_where_the_object_changed(store: ObjectStore) -> None:
    store.replace("pointer", b"1", None)
    seen = store.read("pointer")
    assert store.read_if_changed("pointer", seen.etag) is None
    store.replace("pointer", b"2", seen.etag)
    changed = store.read_if_changed("pointer", seen.etag)
    assert changed == store.read("pointer")
    assert changed is not None
    assert changed.content == b"2"
    with pytest.raises(NotInStore, match="nowhere"):
        store.read_if_changed("nowhere", seen.etag)
    with pytest.raises(ObjectTooLarge):
        store.read_if_changed("pointer", seen.etag, 0)


def test_channels_are_read_again_only_where_they_changed(store: ObjectStore, signer: Ed25519Signer) -> None:
    versions = ModelVersions(store, small_model.MODEL)
    none_yet = versions.channels()
    assert versions.changed_channels(none_yet) is None
    small_model.publish(store, signer, "v1")
    seen = versions.changed_channels(none_yet)
    assert seen is not None
    assert dict(seen.versions) == {"live": "v1"}
    assert versions.changed_channels(seen) is None
    small_model.publish(store, signer, "v2")
    changed = versions.changed_channels(seen)
    assert changed is not None
    assert dict(changed.versions) == {"live": "v2", "previous": "v1"}


def test_a_pointer_that_is_what_it_was_is_one_request_answered_with_not_modified(signer: Ed25519Signer) -> None:
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        versions = small_model.publish(S3Store("models", "", client), signer)
        seen = versions.channels()
        answers: list[int] = []
        client.meta.events.register(
            "after-call.s3", lambda http_response, **_: answers.append(http_response.status_code)
        )
        assert versions.changed_channels(seen) is None
        assert answers == [304]


def test_a_file_larger_than_this_reader_takes_is_refused_unread(store: ObjectStore, signer: Ed25519Signer) -> None:
    small_model.publish(store, signer)
    graph_bytes = len(small_model.graph())
    assert ModelVersions(store, small_model.MODEL, graph_bytes).read_file("v1", "model.onnx") == small_model.graph()
    with pytest.raises(ObjectTooLarge, match=f"model.onnx: refused: expected at most {graph_bytes - 1} bytes"):
        ModelVersions(store, small_model.MODEL, graph_bytes - 1).read_file("v1", "model.onnx")
