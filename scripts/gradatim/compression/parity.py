"""Does a model that was written in another format, or cut into stages, answer as it did?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from gradatim.compression.batches import Batch, first_row
from gradatim.errors import InvalidInput

if TYPE_CHECKING:
    from gradatim.models import Predictor

_MOST = 1e-3


def check_parity(original: Predictor, other: Predictor, batches: Iterable[Batch]) -> float:
    """The largest difference of two outputs, as a part of the output's largest number; of each batch and of its first row.

    A trace may have fixed a size that was free: one row alone shows it, where the original takes it.

    Raises:
        InvalidInput: an output is missing, has another shape, or differs by more than a thousandth.
    """
    worst = 0.0
    for batch in batches:
        for inputs in (batch, first_row(batch)):
            try:
                wanted = original(inputs)
            except InvalidInput:
                if inputs is batch:
                    raise
                continue  # it takes no single row
            found = other(inputs)
            for name, array in wanted.items():
                if name not in found or found[name].shape != array.shape:
                    raise InvalidInput(f"its output {name} is missing or of another shape")
                if not array.size:
                    continue
                if array.dtype.kind not in "fc":
                    worst = max(worst, float((array != found[name]).mean()))
                    continue
                finite, answer = np.isfinite(array), found[name]
                alike = np.array_equal(array[~finite], answer[~finite], equal_nan=True)
                if not alike or not np.isfinite(answer[finite]).all():
                    raise InvalidInput(
                        f"its output {name} is not finite in the same places and ways as the original's"
                    )
                whole = np.where(finite, array, 0)
                far = np.abs(np.where(finite, answer, 0) - whole).max()
                worst = max(worst, float(far / max(np.abs(whole).max(), 1e-9)))
    if worst > _MOST:
        raise InvalidInput(
            f"it answers otherwise: its outputs differ by up to {worst:.2g} of their largest number, "
            f"and {_MOST:g} is allowed"
        )
    return worst
