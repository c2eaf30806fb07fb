"""A model's outputs as far as they are known: declared, and seen on some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.rehearsal import Seen
from gradatim.signature import Signature

SCORES = ("probabilities", "output_probability", "probs", "scores", "logits", "probability")
"""What scores of classes are called, the surest first."""

EMBEDDINGS = ("embed", "feature", "hidden", "pooled", "vector")
"""Words in the names of vectors."""


@dataclass(frozen=True)
class OutputFacts:
    """An output.

    Attributes:
        name: as the model has it.
        shape: [b, ...], declared or seen; None for an axis that is free, and for the whole where nobody knows.
        dtype: likewise; ``str`` for text, ``unknown`` where nobody knows.
        said: what it held for the rows looked at, None where none were.
        alone: whether the model has no other.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    said: NDArray[Any] | None
    alone: bool

    @property
    def axes(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def width(self) -> int | None:
        """Of [b, d] the d; of [b] and [b, 1] 1."""
        if self.shape is None or len(self.shape) > 2:
            return None
        return self.shape[1] if len(self.shape) == 2 else 1

    @property
    def floats(self) -> bool:
        return self.dtype.startswith(("float", "bfloat", "unknown", "double"))

    @property
    def stated(self) -> str | None:
        """Its name where there are others to mistake it for."""
        return None if self.alone else self.name

    @property
    def sums_to_one(self) -> bool:
        """Whether every row that was looked at is a distribution over classes."""
        if self.said is None or self.said.ndim != 2:
            return False
        values = self.said.astype(np.float64)
        return bool((values >= -1e-3).all() and (np.abs(values.sum(axis=1) - 1) < 1e-2).all())

    def called(self, words: Sequence[str]) -> bool:
        """Whether its name holds one of these words."""
        return any(word in self.name.lower() for word in words)


UNKNOWN = OutputFacts("", None, "unknown", None, True)
"""The output of a model that says nothing of itself and could not be asked."""


def outputs_of(signature: Signature | None, seen: Seen | None) -> list[OutputFacts]:
    """The outputs in the model's order; none where nothing is known."""
    known = seen.signature if seen is not None else signature
    specs = () if known is None else known.outputs
    found = []
    for spec in specs:
        said = None if seen is None else seen.outputs.get(spec.name)
        shape = None if spec.shape is None else tuple(s if isinstance(s, int) else None for s in spec.shape)
        dtype = spec.dtype
        if said is not None:
            shape = (None, *said.shape[1:])
            dtype = "str" if said.dtype.kind in "OU" else said.dtype.name
        found.append(OutputFacts(spec.name, shape, dtype, said, len(specs) == 1))
    return found
