"""Any number of items for a model that takes a fixed number at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.models.predictor import Arrays, ModelEnded, Predictor
from gradatim.signature import Signature, TensorSpec


def batch_size(signature: Signature) -> int | None:
    """How many items one call takes; None when that is free (or not known).

    The first axis of an input counts the items. When some input has a free first axis, inputs with a fixed
    one have no batch axis at all; when all are fixed, the first input with axes decides.
    """
    firsts = [spec.shape[0] for spec in signature.inputs if spec.shape]
    if not firsts or any(not isinstance(size, int) for size in firsts):
        return None
    return firsts[0] if isinstance(firsts[0], int) else None


def batched(predictor: Predictor) -> Batched:
    """A Predictor that takes any number of items and hands the model what it accepts.

    A free batch axis: all at once. A batch axis fixed at N: in pieces of N, the last padded with its own last
    item and cut again. Data with one axis more than an input declares (an input without a batch axis): item
    by item, or once when all items are equal. Outputs come back with one row an item.
    """
    return Batched(predictor)


class Batched:
    """See ``batched``."""

    def __init__(self, predictor: Predictor) -> None:
        self.inner = predictor
        self.device = predictor.device
        self.threads = predictor.threads
        own = predictor.signature
        self._size = batch_size(own)
        # a bound state model takes its time axis itself
        time = 1 if getattr(predictor, "takes_sequences", False) else 0
        self._with_batch = {spec.name for spec in own.inputs if self._has_batch_axis(spec)}
        self._axes_if_alone = {
            spec.name: len(spec.shape) + 1 + (time if spec.name in self._with_batch else 0)
            for spec in own.inputs
            if spec.shape is not None
        }
        self.signature = own if self._size is None else _freed(own, self._size, self._with_batch)

    def __call__(self, inputs: Arrays, /) -> dict[str, NDArray[Any]]:
        alone = []
        for name, axes in self._axes_if_alone.items():  # a loop: this runs before every call of a small model
            if getattr(inputs.get(name), "ndim", 0) == axes:
                alone.append(name)
        if not alone and self._size is None:
            return self.inner(inputs)
        shared = [name for name in inputs if name in self._with_batch and name not in alone]
        counts = {len(inputs[name]) for name in (*shared, *alone) if getattr(inputs[name], "ndim", 0)}
        if len(counts) > 1:
            raise InvalidInput(f"The inputs disagree on the number of items: {sorted(counts)}.")
        if not counts:
            return self.inner(inputs)
        items = counts.pop()
        if items == 0:
            raise InvalidInput("A batch of no items cannot be predicted.")
        if alone and shared and all(_all_equal(inputs[name]) for name in alone):
            inputs = {name: _item(array, 0) if name in alone else array for name, array in inputs.items()}
            alone = []
        if alone:
            return self._one_by_one(inputs, alone, shared, items)
        return self._in_pieces(inputs, shared, items)

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Batched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _has_batch_axis(self, spec: TensorSpec) -> bool:
        if not spec.shape:
            return spec.shape is None
        return not isinstance(spec.shape[0], int) if self._size is None else spec.shape[0] == self._size

    def _one_by_one(
        self, inputs: Arrays, alone: list[str], shared: list[str], items: int
    ) -> dict[str, NDArray[Any]]:
        if shared and self._size not in (None, 1):
            raise InvalidInput(
                f"The model takes {self._size} items at once, but {', '.join(alone)} differs from item to item and has no batch axis."
            )
        results = []
        for item in range(items):
            feeds = {
                name: _item(array, item)
                if name in alone
                else array[item : item + 1]
                if name in shared
                else array
                for name, array in inputs.items()
            }
            results.append(self._called(feeds, item))
        return {
            name: _joined(name, [result[name] for result in results], bool(shared)) for name in results[0]
        }

    def _called(self, feeds: Arrays, start: int) -> dict[str, NDArray[Any]]:
        try:
            return self.inner(feeds)
        except ModelEnded as ended:
            raise ended.after(start) from None

    def _in_pieces(self, inputs: Arrays, shared: list[str], items: int) -> dict[str, NDArray[Any]]:
        size = self._size or items
        if items == size:
            return self.inner(inputs)
        pieces: list[dict[str, NDArray[Any]]] = []
        for start in range(0, items, size):
            real = min(size, items - start)
            feeds = {
                name: _padded(array[start : start + real], size) if name in shared else array
                for name, array in inputs.items()
            }
            outputs = self._called(feeds, start)
            pieces.append({name: _cut(name, array, size, real) for name, array in outputs.items()})
        return {name: _joined(name, [piece[name] for piece in pieces], True) for name in pieces[0]}


def _freed(signature: Signature, size: int, names: set[str]) -> Signature:
    """The same signature with the fixed batch axis free."""

    def free(spec: TensorSpec, batch: bool) -> TensorSpec:
        if not batch or not spec.shape or spec.shape[0] != size:
            return spec
        return replace(spec, shape=("batch", *spec.shape[1:]))

    return Signature(
        tuple(free(spec, spec.name in names) for spec in signature.inputs),
        tuple(free(spec, True) for spec in signature.outputs),
        signature.text,
    )


def _item(array: NDArray[Any], item: int) -> NDArray[Any]:
    """One item, an array even when it is a single number."""
    one: NDArray[Any] = array[item, ...]
    return one


def _padded(array: NDArray[Any], size: int) -> NDArray[Any]:
    if len(array) == size:
        return array
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def _cut(name: str, array: NDArray[Any], size: int, real: int) -> NDArray[Any]:
    if size == 1 and (array.ndim == 0 or array.shape[0] != 1):
        return array[np.newaxis]
    if array.ndim == 0 or array.shape[0] != size:
        raise InvalidInput(
            f"The output `{name}` has the shape {list(array.shape)} for a batch of {size}: its first axis does not count the items, so it cannot be told which row belongs to which."
        )
    return array[:real]


def _joined(name: str, arrays: list[NDArray[Any]], rows: bool) -> NDArray[Any]:
    try:
        if rows and all(array.ndim for array in arrays):
            return np.concatenate(arrays)
        return np.stack(arrays)
    except ValueError as error:
        raise InvalidInput(
            f"The output `{name}` differs in shape from item to item, so it makes no table."
        ) from error


def _all_equal(array: NDArray[Any]) -> bool:
    return len(array) > 0 and bool((array == array[0]).all())
