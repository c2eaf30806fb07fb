"""Inputs of a model that the data do not feed: states carried over, and constants that a name tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.projects.facts import DataFacts

_RATES = ("sr", "sample_rate", "sampling_rate", "rate")
_FIXED: dict[str, Any] = {"attention_mask": 1, "token_type_ids": 0, "training": False, "is_training": False}


def given_inputs(signature: Signature, facts: DataFacts) -> dict[str, dict[str, Any]]:
    """What a contract says of inputs: an output carried over or a constant that its name tells, where the data feed
    none; the dtype of a table's numbers, where the model does not say it."""
    found: dict[str, dict[str, Any]] = {}
    first, example = next(iter(signature.inputs), None), facts.example
    if first is not None and first.dtype == "unknown" and example is not None and example.dtype == np.float64:
        found[first.name] = {"dtype": "float32"}
    for name in facts.unfed:
        spec = signature.input(name)
        if spec is None:
            continue
        carried = _carried(spec, signature)
        if carried is not None:
            found[name] = {"carry": carried}
        elif not spec.shape and name.lower() in _RATES:
            found[name] = {"value": 16000}
        elif name.lower() in _FIXED:
            found[name] = {"value": _FIXED[name.lower()]}
    return found


def _carried(spec: TensorSpec, signature: Signature) -> str | None:
    """The output that is this input's next state: of its dtype and number of axes, and named alike."""
    alike = [
        output
        for output in signature.outputs
        if output.dtype == spec.dtype
        and output.shape is not None
        and spec.shape is not None
        and len(output.shape) == len(spec.shape) > 1
    ]
    stem = spec.name.lower().removesuffix("_in").removesuffix("0").removeprefix("in_").removeprefix("prev_")
    named = [output.name for output in alike if stem in output.name.lower()]
    return named[0] if len(named) == 1 else None
