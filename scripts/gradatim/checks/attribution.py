"""What the answers that flipped hang on: Shapley values of the parts of an input, by SHAP [1]_.

The models are asked for their answers alone, whatever their format. A part is a column, a patch of a picture, a word. Where one is
left out stands the column of other rows, the mean picture, or no word.

.. [1] Lundberg and Lee (2017), A Unified Approach to Interpreting Model Predictions; orders of parts drawn in pairs, there and back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.comparison import answers, named_answers
from gradatim.checks.replay import sides_of
from gradatim.errors import UsageError, missing_package
from gradatim.evidence.codec import encode
from gradatim.files import write_json
from gradatim.metrics.outputs import choose_output
from gradatim.models import encoded
from gradatim.report.explanation import EXPLANATION_FILE, Explanation, Flip, InputPart

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.checks.replay import Side
    from gradatim.data import Batch
    from gradatim.metrics.task import Task
    from gradatim.models import Predictor

SECONDS = 300.0
"""What is spent by default; a row that was begun is ended."""

ROWS = 2000
"""Rows that are looked at for flips."""

_PARTS = 64
"""Parts that the inputs are taken into at most, an input a part at least."""

_ASKED = 500
"""Mixtures of a row that a model is asked about, but never less than one order of all parts, there and back."""

_KEPT = 32
"""Rows that are kept to stand where something is left out: the mean of their pictures, the columns of the first eight."""

_SHOWN = 5

_NO_WORD = "..."
"""A text of which nothing is left: none that a model refuses as empty."""

Arrays = dict[str, NDArray[Any]]
Score = Callable[[Iterable[Arrays]], NDArray[np.float64]]


def require_shap() -> None:
    """Refuse before any work is done.

    Raises:
        EnvironmentLacks: SHAP is not installed.
    """
    if find_spec("shap") is None:
        raise missing_package("shap", "explain", "To tell what answers hang on")


def keep_explanation(
    candidate: Candidate, version: str | None, most: int, seconds: float = SECONDS
) -> tuple[Explanation, str, str]:
    """``explain_flips`` of a released version or of the model here, left in the workspace for the next report; and what both are called.

    Raises:
        UsageError: there is no such release, or nothing to stand beside it.
    """
    baseline, mine = sides_of(candidate, version)
    found = explain_flips(baseline, mine, most, seconds)
    candidate.workspace.prepare()
    write_json(candidate.workspace.folder / EXPLANATION_FILE, encode(found))
    return found, baseline.label, mine.label


def explain_flips(baseline: Side, candidate: Side, most: int, seconds: float) -> Explanation:
    """Which parts of the inputs matter to rows that the two answer differently. The same rows and models give the same values.

    Args:
        most: rows that are explained, those first that the baseline answers rightly and the candidate does not.
        seconds: once these are over no row more is looked at or explained; one always is.

    Raises:
        UsageError: the task has no classes to name.
        InvalidInput: rows that a model cannot take.
        EnvironmentLacks: SHAP is not installed.
    """
    require_shap()
    ends = time.monotonic() + seconds
    with baseline.model.open(baseline.path) as old, candidate.model.open(candidate.path) as new:
        given, taken = ({spec.name for spec in one.signature.inputs} for one in (new, old))
        if given != taken:
            raise UsageError(
                f"{baseline.label} takes other inputs than {candidate.label}: nothing can be held side by side."
            )
        lost, others, drawn = _Kept(most), _Kept(most), _Drawn()
        dataset = candidate.rows.dataset("evaluation", new.signature)
        for batch in dataset.batches(_batch(candidate)):
            labels = _labels(candidate, batch)
            before, after = _named(baseline, old, batch), _named(candidate, new, batch)
            for row in range(len(batch)):
                whole = {name: np.array(values[row]) for name, values in batch.inputs.items()}
                drawn.take(whole)
                if before[row] != after[row]:
                    flip = Flip(int(batch.items[row]), labels[row], before[row], after[row])
                    (lost if before[row] == labels[row] else others).take(flip, whole)
            if drawn.seen >= ROWS or time.monotonic() > ends:
                break
        models = [(side.task, model, _batch(side)) for side, model in ((candidate, new), (baseline, old))]
        columns = {name: dataset.fed_by(name) for name in given}
        flips: list[Flip] = []
        for flip, whole in (lost.first + others.first)[:most]:
            if flips and time.monotonic() > ends:
                break
            scores = [_score_of(whole, *model) for model in models]
            flips.append(replace(flip, parts=_parts(whole, drawn.kept, columns, scores)))
    by = f"SHAP {version('shap')}"
    return Explanation(
        candidate.digest, baseline.digest, by, tuple(flips), lost.count + others.count, drawn.seen
    )


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
class _Drawn:
    """Rows drawn from all that were seen, each as likely as another (Vitter's algorithm R)."""

    seen: int = 0
    kept: list[Arrays] = field(default_factory=list)
    dice: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def take(self, whole: Arrays) -> None:
        self.seen += 1
        if len(self.kept) < _KEPT:
            self.kept.append(whole)
        elif (place := int(self.dice.integers(self.seen))) < _KEPT:
            self.kept[place] = whole


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


def _score_of(whole: Arrays, task: Task | None, predictor: Predictor, most: int) -> Score:
    """What gives rows the score of the answer that the model gives the whole row, [n]; where it only names a class, 1 for that one.

    Args:
        most: rows that the model is given at once.
    """

    def ask(rows: Arrays) -> tuple[Arrays, NDArray[np.int32]]:
        fed = encoded(predictor, rows)
        outputs = predictor(fed)
        found = answers(task, outputs, fed)
        if found is None:
            raise UsageError(
                "The model gives some mixtures of rows no class, so that nothing can be said of what its answer hangs on."
            )
        return outputs, found

    outputs, found = ask({name: value[None] for name, value in whole.items()})
    floating = {name: values.dtype.kind == "f" for name, values in outputs.items()}
    assert task is not None  # noqa: S101 (its answers were named)
    chosen = choose_output(task, {name: values.shape for name, values in outputs.items()}, floating)
    own = int(found[0])

    def score(rows: Iterable[Arrays]) -> NDArray[np.float64]:
        told, left = [], iter(rows)
        while some := list(islice(left, most)):
            outputs, found = ask({name: np.stack([row[name] for row in some]) for name in whole})
            values = np.asarray(outputs[chosen]).reshape(len(some), -1)
            if not floating[chosen]:
                told.append(found == own)
            elif values.shape[1] == 1:  # one score, of the second of two classes
                told.append(values[:, 0] if own else -values[:, 0])
            else:
                told.append(values[:, own])
        return np.concatenate(told).astype(np.float64)

    return score


@dataclass(frozen=True)
class _Part:
    """A part of an input.

    Attributes:
        where: which places of numbers, [...] as the input; of a word, the text that it stands in and its place there.
    """

    name: str
    input: str
    where: Any


def _parts(
    whole: Arrays, kept: Sequence[Arrays], columns: Mapping[str, Sequence[str]], scores: Sequence[Score]
) -> tuple[InputPart, ...]:
    """The parts that add most to any of the scores, first."""
    parts = [
        part
        for name in whole
        for part in _parts_of(name, whole[name], _PARTS // len(whole), columns.get(name, ()))
    ]
    if not parts:
        return ()
    behind = _behind(whole, kept)
    both = [_shapley(parts, whole, behind, score) for score in scores]
    added = [InputPart(part.name, *map(float, two)) for part, *two in zip(parts, *both, strict=True)]
    added.sort(key=lambda part: -max(abs(part.candidate), abs(part.baseline)))
    return tuple(added[:_SHOWN])


def _shapley(
    parts: Sequence[_Part], whole: Arrays, behind: Sequence[Arrays], score: Score
) -> NDArray[np.float64]:
    """[parts] what each adds to the score, on average over the orders in which they are put in."""
    import numba

    numba.config.DISABLE_JIT = True  # SHAP's loops over so few parts take less than compiling them
    import shap

    def worth(there: NDArray[Any]) -> NDArray[np.float64]:
        mixed = (_mixture(whole, other, parts, row > 0) for row in there for other in behind)
        return np.asarray(score(mixed).reshape(len(there), len(behind)).mean(axis=1))

    once = 2 * len(parts) + 1
    explainer = shap.PermutationExplainer(worth, np.zeros((1, len(parts))), seed=0)
    found = explainer(np.ones((1, len(parts))), max_evals=max(1, _ASKED // once) * once, silent=True)
    return np.asarray(found.values[0], np.float64)


def _mixture(whole: Arrays, other: Arrays, parts: Sequence[_Part], there: NDArray[np.bool_]) -> Arrays:
    """The row with the parts that are there, and those of the other where they are not."""
    mixed = dict(whole)
    gone: dict[str, list[Any]] = {}
    for place in np.flatnonzero(~there).tolist():
        gone.setdefault(parts[place].input, []).append(parts[place].where)
    for name, places in gone.items():
        if isinstance(places[0], tuple):
            mixed[name] = _without_words(whole[name], places)
        else:
            mixed[name] = np.where(np.logical_or.reduce(places), other[name], whole[name])
    return mixed


def _without_words(value: NDArray[Any], places: Iterable[tuple[int, range]]) -> NDArray[Any]:
    gone = {(at, place) for at, some in places for place in some}
    left = [
        " ".join(word for place, word in enumerate(str(text).split()) if (at, place) not in gone)
        for at, text in enumerate(value.reshape(-1))
    ]
    return np.array([text or _NO_WORD for text in left]).reshape(value.shape)


def _behind(whole: Arrays, kept: Sequence[Arrays]) -> list[Arrays]:
    """What stands where something is left out, a row each: other rows, the mean of their pictures; where none has this row's
    shape, the mean of the row's own numbers."""
    alike = [row for row in kept if all(row[name].shape == value.shape for name, value in whole.items())]
    if not alike:
        return [{n: np.full_like(v, v.mean()) if v.dtype.kind == "f" else v for n, v in whole.items()}]
    pictures = {
        n: np.mean([row[n] for row in alike], axis=0).astype(v.dtype) for n, v in whole.items() if _sides(v)
    }
    columns = any(n not in pictures and not _is_text(v) for n, v in whole.items())
    return [{**row, **pictures} for row in alike[: 8 if columns else 1]]


def _is_text(value: NDArray[Any]) -> bool:
    """Whether words can be left out of it; one word alone is a column of names."""
    return value.dtype.kind in "UOT" and any(len(str(text).split()) > 1 for text in value.reshape(-1))


def _sides(value: NDArray[Any]) -> tuple[int, int] | None:
    """The axes of a picture's height and width, channels first or last; None where it is none."""
    if value.dtype.kind != "f" and value.dtype != np.uint8:
        return None
    if value.ndim == 3 and value.shape[2] <= 4 and min(value.shape[:2]) >= 4:
        return 0, 1
    return (value.ndim - 2, value.ndim - 1) if value.ndim >= 2 and min(value.shape[-2:]) >= 4 else None


def _parts_of(name: str, value: NDArray[Any], most: int, columns: Sequence[str]) -> Iterator[_Part]:
    if _is_text(value):
        texts = [str(text).split() for text in value.reshape(-1)]
        for at, words in enumerate(texts):
            of = f" of text {at + 1}" if texts[1:] else ""
            for some in _spans(len(words), most // len(texts)):
                told = f'the word{"s" if some[1:] else ""} "{" ".join(words[some[0] : some[-1] + 1])}"{of}'
                yield _Part(told, name, (at, some))
    elif sides := _sides(value):
        yield from _patches(name, value.shape, sides)
    else:
        for some in _spans(value.size, most):
            where = np.isin(np.arange(value.size), some).reshape(value.shape)
            told = name if value.size == 1 else f"{name}[{some[0]}{f'..{some[-1]}' if some[1:] else ''}]"
            known = len(columns) == value.size and not some[1:]
            yield _Part(columns[some[0]] if known else told, name, where)


def _spans(size: int, most: int) -> list[range]:
    """So many places in at most so many spans of about the same length."""
    cuts = np.linspace(0, size, min(size, max(1, most)) + 1).astype(int).tolist()
    return [range(*ends) for ends in pairwise(cuts) if ends[1] > ends[0]]


def _patches(name: str, shape: tuple[int, ...], sides: tuple[int, int]) -> Iterator[_Part]:
    (height, width) = (shape[axis] for axis in sides)
    for down in _spans(height, min(8, height // 2)):
        for across in _spans(width, min(8, width // 2)):
            area: list[Any] = [slice(None)] * len(shape)
            area[sides[0]], area[sides[1]] = (slice(some[0], some[-1] + 1) for some in (down, across))
            where = np.zeros(shape, np.bool_)
            where[tuple(area)] = True
            yield _Part(f"{name} rows {down[0]}-{down[-1]}, columns {across[0]}-{across[-1]}", name, where)
