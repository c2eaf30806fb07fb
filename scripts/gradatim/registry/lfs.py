"""Git LFS pointers: what git holds in place of a large file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gradatim.errors import InvalidInput

POINTER_LIMIT = 1024
"""Bytes: the specification's own bound on a pointer file, https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""

_VERSION = b"version https://git-lfs.github.com/spec/v1\n"


@dataclass(frozen=True)
class LfsPointer:
    """What git holds in place of a large file: the file's SHA-256 and its size in bytes."""

    sha256: str
    size: int


def read_pointer(data: bytes, name: str) -> LfsPointer | None:
    """Parse a Git LFS pointer; None when the bytes are no pointer.

    Raises:
        InvalidInput: it begins like a pointer and is broken.
    """
    if len(data) >= POINTER_LIMIT or not data.startswith(_VERSION):
        return None
    digest = re.search(rb"^oid sha256:([0-9a-f]{64})$", data, re.MULTILINE)
    size = re.search(rb"^size ([0-9]+)$", data, re.MULTILINE)
    if not digest or not size:
        raise InvalidInput(f"{name} is a broken Git LFS pointer.")
    return LfsPointer(digest[1].decode(), int(size[1]))
