"""Boxes in a model's outputs and in labels: which is which, in what form, and how much of two is common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Array
from gradatim.metrics.task import BoxOutputs, Form

Floats = NDArray[np.float64]


def detections(
    outputs: Mapping[str, Array], boxes: str | None, said: BoxOutputs, items: int
) -> tuple[str, list[NDArray[np.float32]]]:
    """What was found in each of so many items: the output's name, and [k, 6] each: corners, score and class.

    Boxes [items, k, 4] with scores [items, k] and classes [items, k], or scores of every class [items, k, C]; or all in one
    [items, k, 6]. For one item the first axis may lack. A score or a class that is not above, or below, zero fills up a row.

    Raises:
        InvalidInput: which output is which is not told, their shapes do not fit, NaN.
    """
    name = boxes or _called(outputs, ("box", "det")) or (next(iter(outputs)) if len(outputs) == 1 else None)
    if name is None or name not in outputs:
        raise InvalidInput(
            f"Which output holds the boxes? The model has {', '.join(outputs)}. Name it under `task: output:`."
        )
    found = _by_item(np.asarray(outputs[name]), items, 3, name)
    if found.shape[2] == 6:
        corners, scores, labels = found[..., :4], found[..., 4], found[..., 5]
    else:
        corners = found
        scores = _by_item(
            _named(outputs, said.scores, ("score", "conf", "prob"), "scores"), items, 2, "scores"
        )
        if scores.ndim == 3 and scores.shape[2] > 1:
            scores, labels = scores.max(axis=2), scores.argmax(axis=2)
        else:
            scores = scores.reshape(scores.shape[:2])
            labels = _by_item(_named(outputs, said.labels, ("label", "class"), "labels"), items, 2, "labels")
            labels = labels.reshape(labels.shape[:2])
    if corners.shape[2:] != (4,) or corners.shape[:2] != scores.shape or scores.shape != labels.shape:
        raise InvalidInput(
            f"Detection needs boxes [items, k, 4] with a score and a class each, or [items, k, 6]; `{name}` is {list(found.shape)}, "
            f"the scores {list(scores.shape)}, the classes {list(labels.shape)}."
        )
    whole = np.concatenate([corners, scores[..., None], labels[..., None]], axis=2).astype(np.float32)
    if not np.isfinite(whole).all():
        raise InvalidInput(
            f"The model's output `{name}` is NaN or infinite. A model that is unsure must still answer."
        )
    whole[..., :4] = as_corners(whole[..., :4], said.form)
    return name, [row[(row[:, 4] > 0) & (row[:, 5] >= 0)] for row in whole]


def as_corners(boxes: Array, form: Form) -> Array:
    """Boxes [..., 4] as their left, top, right and bottom."""
    if form == "xyxy":
        return boxes
    first, size = boxes[..., :2], boxes[..., 2:]
    if form == "cxcywh":
        first = first - size / 2
    return np.concatenate([first, first + size], axis=-1)


def areas(boxes: Array) -> Floats:
    """Of boxes [n, 4] by their corners."""
    return np.asarray(np.prod(np.asarray(boxes, np.float64)[:, 2:] - boxes[:, :2], axis=1))


def overlaps(some: Array, others: Array) -> Floats:
    """Intersection over union of boxes by their corners, [n, m] of [n, 4] and [m, 4]."""
    a, b = np.asarray(some, np.float64)[:, None], np.asarray(others, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.prod(np.maximum(sides, 0), axis=2)
    whole = areas(some)[:, None] + areas(others)[None] - both
    return np.asarray(both / np.maximum(whole, np.finfo(float).tiny))


def _called(outputs: Mapping[str, Array], words: tuple[str, ...]) -> str | None:
    return next((name for name in outputs if any(word in name.lower() for word in words)), None)


def _named(outputs: Mapping[str, Array], name: str | None, words: tuple[str, ...], key: str) -> Array:
    chosen = name or _called(outputs, words)
    if chosen is None or chosen not in outputs:
        raise InvalidInput(
            f"Which output holds the {key} of the boxes? The model has {', '.join(outputs)}. Name it under `task: boxes: {key}:`."
        )
    return np.asarray(outputs[chosen])


def _by_item(values: Array, items: int, axes: int, name: str) -> Array:
    """An output with an axis of items."""
    if items == 1 and (values.ndim == axes - 1 or (values.ndim >= axes and values.shape[0] != 1)):
        values = values[None]
    if values.ndim < axes or values.shape[0] != items:
        raise InvalidInput(
            f"`{name}` is {list(values.shape)} for {items} items: it must begin with an axis of items. A model that takes one at a time "
            "needs `data: batch: 1`."
        )
    return values
