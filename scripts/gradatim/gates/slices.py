"""Gates over slices: every slice proven, or a veto on any proven regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradatim.errors import InvalidInput


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values [1]_: those at most alpha are proven, at alpha for one false proof among all.

    "Every slice proven" needs no such correction: there a release wants all tests to pass, so each is done at
    alpha (intersection-union [2]_).

    Raises:
        InvalidInput: a p-value that is NaN or outside [0, 1].

    .. [1] Holm (1979), Scandinavian Journal of Statistics 6(2).
    .. [2] Berger (1982), Technometrics 24(4).
    """
    for p in p_values:
        if math.isnan(p) or not 0 <= p <= 1:
            raise InvalidInput(f"{p} is not a p-value.")
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
