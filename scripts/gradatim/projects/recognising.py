"""What a model is for: told from its signature, the data beside it, and what it says to some rows of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.rehearsal import Seen
from gradatim.errors import GradatimError
from gradatim.projects.facts import DataFacts
from gradatim.signature import Signature, TensorSpec

Label = str | int

_MOST_CLASSES = 1000
_SPELLED_OUT = 40  # longer lists of mere numbers stay out of the contract: the outputs hold them
_EMBEDDING_WIDTH = 16
_SURE = 4.0
"""Standard deviations by which right answers must exceed those of chance."""

_SCORES = ("probabilities", "output_probability", "probs", "scores", "logits", "probability")
_EMBEDDINGS = ("embed", "feature", "hidden", "pooled", "vector")
"""What feeds inputs of these names where the data do not: every token counts, one sentence an item, no training."""

_CORRUPTIONS = {
    "image": ("gaussian_noise", "shot_noise", "contrast"),
    "tabular": ("feature_noise", "missing_values", "outliers"),
    "text": ("typos", "word_drop", "case_change"),
    "audio": ("background_noise", "gain", "clipping"),
    "tokens": ("token_substitution", "token_drop", "truncation"),
}


@dataclass(frozen=True)
class TaskGuess:
    """A task as the contract states it: ``labels`` and ``output`` are empty where they go without saying."""

    type: str
    labels: tuple[Label, ...] = ()
    output: str | None = None


@dataclass(frozen=True)
class Reading:
    """One way to read what a model says.

    Attributes:
        task: what the contract would state.
        why: what speaks for it, in a few words that follow "since".
        sure: whether nothing speaks for another reading.
        likely: whether it comes before the readings of another type.
        classes: of a classification, how many there are; 0 where that is not known.
        right: of a classification, the share of right answers on the rows looked at; None where none were.
    """

    task: TaskGuess
    why: str
    sure: bool = True
    likely: bool = True
    classes: int = 0
    right: float | None = None


def recognise(
    signature: Signature | None,
    facts: DataFacts | None,
    seen: Seen | None,
    names: Sequence[tuple[str, ...]] = (),
) -> list[Reading]:
    """The readings that there are, the likeliest first; empty when nothing points to one.

    The first alone counts when it is sure; else the second is what else it may be.

    Args:
        signature: the model's, None when it is unknown.
        facts: about the evaluation data, None when there are none.
        seen: what the model says to some rows, None when it could not be asked.
        names: lists of label names that lie beside the model, the nearest first.
    """
    outputs = _outputs(signature, seen)
    labels = None if facts is None else facts.labels
    readings: list[Reading] = []
    if labels is not None:
        squeezed = (
            labels[:, 0] if labels.dtype != object and labels.ndim == 2 and labels.shape[1] == 1 else labels
        )
        if squeezed.dtype == object or squeezed.ndim > 1:
            readings += _of_many_labels(squeezed, outputs, names)
        else:
            readings += _of_one_label(squeezed, _flat(seen), outputs, names)
    readings += _without_labels(facts, outputs, seen)
    return _distinct(sorted(readings, key=lambda reading: not reading.likely))


def corruptions_for(signature: Signature | None, facts: DataFacts | None) -> tuple[str, ...]:
    """Three corruptions that suit what the model takes; none when that cannot be told."""
    if signature is None or facts is None or facts.example is None:
        return ()
    from gradatim.perturb.modality import modality_of

    unsaid = TensorSpec("", "unknown", None)
    try:
        return _CORRUPTIONS[modality_of(next(iter(signature.inputs), unsaid), facts.example).kind]
    except GradatimError:
        return ()


@dataclass(frozen=True)
class _Output:
    """An output: its declared or observed shape [b, ...] and dtype, and what it held for the rows looked at."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    said: NDArray[Any] | None
    alone: bool

    @property
    def axes(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def width(self) -> int | None:
        """Of [b, d] the d; of [b] and [b, 1] 1."""
        if self.shape is None or len(self.shape) > 2:
            return None
        return self.shape[1] if len(self.shape) == 2 else 1

    @property
    def floats(self) -> bool:
        return self.dtype.startswith(("float", "bfloat", "unknown", "double"))

    @property
    def stated(self) -> str | None:
        """Its name where there are others to mistake it for."""
        return None if self.alone else self.name

    def called(self, words: Sequence[str]) -> bool:
        return any(word in self.name.lower() for word in words)


def _outputs(signature: Signature | None, seen: Seen | None) -> list[_Output]:
    if seen is not None:
        signature = seen.signature
    specs = () if signature is None else signature.outputs
    found = []
    for spec in specs:
        said = None if seen is None else seen.outputs.get(spec.name)
        shape = None if spec.shape is None else tuple(s if isinstance(s, int) else None for s in spec.shape)
        if said is not None:
            shape = (None, *said.shape[1:])
        dtype = spec.dtype if said is None else "str" if said.dtype.kind in "OU" else said.dtype.name
        found.append(_Output(spec.name, shape, dtype, said, len(specs) == 1))
    return found


def _flat(seen: Seen | None) -> NDArray[Any] | None:
    """The labels of the rows looked at, [n]."""
    if seen is None or seen.labels is None:
        return None
    labels = seen.labels
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels if labels.ndim == 1 else None


# labels that are many an item


def _of_many_labels(
    labels: NDArray[Any], outputs: Sequence[_Output], names: Sequence[tuple[str, ...]]
) -> Iterator[Reading]:
    """A tag for each token, or a number for each pixel or moment."""
    first = np.asarray(labels[0])
    axes = first.ndim + 1
    whole = labels.dtype == object or labels.dtype.kind in "iuUb"
    for output in outputs or [_Output("", None, "unknown", None, True)]:
        told = [size for size in (output.shape or ())[1:] if size not in (None, 1)]
        alike = output.axes == axes or told == [size for size in first.shape if size != 1]
        if output.axes == axes and output.floats and first.dtype.kind in "iufb":
            yield Reading(TaskGuess("regression", output=output.stated), "answers and labels have one shape")
        elif output.axes in (axes + 1, None) and output.floats and axes == 2 and whole:
            tags = next((each for each in names if output.shape and len(each) == output.shape[-1]), ())
            yield Reading(TaskGuess("token_classification", tags, output.stated), "each token has its tag")
        elif alike and output.floats and output.axes is not None and first.dtype.kind in "iufb":
            yield Reading(
                TaskGuess("regression", output=output.stated), "answers and labels have as many numbers"
            )


# one label an item


def _of_one_label(
    labels: NDArray[Any],
    seen: NDArray[Any] | None,
    outputs: Sequence[_Output],
    names: Sequence[tuple[str, ...]],
) -> list[Reading]:
    """Classes or numbers, whichever the outputs can give; the answers to some rows decide between them."""
    found: list[tuple[float, Reading]] = []
    for output in outputs or [_Output("", None, "unknown", None, True)]:
        if output.width is None and output.axes is not None and output.axes > 2:
            continue
        reading = _scores(labels, seen, output, names) or _single(labels, seen, output, names)
        if reading is not None:
            found.append(reading)
    order = sorted(range(len(found)), key=lambda place: -found[place][0])
    return [found[place][1] for place in order]


def _scores(
    labels: NDArray[Any], seen: NDArray[Any] | None, output: _Output, names: Sequence[tuple[str, ...]]
) -> tuple[float, Reading] | None:
    """A score for each class, [b, C]; gives how much speaks for it, and the reading."""
    width = output.width
    if not output.floats or (width is not None and width < 2) or not _may_be_classes(labels):
        return None
    if width is None:  # a shape that nobody knows: as many scores as there are labels
        classes = np.unique(labels).tolist()
        few = len(classes) <= max(2, len(labels) // 5)
        return (
            (
                0.5,
                Reading(TaskGuess("classification", _spelled(classes), output.stated), "the labels are few"),
            )
            if few
            else None
        )
    tried = [(_agreement(output.said, seen, classes), classes) for classes in _orders(labels, width, names)]
    if not tried:
        return None
    (beyond, right), classes = max(tried, key=lambda each: each[0][0])
    distinct, told = len(np.unique(labels)), beyond >= _SURE
    as_many = distinct == width or any(len(each) == width for each in names) or width < _EMBEDDING_WIDTH
    sure = told or output.called(_SCORES) or _sum_to_one(output.said) or as_many
    likely = sure or output.said is None or 2 * distinct > width
    if output.called(_EMBEDDINGS) and not told and distinct != width:
        return None
    why = (
        "the highest score is the label far more often than by chance"
        if told
        else (f"there are {width} scores and the labels lie among them")
    )
    named = 1 - next((i for i, word in enumerate(_SCORES) if word == output.name.lower()), len(_SCORES)) / 100
    task = TaskGuess("classification", _spelled(classes), output.stated)
    return (100 if told else 10 if sure else 1) + named, Reading(task, why, sure, likely, width, right)


def _orders(
    labels: NDArray[Any], width: int, names: Sequence[tuple[str, ...]]
) -> Iterator[tuple[Label, ...]]:
    """Lists of labels, in the order that the scores may have."""
    distinct = np.unique(labels)
    text = labels.dtype.kind in "US"
    present = {str(label) for label in distinct.tolist()}
    whole = None if text else {int(label) for label in distinct.tolist()}
    for each in names:
        if len(each) == width and (
            present <= set(each) if text else whole is not None and whole <= set(range(width))
        ):
            yield each
    if text and len(distinct) == width:
        yield tuple(distinct.tolist())
        _, first = np.unique(labels, return_index=True)
        yield tuple(str(labels[place]) for place in np.sort(first))
    if whole is not None and min(whole) >= 0 and max(whole) < width:
        yield tuple(range(width))
    elif whole is not None and len(whole) == width:
        yield tuple(sorted(whole))


def _agreement(
    said: NDArray[Any] | None, truth: NDArray[Any] | None, classes: Sequence[Label]
) -> tuple[float, float | None]:
    """By how many standard deviations right answers exceed those of a model whose answers have nothing to do with the
    labels, and their share; 0 and None where no rows were looked at.

    The share that chance gives is that of Cohen's kappa (Cohen 1960).
    """
    if said is None or truth is None or said.ndim != 2 or not len(said):
        return 0.0, None
    place = {str(label): at for at, label in enumerate(classes)}
    texts = [str(int(each)) if truth.dtype.kind in "iufb" else str(each) for each in truth]
    by_place = truth.dtype.kind in "iufb" and not all(text in place for text in texts)
    right = np.array([int(text) if by_place else place.get(text, -1) for text in texts])
    answered, n = np.argmax(said, axis=1), len(said)
    expected = float(sum((answered == each).mean() * (right == each).mean() for each in np.unique(right)))
    expected = min(max(expected, 0.1 / max(n, len(classes))), 0.999)
    share = float((answered == right).mean())
    return (share - expected) / math.sqrt(expected * (1 - expected) / n), share


def _single(
    labels: NDArray[Any], seen: NDArray[Any] | None, output: _Output, names: Sequence[tuple[str, ...]]
) -> tuple[float, Reading] | None:
    """One answer an item, [b] or [b, 1]: a class by name, one score of two classes, or a number."""
    if output.width not in (1, None):
        return None
    distinct = np.unique(labels)
    text = labels.dtype.kind in "US"
    if output.dtype == "str" or (output.dtype.startswith(("int", "uint")) and output.said is not None):
        return _by_name(labels, seen, output)
    if not output.floats:
        return None
    if len(distinct) == 2 and (text or {float(label) for label in distinct.tolist()} == {0.0, 1.0}):
        pair = next(
            (each for each in names if len(each) == 2 and (not text or set(each) == set(distinct.tolist()))),
            None,
        )
        task = TaskGuess(
            "classification", pair or (tuple(distinct.tolist()) if text else (0, 1)), output.stated
        )
        return 5.0, Reading(task, "one score tells two labels apart", classes=2)
    if text:
        return None
    near = output.called(("prediction", "variable", "value", "output"))
    return 4.0 + 0.1 * near, Reading(
        TaskGuess("regression", output=output.stated), "the labels are numbers, and so is the answer"
    )


def _by_name(
    labels: NDArray[Any], seen: NDArray[Any] | None, output: _Output
) -> tuple[float, Reading] | None:
    """An output that says the label itself, as text or as a whole number."""
    distinct = np.unique(labels).tolist()
    if labels.dtype.kind == "f" or len(distinct) > _MOST_CLASSES:
        return None
    if output.said is None or seen is None:
        agreed = 0.0
    else:
        agreed = float((output.said.reshape(len(output.said)).astype(np.str_) == seen.astype(np.str_)).mean())
    if (
        agreed <= 1.5 / max(len(distinct), 2)
        and labels.dtype.kind in "iu"
        and len(distinct) > max(2, len(labels) // 5)
    ):
        return 3.0, Reading(
            TaskGuess("regression", output=output.stated), "the labels are numbers, and so is the answer"
        )
    task = TaskGuess("classification", _spelled(tuple(distinct)), output.stated)
    return 2.0 + agreed, Reading(task, "an output says the label itself", classes=len(distinct))


def _may_be_classes(labels: NDArray[Any]) -> bool:
    distinct = np.unique(labels)
    if len(distinct) > _MOST_CLASSES:
        return False
    if labels.dtype.kind in "US":
        return True
    return labels.dtype.kind in "iub" or bool(
        labels.dtype.kind == "f" and (distinct == np.rint(distinct)).all()
    )


def _sum_to_one(said: NDArray[Any] | None) -> bool:
    """Whether every row is a distribution over classes."""
    if said is None or said.ndim != 2:
        return False
    values = said.astype(np.float64)
    return bool((values >= -1e-3).all() and (np.abs(values.sum(axis=1) - 1) < 1e-2).all())


def _spelled(classes: Sequence[Label]) -> tuple[Label, ...]:
    """A list worth writing down: names always, mere numbers from 0 on only while they are few."""
    numbers = list(classes) == list(range(len(classes)))
    return () if numbers and len(classes) > _SPELLED_OUT else tuple(classes)


# no labels, or none that the outputs could be held against


def _without_labels(
    facts: DataFacts | None, outputs: Sequence[_Output], seen: Seen | None
) -> Iterator[Reading]:
    """A language model by its vocabulary; else answers that are vectors, held against those of the last release."""
    ids = facts.example if facts is not None and _takes_ids(seen) else None
    largest = int(ids.max()) if ids is not None and ids.dtype.kind in "iu" else None
    for output in outputs if largest is not None else ():
        vocabulary = output.shape[-1] if output.shape and output.axes == 3 else None
        if (
            vocabulary is not None
            and largest is not None
            and vocabulary > largest
            and not output.called(_EMBEDDINGS)
        ):
            yield Reading(
                TaskGuess("language_modelling", output=output.stated),
                "each token of a vocabulary has its score",
            )
    vectors = [o for o in outputs if o.floats and o.axes in (2, 3) and (o.shape or (0,))[-1] not in (None, 1)]
    wide = [o for o in vectors if o.axes == 2 and (o.width or 0) >= 2 * _EMBEDDING_WIDTH]
    called = [o for o in vectors if o.called(_EMBEDDINGS) and o.axes == 2]
    for output in (*called, *wide, *vectors):
        sure = facts is None or facts.label is None or bool(called) or output in wide
        yield Reading(
            TaskGuess("embedding", output=output.stated),
            "its vectors can be held against the last release's",
            sure,
        )


def _takes_ids(seen: Seen | None) -> bool:
    return seen is not None and seen.signature.input("input_ids") is not None


def _distinct(readings: Sequence[Reading]) -> list[Reading]:
    """One reading a type of task, the first."""
    kinds: dict[str, Reading] = {}
    for reading in readings:
        kinds.setdefault(reading.task.type, reading)
    return list(kinds.values())
