"""S3: parts of large files, objects in the way, and buckets that say no."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from publishing.places import S3Place
from publishing.servers import Servers
from registry_examples import act_as_ada, new_repository, release_files

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput
from gradatim.publishers import s3
from gradatim.registry.git import Repository
from gradatim.releasing.publishing import publish

PART = 5 << 20  # the least that S3 takes


@pytest.fixture
def place(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Place:
    found = servers.place("s3", tmp_path)
    assert isinstance(found, S3Place)
    act_as_ada(monkeypatch, found.credentials)
    return found


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo")


def test_a_large_file_goes_in_parts_and_a_broken_upload_is_resumed(
    place: S3Place, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_PART", PART)
    release = release_files(repo, "v1.0.0", os.urandom(2 * PART + 17))
    client = place.client()
    key = f"our models/digits/.drafts/v1.0.0-{release.record.digest[:16]}/digits.onnx"
    begun = client.create_multipart_upload(Bucket=place.bucket, Key=key)["UploadId"]
    source = release.sources["digits.onnx"]
    assert isinstance(source, Path)
    client.upload_part(
        Bucket=place.bucket, Key=key, UploadId=begun, PartNumber=1, Body=source.read_bytes()[:PART]
    )
    client.upload_part(Bucket=place.bucket, Key=key, UploadId=begun, PartNumber=2, Body=b"x" * PART)
    sent = []
    publisher = s3.S3Publisher(place.address)
    publisher._client.meta.events.register(
        "before-call.s3.UploadPart", lambda params, **_: sent.append(params["query_string"]["partNumber"])
    )
    publish(Repository.find(repo), release, [publisher])
    assert [str(number) for number in sent] == ["2", "3"], "the part that was whole is not sent again"
    assert publisher.holds(release)
    assert place.drafts() == 0


def test_a_file_too_large_for_one_copy_is_copied_in_parts(
    place: S3Place, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_LARGEST_COPY", PART)
    monkeypatch.setattr(s3, "_COPY_PART", PART)
    release = release_files(repo, "v1.0.0", os.urandom(2 * PART + 17))
    publish(Repository.find(repo), release, [place.publisher()])
    assert place.publisher().holds(release)


def test_an_object_that_nobody_published_is_not_written_over(place: S3Place, repo: Path) -> None:
    place.alter("v1.0.0", "digits.onnx", b"by hand")
    with pytest.raises(BrokenEvidence, match="in the way"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert not place.public("v1.0.0")


def test_the_marker_is_created_once_even_when_two_come_at_the_same_moment(
    place: S3Place, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and creating somebody without our git remote publishes the version."""
    mine, publisher = release_files(repo, "v1.0.0", b"mine"), s3.S3Publisher(place.address)
    draft = publisher.draft(mine)
    publisher._client.meta.events.register(
        "before-call.s3.PutObject", lambda **_: place.alter("v1.0.0", "release.json", b"{}")
    )
    with pytest.raises(BrokenEvidence, match="with other bytes"):
        publisher.publish(draft)


def test_a_source_that_changes_under_the_upload_is_refused(place: S3Place, repo: Path) -> None:
    release = release_files(repo, "v1.0.0")
    source = release.sources["digits.onnx"]
    assert isinstance(source, Path)
    source.write_bytes(b"Weights")
    with pytest.raises(InvalidInput, match="changed while it was being published"):
        publish(Repository.find(repo), release, [place.publisher()])
    assert not place.public("v1.0.0")


def test_a_bucket_that_is_not_there_is_named(place: S3Place, repo: Path) -> None:
    publisher = s3.S3Publisher(place.address.replace(place.bucket, "no-such-bucket"))
    with pytest.raises(EnvironmentLacks, match="no bucket `no-such-bucket`"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [publisher])


def test_a_key_that_leads_out_of_the_folder_is_refused(place: S3Place, repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0")
    publisher = place.publisher()
    publish(Repository.find(repo), release, [publisher])
    place.alter("v1.0.0", "../../outside", b"x")
    with pytest.raises(BrokenEvidence, match="not safe"):
        publisher.open(publisher.publication(release), tmp_path / "in" / "side")
    assert not (tmp_path / "outside").exists()
