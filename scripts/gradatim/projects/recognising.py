"""What a model is for, told from its signature and the data beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import GradatimError
from gradatim.signature import Signature, TensorSpec

LABELS = (
    "label", "labels", "target", "targets", "y", "class", "category", "y_test", "y_true", "species", "sentiment", "intent",
)  # fmt: skip
"""Names that a label column goes by, the surest first."""

_MOST_CLASSES = 1000
_SPELLED_OUT = 40  # longer label lists stay out of the contract: the data holds them
_EMBEDDING_WIDTH = 32
_RATES = ("sr", "sample_rate", "sampling_rate", "rate")

_CORRUPTIONS = {
    "image": ("gaussian_noise", "shot_noise", "contrast"),
    "tabular": ("feature_noise", "missing_values", "outliers"),
    "text": ("typos", "word_drop", "case_change"),
    "audio": ("background_noise", "gain", "clipping"),
    "tokens": ("token_substitution", "token_drop", "truncation"),
}


@dataclass(frozen=True)
class DataFacts:
    """What a look into a data set shows.

    Attributes:
        columns: every column, in file order.
        rows: how many rows it has.
        label: the label column, None when none is recognised.
        labels: that column's values, None likewise.
        inputs: columns by input of the model, where the names do not already say it.
        unfed: inputs of the model that no column feeds.
        example: a few rows of the first input as the model gets it, None when it cannot be fed.
    """

    columns: tuple[str, ...]
    rows: int
    label: str | None
    labels: NDArray[Any] | None
    inputs: dict[str, str]
    unfed: tuple[str, ...]
    example: NDArray[Any] | None

    @property
    def fewest(self) -> int:
        """Samples of the rarest class; 0 without labels."""
        if self.labels is None or self.labels.ndim != 1:
            return 0
        return int(np.unique(self.labels, return_counts=True)[1].min())


@dataclass(frozen=True)
class Task:
    """A task as the contract states it: ``labels`` and ``output`` are empty where they go without saying."""

    type: str
    labels: tuple[str | int, ...] = ()
    output: str | None = None


def look_into(path: str, root: Path, signature: Signature | None) -> DataFacts:
    """Read a data set's columns, its labels, and a few rows as the model would get them.

    Raises:
        InvalidInput: it is broken or empty.
        EnvironmentLacks: a package for its format is missing.
    """
    from gradatim.data import open_data

    is_folder = (root / path).is_dir()
    plain = open_data(path, root=root, label="label" if is_folder else None)
    names = [] if signature is None else [spec.name for spec in signature.inputs]
    label = _label_column(plain.columns, signature)
    opened = open_data(path, root=root, label=label) if label else plain
    labels = opened.labels() if label else None
    free = [name for name in plain.columns if name not in (label, "path")]
    inputs, unfed = _feeding(names, free, signature)
    example = None
    if signature is not None and not unfed:
        try:
            fed = open_data(path, root=root, label=label, signature=signature, inputs=inputs or None)
            example = fed.head(256).inputs[names[0]]
        except GradatimError:
            unfed = tuple(names)
    return DataFacts(plain.columns, len(opened), label, labels, inputs, unfed, example)


def recognise(signature: Signature | None, facts: DataFacts | None, model: Path | None = None) -> Task | None:
    """The task, from the outputs' shapes and the labels; None when nothing points to one.

    Args:
        signature: the model's, None when it is unknown.
        facts: about the evaluation data, None when there is none.
        model: the model's path: a Hugging Face folder names its labels itself.
    """
    labels = None if facts is None else facts.labels
    sequences = labels is not None and (labels.dtype == object or labels.ndim > 1)
    named = _labels_of_config(model)
    if sequences:
        output = _output(signature, ("logits", "scores"))
        fits = output is None or output.shape is None or len(output.shape) == 3
        return Task("token_classification", named, _name(output, signature)) if fits else None
    classes = None if labels is None else _classes(labels)
    if classes is None:
        return _of_numbers(signature, labels)
    scores = _scores(signature, len(classes))
    width = _width(scores)
    if width == 1 and len(classes) > 2:
        return Task("regression", output=_name(scores, signature))
    if not _may_score(scores, classes):
        embedding = _embedding(signature)
        return None if embedding is None else Task("embedding", output=_name(embedding, signature))
    if width is not None and width > 1 and isinstance(classes[0], int):
        classes = list(range(width))  # the data may lack a class that the model knows
    if isinstance(classes[0], str) and not set(classes) <= set(named):
        named = ()  # LABEL_0, LABEL_1: nobody named them
    shown = named or (tuple(classes) if len(classes) <= _SPELLED_OUT else ())
    return Task("classification", shown, _name(scores, signature))


def corruptions_for(signature: Signature | None, facts: DataFacts | None) -> tuple[str, ...]:
    """Three corruptions that suit what the model takes; none when that cannot be told."""
    if signature is None or facts is None or facts.example is None:
        return ()
    from gradatim.perturb.modality import modality_of

    try:
        return _CORRUPTIONS[modality_of(signature.inputs[0], facts.example).kind]
    except GradatimError:
        return ()


def state_inputs(signature: Signature, unfed: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What may feed the inputs that the data does not: an output carried over, or a constant sampling rate."""
    found: dict[str, dict[str, Any]] = {}
    for name in unfed:
        spec = signature.input(name)
        if spec is None:
            continue
        carried = _carried(spec, signature)
        if carried is not None:
            found[name] = {"carry": carried}
        elif not spec.shape and name.lower() in _RATES:
            found[name] = {"value": 16000}
    return found


def _label_column(columns: Sequence[str], signature: Signature | None) -> str | None:
    lower = {name.lower(): name for name in reversed(columns)}
    inputs = set() if signature is None else {spec.name for spec in signature.inputs}
    known = next((lower[name] for name in LABELS if name in lower and lower[name] not in inputs), None)
    if known is not None or signature is None or len(signature.inputs) != 1:
        return known
    shape = signature.inputs[0].shape
    wanted = shape[1] if shape is not None and len(shape) == 2 else None
    return columns[-1] if isinstance(wanted, int) and len(columns) == wanted + 1 > 2 else None


def _feeding(
    names: Sequence[str], free: Sequence[str], signature: Signature | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Columns for inputs of another name, and the inputs that are left without one."""
    unfed = [name for name in names if name not in free]
    if signature is None or not unfed or (len(names) == 1 and free):
        return {}, ()  # one input takes the only column, or a table's columns side by side
    lower = {name.lower(): name for name in free if name not in names}
    inputs = {name: lower[name.lower()] for name in unfed if name.lower() in lower}
    return inputs, tuple(name for name in unfed if name not in inputs)


def _of_numbers(signature: Signature | None, labels: NDArray[Any] | None) -> Task | None:
    """Labels that are no classes are numbers to come near; without labels an embedding is all that is left."""
    if labels is not None:
        output = _output(signature, ("prediction", "predictions", "variable", "value"))
        return Task("regression", output=_name(output, signature)) if labels.dtype.kind in "iuf" else None
    embedding = _embedding(signature)
    return None if embedding is None else Task("embedding", output=_name(embedding, signature))


def _output(signature: Signature | None, names: Sequence[str]) -> TensorSpec | None:
    """The output of the first of these names that there is, else the first output."""
    if signature is None or not signature.outputs:
        return None
    named = {spec.name.lower(): spec for spec in signature.outputs}
    return next((named[name] for name in names if name in named), signature.outputs[0])


def _scores(signature: Signature | None, classes: int) -> TensorSpec | None:
    """The output with a score for each class: by its width, then by its name, then the first."""
    if signature is not None:
        fitting = [spec for spec in signature.outputs if _width(spec) == classes]
        if len(fitting) == 1:
            return fitting[0]
    return _output(signature, ("logits", "probabilities", "output_probability", "scores", "probability"))


def _may_score(output: TensorSpec | None, classes: Sequence[Any]) -> bool:
    """Whether an output can hold a score for each class, as far as its shape tells."""
    if output is None or output.shape is None or len(output.shape) < 2:
        return True
    width = _width(output)
    if len(output.shape) > 2 or width is None:
        return len(output.shape) == 2
    if isinstance(classes[0], int):
        return width == 1 or 0 <= min(classes) <= max(classes) < width <= max(2 * len(classes), 2)
    return width in (1, len(classes))


def _embedding(signature: Signature | None) -> TensorSpec | None:
    """An output [b, d] that is wide enough to be an embedding, the one called so first."""
    if signature is None:
        return None
    wide = [spec for spec in signature.outputs if (_width(spec) or 0) >= _EMBEDDING_WIDTH]
    called = [spec for spec in wide if "embed" in spec.name.lower()]
    return next(iter((*called, *wide)), None)


def _width(spec: TensorSpec | None) -> int | None:
    """The fixed second size of an output [b, d]."""
    if spec is None or spec.shape is None or len(spec.shape) != 2:
        return None
    return spec.shape[1] if isinstance(spec.shape[1], int) else None


def _name(output: TensorSpec | None, signature: Signature | None) -> str | None:
    """An output's name where there are others to mistake it for."""
    return output.name if output and signature and len(signature.outputs) > 1 else None


def _classes(labels: NDArray[Any]) -> list[Any] | None:
    """The distinct labels in order when they are classes, None when they are numbers."""
    distinct = np.unique(labels)
    few = len(distinct) <= _MOST_CLASSES
    if labels.dtype.kind in "US":
        return distinct.tolist() if few and len(distinct) <= max(2, len(labels) // 2) else None
    if labels.dtype.kind not in "iu" or not few:
        return None
    counted = distinct.tolist() == list(range(len(distinct)))
    share = 5 if counted else 20  # 0, 1, 2, ... look like classes sooner than 17, 23, 61
    return distinct.tolist() if len(distinct) <= max(2, len(labels) // share) else None


def _labels_of_config(model: Path | None) -> tuple[str, ...]:
    if model is None or not (model / "config.json").is_file():
        return ()
    try:
        names = json.loads((model / "config.json").read_text(encoding="utf-8")).get("id2label") or {}
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (OSError, ValueError, AttributeError):
        return ()


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
    stem = spec.name.lower().removesuffix("_in").removesuffix("0")
    named = [output.name for output in alike if output.name.lower().startswith(stem)]
    return named[0] if len(named) == 1 else None
