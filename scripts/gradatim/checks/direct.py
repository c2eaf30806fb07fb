"""A model as it was released, without what makes it take any number of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from gradatim.models import Predictor
from gradatim.models.batching import Batched
from gradatim.signature import Signature

Arrays = Mapping[str, NDArray[Any]]

ROWS = 4
"""Rows of a direct call, where the model does not fix how many it takes."""


def direct(predictor: Predictor) -> Predictor:
    """The model itself: without ``batched`` around it, with its constants and states filled in."""
    return predictor.inner if isinstance(predictor, Batched) else predictor


def direct_inputs(predictor: Predictor, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """The inputs of one call of the model itself: what ``batched`` makes of some rows, one step of a sequence."""
    some = {name: values[:ROWS] for name, values in inputs.items()}
    if not isinstance(predictor, Batched):
        return some
    seen = _Seen(predictor.inner)
    Batched(seen)(some)
    first = seen.first
    ranks = {s.name: len(s.shape) for s in predictor.inner.signature.inputs if s.shape is not None}
    sequence = seen.takes_sequences
    return {n: v[:, 0] if sequence and v.ndim == ranks.get(n, v.ndim) + 1 else v for n, v in first.items()}


class _Seen:
    """A model, and the inputs of its first call."""

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner
        self.signature: Signature = inner.signature
        self.device, self.threads = inner.device, inner.threads
        self.takes_sequences = bool(getattr(inner, "takes_sequences", False))
        self.first: dict[str, NDArray[Any]] = {}

    def __call__(self, inputs: Arrays, /) -> dict[str, NDArray[Any]]:
        self.first = self.first or dict(inputs)
        return self._inner(inputs)

    def close(self) -> None:
        """Nothing: the model belongs to whoever opened it."""

    def __enter__(self) -> _Seen:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
