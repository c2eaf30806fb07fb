"""What a model is fed besides the data, and how its inputs may be corrupted."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradatim.errors import GradatimError
from gradatim.projects.facts import DataFacts
from gradatim.signature import Signature, TensorSpec

_RATES = ("sr", "sample_rate", "sampling_rate", "rate")
_FIXED: dict[str, Any] = {"attention_mask": 1, "token_type_ids": 0, "training": False, "is_training": False}
"""What feeds inputs of these names where the data do not: every token counts, one sentence an item, no training."""

_NEXT = (
    ("past_key_values", "present"),
    ("past", "present"),
    ("prev", "next"),
    ("_in", "_out"),
    ("in_", "out_"),
)
"""What the state of a step and that of the next are called."""

_CORRUPTIONS = {
    "image": ("gaussian_noise", "shot_noise", "contrast"),
    "tabular": ("feature_noise", "missing_values", "outliers"),
    "text": ("typos", "word_drop", "case_change"),
    "audio": ("background_noise", "gain", "clipping"),
    "tokens": ("token_substitution", "token_drop", "truncation"),
}


def corruptions_for(signature: Signature | None, facts: DataFacts | None) -> tuple[str, ...]:
    """Three corruptions that suit what the model takes; none when that cannot be told."""
    if signature is None or facts is None or facts.example is None:
        return ()
    words = [spec.name for spec in signature.inputs if spec.dtype == "str"]
    if words and set(words) <= set(facts.slices):  # categories: a fifth of four cities is no typing error
        numbers = {spec.name for spec in signature.inputs} - {*words, *facts.unfed}
        return _CORRUPTIONS["tabular"] if numbers else ()
    from gradatim.perturb.modality import modality_of

    read = signature.text if facts.example.dtype.kind in "UO" else None
    taken = read or next(iter(signature.inputs), TensorSpec("", "unknown", None))
    try:
        return _CORRUPTIONS[modality_of(taken, facts.example).kind]
    except GradatimError:
        return ()


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
    if spec.shape is None or len(spec.shape) < 2:
        return None
    alike = [
        output.name
        for output in signature.outputs
        if output.dtype == spec.dtype and output.shape is not None and len(output.shape) == len(spec.shape)
    ]
    name = spec.name.lower()
    renamed = {name.replace(now, then) for now, then in _NEXT if now in name}
    exact = [output for output in alike if output.lower() in renamed]
    stem = name.removesuffix("_in").removesuffix("0").removeprefix("in_").removeprefix("prev_")
    named = exact or [output for output in alike if stem in output.lower()]
    return named[0] if len(named) == 1 else None
