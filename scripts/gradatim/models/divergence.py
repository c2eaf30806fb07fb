"""How like another language model one answers: by its chances of the tokens of the same texts, never by its own texts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from gradatim.errors import InvalidInput
from gradatim.metrics.answers import ANSWER, REQUEST, TextAnswer, divergence, read_answer
from gradatim.models.predictor import Arrays, Predictor

_AT_A_TIME = 16


def requests_in(inputs: Arrays) -> list[str]:
    """The requests of a batch."""
    return [str(line) for line in inputs[REQUEST].reshape(-1)]


def with_references(model: Predictor, requests: Sequence[str]) -> list[str]:
    """The requests for the chances of their references' tokens; where a row has none, of the model's own answer.

    Raises:
        InvalidInput: no row has either.
    """
    asked = [json.loads(line) for line in requests]
    without = [one for one in asked if not one.get("target")]
    answers = _answers(model, [{**one, "wants": ["text"], "samples": 1} for one in without])
    for one, answer in zip(without, answers, strict=True):
        one["target"] = answer.texts[0] if answer.texts else ""
    made = [json.dumps({**one, "wants": ["spread"]}, sort_keys=True) for one in asked if one["target"]]
    if not made:
        raise InvalidInput(
            "of the calibration data no row has a reference, and the model answers none of them"
        )
    return made


def chances(model: Predictor, requests: Sequence[str]) -> list[TextAnswer]:
    """What ``with_references`` made, asked of a model."""
    return _answers(model, [json.loads(line) for line in requests])


def likeness(old: Sequence[TextAnswer], new: Sequence[TextAnswer]) -> dict[str, float]:
    """``kl``, nat, mean over tokens and then over rows; ``fidelity``, exp(-kl); ``agreement``, the share of tokens with the same likeliest.

    Raises:
        InvalidInput: the new model failed at a row that the old one answered, or the old one answered none, or their tokens differ.
    """
    found, same, places = [], 0, 0
    for one, other in zip(old, new, strict=True):
        if one.error is not None or not one.spread:
            continue
        if other.error is not None:
            raise InvalidInput(f"it fails where the original does not: {other.error}")
        diverged = divergence(one.spread, other.spread)
        if diverged is None:
            raise InvalidInput("it makes other tokens of the same texts")
        found.append(diverged)
        same += sum(a[1][0] == b[1][0] for a, b in zip(one.spread, other.spread, strict=True))
        places += len(one.spread)
    if not found:
        raise InvalidInput("the model tells the chances of no token of the calibration data")
    kl = sum(found) / len(found)
    return {"kl": kl, "fidelity": math.exp(-kl), "agreement": same / places}


def _answers(model: Predictor, requests: Sequence[dict[str, object]]) -> list[TextAnswer]:
    lines = [json.dumps(one, sort_keys=True) for one in requests]
    given = []
    for start in range(0, len(lines), _AT_A_TIME):
        given += list(model({REQUEST: np.array(lines[start : start + _AT_A_TIME], object)})[ANSWER])
    return [read_answer(str(line), row) for row, line in enumerate(given)]
