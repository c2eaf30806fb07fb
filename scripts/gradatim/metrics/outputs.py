"""What a model returns, before it is an answer: which output is meant, whether it is finite, what of a batch is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.boxes import detections
from gradatim.metrics.catalogue import ASKED
from gradatim.metrics.columns import PIECE_BYTES, Array, pieces
from gradatim.metrics.task import Task

SEEN = "seen:"
"""What the names of outputs begin with that are kept, as they are, for own metrics to see."""

WEIGHT = f"{SEEN}{SEEN}weight"
"""The column of the rows' weights."""
SCALE = f"{SEEN}{SEEN}scale"
"""The output that holds what each item's forecast is measured by."""

IGNORED = -100
"""The label of a position that does not count (the usual convention of token tasks)."""

VOID = 255
"""The label of a pixel that does not count in a map of classes, where no class is called so."""


_SCORE_NAMES = ("probabilities", "output_probability", "probs", "scores", "logits")


_EMBEDDING_NAMES = (
    "sentence_embedding",
    "embedding",
    "embeddings",
    "pooler_output",
    "text_embeds",
    "image_embeds",
)


def choose_output(task: Task, shapes: Mapping[str, tuple[int, ...]], floating: Mapping[str, bool]) -> str:
    """Which of several outputs is the answer.

    The rule: the output that the task names; else the only one; else one with a customary name
    (``probabilities``, ``logits``, ``sentence_embedding``, ...); else the first of floating point with at
    least two axes; else the first.

    Raises:
        InvalidInput: the task names an output that the model does not have.
    """
    names = list(shapes)
    if task.output is not None:
        if task.output not in shapes:
            raise InvalidInput(
                f"The model has no output `{task.output}`. It has: {', '.join(names)}. Name one under `task: output:`."
            )
        return task.output
    if len(names) == 1:
        return names[0]
    customary = _EMBEDDING_NAMES if task.type == "embedding" else _SCORE_NAMES
    for wanted in customary:
        for name in names:
            if name.lower() == wanted and floating[name]:
                return name
    return next((name for name in names if floating[name] and len(shapes[name]) >= 2), names[0])


def reduce_batch(
    task: Task, outputs: Mapping[str, Array], inputs: Mapping[str, Array] | None = None, labels: Any = None
) -> dict[str, Any]:
    """What of a batch's outputs must be kept to score it, so that predictions stay small.

    Classification and regression keep the chosen output as it is. Token classification keeps the best tag of
    each token, segmentation the best class of each pixel, detection the boxes of each picture. Embeddings with a token axis are averaged over it, weighted by the input ``attention_mask``
    where there is one. A map (a number for each pixel) is laid flat, so that items may differ in size. Language
    models keep each item's summed negative log-likelihood and its number of scored tokens; a forecast
    the change from season to season in its history; of generated text its scores are kept beside it. What own metrics name is kept as it is, under names of its own.

    Args:
        outputs: by name, [b, ...].
        inputs: the batch's inputs; token tasks read ``attention_mask`` and ``input_ids``.
        labels: the batch's labels, needed by language models whose labels are not their own input.

    Raises:
        InvalidInput: the outputs do not fit the task.
    """
    if task.type in ASKED:
        from gradatim.metrics.scored import score_batch

        return score_batch(task, outputs, inputs or {}, labels)
    kept = _kept_for_the_task(task, outputs, inputs or {}, labels)
    seen = dict.fromkeys(name for names in task.seen.values() for name in names)
    return kept | {SEEN + name: np.asarray(outputs[name]) for name in seen if name in outputs}


def _kept_for_the_task(
    task: Task, outputs: Mapping[str, Array], inputs: Mapping[str, Array], labels: Any
) -> dict[str, Any]:
    if task.type == "detection":
        items = np.shape(next(iter(inputs.values())))[0] if labels is None else len(labels)
        return dict([detections(outputs, task.output, task.boxes, items)])
    if len(outputs) == 1 and task.output is None:
        (name,) = outputs
    else:
        name = choose_output(
            task,
            {key: np.shape(value) for key, value in outputs.items()},
            {key: np.asarray(value).dtype.kind == "f" for key, value in outputs.items()},
        )
    values = np.asarray(outputs[name])
    mask = inputs.get("attention_mask")
    if task.type == "regression":
        return {name: _laid_flat(values)}
    if task.type == "forecasting" and task.history is not None:
        return {name: values, SCALE: _naive_error(task, task.history, inputs)}
    if task.type == "segmentation":
        return {name: _laid_flat(_best_classes(task, values, labels, name))}
    if task.type == "embedding" and values.ndim == 3:
        return {name: _pooled(values, mask)}
    if task.type == "token_classification" and values.ndim == 3:
        _refuse_nonfinite(values, name, 0)
        return {name: _trimmed(values.argmax(axis=2), mask)}
    if task.type == "language_modelling":
        truth = inputs.get("input_ids") if labels is None else labels
        if truth is None:
            raise InvalidInput(
                "Perplexity needs labels, or an input named `input_ids` whose next token is predicted."
            )
        return _likelihood(values, np.asarray(truth), mask, task.causal, name)
    return {name: values}


def reduce_labels(task: Task, labels: Any) -> Any:
    """What of a batch's labels must be kept beside ``reduce_batch``: a map is laid flat like the answers to it.

    Args:
        labels: [b, ...], an object array [b] of arrays, or None.
    """
    return (
        _laid_flat(labels) if task.type in ("regression", "segmentation") and labels is not None else labels
    )


def _naive_error(task: Task, history: str, inputs: Mapping[str, Array]) -> NDArray[np.float64]:
    """Mean absolute error of the seasonal naive forecast within each item's history, [b]: MASE's denominator [1]_.

    .. [1] Hyndman, Koehler (2006), International Journal of Forecasting 22(4).
    """
    if history not in inputs:
        raise InvalidInput(
            f"The model has no input `{history}`. It takes: {', '.join(inputs)}. Name the one that holds the values before the "
            "forecast under `task: history:`, or leave that out and do without MASE."
        )
    past = np.asarray(inputs[history], np.float64)
    if past.ndim > 2 and max(past.shape[1:]) * past.shape[0] == past.size:  # one series, beside axes of 1
        past = past.reshape(past.shape[0], -1)
    if past.ndim != 2 or past.shape[1] <= task.season:
        raise InvalidInput(
            f"The history `{history}` is {list(past.shape)}; MASE needs one series an item, [items, steps], of more steps than "
            f"the season ({task.season}). Say `task: {{season: 1}}` or name another input, or leave `history` out."
        )
    return np.asarray(np.abs(past[:, task.season :] - past[:, : -task.season]).mean(axis=1))


def _laid_flat(rows: Array) -> Any:
    """[b, d] where items have more than one axis, a list of [d] where they differ in size, else as it is."""
    if rows.dtype == object and rows.ndim == 1:
        return [np.asarray(row).reshape(-1) for row in rows]
    return rows.reshape(rows.shape[0], -1) if rows.ndim > 2 else rows


def _best_classes(task: Task, values: Array, labels: Any, name: str) -> Array:
    """The class of each pixel, [b, h, w], in the narrowest integers that hold them: from scores [b, C, h, w] or
    [b, h, w, C], from one score of the second of two classes [b, 1, h, w] or [b, h, w], or from classes themselves."""
    if values.dtype.kind != "f":
        return values
    _refuse_nonfinite(values, name, 0)
    if values.ndim == 4 and 1 not in values.shape[1::2]:
        axis = 3 if _channels_last(task, values.shape, labels) else 1
        return np.asarray(values.argmax(axis=axis), np.uint8 if values.shape[axis] <= 256 else np.int32)
    if values.ndim not in (3, 4):
        raise InvalidInput(
            f"Segmentation needs scores [items, classes, height, width] or [items, height, width, classes]; `{name}` is "
            f"{list(values.shape)}. Name another output under `task: output:`."
        )
    within = bool(((values >= 0) & (values <= 1)).all())
    probabilities = task.scores == "probabilities" or (task.scores is None and within)
    return np.asarray(values >= (0.5 if probabilities else 0.0), np.uint8)


def _channels_last(task: Task, shape: tuple[int, ...], labels: Any) -> bool:
    """Whether the classes of [b, ., ., .] are the last axis: as the labels' size says, else the list of classes."""
    size = tuple(n for n in np.shape(labels[0]) if n != 1) if labels is not None and len(labels) else None
    first, last = size == shape[2:], size == shape[1:3]
    if first != last:
        return last
    return task.labels is not None and len(task.labels) == shape[3] != shape[1]


def _pooled(values: Array, mask: Array | None) -> Array:
    if mask is None or mask.shape != values.shape[:2]:
        return np.asarray(values.mean(axis=1), values.dtype)
    weights = mask.astype(np.float32)[..., None]
    return np.asarray((values * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1), values.dtype)


def _trimmed(tags: NDArray[np.int64], mask: Array | None) -> Any:
    if mask is None or mask.shape != tags.shape:
        return tags
    return [
        row[: int(np.flatnonzero(kept)[-1]) + 1] if kept.any() else row[:0]
        for row, kept in zip(tags, mask, strict=True)
    ]


def _likelihood(logits: Array, truth: Array, mask: Array | None, causal: bool, name: str) -> dict[str, Array]:
    if logits.ndim != 3 or truth.shape != logits.shape[:2]:
        raise InvalidInput(
            f"Perplexity needs logits [batch, tokens, vocabulary] and labels [batch, tokens]; `{name}` is {list(logits.shape)} and the labels are {list(truth.shape)}."
        )
    counted = truth != IGNORED
    if mask is not None and mask.shape == truth.shape:
        counted &= mask.astype(bool)
    if causal:
        logits, truth, counted = logits[:, :-1], truth[:, 1:], counted[:, 1:]
    vocabulary = logits.shape[2]
    if counted.any() and (truth[counted].min() < 0 or truth[counted].max() >= vocabulary):
        raise InvalidInput(
            f"A label lies outside the vocabulary of {vocabulary} tokens that `{name}` scores."
        )
    losses = np.zeros(logits.shape[0])
    at_once = max(1, PIECE_BYTES // (8 * vocabulary))
    for row in range(logits.shape[0]):
        places = np.flatnonzero(counted[row])
        lost = np.zeros(places.shape[0])
        for start in range(0, places.shape[0], at_once):
            some = places[start : start + at_once]
            kept = logits[row, some].astype(np.float64)
            peak = kept.max(axis=1, keepdims=True)
            normaliser = np.log(np.exp(kept - peak).sum(axis=1)) + peak[:, 0]
            lost[start : start + at_once] = normaliser - kept[np.arange(some.shape[0]), truth[row, some]]
        losses[row] = lost.sum()
    if not np.isfinite(losses).all():
        raise InvalidInput(f"The output `{name}` has NaN or infinite scores.")
    return {"nll": losses, "tokens": counted.sum(axis=1).astype(np.int64)}


def finite(values: Array, name: str) -> None:
    """Look at every number, in chunks.

    Raises:
        InvalidInput: NaN or infinity, naming the first row.
    """
    if values.dtype.kind != "f":
        return
    for rows, part in pieces(values):
        _refuse_nonfinite(part, name, rows.start)


def _refuse_nonfinite(values: Array, name: str, start: int) -> None:
    good = np.isfinite(values)
    if not good.all():
        row = start + first_row(~good)
        what = "NaN" if np.isnan(values[row - start]).any() else "infinite"
        raise InvalidInput(
            f"The model's output `{name}` is {what} in row {row}. A model that is unsure must still answer."
        )


def first_row(bad: NDArray[np.bool_]) -> int:
    """The first row in which something is marked."""
    return int(np.argmax(bad.reshape(bad.shape[0], -1).any(axis=1)))
