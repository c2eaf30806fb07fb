"""How like the original a compressed model answers, whatever the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput


@dataclass
class Fidelity:
    """Sums over batches, in constant memory, of how two models' outputs agree.

    ``fidelity`` is the share of an output's variance that the other model reproduces (1 - SSE/SST; the least
    over the outputs). ``cosine`` is the mean cosine of the items' vectors and ``agreement`` the share of
    items with the same highest column, each over the outputs that are vectors (for integers and texts: the
    share of equal values).
    """

    _errors: dict[str, float] = field(default_factory=dict)
    _sums: dict[str, list[float]] = field(default_factory=dict)
    _cosines: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _agreements: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, original: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> None:
        """Compare one batch.

        Raises:
            InvalidInput: the other model lacks an output, gives another shape, or a number that is not finite
                where the original's is.
        """
        for name, wanted in original.items():
            found = other.get(name)
            if found is None or found.shape != wanted.shape:
                given = "missing" if found is None else f"of shape {found.shape}, not {wanted.shape}"
                raise InvalidInput(f"its output {name} is {given}")
            if wanted.dtype.kind != "f":
                self._count(self._agreements, float((wanted == found).sum()), wanted.size)
                continue
            finite = np.isfinite(wanted)
            if not np.isfinite(found[finite]).all():
                raise InvalidInput(f"its output {name} holds numbers that are not finite")
            exact = np.where(finite, wanted, 0).astype(np.float64)
            near = np.where(finite, found, 0).astype(np.float64)
            self._errors[name] = self._errors.get(name, 0.0) + float(((exact - near) ** 2).sum())
            sums = self._sums.setdefault(name, [0.0, 0.0, 0.0])
            for index, value in enumerate((exact.size, exact.sum(), (exact**2).sum())):
                sums[index] += float(value)
            if exact.ndim >= 2 and exact.shape[-1] > 1:
                self._compare_vectors(exact, near)

    def result(self) -> dict[str, float]:
        """The measures that apply to these outputs."""
        shares = []
        for name, error in self._errors.items():
            n, total, squares = self._sums[name]
            variance = squares - total * total / max(n, 1)
            # An output that never varies is reproduced or it is not; rounding apart.
            shares.append(
                1 - error / variance if variance > 1e-12 * squares else float(error <= 1e-9 * squares)
            )
        found = {"fidelity": min(shares)} if shares else {}
        for key, (total, n) in (("cosine", self._cosines), ("agreement", self._agreements)):
            if n:
                found[key] = total / n
        return found

    def _compare_vectors(self, exact: NDArray[np.float64], near: NDArray[np.float64]) -> None:
        """Along the last axis."""
        lengths = np.linalg.norm(exact, axis=-1) * np.linalg.norm(near, axis=-1)
        both_zero = ~exact.any(axis=-1) & ~near.any(axis=-1)
        cosines: NDArray[np.float64] = np.asarray(both_zero, np.float64)
        np.divide((exact * near).sum(axis=-1), lengths, out=cosines, where=lengths > 0)
        self._count(self._cosines, float(cosines.sum()), cosines.size)
        same = exact.argmax(axis=-1) == near.argmax(axis=-1)
        self._count(self._agreements, float(same.sum()), same.size)

    @staticmethod
    def _count(counter: list[float], total: float, n: int) -> None:
        counter[0] += total
        counter[1] += n
