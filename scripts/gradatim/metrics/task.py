"""What a model is for, and so how its outputs are read and scored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gradatim.errors import InvalidInput
from gradatim.metrics import catalogue
from gradatim.metrics.scorers.table import Scoring

Label = str | int
OwnMetric = Callable[[Any, Any], float]
"""``function(labels, predictions) -> float``. Classification gives arrays of labels, other tasks the arrays
as they are; a metric that names outputs gets those, a mapping of arrays."""

Form = Literal["xyxy", "xywh", "cxcywh"]
"""Two corners, a corner and the size, or the centre and the size."""


@dataclass(frozen=True)
class BoxOutputs:
    """How a detection model says its boxes; the output of the boxes themselves is the task's.

    Attributes:
        scores: the output of their scores.
        labels: that of their classes.
        form: of the model's boxes.
        label_form: of the boxes in the data.
    """

    scores: str | None = None
    labels: str | None = None
    form: Form = "xyxy"
    label_form: Form = "xyxy"


@dataclass(frozen=True)
class Task:
    """The ``task:`` of a contract.

    Attributes:
        type: one of ``catalogue.TASKS``.
        labels: every label there is, in the order of the model's scores. None takes 0 .. C-1 from the model's
            outputs. A label that no sample has still counts in every mean over classes, as zero.
        output: the output to read; None applies the rule of ``outputs.choose_output``.
        scores: whether scores are ``logits`` or ``probabilities``; None looks at the numbers.
        positive: with two labels, the one that ``precision``, ``recall`` and ``f1`` are about; None is the
            last.
        own: the user's own metrics by name.
        seen: the outputs that own metrics are given in place of the answer, by the metric.
        lower_is_better: those of them where less is better.
        neighbours: the k of ``recall_at_k`` and ``ndcg_at_k`` measured for embeddings.
        scorers: generation: how an answer is scored, the one that says right or wrong of a row first.
        samples: generation: answers to a row.
        cut_off: generation: whether an answer that was cut off is one that failed.
        over: the labels that means over classes go over, where a model is compared with one that knows others; None
            takes every label there is.
        called: what the candidate calls labels of the release that it would replace, by the name there.
        boxes: detection: how boxes are said.
        history: forecasting: the input that holds the values before the forecast.
        season: forecasting: steps after which values come again.
        quantiles: forecasting: the levels of the model's quantiles, in their order; empty for a point forecast.
        causal: language modelling: position t predicts token t + 1 (False: token t, as masked models do).
    """

    type: str
    labels: tuple[Label, ...] | None = None
    output: str | None = None
    scores: Literal["logits", "probabilities"] | None = None
    positive: Label | None = None
    own: Mapping[str, OwnMetric] = field(default_factory=dict)
    seen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lower_is_better: tuple[str, ...] = ()
    neighbours: tuple[int, ...] = (10,)
    boxes: BoxOutputs = field(default_factory=BoxOutputs)
    history: str | None = None
    season: int = 1
    quantiles: tuple[float, ...] = ()
    causal: bool = True
    scorers: tuple[Scoring, ...] = ()
    samples: int = 1
    cut_off: Literal["fail", "score"] = "fail"
    over: tuple[Label, ...] | None = None
    called: Mapping[str, Label] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in catalogue.TASKS:
            raise InvalidInput(f"There is no task `{self.type}`. Known: {', '.join(catalogue.TASKS)}.")
        if self.labels is not None:
            names = [str(label) for label in self.labels]
            twice = (
                sorted({name for name in names if names.count(name) > 1})
                if len(set(names)) < len(names)
                else []
            )
            if twice:
                raise InvalidInput(
                    f"The list of labels names {', '.join(twice)} more than once. Each label counts once."
                )
            if not names:
                raise InvalidInput(
                    "The list of labels is empty. Name every label, in the order of the model's scores."
                )
        if self.positive is not None and self.labels is not None and self.positive not in self.labels:
            raise InvalidInput(f"The positive label {self.positive} is not in the list of labels.")
        taken = catalogue.known(self.type, (scoring.metric for scoring in self.scorers))
        for name in self.own:
            if name in taken:
                raise InvalidInput(
                    f"The own metric `{name}` has the name of a built-in metric. Give it another name."
                )
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise InvalidInput(f"`{name}` cannot name a metric. Use letters, digits and underscores.")

    def metric(self, name: str) -> catalogue.Metric | None:
        """The meaning of a metric's name in this task, own metrics included."""
        own = (
            *catalogue.own_metrics(self.own, self.lower_is_better),
            *(scoring.metric for scoring in self.scorers),
        )
        return catalogue.find(name, self.type, own)
