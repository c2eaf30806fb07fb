"""Taking parts of an input away, one at a time, to see what the answers that flipped hang on.

Occlusion, after Zeiler and Fergus (2014), on the answers alone: any model that can be called, columns, pictures and text. A part
that is taken out of numbers is replaced by its mean over the evaluation data; a word is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.comparison import named_answers
from gradatim.errors import UsageError
from gradatim.metrics.outputs import choose_output
from gradatim.models import encoded
from gradatim.report.explanation import Explanation, Flip, InputPart

if TYPE_CHECKING:
    from gradatim.checks.replay import Side
    from gradatim.data import Batch
    from gradatim.metrics.task import Task
    from gradatim.models import Predictor

ROWS = 2000
"""Rows that are looked at for flips."""

_PARTS = 64
"""Parts that an input is taken into at most."""

_SHOWN = 5

Arrays = dict[str, NDArray[Any]]


def explain_flips(baseline: Side, candidate: Side, most: int) -> Explanation:
    """Which parts of the inputs matter to rows that the two answer differently.

    Args:
        most: rows that are explained, those first that the baseline answers rightly and the candidate does not.

    Raises:
        UsageError: the task has no classes to name.
        InvalidInput: rows that a model cannot take.
    """
    with baseline.model.open(baseline.path) as old, candidate.model.open(candidate.path) as new:
        given, taken = ({spec.name for spec in one.signature.inputs} for one in (new, old))
        if given != taken:
            raise UsageError(
                f"{baseline.label} takes other inputs than {candidate.label}: nothing can be held side by side."
            )
        lost, others, means = _Kept(most), _Kept(most), _Means()
        rows = 0
        for batch in candidate.rows.dataset("evaluation", new.signature).batches(_batch(candidate)):
            labels = _labels(candidate, batch)
            before, after = _named(baseline, old, batch), _named(candidate, new, batch)
            means.take(batch)
            for row in np.flatnonzero(np.array(before) != np.array(after)).tolist():
                whole = {name: np.asarray(values[row]) for name, values in batch.inputs.items()}
                flip = Flip(int(batch.items[row]), labels[row], before[row], after[row])
                (lost if before[row] == labels[row] else others).take(flip, whole)
            rows += len(batch)
            if rows >= ROWS:
                break
        flips = tuple(
            replace(flip, parts=_parts(whole, means.values, (candidate.task, new), (baseline.task, old)))
            for flip, whole in (lost.first + others.first)[:most]
        )
    return Explanation(candidate.digest, baseline.digest, flips, lost.count + others.count, rows)


@dataclass
class _Kept:
    """Rows that flipped: all are counted, the first are kept."""

    most: int
    count: int = 0
    first: list[tuple[Flip, Arrays]] = field(default_factory=list)

    def take(self, flip: Flip, whole: Arrays) -> None:
        self.count += 1
        if len(self.first) < self.most:
            self.first.append((flip, whole))


@dataclass
class _Means:
    """The mean row of each input of floats, where all rows have one shape."""

    sums: dict[str, tuple[NDArray[Any], int]] = field(default_factory=dict)
    ragged: set[str] = field(default_factory=set)

    def take(self, batch: Batch) -> None:
        for name, values in batch.inputs.items():
            if values.dtype.kind != "f":
                continue
            total, n = self.sums.get(name, (np.zeros(values.shape[1:]), 0))
            if total.shape != values.shape[1:]:
                self.ragged.add(name)
            else:
                self.sums[name] = total + values.sum(axis=0, dtype=np.float64), n + len(values)

    @property
    def values(self) -> Mapping[str, NDArray[Any]]:
        return {name: total / n for name, (total, n) in self.sums.items() if name not in self.ragged}


def _batch(side: Side) -> int:
    return side.rows.contract.parts.data.batch


def _labels(side: Side, batch: Batch) -> list[str]:
    """The true answers by their names; empty where the data have none."""
    if batch.labels is None:
        return [""] * len(batch)
    names = [str(name) for name in side.task.labels] if side.task and side.task.labels else []
    if batch.labels.dtype.kind in "iu" and names:
        return [names[place] if 0 <= place < len(names) else str(place) for place in batch.labels.tolist()]
    return [str(one) for one in batch.labels.tolist()]


def _named(side: Side, predictor: Predictor, batch: Batch) -> list[str]:
    fed = encoded(predictor, batch.inputs)
    found = named_answers(side.task, predictor(fed), fed)
    if found is None:
        raise UsageError("Only a classification has answers that flip from one class to another.")
    return [" ".join(answer) for answer in found]


def _parts(
    whole: Arrays, means: Mapping[str, NDArray[Any]], *models: tuple[Task | None, Predictor]
) -> tuple[InputPart, ...]:
    without = [(name, taken) for name, taken in _taken_out(whole, means)]
    if not without:
        return ()
    stacked = {
        name: np.stack([value, *(taken.get(name, value) for _, taken in without)])
        for name, value in whole.items()
    }
    lost = [_lost(task, predictor, stacked) for task, predictor in models]
    parts = [
        InputPart(name, *map(float, both))
        for (name, _), both in zip(without, zip(*lost, strict=True), strict=True)
    ]
    parts.sort(key=lambda part: -max(abs(part.candidate), abs(part.baseline)))
    return tuple(parts[:_SHOWN])


def _lost(task: Task | None, predictor: Predictor, stacked: Arrays) -> NDArray[np.float64]:
    """[parts] what the score of the first row's answer loses in each other row."""
    outputs = predictor(encoded(predictor, stacked))
    floating = {name: values.dtype.kind == "f" for name, values in outputs.items()}
    chosen = task and choose_output(task, {name: values.shape for name, values in outputs.items()}, floating)
    if not chosen or not floating[chosen] or (scores := outputs[chosen]).ndim != 2:
        raise UsageError("The model gives no scores, so that nothing can be said of what moves them.")
    place = int(scores[0].argmax())
    return np.asarray(scores[0, place] - scores[1:, place], np.float64)


def _taken_out(whole: Arrays, means: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, Arrays]]:
    """Each part by name, with the input as it is without."""
    for name, value in whole.items():
        mean = means.get(name)
        if value.dtype.kind in "UOT":
            texts = [str(text) for text in value.reshape(-1)]
            for at, text in enumerate(texts):
                words = text.split()
                for place, word in enumerate(words[: _PARTS // len(texts)]):
                    left = [*texts[:at], " ".join(words[:place] + words[place + 1 :]), *texts[at + 1 :]]
                    of = f" of text {at + 1}" if texts[1:] else ""
                    yield f'the word "{word}"{of}', {name: np.array(left, value.dtype).reshape(value.shape)}
        elif mean is not None and value.ndim >= 2 and min(value.shape[-2:]) >= 4:
            yield from _patches(name, value, mean)
        elif mean is not None:
            flat = value.reshape(-1)
            for chosen in np.array_split(np.arange(flat.size), min(_PARTS, flat.size)):
                changed = flat.copy()
                changed[chosen] = mean.reshape(-1)[chosen].astype(flat.dtype)
                span = f"{chosen[0]}" if len(chosen) == 1 else f"{chosen[0]}..{chosen[-1]}"
                yield (name if flat.size == 1 else f"{name}[{span}]"), {name: changed.reshape(value.shape)}


def _patches(name: str, value: NDArray[Any], mean: NDArray[Any]) -> Iterator[tuple[str, Arrays]]:
    height, width = value.shape[-2:]
    for down in np.array_split(np.arange(height), min(8, height // 2)):
        for across in np.array_split(np.arange(width), min(8, width // 2)):
            changed = value.copy()
            area = (..., slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1))
            changed[area] = mean[area]
            yield f"{name} rows {down[0]}-{down[-1]}, columns {across[0]}-{across[-1]}", {name: changed}
