"""Token classification: entities in IOB2 tags, counted item by item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Column
from gradatim.metrics.interpret import answer, labelled, places_of
from gradatim.metrics.outputs import IGNORED, finite
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import DECISIONS, Floats, MetricSamples, absent, ratio_samples
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units

Entity = tuple[str, int, int]


def marks_entities(tags: Iterable[object]) -> bool:
    """Whether any tag of a list begins an entity or continues one, as IOB2 writes it."""
    return any(str(tag).partition("-")[0] in ("B", "I") for tag in tags)


def entities(tags: Sequence[str]) -> set[Entity]:
    """(type, start, end) of every entity in IOB2 tags; an ``I-`` that continues nothing opens an entity.

    That lenient reading is conlleval's, which published F1 figures use.
    """
    found: set[Entity] = set()
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        name = name or prefix
        if kind and (prefix != "I" or name != kind):
            found.add((kind, start, place))
            kind = ""
        if prefix == "B" or (prefix == "I" and not kind):
            kind, start = name, place
    return found


class TokenScorer:
    """The metrics of one model's tags.

    Raises:
        InvalidInput: no list of tags, an unknown tag, an item with fewer answers than labels.
    """

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, column = answer(task, predictions)
        truth = labelled(predictions)
        tags = task.labels or truth.names
        if not tags:
            raise InvalidInput(
                "Token classification needs the tags (`O`, `B-PER`, ...). List them under `task: labels:`."
            )
        self.tags = tuple(str(tag) for tag in tags)
        kinds = {tag.partition("-")[2] or tag for tag in self.tags if tag != "O"}
        self.labels: tuple[Label, ...] = tuple(sorted(kinds))
        finite(column.values, name)
        said = _best(column, name)
        said = Column(places_of(said, tuple(tags), f"the output `{name}`"), said.offsets)
        wanted = places_of(truth, tuple(tags), "the labels")
        truth = Column(wanted, truth.offsets)
        self.hits = np.zeros((len(predictions), len(self.labels)))
        self.claimed, self.actual = np.zeros_like(self.hits), np.zeros_like(self.hits)
        self.right_tokens, self.tokens = np.zeros(len(predictions)), np.zeros(len(predictions))
        for row in range(len(predictions)):
            self._count(row, said.item(row), truth.item(row), name)
        self._said, self._truth = said, truth

    def _count(self, row: int, said: NDArray[Any], truth: NDArray[Any], name: str) -> None:
        counted = truth != IGNORED
        if said.shape[0] < truth.shape[0]:
            if counted[said.shape[0] :].any():
                raise InvalidInput(
                    f"Row {row} of `{name}` tags {said.shape[0]} tokens; its labels have {truth.shape[0]}."
                )
            truth, counted = truth[: said.shape[0]], counted[: said.shape[0]]
        places, wanted = said[: truth.shape[0]][counted], truth[counted]
        self.right_tokens[row], self.tokens[row] = (places == wanted).sum(), wanted.shape[0]
        found = entities([self.tags[place] for place in places])
        real = entities([self.tags[place] for place in wanted])
        for table, members in ((self.hits, found & real), (self.claimed, found), (self.actual, real)):
            for kind, _, _ in members:
                table[row, self.labels.index(kind)] += 1

    def same_tags(self, other: TokenScorer) -> NDArray[np.bool_]:
        """Whether both models tagged every labelled token of an item alike, [n]."""
        same = np.zeros(self.tokens.shape[0], np.bool_)
        for row in range(same.shape[0]):
            counted = np.flatnonzero(self._truth.item(row) != IGNORED)
            mine, theirs = self._said.item(row)[counted], other._said.item(row)[counted]
            same[row] = [self.tags[tag] for tag in mine] == [other.tags[tag] for tag in theirs]
        return same

    def item_scores(self) -> NDArray[np.float32]:
        """Share of each item's tokens that are tagged right, [n]."""
        return np.asarray(self.right_tokens / np.maximum(self.tokens, 1), np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """True and right tokens by item, as an own metric gets them."""
        return self.tokens, self.right_tokens

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """One metric on some rows, of one entity type (a place in ``labels``) or of all."""
        if metric == "accuracy":
            reason = "there is no labelled token"
            return _ratio(metric, self.right_tokens[rows], self.tokens[rows], units, reason)
        chosen = slice(None) if place is None else slice(place, place + 1)
        hits, claimed, actual = (
            table[rows][:, chosen].sum(axis=1) for table in (self.hits, self.claimed, self.actual)
        )
        whose = "entity" if place is None else f"{self.labels[place]} entity"
        if not marks_entities(self.tags):
            return absent(
                metric, True, "none of the tags begins an entity, as `B-PER` does; `accuracy` counts tokens"
            )
        if metric == "recall":
            return _ratio(metric, hits, actual, units, f"the data hold no {whose}")
        if metric == "precision":
            return _ratio(metric, hits, claimed, units, f"no {whose} was predicted")
        if metric == "f1":
            both = actual + claimed
            reason = f"the data hold no {whose} and none was predicted"
            return _ratio(metric, 2 * hits, both, units, reason, positives=int(actual.sum()))
        return absent(metric, True, f"{metric} is not known for token classification")


def _ratio(metric: str, hits: Floats, of: Floats, units: Units, reason: str, **more: Any) -> MetricSamples:
    """A ratio of counts by item; at the most an item that weighs as much as the heaviest changes."""
    mean = float(of.mean()) if of.shape[0] else 0.0
    effect = float(of.max()) / mean if mean else 1.0
    return ratio_samples(metric, hits, of, units, True, reason, effect=effect, **DECISIONS, **more)


def _best(column: Column, name: str) -> Column:
    """Tags from scores [.., C] or from tags themselves."""
    if column.values.dtype.kind != "f":
        return column
    if column.values.ndim != (3 if column.offsets is None else 2):
        raise InvalidInput(
            f"Token classification needs scores [items, tokens, tags]; `{name}` is {list(column.values.shape)}."
        )
    return Column(np.asarray(column.values.argmax(axis=-1)), column.offsets)
