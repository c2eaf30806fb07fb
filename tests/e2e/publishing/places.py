"""Places to publish to, as the tests see them from behind: what is there, and how to spoil it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from gradatim.publishers.publisher import Publisher

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Place(Protocol):
    """One place and what an administrator of it could do."""

    kind: str
    address: str
    credentials: dict[str, str]

    def publisher(self) -> Publisher: ...

    def snapshot(self) -> Any:
        """Everything that is there, drafts included, so that a write shows."""

    def public(self, version: str) -> bool:
        """Whether anybody sees something of this version."""

    def drafts(self) -> int:
        """How many things wait unseen."""

    def alter(self, version: str, path: str, data: bytes) -> None:
        """Put other bytes in the place of a published file, or add a file."""

    def lose(self, version: str, path: str) -> None:
        """Take a published file away."""

    def remove(self, version: str) -> None:
        """Take a whole published release away."""

    def lose_from_draft(self, path: str, data: bytes) -> None:
        """Take a file of the only draft away."""


class S3Place:
    """A bucket of moto's S3 server."""

    kind = "s3"

    def __init__(self, port: int, bucket: str) -> None:
        self.credentials = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self.endpoint = f"http://127.0.0.1:{port}"
        self.bucket = bucket
        self.address = f"s3://{bucket}/our models?endpoint={self.endpoint}"
        self.client().create_bucket(Bucket=bucket)

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 (moto takes any)
            region_name="us-east-1",
        )

    def publisher(self) -> Publisher:
        from gradatim.publishers.s3 import S3Publisher

        return S3Publisher(self.address)

    def keys(self) -> list[str]:
        return [o["Key"] for o in self.client().list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def snapshot(self) -> Any:
        client = self.client()
        objects = client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        uploads = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return sorted((o["Key"], o["ETag"], o["LastModified"]) for o in objects), len(uploads)

    def public(self, version: str) -> bool:
        return f"our models/digits/{version}/release.json" in self.keys()

    def drafts(self) -> int:
        return len([key for key in self.keys() if "/.drafts/" in key]) + self.snapshot()[1]

    def alter(self, version: str, path: str, data: bytes) -> None:
        self.client().put_object(Bucket=self.bucket, Key=f"our models/digits/{version}/{path}", Body=data)

    def lose(self, version: str, path: str) -> None:
        self.client().delete_object(Bucket=self.bucket, Key=f"our models/digits/{version}/{path}")

    def remove(self, version: str) -> None:
        for key in self.keys():
            if f"/{version}/" in key:
                self.client().delete_object(Bucket=self.bucket, Key=key)

    def lose_from_draft(self, path: str, data: bytes) -> None:
        for key in self.keys():
            if "/.drafts/" in key and key.endswith(f"/{path}"):
                self.client().delete_object(Bucket=self.bucket, Key=key)


class OciPlace:
    """A repository of a docker-registry that wants a password and keeps its files in a folder."""

    kind = "oci"

    def __init__(self, port: int, repository: str, storage: Path) -> None:
        self.credentials = {"GRADATIM_OCI_USERNAME": "ada", "GRADATIM_OCI_PASSWORD": "secret"}
        self.address = f"127.0.0.1:{port}/{repository}"
        self.root = f"http://127.0.0.1:{port}/v2/{repository}/"
        self.folder = storage / "docker" / "registry" / "v2" / "repositories" / repository

    def publisher(self) -> Publisher:
        from gradatim.publishers.oci import OciPublisher

        return OciPublisher(self.address)

    def ask(self, method: str, path: str, kind: str = MANIFEST, **how: Any) -> Any:
        import requests

        accept = {"Accept": kind, "Content-Type": kind}
        url = path if path.startswith("http") else self.root + path
        return requests.request(method, url, auth=("ada", "secret"), headers=accept, timeout=30, **how)

    def snapshot(self) -> Any:
        files = (path for path in self.folder.rglob("*") if path.is_file() and "_uploads" not in path.parts)
        return sorted((str(path), path.stat().st_ino, path.stat().st_mtime_ns) for path in files)

    def public(self, version: str) -> bool:
        return bool(self.ask("GET", f"manifests/{version}").status_code == 200)

    def drafts(self) -> int:
        revisions = {path.parent.name for path in self.folder.glob("_manifests/revisions/sha256/*/link")}
        tagged = {
            path.read_text().removeprefix("sha256:")
            for path in self.folder.glob("_manifests/tags/*/current/link")
        }
        return len(revisions - tagged)

    def rewrite(self, version: str, change: Callable[[list[Any]], list[Any]]) -> None:
        manifest = self.ask("GET", f"manifests/{version}").json()
        manifest["layers"] = change(manifest["layers"])
        assert self.ask("PUT", f"manifests/{version}", json=manifest).status_code == 201

    def alter(self, version: str, path: str, data: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        where = self.ask("POST", "blobs/uploads/").headers["Location"]
        assert self.ask("PUT", where, data=data, params={"digest": digest}).status_code == 201
        layer = {
            "mediaType": "application/octet-stream",
            "digest": digest,
            "size": len(data),
            "annotations": {"org.opencontainers.image.title": path},
        }
        self.rewrite(version, lambda layers: [*self.without(path, layers), layer])

    def lose(self, version: str, path: str) -> None:
        self.rewrite(version, lambda layers: self.without(path, layers))

    def without(self, path: str, layers: list[Any]) -> list[Any]:
        return [layer for layer in layers if layer["annotations"]["org.opencontainers.image.title"] != path]

    def remove(self, version: str) -> None:
        digest = self.ask("GET", f"manifests/{version}").headers["Docker-Content-Digest"]
        assert self.ask("DELETE", f"manifests/{digest}").status_code == 202

    def lose_from_draft(self, path: str, data: bytes) -> None:
        assert self.ask("DELETE", f"blobs/sha256:{hashlib.sha256(data).hexdigest()}").status_code == 202
