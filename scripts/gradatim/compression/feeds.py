"""What a model is fed, call by call, when its constants and its state are filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Batch: TypeAlias = Mapping[str, NDArray[Any]]
"""Named arrays of one batch."""

_STEPS = 64
_MOST = 512


def raw_feeds(
    model: Path,
    batches: Iterator[Batch],
    constants: Mapping[str, Any],
    carries: Mapping[str, str],
    threads: int,
) -> Iterator[Batch]:
    """The inputs that the bare ONNX model gets when it is run, bound, on these batches.

    Calibration needs the real states, not zeros: of each batch the first 64 time steps are taken, 512 in all.

    Raises:
        InvalidInput: as ``models.bind`` and the model itself.
    """
    from gradatim.models import bind, open_model

    given = 0
    with open_model(model, root=model.parent, format="onnx", threads=threads) as predictor:
        recorder = _Recorder(predictor)
        bound = bind(recorder, constants=constants, carries=carries)
        for batch in batches:
            recorder.feeds.clear()
            bound(batch)
            for feed in recorder.feeds:
                yield feed
                given += 1
                if given == _MOST:
                    return


class _Recorder:
    """A Predictor that keeps copies of what it is called with."""

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self.feeds: list[dict[str, NDArray[Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def __call__(self, inputs: Batch, /) -> dict[str, NDArray[Any]]:
        if len(self.feeds) < _STEPS:
            self.feeds.append({name: np.array(array) for name, array in inputs.items()})
        outputs: dict[str, NDArray[Any]] = self._predictor(inputs)
        return outputs
