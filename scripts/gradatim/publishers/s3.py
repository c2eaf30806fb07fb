"""S3, or any store that speaks its protocol, as the place that releases are published to.

A release lies under ``PREFIX/NAME/VERSION/``. It is uploaded and read back under a hidden prefix first; then
every object is copied to where it belongs, none over another, and ``release.json`` is created last
(``If-None-Match: *``). As long as that object is missing nothing is published.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from gradatim.errors import BrokenEvidence, EnvironmentLacks, missing_package
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.release_record import RECORD_FILE
from gradatim.files import moved
from gradatim.progress import large
from gradatim.publishers.publisher import Draft, Publication
from gradatim.publishers.transfer import (
    checked_source,
    compare,
    compare_names,
    gone,
    is_entry,
    is_held,
    not_the_release,
    other_version,
    save,
)
from gradatim.publishers.web import Changed, patiently

_CHUNK = 1 << 20
_PART = 16 << 20
"""Bytes of one part of a large upload; what is in memory at once."""
_MOST_PARTS = 10_000
_LARGEST_COPY = 5 << 30
"""Bytes that S3 copies in one call."""
_COPY_PART = 1 << 30
_NAMED = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"


class S3Publisher:
    """Publishes to a bucket.

    Args:
        address: ``s3://BUCKET/PREFIX``, with ``?endpoint=https://HOST`` for another store than Amazon's.
    """

    kind = "s3"

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        given = parse_qs(parts.query).get("endpoint")
        environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._endpoint = given[0] if given else environment or None

    @property
    def location(self) -> str:
        return self._address(self._prefix)

    def publication(self, release: ReleaseFiles) -> Publication:
        """See ``Publisher.publication``."""
        record = release.record
        place = self._address(self._final(release).rstrip("/"))
        return Publication(self.kind, place, record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """See ``Publisher.draft``."""
        place = self._hidden(release)
        if not self._has_credentials:
            raise EnvironmentLacks(f"{self.location} needs credentials to be written to. Set {_NAMED}.")

        def try_once() -> Draft:
            if self._is_public(release):
                self._compare(release)
                return Draft(release, place, self.publication(release))
            self._fill(place, release)
            return Draft(release, place)

        with self._understood():
            return patiently(self.location, try_once)

    def publish(self, draft: Draft) -> Publication:
        """See ``Publisher.publish``."""
        release = draft.release

        def try_once() -> None:
            if not self._is_public(release):
                self._reveal(release)

        with self._understood():
            patiently(self.location, try_once)
            self._compare(release)
            self._clear(draft.place)
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.holds``."""
        with self._understood():
            return is_held(release, self._is_public, self._compare)

    def discard(self, draft: Draft) -> None:
        """See ``Publisher.discard``."""
        with self._understood():
            self._clear(draft.place)

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``."""
        prefix = urlsplit(publication.location).path.strip("/") + "/"
        with self._understood():
            objects = self._list(prefix)
            if RECORD_FILE not in objects:
                raise gone(publication)
            for name in objects:
                save(self._read(prefix + name), into, name)
        return into

    # where things lie

    def _address(self, path: str) -> str:
        query = f"?endpoint={self._endpoint}" if self._endpoint else ""
        return f"s3://{self._bucket}/{path}{query}"

    def _below(self, *parts: str) -> str:
        return "/".join([*filter(None, [self._prefix]), *parts]) + "/"

    def _final(self, release: ReleaseFiles) -> str:
        return self._below(release.record.name, release.record.version)

    def _hidden(self, release: ReleaseFiles) -> str:
        record = release.record
        return self._below(record.name, ".drafts", f"{record.version}-{record.digest[:16]}")

    # what publishing is made of

    def _is_public(self, release: ReleaseFiles) -> bool:
        """Whether the version is public with these bytes; with others it is refused."""
        try:
            marker = b"".join(self._read(self._final(release) + RECORD_FILE))
        except Changed:
            return False
        if marker != release.record.to_bytes():
            raise other_version(self._address(self._final(release)), release)
        return True

    def _fill(self, place: str, release: ReleaseFiles) -> None:
        """Complete a draft: what an interrupted run left whole is kept."""
        present = self._list(place)
        for entry in release.entries:
            key = place + entry.path
            if present.get(entry.path) == entry.size and is_entry(self._read(key), entry):
                continue
            self._upload(key, release, entry)
            if not is_entry(self._read(key), entry):
                raise not_the_release(self._address(key), "what was uploaded does not come back.")

    def _reveal(self, release: ReleaseFiles) -> None:
        """Copy a draft to where it belongs, its marker last."""
        final, hidden = self._final(release), self._hidden(release)
        present = self._list(final)
        for entry in release.entries:
            if entry.path == RECORD_FILE:
                continue
            if entry.path not in present:
                self._copy(hidden + entry.path, final + entry.path, entry)
            elif not is_entry(self._read(final + entry.path), entry):
                raise BrokenEvidence(
                    f"{self._address(final + entry.path)} is in the way: nobody published it, and it is not the "
                    "file of this release. Remove it, then run again."
                )
        paths = [entry.path for entry in release.entries]
        compare_names(self._address(final), paths, {*self._list(final), RECORD_FILE})
        with _already_there():
            self._client.put_object(
                Bucket=self._bucket,
                Key=final + RECORD_FILE,
                Body=release.record.to_bytes(),
                ContentType="application/json",
                IfNoneMatch="*",
            )

    def _compare(self, release: ReleaseFiles) -> None:
        """Read everything back: what lies there must be the release, no more and no less."""
        final = self._final(release)
        if not self._is_public(release):
            raise not_the_release(self._address(final), f"{RECORD_FILE} is missing.")
        present = self._list(final)

        def same(path: str, entry: FileEntry) -> bool:
            return present[path] == entry.size and is_entry(self._read(final + path), entry)

        compare(self._address(final), {entry.path: entry for entry in release.entries}, present, same)

    def _clear(self, place: str) -> None:
        """Take a draft away, parts of unfinished uploads included."""
        for name in self._list(place):
            self._client.delete_object(Bucket=self._bucket, Key=place + name)
        for upload in self._unfinished(place):
            with contextlib.suppress(Changed), _absent():
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    # objects

    def _list(self, prefix: str) -> dict[str, int]:
        """Objects below a prefix with their sizes in bytes."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        found = [found for page in pages for found in page.get("Contents", [])]
        return {o["Key"][len(prefix) :]: o["Size"] for o in found if not o["Key"].endswith("/")}

    def _read(self, key: str) -> Iterator[bytes]:
        with _absent():
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
        with contextlib.closing(body):
            yield from body.iter_chunks(_CHUNK)

    def _upload(self, key: str, release: ReleaseFiles, entry: FileEntry) -> None:
        source = checked_source(release, entry)
        if isinstance(source, bytes):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=source)
            return
        with large(f"upload {entry.path}", entry.size), source.open("rb") as file:
            if entry.size > _PART:
                self._upload_parts(key, file, entry.size)
            else:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=file)

    def _upload_parts(self, key: str, file: IO[bytes], size: int) -> None:
        """Upload in parts; those that an interrupted run left are kept where their bytes are the same."""
        part = max(_PART, -(-size // _MOST_PARTS))
        begun = [upload["UploadId"] for upload in self._unfinished(key) if upload["Key"] == key]
        target = {"Bucket": self._bucket, "Key": key}
        target["UploadId"] = begun[0] if begun else self._client.create_multipart_upload(**target)["UploadId"]
        with _absent():
            pages = self._client.get_paginator("list_parts").paginate(**target)
            there = {found["PartNumber"]: found["ETag"] for page in pages for found in page.get("Parts", [])}
            tags = []
            for number in range(1, -(-size // part) + 1):
                data = file.read(part)
                tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'  # what S3 calls an ETag
                if there.get(number) != tag:
                    tag = self._client.upload_part(**target, PartNumber=number, Body=data)["ETag"]
                tags.append({"PartNumber": number, "ETag": tag})
                moved(len(data))
            self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": tags})

    def _unfinished(self, prefix: str) -> list[Any]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        return [upload for page in pages for upload in page.get("Uploads", [])]

    def _copy(self, source: str, key: str, entry: FileEntry) -> None:
        """Copy an object inside the bucket, never over another."""
        origin = {"Bucket": self._bucket, "Key": source}
        target = {"Bucket": self._bucket, "Key": key}
        with _absent(), _already_there():
            if entry.size <= _LARGEST_COPY:
                self._client.copy_object(**target, CopySource=origin, IfNoneMatch="*")
                return
            target["UploadId"] = self._client.create_multipart_upload(**target)["UploadId"]
            tags = []
            for number, start in enumerate(range(0, entry.size, _COPY_PART), 1):
                last = min(start + _COPY_PART, entry.size) - 1
                copied = self._client.upload_part_copy(
                    **target, PartNumber=number, CopySource=origin, CopySourceRange=f"bytes={start}-{last}"
                )
                tags.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
            self._client.complete_multipart_upload(**target, MultipartUpload={"Parts": tags}, IfNoneMatch="*")

    # the client

    @cached_property
    def _session(self) -> Any:
        try:
            import boto3
        except ImportError as error:
            raise missing_package("boto3", "s3", f"Publishing to {self.location}") from error
        return boto3.session.Session()

    @property
    def _has_credentials(self) -> bool:
        with self._understood():
            return self._session.get_credentials() is not None

    @cached_property
    def _client(self) -> Any:
        """Signs its requests when there are credentials; a public bucket can be read without."""
        session = self._session
        from botocore import UNSIGNED
        from botocore.config import Config

        chosen: dict[str, Any] = {"retries": {"mode": "standard", "max_attempts": 6}, "connect_timeout": 10}
        if session.get_credentials() is None:
            chosen["signature_version"] = UNSIGNED
        if self._endpoint:
            chosen["s3"] = {"addressing_style": "path"}
        return session.client("s3", endpoint_url=self._endpoint, config=Config(**chosen))

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Say what S3 refuses in words for a person."""
        self._session  # noqa: B018 (without the package nothing below can be imported)
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            raise EnvironmentLacks(f"{self.location} needs credentials. Set {_NAMED}.") from error
        except ClientError as error:
            raise EnvironmentLacks(self._refusal(_code(error), error)) from error
        except (Changed, BotoCoreError) as error:
            raise EnvironmentLacks(
                f"{self.location} cannot be reached: {error}. Run the same command again when it can: it resumes."
            ) from error

    def _refusal(self, code: str, error: Exception) -> str:
        if code == "NoSuchBucket":
            return f"There is no bucket `{self._bucket}` at {self._endpoint or 'Amazon S3'}. Create it, or name another."
        if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
            return f"{self.location} refuses these credentials ({code}). Look at {_NAMED}, and at what they may do there."
        return f"{self.location} refuses: {error}."


@contextlib.contextmanager
def _absent() -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if _code(error) in ("NoSuchKey", "404", "NoSuchUpload"):
            raise Changed(str(error)) from error
        raise


@contextlib.contextmanager
def _already_there() -> Iterator[None]:
    """Somebody else created the object first: what it is, is compared afterwards."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if _code(error) not in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
            raise


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
