"""Every metric that a gate can name, by task. Light: importing this needs no numpy."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["quality", "comparison", "robustness", "timing", "limit", "own", "drift"]
"""How a metric is judged: ``quality`` from labelled samples; ``comparison`` beside the baseline's samples;
``robustness`` from perturbed samples; ``timing`` from rounds of timed calls, or of calls whose energy was counted;
``limit`` a plain number that has no sample; ``drift`` from counts of the rows, whatever the model says to them; ``own`` a function of the user's over labelled samples."""

ASKED: Mapping[str, tuple[str, ...]] = {
    "generation": (),
    "translation": ("bleu", "chrf"),
    "speech_recognition": ("wer", "cer"),
}
"""Tasks whose model is asked for text, each with the scorers of a contract that names none."""

TASKS = (
    "classification", "multilabel_classification", "token_classification", "segmentation", "detection", "regression", "forecasting",
    "ranking", "embedding", "language_modelling", *ASKED,
)  # fmt: skip

TRAFFIC = "traffic"
"""What stands for a task where requests are judged, recorded or live: they bear no label."""

LIKENESS = ("fidelity", "cosine", "agreement")
"""Measures of likeness to the original that compression takes of every model, without labels; its own are 1."""


@dataclass(frozen=True)
class Metric:
    """What a metric's name means.

    Attributes:
        name: as written under ``gates:``.
        description: one line for a person.
        higher_is_better: the direction that a gate protects.
        kind: how it is judged.
        unit: ``1`` a plain number, ``s`` seconds, ``B`` bytes, ``1/s`` a rate, ``J`` joule, ``nat``.
        fraction: whether it lies between 0 and 1 (or -1 and 1), so that a margin in per cent means points;
            for every other metric a per cent is relative to the baseline's value.
        by_class: whether ``name[class=LABEL]`` means something.
        by: ``module:function`` over (labels, answers), as own metrics are, where no scorer measures it; its interval is a
            bootstrap's.
        counted: whether a scorer says right or wrong of every row, so that its share is judged exactly.
    """

    name: str
    description: str
    higher_is_better: bool
    kind: Kind = "quality"
    unit: str = "1"
    fraction: bool = True
    by_class: bool = False
    by: str = ""
    counted: bool = False

    @property
    def on_samples(self) -> bool:
        """Whether it rests on the samples of a data set."""
        return self.kind in ("quality", "comparison", "robustness", "own")

    @property
    def slower(self) -> bool:
        """Whether worse means slower."""
        return self.unit in ("s", "1/s")


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


_CLASSIFICATION = _table(
    Metric("accuracy", "share of samples that were classified correctly", True, by_class=True),
    Metric("balanced_accuracy", "mean of the classes' recalls, over all declared labels", True),
    Metric(
        "precision",
        "share of the predictions of a class that are right (mean over the classes)",
        True,
        by_class=True,
    ),
    Metric(
        "recall", "share of a class's samples that were found (mean over the classes)", True, by_class=True
    ),
    Metric("f1", "harmonic mean of precision and recall (mean over the classes)", True, by_class=True),
    Metric("f1_micro", "F1 over all decisions together; equals accuracy with one label a sample", True),
    Metric("f1_macro", "mean of the classes' F1, over all declared labels", True),
    Metric("f1_weighted", "mean of the classes' F1, weighted by their samples", True),
    Metric(
        "roc_auc",
        "chance that a positive sample scores above a negative (one against the rest)",
        True,
        by_class=True,
    ),
    Metric(
        "log_loss",
        "mean of -log of the probability given to the right class",
        False,
        unit="nat",
        fraction=False,
    ),
    Metric("ece", "expected calibration error: gap between confidence and accuracy, 15 bins", False),
)

_TOKEN_CLASSIFICATION = _table(
    Metric("f1", "F1 over whole entities (IOB2): type and both ends must be right", True, by_class=True),
    Metric("precision", "share of the predicted entities that are right", True, by_class=True),
    Metric("recall", "share of the true entities that were found", True, by_class=True),
    Metric("accuracy", "share of tokens with the right tag", True),
)

_MULTILABEL = _table(
    Metric("f1_micro", "F1 over the decisions of all labels together", True),
    Metric("f1_macro", "mean of the labels' F1, over all declared labels", True),
    Metric("subset_accuracy", "share of samples whose labels are all right", True),
    *(_CLASSIFICATION[name] for name in ("f1", "precision", "recall")),
)

_SEGMENTATION = _table(
    Metric(
        "miou",
        "overlap of the true and the said area over their union (mean over the classes in the data)",
        True,
        by_class=True,
    ),
    Metric(
        "dice",
        "overlap of the true and the said area over their mean (mean over the classes in the data)",
        True,
        by_class=True,
    ),
    Metric("accuracy", "share of pixels with the right class", True),
)

_DETECTION = _table(
    Metric(
        "map",
        "average precision of boxes, mean over overlaps from 50 to 95 % (and over the classes in the data)",
        True,
        by_class=True,
    ),
    Metric("map_50", "the same, at an overlap of 50 %", True, by_class=True),
    Metric("map_75", "the same, at an overlap of 75 %", True, by_class=True),
    Metric("map_small", "as `map`, of boxes up to 32 x 32 pixels", True, by_class=True),
    Metric("map_medium", "as `map`, of boxes from 32 x 32 to 96 x 96 pixels", True, by_class=True),
    Metric("map_large", "as `map`, of boxes from 96 x 96 pixels on", True, by_class=True),
)

_REGRESSION = _table(
    Metric("mae", "mean absolute error, in the unit of the target", False, fraction=False),
    Metric("rmse", "root of the mean squared error, in the unit of the target", False, fraction=False),
    Metric("r2", "share of the target's variance that is explained", True),
)

_FORECASTING = _table(
    Metric(
        "mase",
        "mean absolute error over that of the seasonal naive forecast in the history",
        False,
        fraction=False,
    ),
    Metric("smape", "mean of 2 |error| / (|truth| + |forecast|), from 0 to 200 %", False),
    Metric("pinball", "mean pinball loss of the quantiles, in the unit of the target", False, fraction=False),
    _REGRESSION["mae"],
    _REGRESSION["rmse"],
)

_RANKING = _table(
    Metric(
        "ndcg_at_10", "gain of the 10 highest items of a list, as a share of the best order's (any k)", True
    ),
    Metric("mrr", "mean of 1 over the place of a list's first relevant item", True),
    Metric("map", "mean over lists of the average precision at their relevant items", True),
    Metric(
        "hit_rate_at_10",
        "share of lists with a relevant item among the 10 highest (any k)",
        True,
        counted=True,
    ),
)

_EMBEDDING = _table(
    Metric("cosine", "mean cosine between an item's embedding and the baseline's", True, "comparison"),
    Metric("recall_at_10", "share of items with a same-label item among their 10 nearest (any k)", True),
    Metric(
        "ndcg_at_10", "ranking quality of the 10 nearest items, same label counts as relevant (any k)", True
    ),
)

_LANGUAGE_MODELLING = _table(
    Metric("perplexity", "exp of the mean negative log-likelihood of a token", False, fraction=False),
)

_BY_TASK = {
    "classification": _CLASSIFICATION,
    "multilabel_classification": _MULTILABEL,
    "token_classification": _TOKEN_CLASSIFICATION,
    "segmentation": _SEGMENTATION,
    "detection": _DETECTION,
    "regression": _REGRESSION,
    "forecasting": _FORECASTING,
    "ranking": _RANKING,
    "embedding": _EMBEDDING,
    "language_modelling": _LANGUAGE_MODELLING,
}

_FLIPS = Metric(
    "negative_flips",
    "share of samples that the baseline got right and the candidate gets wrong",
    False,
    "comparison",
)
_AGREEMENT = Metric(
    "agreement", "share of samples with the same answer from candidate and baseline", True, "comparison"
)
_SAME_NEIGHBOUR = Metric(
    "agreement", "share of items with the same nearest item as under the baseline", True, "comparison"
)

_DIVERGENCE = Metric(
    "kl",
    "Kullback-Leibler divergence of the next token's chances from the baseline's, mean over the tokens of the references",
    False,
    "comparison",
    "nat",
    False,
)

_WINS = Metric(
    "win_rate",
    "share of prompts whose answer the judge prefers to the baseline's, in whichever order it sees them; a tie is half",
    True,
    "comparison",
)
_CONSISTENCY = Metric(
    "judge_consistency",
    "share of the pairs that the judge tells apart for which it prefers the same answer in both orders",
    True,
    "comparison",
)

JUDGED = ("win_rate", "judge_consistency")
"""What a judge of pairs says, and how far it can be believed."""

_COMPARISONS = {
    "classification": _table(_FLIPS, _AGREEMENT),
    "multilabel_classification": _table(_FLIPS, _AGREEMENT),
    "token_classification": _table(_FLIPS, _AGREEMENT),
    "embedding": _table(_SAME_NEIGHBOUR),
    **dict.fromkeys(ASKED, _table(_FLIPS, _AGREEMENT, _DIVERGENCE, _WINS, _CONSISTENCY)),
}

_ROBUSTNESS = _table(
    Metric("robustness", "quality under a corruption, mean over severities 1 to 5", True, "robustness"),
)

SERVER_RATE = "server_rate"
"""What LoadGen's search for the highest rate finds: a bracket of one model, which nothing is paired with."""

_RUNTIME = _table(
    Metric(
        "latency_floor",
        "time of a call that nothing disturbs: lower quartile of the fastest calls of blocks",
        False,
        "timing",
        "s",
        False,
    ),
    Metric("latency_p50", "median time of a call", False, "timing", "s", False),
    Metric("latency_p90", "time that 90 % of calls stay below", False, "timing", "s", False),
    Metric("latency_p95", "time that 95 % of calls stay below", False, "timing", "s", False),
    Metric("latency_p99", "time that 99 % of calls stay below", False, "timing", "s", False),
    Metric("latency_mean", "mean time of a call", False, "timing", "s", False),
    Metric("throughput", "samples a second", True, "timing", "1/s", False),
    Metric(
        SERVER_RATE,
        "queries a second, as they come, of which 99 % stay within `benchmark.load.p99`",
        True,
        "timing",
        "1/s",
        False,
    ),
    Metric("size", "bytes of the model's files", False, "limit", "B", False),
    Metric("parameters", "number of weights", False, "limit", "1", False),
    Metric("memory", "peak resident memory while predicting", False, "limit", "B", False),
    Metric(
        "first_result", "time to open the model and have its first call answered", False, "timing", "s", False
    ),
    Metric("energy", "energy of a call", False, "timing", "J", False),
)

_STREAMED = (
    ("ttft", "time to first token"),
    ("tpot", "time of an output token, the first left out"),
    ("itl", "time between two pieces of an answer"),
)
_FIGURES = (
    ("mean", "mean {}"),
    ("p50", "median {}"),
    ("p90", "{} that 90 % stay below"),
    ("p95", "{} that 95 % stay below"),
    ("p99", "{} that 99 % stay below"),
)

_SERVING = _table(
    *(
        Metric(f"{name}_{figure}", words.format(what), False, "timing", "s", False)
        for name, what in _STREAMED
        for figure, words in _FIGURES
    ),
    Metric("output_token_throughput", "output tokens a second", True, "timing", "1/s", False),
    Metric("goodput", "answers a second within all bounds of `benchmark.streaming.goodput`", True, "timing", "1/s", False),
)  # fmt: skip
"""What is timed of a model that answers token by token, besides what is timed of any."""

TIMINGS = (
    "latency", "throughput", SERVER_RATE, "first_result", "energy", *(name for name, _ in _STREAMED),
    "output_token_throughput", "goodput",
)  # fmt: skip
"""What the names of all that is timed begin with."""

TWINS = ("duplicates", "near_duplicates")
"""Rows of the evaluation data that the model was made with, too: counted, so that none may be allowed."""

_DATA = _table(
    Metric(
        "duplicates", "rows of the evaluation data that are in those of training or calibration, too", False,
        "limit", "1", False,
    ),
    Metric("near_duplicates", "the same, of rows that differ a little", False, "limit", "1", False),
    Metric(
        "drift", "population stability index of the column of the evaluation data that changed most since the release", False,
        "drift", "1", False,
    ),
)  # fmt: skip

DRIFT = "drift"
DRAWN = "drawn"  # rows as they were drawn, where gates on answers count them by their weights

ERRORS = Metric("errors", "share of requests that failed", False, "comparison")

_ON_TRAFFIC = {
    **_table(ERRORS, _AGREEMENT),
    **{
        name: metric
        for name, metric in _RUNTIME.items()
        if name.startswith("latency_") and name != "latency_floor"
    },
}

_ALONE = ("quality", "own")
"""Kinds of metrics that one model has by itself, from labelled samples."""

_AT_K = re.compile(r"(recall|ndcg|hit_rate)_at_([1-9]\d{0,4})")


def own_metrics(names: Iterable[str], lower_is_better: Container[str] = ()) -> tuple[Metric, ...]:
    """The meaning of the user's own metrics; their direction is the one thing that a contract says of them."""
    return tuple(
        Metric(name, "own metric", name not in lower_is_better, "own", fraction=False) for name in names
    )


def known(task: str, own: Iterable[Metric] = ()) -> dict[str, Metric]:
    """All metrics that a gate of this task can name, in the order a reader expects.

    Args:
        task: one of ``TASKS``, or ``TRAFFIC``.
        own: the user's own metrics.
    """
    if task == TRAFFIC:
        return dict(_ON_TRAFFIC)
    measured = {**_BY_TASK.get(task, {}), **_table(*own), **_COMPARISONS.get(task, {})}
    serving = _SERVING if task in ASKED else {}
    return {**measured, **_ROBUSTNESS, **_RUNTIME, **serving, **_DATA}


def find(name: str, task: str, own: Iterable[Metric] = ()) -> Metric | None:
    """The metric of this name, ``recall_at_5`` and the like included; None when the task has none such."""
    known_here = known(task, own)
    found, match = known_here.get(name), _AT_K.fullmatch(name)
    template = known_here.get(f"{match[1]}_at_10") if match else None
    if found is None and match is not None and template is not None:
        description = template.description.replace("10", match[2]).replace(" (any k)", "")
        return replace(template, name=name, description=description)
    return found


def is_streamed(name: str) -> bool:
    """Whether it is timed of answers that come token by token."""
    return name in _SERVING


def is_rate(name: str) -> bool:
    """Whether it is something timed of which more is better."""
    return name in ("throughput", "output_token_throughput", "goodput")


def quality(task: str) -> tuple[str, ...]:
    """The metrics that are measured on every evaluation of this task."""
    return tuple(_BY_TASK.get(task, {}))


def has_classes(task: str) -> bool:
    """Whether a gate of this task can ask for one class."""
    return any(metric.by_class for metric in known(task).values())


def keepable(task: str, own: Iterable[Metric] = ()) -> tuple[str, ...]:
    """What ``compress.keep`` can name: metrics that a model has by itself, and likeness to the original."""
    alone = (name for name, metric in known(task, own).items() if metric.kind in _ALONE)
    return tuple(dict.fromkeys((*alone, *LIKENESS)))


def is_keepable(name: str, task: str, own: Iterable[Metric] = ()) -> bool:
    """Whether ``compress.keep`` can name it, ``recall_at_5`` and the like included."""
    found = find(name, task, own)
    return name in LIKENESS or (found is not None and found.kind in _ALONE)


OF_CLASSES = ("precision", "recall", "f1")
"""What is of one class, or a mean over classes."""

_WEIGHED = {
    "classification": ("accuracy", "f1_micro", *OF_CLASSES, "log_loss"),
    "multilabel_classification": ("subset_accuracy",),
    "regression": ("mae", "rmse"),
    **dict.fromkeys(ASKED, ()),
}


def weighable(task: str, own: Iterable[Metric] = ()) -> tuple[str, ...]:
    """The metrics that have a valid interval where rows have weights: means over rows."""
    if task not in _WEIGHED:
        return ()
    counted = (metric.name for metric in own if metric.counted and metric.kind != "own")
    return (*_WEIGHED[task], *counted, "agreement", "negative_flips")


def comparisons(task: str) -> tuple[str, ...]:
    """The metrics that are measured when a baseline's predictions are there."""
    return tuple(_COMPARISONS.get(task, {}))
