"""Inputs that are not normal: empty, NaN, enormous, of the wrong shape; and what must come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.signature import Signature, TensorSpec

Inputs = dict[str, NDArray[Any]]
Expectation = Literal["finite output", "finite output or a clear error", "clear error"]

_HUGE_ROWS = 4096
_LONG_SEQUENCE = 8192
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class AbnormalCase:
    """Inputs for one call, and what must come of it: never a crash, a hang or a silent NaN."""

    name: str
    inputs: Inputs
    expectation: Expectation


def abnormal_inputs(signature: Signature, example: Mapping[str, NDArray[Any]]) -> Iterator[AbnormalCase]:
    """Abnormal inputs made from a normal batch.

    Cases that a signature cannot have are left out: NaN for integers, a long sequence where every size is
    fixed.

    Args:
        signature: what the model takes.
        example: a batch that the model can take, at least one row.

    Raises:
        InvalidInput: the example lacks an input of the signature, or has no rows.
    """
    # a function of the user's need not say what it takes: then it takes what it was given
    known = {s.name: s for s in signature.inputs} or {n: TensorSpec(n, "unknown", None) for n in example}
    text = signature.text
    specs = {text.name: text} if text and text.name in example else known
    specs = {name: spec for name, spec in specs.items() if name in example or not spec.optional}
    lacking = [name for name in specs if name not in example or 0 in example[name].shape]
    if lacking:
        raise InvalidInput(
            f"Abnormal inputs are made from a normal one, and there is none for `{lacking[0]}`."
        )
    normal = {name: example[name] for name in specs}
    batched = {name for name, spec in specs.items() if normal[name].ndim and _is_free(spec, 0)}
    either: Expectation = "finite output or a clear error"

    if batched:
        yield AbnormalCase("batch of 0", _rows(normal, batched, 0), either)
        yield AbnormalCase("batch of 1", _rows(normal, batched, 1), "finite output")
        size = sum(normal[name][:1].nbytes for name in batched)
        many = max(min(_HUGE_ROWS, _MOST_BYTES // max(size, 1)), 2)
        yield AbnormalCase(f"batch of {many}", _rows(normal, batched, many), either)
    yield AbnormalCase(
        "not contiguous in memory", {n: _scattered(v) for n, v in normal.items()}, "finite output"
    )
    if any(values.dtype.kind in "iufb" for values in normal.values()):
        yield AbnormalCase("all zero", _numbers(normal, np.zeros_like), "finite output")
    for name, value in (("all NaN", np.nan), ("positive infinity", np.inf), ("negative infinity", -np.inf)):
        if any(values.dtype.kind == "f" for values in normal.values()):
            yield AbnormalCase(name, _floats(normal, value), either)
    if any(values.dtype.kind in "iuf" for values in normal.values()):
        yield AbnormalCase("largest values", _numbers(normal, _largest), either)
        yield AbnormalCase("smallest values", _numbers(normal, _smallest), either)
    if any(values.dtype.kind in "OU" for values in normal.values()):
        yield AbnormalCase("empty text", _texts(normal, ""), either)
        yield AbnormalCase("very long text", _texts(normal, "word " * (_LONG_SEQUENCE // 4)), either)
        yield AbnormalCase("text without letters", _texts(normal, "\t\u200b\ufeff\U0001f9ea"), either)
    for name, values in normal.items():
        yield AbnormalCase(f"wrong dtype of {name}", {**normal, name: _other_dtype(values)}, "clear error")
        yield AbnormalCase(f"one axis too many in {name}", {**normal, name: values[..., None]}, "clear error")
        fixed = _fixed_axis(specs[name], values)
        if fixed is not None:
            wider = np.concatenate([values, values.take([0], axis=fixed)], axis=fixed)
            yield AbnormalCase(f"wrong size of {name}", {**normal, name: wider}, "clear error")
        if not specs[name].optional:
            others = {n: v for n, v in normal.items() if n != name}
            yield AbnormalCase(f"without {name}", others, "clear error")
    sequence = _sequence_axis(specs, normal)
    if sequence is not None:
        yield AbnormalCase("sequence of length 0", _resized(specs, normal, sequence, 0), either)
        yield AbnormalCase("sequence of length 1", _resized(specs, normal, sequence, 1), either)
        yield AbnormalCase("very long sequence", _resized(specs, normal, sequence, _LONG_SEQUENCE), either)


def _is_free(spec: TensorSpec, axis: int) -> bool:
    return spec.shape is None or (axis < len(spec.shape) and not isinstance(spec.shape[axis], int))


def _rows(normal: Inputs, batched: set[str], rows: int) -> Inputs:
    return {name: np.resize(values, (rows, *values.shape[1:])) if rows and name in batched
            else values[:0] if name in batched else values for name, values in normal.items()}  # fmt: skip


def _scattered(values: NDArray[Any]) -> NDArray[Any]:
    """The same values with gaps between them in memory."""
    if values.ndim == 0:
        return values
    spaced = np.zeros((*values.shape[:-1], values.shape[-1] * 2), values.dtype)
    spaced[..., ::2] = values
    return spaced[..., ::2]


def _numbers(normal: Inputs, make: Callable[[NDArray[Any]], NDArray[Any]]) -> Inputs:
    return {name: make(values) if values.dtype.kind in "iufb" else values for name, values in normal.items()}


def _floats(normal: Inputs, value: float) -> Inputs:
    return {
        name: np.full_like(values, value) if values.dtype.kind == "f" else values
        for name, values in normal.items()
    }


def _texts(normal: Inputs, text: str) -> Inputs:
    changed = dict(normal)
    for name, values in normal.items():
        if values.dtype.kind in "OU":
            texts = np.full(values.shape, text, dtype=object)
            changed[name] = texts if values.dtype == object else texts.astype(np.str_)
    return changed


def _largest(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return np.ones_like(values)
    return np.full_like(values, (np.finfo if values.dtype.kind == "f" else np.iinfo)(values.dtype).max)


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "b":
        return np.zeros_like(values)
    return np.full_like(values, (np.finfo if values.dtype.kind == "f" else np.iinfo)(values.dtype).min)


def _other_dtype(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "OU":
        return np.zeros(values.shape, np.float32)
    return values.astype(np.float64 if values.dtype != np.float64 else np.float32)


def _fixed_axis(spec: TensorSpec, values: NDArray[Any]) -> int | None:
    if spec.shape is None:
        return None
    return next((axis for axis in range(1, values.ndim) if not _is_free(spec, axis)), None)


def _sequence_axis(specs: Mapping[str, TensorSpec], normal: Inputs) -> tuple[str | None, int] | None:
    """The first free axis after the batch: its name in the signature, and its size in the example."""
    for name, spec in specs.items():
        if spec.shape is None or normal[name].dtype.kind in "OU":
            continue
        for axis in range(1, normal[name].ndim):
            if _is_free(spec, axis):
                label = spec.shape[axis]
                return (label if isinstance(label, str) else None), normal[name].shape[axis]
    return None


def _resized(
    specs: Mapping[str, TensorSpec], normal: Inputs, sequence: tuple[str | None, int], size: int
) -> Inputs:
    """One row, with every axis that is the sequence at another length."""
    label, length = sequence
    resized = {}
    for name, values in normal.items():
        spec = specs[name]
        changed = values[:1] if values.ndim and _is_free(spec, 0) else values
        for axis in range(1, values.ndim):
            here = spec.shape[axis] if spec.shape is not None and axis < len(spec.shape) else None
            same = here == label if label is not None else here is None and values.shape[axis] == length
            if same and not isinstance(here, int):
                room = max(_MOST_BYTES // max(changed.nbytes // max(changed.shape[axis], 1), 1), 1)
                changed = changed.take(np.arange(min(size, room)) % max(changed.shape[axis], 1), axis=axis)
        resized[name] = changed
    return resized
