"""S3, or any store that speaks its protocol, as the place that releases are published to.

A release lies under ``PREFIX/NAME/VERSION/``. It is uploaded and read back under a hidden prefix first; then
every object is copied to where it belongs, none over another, and ``release.json`` is created last
(``If-None-Match: *``). As long as that object is missing nothing is published.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gradatim.errors import CONNECT_SECONDS, BrokenEvidence, EnvironmentLacks, patience
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.release_record import RECORD_FILE
from gradatim.publishers.publisher import Changed, Found, Publication, Publisher, Wanted
from gradatim.publishers.transfer import checked_source, not_the_release, refused, sending, unreachable

_CHUNK = 1 << 20
_PART = 16 << 20
"""Bytes of one part of a large upload; what is in memory at once."""
_MOST_PARTS = 10_000
_LARGEST_COPY = 5 << 30
"""Bytes that S3 copies in one call."""
_COPY_PART = 1 << 30


class S3Publisher(Publisher):
    """Publishes to a bucket.

    Args:
        address: ``s3://BUCKET/PREFIX``, with ``?endpoint=https://HOST`` for another store than Amazon's.
    """

    kind = "s3"
    remedy = "Remove it"

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/")
        given = parse_qs(parts.query).get("endpoint")
        environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self._endpoint = given[0] if given else environment or None

    # where things lie

    @property
    def location(self) -> str:
        return self._address(self._prefix)

    def address(self, release: ReleaseFiles) -> str:
        return self._address(self._final(release).rstrip("/"))

    def _address(self, path: str) -> str:
        query = f"?endpoint={self._endpoint}" if self._endpoint else ""
        return f"s3://{self._bucket}/{path}{query}"

    def _below(self, *parts: str) -> str:
        return "/".join([*filter(None, [self._prefix]), *parts]) + "/"

    def _final(self, release: ReleaseFiles) -> str:
        return self._below(release.record.name, release.record.version)

    # what publishing is made of

    def public(self, publication: Publication) -> Found | None:
        """See ``Publisher.public``: without its marker nothing is."""
        there = self._list(urlsplit(publication.location).path.strip("/") + "/")
        return there if RECORD_FILE in there else None

    def begin(self, release: ReleaseFiles) -> str:
        record = release.record
        return self._below(record.name, ".drafts", f"{record.version}-{record.digest[:16]}")

    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        return self._list(place)

    def reveal(self, place: str, release: ReleaseFiles) -> None:
        """Copy a draft to where it belongs, its marker last."""
        final, there = self._final(release), self._list(self._final(release))
        wanted = {name: entry for name, entry in self.names(release).items() if name != RECORD_FILE}
        for name in self.lacking(there, {name: wanted[name] for name in wanted.keys() & there.keys()}):
            raise BrokenEvidence(
                f"{self._address(final + name)} is in the way: nobody published it, and it is not the "
                "file of this release. Remove it, then run again."
            )
        for name in sorted(wanted.keys() - there.keys()):
            self._copy(place + name, final + name, wanted[name])
        for name in sorted(self._list(final).keys() - wanted.keys() - {RECORD_FILE}):
            raise not_the_release(self.address(release), f"{name} is not part of it.")
        with _already_there():
            self._client.put_object(
                Bucket=self._bucket,
                Key=final + RECORD_FILE,
                Body=release.record.to_bytes(),
                ContentType="application/json",
                IfNoneMatch="*",
            )

    def tidy(self, release: ReleaseFiles) -> None:
        self.clear(self.begin(release), release)

    def clear(self, place: str, release: ReleaseFiles) -> None:
        """See ``Publisher.clear``: parts of unfinished uploads go, too."""
        for key in self._list(place).values():
            self._client.delete_object(Bucket=self._bucket, Key=key)
        for upload in self._unfinished(place):
            with contextlib.suppress(Changed), _absent():
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    # objects

    def _list(self, prefix: str) -> dict[str, str]:
        """Keys of the objects below a prefix, by what follows it."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {key.removeprefix(prefix): key for key in keys if not key.endswith("/")}

    def read(self, file: str) -> Iterator[bytes]:
        with _absent():
            body = self._client.get_object(Bucket=self._bucket, Key=file)["Body"]
        with contextlib.closing(body):
            yield from body.iter_chunks(_CHUNK)

    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        for key in stale.values():
            self._client.delete_object(Bucket=self._bucket, Key=key)
        for name, entry in missing.items():
            with sending(checked_source(release, entry), name) as body:
                if entry.size > _PART:
                    self._upload_parts(place + name, body, entry.size)
                else:
                    self._client.put_object(Bucket=self._bucket, Key=place + name, Body=body)
        return {name: place + name for name in missing}

    def _upload_parts(self, key: str, file: io.BufferedIOBase, size: int) -> None:
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
        return self.package("boto3").session.Session()

    @property
    def may_write(self) -> bool:
        return self._session.get_credentials() is not None

    @cached_property
    def _client(self) -> Any:
        """Signs its requests when there are credentials; a public bucket can be read without."""
        session = self._session
        from botocore import UNSIGNED
        from botocore.config import Config

        chosen: dict[str, Any] = {
            "retries": {"mode": "standard", "max_attempts": 6},
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": patience(),
        }
        if session.get_credentials() is None:
            chosen["signature_version"] = UNSIGNED
        if self._endpoint:
            chosen["s3"] = {"addressing_style": "path"}
        return session.client("s3", endpoint_url=self._endpoint, config=Config(**chosen))

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        self._session  # noqa: B018 (without the package nothing below can be imported)
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            raise refused(self.location, 401, str(error), self.access) from error
        except ClientError as error:
            if _code(error) == "NoSuchBucket":
                where = self._endpoint or "Amazon S3"
                raise EnvironmentLacks(
                    f"There is no bucket `{self._bucket}` at {where}. Create it, or name another."
                ) from error
            status = 403 if _code(error) == "ExpiredToken" else _status(error)
            raise refused(self.location, status, str(error), self.access) from error
        except BotoCoreError as error:
            raise unreachable(self.location, str(error)) from error


@contextlib.contextmanager
def _absent() -> Iterator[None]:
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if _code(error) in ("NoSuchKey", "404", "NoSuchUpload"):
            raise Changed from error
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


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
