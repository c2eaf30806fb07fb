"""What models answer to the same items, clean and under corruptions: from the models themselves, part by part if need be."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.checks.corruption import Corruptor, Declared
from gradatim.checks.robustness_scores import CLEAN, LeftOut
from gradatim.checks.sampled import SampledRows, joined, sample
from gradatim.data import Batch, Dataset
from gradatim.errors import InvalidInput
from gradatim.metrics.outputs import reduce_batch, reduce_labels
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import Predictor, encoded
from gradatim.models.predictor import ModelEnded
from gradatim.perturb.catalogue import SEVERITIES
from gradatim.progress import Advance
from gradatim.signature import Signature

if TYPE_CHECKING:
    from gradatim.shard import Shard


@dataclass(frozen=True)
class Study:
    """Which items are scored, under which corruptions.

    What is random depends on (item, corruption, severity, seed) alone, so that scores depend neither on the batch
    size nor on which models are asked together.

    Attributes:
        dataset: the evaluation data as a model takes them, by its name and signature.
        tasks: how a model's answers are read, by its name, and how an item is scored: its scorer's ``item_scores``; for
            embeddings without labels, the cosine to the clean vector.
        corruptions: names of the catalogue.
        most: at most so many items.
        batch: items per call.
        declared: what the contract says of the items.
        reference: data that show how a table's features are spread, likewise; None takes the evaluation data.
        feeding: how the data become a model's inputs, by its name: models that are fed alike are asked together.
        until: when, by the monotonic clock, no further severity is begun; the clean items are always done.
        advance: told of the items done: items x models x (1 + 5 x corruptions) in all.
    """

    dataset: Callable[[str, Signature], Dataset]
    tasks: Callable[[str], Task]
    corruptions: Sequence[str]
    most: int
    batch: int
    seed: int = 0
    declared: Declared = field(default_factory=Declared)
    reference: Callable[[str, Signature], Dataset | None] = lambda name, signature: None
    feeding: Callable[[str], Hashable] = lambda name: None
    until: float = math.inf
    advance: Advance = lambda amount=1, note="": None


@dataclass(frozen=True)
class Asked:
    """Models that take the same inputs, and the rows that they are asked: each corrupted batch is made once for all."""

    models: Mapping[str, Predictor]
    study: Study
    data: Dataset
    rows: SampledRows
    corruptor: Corruptor

    def __call__(
        self, corruption: str, severity: int, names: Collection[str]
    ) -> dict[str, Predictions | InvalidInput]:
        models = {name: model for name, model in self.models.items() if name in names}
        if not models:
            return {}
        if corruption == CLEAN:
            return _answered(models, map(self.data.prepare, self.rows), self.study, CLEAN)
        if time.monotonic() >= self.study.until:
            return {name: LeftOut() for name in models}
        bent = (self.corruptor.apply(corruption, severity, raw) for raw in self.rows)
        return _answered(models, bent, self.study, f"{corruption}:{severity}")


def asked(models: Mapping[str, Predictor], study: Study, shard: Shard | None = None) -> Iterator[Asked]:
    """Models by what they take, each group ready to be asked.

    Args:
        models: by name, each taking any number of items.
        shard: ask just this part of the items.

    Raises:
        UsageError: a corruption that is not for such data.
        InvalidInput: the data cannot be used.
    """
    for alike in _fed_alike(models, study):
        first = next(iter(alike))
        signature = alike[first].signature
        data = study.dataset(first, signature)
        rows = SampledRows(data, sample(len(data), study.most, study.seed), study.batch, shard)
        spread = functools.partial(study.reference, first, signature)
        corruptor = Corruptor(data, rows.example(), signature, study.declared, study.seed, spread)
        for corruption in study.corruptions:
            corruptor.check(corruption)
        yield Asked(alike, study, data, rows, corruptor)


def answers_of(group: Asked) -> Iterator[tuple[str, str, int, Predictions | InvalidInput]]:
    """All that one group says: name, corruption, severity and answers, as ``robustness_scores.score`` will ask for them.

    A model that cannot answer is asked no further: at no severity of that corruption, or not at all when it cannot
    answer without any.
    """
    going = set(group.models)
    for name, answered in group(CLEAN, 0, going).items():
        going -= {name} if isinstance(answered, InvalidInput) else set()
        yield name, CLEAN, 0, answered
    for corruption in group.study.corruptions:
        able = set(going)
        for severity in SEVERITIES:
            for name, answered in group(corruption, severity, able).items():
                able -= {name} if isinstance(answered, InvalidInput) else set()
                yield name, corruption, severity, answered


def _answered(
    models: Mapping[str, Predictor], batches: Iterable[Batch], study: Study, note: str
) -> dict[str, Predictions | InvalidInput]:
    """What each model says to the same batches, or why it cannot."""
    kept: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    broken: dict[str, InvalidInput] = {}
    seen: list[Batch] = []
    for batch in batches:
        for name, model in models.items():
            if name not in broken:
                try:
                    fed = encoded(model, batch.inputs)
                    kept[name].append(reduce_batch(study.tasks(name), model(fed), fed, batch.labels))
                except ModelEnded as ended:
                    broken[name] = ended.among(batch.items, f"the evaluation data under {note}")
                except InvalidInput as error:
                    broken[name] = error
            study.advance(len(batch), note)
        truth = reduce_labels(study.tasks(next(iter(models))), batch.labels)
        seen.append(Batch(batch.items, {}, truth, {}, batch.groups))
    labels = None if seen[0].labels is None else joined([batch.labels for batch in seen])
    groups = (
        None if seen[0].groups is None else np.concatenate([b.groups for b in seen if b.groups is not None])
    )
    items = np.concatenate([batch.items for batch in seen])
    return {
        name: broken.get(name)
        or Predictions.of(
            {o: joined([part[o] for part in kept[name]]) for o in kept[name][0]}, labels, None, groups, items
        )
        for name in models
    }


def _fed_alike(models: Mapping[str, Predictor], study: Study) -> list[dict[str, Predictor]]:
    """Models grouped by what they take, and how the data become that."""
    groups: dict[Hashable, dict[str, Predictor]] = {}
    for name, model in models.items():
        groups.setdefault((model.signature.inputs, study.feeding(name)), {})[name] = model
    return list(groups.values())
