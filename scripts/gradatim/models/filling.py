"""Masks, types and positions that a text model is fed and that data often leave out: filled with what changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.models.predictor import Arrays, Predictor, RuntimeModel
from gradatim.signature import Signature, TensorSpec

TOKENS = "input_ids"

FILLED: dict[str, tuple[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "attention_mask": ("ones", lambda tokens: np.ones(tokens.shape, np.int64)),
    "token_type_ids": ("zeros", lambda tokens: np.zeros(tokens.shape, np.int64)),
    "position_ids": (
        "0, 1, 2, ...",
        lambda tokens: np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape),
    ),
}
"""Input -> what fills it, in words and made of the tokens [b, s]. Right where no row is padded."""


def completed(predictor: Predictor) -> Predictor:
    """The model with what ``FILLED`` names optional in its signature, and filled in where a call leaves it out.

    Only beside ``input_ids`` [b, s], and only what the model cannot do without by itself. The predictor that comes back
    closes the given one with itself.
    """
    signature = predictor.signature
    fills = {spec.name: spec for spec in signature.inputs if spec.name in FILLED and _needs_filling(spec)}
    if not fills or signature.input(TOKENS) is None:
        return predictor

    def run(inputs: Arrays) -> dict[str, NDArray[Any]]:
        tokens = inputs[TOKENS]
        made = {name: _fill(spec, tokens) for name, spec in fills.items() if name not in inputs}
        return predictor({**inputs, **made})

    inputs = tuple(
        replace(spec, optional="filled") if spec.name in fills else spec for spec in signature.inputs
    )
    return RuntimeModel(
        getattr(predictor, "name", "The model"),
        Signature(inputs, signature.outputs),
        run,
        device=predictor.device,
        threads=predictor.threads,
        release=predictor.close,
    )


def _needs_filling(spec: TensorSpec) -> bool:
    plain = spec.dtype == "unknown" or np.dtype(spec.dtype).kind in "iufb"
    return not spec.optional and plain and (spec.shape is None or len(spec.shape) == 2)


def _fill(spec: TensorSpec, tokens: NDArray[Any]) -> NDArray[Any]:
    made = FILLED[spec.name][1](tokens)
    return np.ascontiguousarray(made, None if spec.dtype == "unknown" else spec.dtype)
