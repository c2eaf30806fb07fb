"""Files that are never half there, their digests, and JSON without surprises."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput, did_you_mean

_CHUNK = 1 << 20
_MOST_DIGITS = 300
_NEAR = (1, 2, 3)
_LOOKED_AT = 5000
"""How deep a file is looked for that was misspelt, and among how many."""

_watchers: list[Callable[[int], None]] = []


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in chunks of 1 MiB; ``counting`` sees them go by."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            moved(len(chunk))
    return digest.hexdigest()


@contextlib.contextmanager
def counting(watch: Callable[[int], None]) -> Iterator[None]:
    """Tell somebody of every piece that is hashed, sent or received while the context lasts, from any thread."""
    _watchers.append(watch)
    try:
        yield
    finally:
        _watchers.remove(watch)


def moved(amount: int) -> None:
    """So many bytes of a large file were hashed, sent or received."""
    for watch in _watchers:
        watch(amount)


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form."""
    return sha256_bytes(canonical_json(value))


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, so that equal values have equal bytes; NaN is refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def tree_digest(path: Path) -> str:
    """Digest of a file, or of a folder as the sorted list of its files' names and digests.

    Raises:
        InvalidInput: the path does not exist, or the folder holds a symbolic link.
    """
    if path.is_file():
        return sha256_file(path)
    if not path.is_dir():
        raise InvalidInput(f"{path} does not exist.")
    return digest_of({name: sha256_file(path / name) for name in list_files(path)})


def list_files(folder: Path) -> list[str]:
    """Every file below a folder, as sorted POSIX paths relative to it.

    Raises:
        InvalidInput: the folder holds a symbolic link, which could point anywhere, or what is no file at all.
    """
    names = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise InvalidInput(
                f"{path} is a symbolic link. Releases hold plain files only: copy the file there."
            )
        if not path.is_dir():
            refuse_pipe(path)
            names.append(path.relative_to(folder).as_posix())
    return names


def refuse_pipe(path: Path) -> None:
    """Refuse what is there and is no plain file: reading a pipe or a device might never end.

    Raises:
        InvalidInput: it is such a thing.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InvalidInput(
            f"{path} is no plain file, and reading it might never end. Put the file itself in its place."
        )


def nearest_file(root: Path, written: str) -> str:
    """`` Did you mean `data/test.npz`?``: what lies below ``root`` and is called nearly so; empty where nothing is."""
    found = (path for depth in _NEAR for path in root.glob("/".join("*" * depth)))
    names = [path.relative_to(root).as_posix() for path in islice(found, _LOOKED_AT)]
    there = [name for name in names if not any(part.startswith(".") for part in Path(name).parts)]
    namesakes = [name for name in there if Path(name).name == Path(written).name]
    return f" Did you mean `{namesakes[0]}`?" if namesakes else did_you_mean(written, there)


def refuse_link(path: Path) -> None:
    """Stop where something of gradatim's own is a link that was put in its place.

    Raises:
        BrokenEvidence: it is one.
    """
    if path.is_symlink():
        raise BrokenEvidence(
            f"{path} is a symbolic link, which could point anywhere. Remove it, then run the same command again."
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it takes ``path``'s place in one rename.

    The temporary file is synced to disk before the rename and removed on any failure.

    Raises:
        EnvironmentLacks: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: temporary file, fsync, rename."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys sorted, with a final newline; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str | bytes, name: str, *, halves: bool = False) -> Any:
    """Strict JSON: a duplicate key, NaN, Infinity, a number out of all bounds, half a character are refused.

    Args:
        halves: let half a character pass, for whoever makes texts fit to be written.

    Raises:
        InvalidInput: the text is not strict JSON; ``name`` says whose text it is.
    """
    try:
        if isinstance(text, bytes) and not halves:  # json itself lets halves of characters pass there
            text = text.decode(json.detect_encoding(text))
        found = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
        escaped = text if isinstance(text, str) else text.decode(errors="replace")
        if not halves and "\\ud" in escaped.lower():  # half of a pair is no character
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{name} is not valid JSON: {error}.") from error


def read_json(path: Path) -> Any:
    """Read strict JSON from a file.

    Raises:
        InvalidInput: the file cannot be read or is not strict JSON.
    """
    with reading(path):
        return parse_json(path.read_bytes(), str(path))


def template_folder(name: str) -> Path:
    """The folder of templates of this name: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "templates"
    return (installed if installed.is_dir() else package.parents[1] / "templates") / name


@contextlib.contextmanager
def reading(name: object) -> Iterator[None]:
    """A file is read inside; ``name`` says which.

    Raises:
        InvalidInput: the system does not let it be read.
    """
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror or error}.") from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A place is written inside.

    Raises:
        EnvironmentLacks: the system does not let it be written.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> EnvironmentLacks:
    """The error for a place that cannot be written: read-only, full, no permission."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return EnvironmentLacks(
            f"{path} cannot be written: a file stands where a folder belongs. Move it away, then run the same command again."
        )
    return EnvironmentLacks(
        f"{path} cannot be written: {(error.strerror or str(error)).lower()}. "
        "Make the folder writable or free some space, then run the same command again."
    )


def _unique_keys(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:_MOST_DIGITS]} is beyond every number")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
