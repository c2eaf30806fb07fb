"""Recorded requests: rows a line, an access log with bodies, or a browser's HAR, as columns for a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput

UNNAMED = ""
"""The column of plain ``instances``: a model's first input, whatever it is called."""

_BODIES = ("request_body", "body", "request")
"""Under which keys the lines of an access log hold what was sent."""


@dataclass(frozen=True)
class Request:
    """One request as it was recorded.

    Attributes:
        place: where it stands: ``requests.jsonl:17``.
        rows: one mapping of column to value an item; empty where it cannot be understood.
        wrong: why it cannot; then it fails with every model, as it did when it was sent.
    """

    place: str
    rows: tuple[Mapping[str, Any], ...]
    wrong: str = ""


def read_requests(path: Path) -> list[Request]:
    """Every request of a recording, in its order; what has no body (a health check) is no request to a model.

    A line is a row as in ``data.evaluation``, a body of the Open Inference Protocol (``inputs``) or of KServe's first
    (``instances``), or a line of an access log that holds one of these as ``body`` or ``request_body``.

    Args:
        path: .jsonl or .har.

    Raises:
        InvalidInput: the recording is missing, truncated or empty: a canary without traffic proves nothing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The recording {path} cannot be read: {error}.") from error
    bodies = _har(path, text) if path.suffix.lower() == ".har" else _lines(path, text)
    found = [_request(place, body) for place, body in bodies]
    if not found:
        raise InvalidInput(
            f"{path} holds no request with a body: a canary without traffic proves nothing, so nothing is let through."
        )
    return found


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"{path}:{number} is not JSON: the recording may be truncated. Write one JSON object a line."
            ) from error
        key = next((key for key in _BODIES if isinstance(told, dict) and key in told), None)
        body = told if key is None else told[key]
        if body not in (None, "", "-"):
            yield f"{path.name}:{number}", body


def _har(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Bodies of a HAR 1.2: ``log.entries[].request.postData.text``."""
    try:
        entries = json.loads(text)["log"]["entries"]
        for number, entry in enumerate(entries, 1):
            sent = entry["request"].get("postData") or {}
            if sent.get("text"):
                yield f"{path.name}, entry {number}", sent["text"]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{path} is not a HAR file: it has no `log.entries` with requests.") from error


def _request(place: str, body: Any) -> Request:
    try:
        told = json.loads(body) if isinstance(body, str) else body
        rows = _rows(told)
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        return Request(place, (), f"its body cannot be understood ({error})")
    return Request(place, rows) if rows else Request(place, (), "it holds no row")


def _rows(told: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(told, dict):
        raise ValueError("no JSON object")
    if isinstance(told.get("instances"), list):
        return tuple(one if isinstance(one, dict) else {UNNAMED: one} for one in told["instances"])
    inputs = told.get("inputs")
    if not (isinstance(inputs, list) and inputs and all(isinstance(one, dict) for one in inputs)):
        return (told,)
    columns = {one["name"]: _shaped(one["data"], one["shape"]) for one in inputs}
    if any(len(values) != len(columns[inputs[0]["name"]]) for values in columns.values()):
        raise ValueError("its inputs differ in rows")
    return tuple(dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _shaped(data: list[Any], shape: list[int]) -> list[Any]:
    """A flat or nested list as rows of this shape: the protocol allows both."""
    flat = data
    while flat and isinstance(flat[0], list):
        flat = [value for part in flat for value in part]
    steps = [1]
    for size in reversed(shape):
        steps.append(steps[-1] * size)
    if steps[-1] != len(flat) or not shape:
        raise ValueError(f"{len(flat)} numbers do not fill the shape {shape}")
    for _, size in pairwise([0, *reversed(shape[1:])]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat
