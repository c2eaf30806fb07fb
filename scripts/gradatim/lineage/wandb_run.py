"""A Weights & Biases run that was logged offline: ``wandb/offline-run-*/run-*.wandb``.

The file is a LevelDB log [1]_ of protocol buffers. The messages are read by wandb's own classes; the frame around them
is read here, since wandb dropped its Python reader in 0.31.

.. [1] https://github.com/google/leveldb/blob/main/doc/log_format.md, with CRC-32 in place of CRC-32C
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput, needs
from gradatim.files import reading
from gradatim.lineage.draft import LineageDraft, at
from gradatim.lineage.record import Lineage

_START = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_OWN = ("_wandb", "wandb_version")
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)")
_FRAMEWORKS = frozenset(
    {
        "accelerate", "catboost", "datasets", "flax", "jax", "keras", "lightgbm", "lightning", "numpy", "onnx",
        "pytorch-lightning", "scikit-learn", "tensorflow", "torch", "torchvision", "transformers", "wandb", "xgboost",
    }
)  # fmt: skip


def find_run(place: Path) -> Path:
    """The ``.wandb`` file: the one named, that of the run's folder, or of the newest run below a ``wandb`` folder.

    Raises:
        InvalidInput: there is none.
    """
    if place.is_file():
        return place
    here = sorted(place.glob("run-*.wandb"))
    below = [
        found for run in sorted(place.glob("offline-run-*")) for found in sorted(run.glob("run-*.wandb"))
    ]
    if not (here or below):
        raise InvalidInput(
            f"{place} holds no offline run of Weights & Biases (offline-run-*/run-*.wandb). Train with WANDB_MODE=offline, or name the folder in `lineage.wandb`."
        )
    return here[-1] if here else below[-1]  # folders bear their date: the last is the newest


def read_run(path: Path, place: str) -> Lineage:
    """Read an offline run.

    Args:
        path: the ``.wandb`` file.
        place: what it is called in messages.

    Raises:
        InvalidInput: the file is cut off, damaged or none of wandb's.
        EnvironmentLacks: wandb is not installed.
    """
    with needs("wandb", "wandb", "Lineage from a Weights & Biases run"):
        from google.protobuf.message import DecodeError
        from wandb.proto.wandb_internal_pb2 import Record

    draft = LineageDraft(f"Weights & Biases run {path.stem.removeprefix('run-')}, offline", place)
    config: dict[str, Any] = {}
    finished = False
    for index, data in enumerate(_records(path, place)):
        try:
            record = Record.FromString(data)
        except DecodeError as error:
            raise InvalidInput(f"{place} is damaged: its record {index} cannot be read.") from error
        kind = record.WhichOneof("record_type")
        if kind == "run":
            _update(config, record.run.config, place)
            draft.commit = record.run.git.commit or draft.commit
            draft.started = draft.started or at(record.run.start_time.seconds)
        elif kind == "config":
            _update(config, record.config, place)
        elif kind == "history":
            _history(draft, record.history, place)
        elif kind == "environment":
            draft.commit = record.environment.git.commit or draft.commit
            if record.environment.python:
                draft.environment({"python": record.environment.python})
        elif kind == "exit":
            finished = True
            if record.exit.exit_code:
                draft.note(f"the training ended with exit code {record.exit.exit_code}")
    if not finished:
        draft.note("the run was not finished when it was read")
    draft.parameters({key: value for key, value in config.items() if key not in _OWN})
    draft.environment(_frameworks(path.parent / "files" / "requirements.txt"))
    return draft.finish()


def _update(config: dict[str, Any], record: Any, place: str) -> None:
    for item in record.update:
        *folders, last = list(item.nested_key) or [item.key]
        inner = config
        for folder in folders:
            inner = inner.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise InvalidInput(
                    f"{place} is damaged: the parameter {folder} is a value and a folder at once."
                )
        inner[last] = _value(item.value_json, place)
    for item in record.remove:
        config.pop(item.key, None)


def _history(draft: LineageDraft, record: Any, place: str) -> None:
    row = {".".join(item.nested_key) or item.key: _value(item.value_json, place) for item in record.item}
    step = int(row.get("_step", record.step.num))
    for name, value in row.items():
        if name.startswith("_"):
            continue
        if isinstance(value, str) and value.lower() in ("nan", "infinity", "-infinity"):
            draft.metric(name, step, None)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            draft.metric(name, step, float(value))


def _value(text: str, place: str) -> Any:
    try:
        return json.loads(text)  # wandb's own dialect: NaN stands as it is
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{place} is damaged: it holds a value that is no JSON.") from error


def _frameworks(path: Path) -> Mapping[str, str]:
    """What wandb noted of the packages that matter for a model."""
    try:
        lines: Iterable[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pinned = (match for line in lines if (match := _PINNED.match(line)))
    return {m["name"].lower(): m["version"] for m in pinned if m["name"].lower() in _FRAMEWORKS}


def _records(path: Path, place: str) -> Iterator[bytes]:
    """The records of the log, each put together from its fragments and checked."""
    broken = InvalidInput(
        f"{place} is cut off or damaged: it is not a whole run of Weights & Biases. Copy it again, or train again."
    )
    with reading(place):
        data = path.read_bytes()
    if data[: len(_START)] != _START:
        raise broken
    at_byte, parts = len(_START), b""
    inside = False
    while at_byte < len(data):
        left = _BLOCK - at_byte % _BLOCK
        if left < _HEADER.size:
            at_byte += left
            continue
        if at_byte + _HEADER.size > len(data):
            raise broken
        checksum, length, kind = _HEADER.unpack_from(data, at_byte)
        begin = at_byte + _HEADER.size
        piece = data[begin : begin + length]
        if len(piece) != length or zlib.crc32(piece, zlib.crc32(bytes([kind]))) != checksum:
            raise broken
        if inside != (kind in (_MIDDLE, _LAST)) or not _FULL <= kind <= _LAST:
            raise broken
        parts, inside = parts + piece, kind in (_FIRST, _MIDDLE)
        if not inside:
            yield parts
            parts = b""
        at_byte = begin + length
    if inside:
        raise broken
