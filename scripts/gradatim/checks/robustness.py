"""How much quality is lost under corruption: the same items at every severity, for every variant and the baseline."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.check import Check
from gradatim.checks.corruption import Corruptor, Declared, rows_of
from gradatim.data import Batch, Dataset
from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.files import replacing
from gradatim.gates.robustness import CorruptionScores, severity_bounds
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.embedding import EmbeddingScorer
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.interpret import reduce_batch
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import Predictor
from gradatim.perturb.catalogue import SEVERITIES
from gradatim.progress import Advance
from gradatim.signature import Signature, TensorSpec

Scores = NDArray[np.float32]

_ALPHA = 0.025
"""Each end of an interval: together a two-sided 95 % interval."""

_HELD_BYTES = 256 << 20
"""Sampled rows are kept in memory up to this; more are read again for every severity."""

_BLOCK_BYTES = 32 << 20
_EXAMPLE = 256
"""Rows that tell what the items are and on which scale."""


@dataclass(frozen=True)
class Stress:
    """The quality of every item for one model, more is better.

    Attributes:
        items: int64 [n], the items' places in the data set.
        digest: of the items and their labels: equal digests can be paired.
        whole: whether these are all items of the data set.
        clean: float32 [n], without corruption.
        corrupted: float32 [n, 5] by corruption, severity 1 to 5.
    """

    items: NDArray[np.int64]
    digest: str
    whole: bool
    clean: Scores
    corrupted: Mapping[str, Scores]


@dataclass
class Stressed:
    """What ``stress`` found.

    Attributes:
        scores: by model.
        checks: by model, one for every corruption under which it gave no usable answer.
    """

    scores: dict[str, Stress] = field(default_factory=dict)
    checks: dict[str, list[Check]] = field(default_factory=dict)


def sample(total: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many places of a data set, drawn without replacement, rising: int64 [n]."""
    if most >= total:
        return np.arange(total, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(total, most, replace=False)).astype(np.int64)


def stress(
    models: Mapping[str, Predictor],
    dataset: Callable[[Signature], Dataset],
    task: Task,
    corruptions: Sequence[str],
    *,
    most: int,
    batch: int,
    seed: int = 0,
    declared: Declared | None = None,
    reference: Callable[[Signature], Dataset | None] = lambda signature: None,
    advance: Advance = lambda amount=1, note="": None,
) -> Stressed:
    """Score models on the same items, clean and under every corruption at severity 1 to 5.

    What is random depends on (item, corruption, severity, seed) alone, so that scores depend neither on the batch
    size nor on which models run together. Models that take the same inputs share each perturbed batch.

    Args:
        models: by name, each taking any number of items.
        dataset: the evaluation data, fed as a model's signature wants.
        task: how an item is scored: ``item_scores``; for embeddings without labels, the cosine to the clean vector.
        corruptions: names of the catalogue.
        most: at most so many items.
        batch: items per call.
        declared: what the contract says of the items.
        reference: data that show how a table's features are spread; None takes the evaluation data.
        advance: told of the items done: items x models x (1 + 5 x corruptions) in all.

    Raises:
        UsageError: a corruption that is not for such data.
        InvalidInput: the data or the clean answers cannot be used.
    """
    found = Stressed()
    for alike in _by_inputs(models):
        signature = next(iter(alike.values())).signature
        data = dataset(signature)
        items = sample(len(data), most, seed)
        rows = _Rows(data, items, batch)
        spread = functools.partial(reference, signature)
        corruptor = Corruptor(data, rows.example(), signature, declared=declared, seed=seed, reference=spread)
        for corruption in corruptions:
            corruptor.check(corruption)
        _stress_alike(found, alike, data, rows, corruptor, task, corruptions, advance)
    return found


def _stress_alike(
    found: Stressed,
    models: Mapping[str, Predictor],
    data: Dataset,
    rows: _Rows,
    corruptor: Corruptor,
    task: Task,
    corruptions: Sequence[str],
    advance: Advance,
) -> None:
    clean = {}
    for name, answered in _answered(models, map(data.prepare, rows), task, advance, "clean").items():
        if isinstance(answered, InvalidInput):
            raise answered
        clean[name] = Evaluation(task, answered)
    corrupted: dict[str, dict[str, Scores]] = {name: {} for name in models}
    for corruption in corruptions:
        columns: dict[str, list[Scores]] = {name: [] for name in models}
        broken: dict[str, str] = {}
        for severity in SEVERITIES:
            bent = (corruptor.apply(corruption, severity, raw) for raw in rows)
            going = {name: model for name, model in models.items() if name not in broken}
            for name, answered in _answered(going, bent, task, advance, f"{corruption}:{severity}").items():
                try:
                    if isinstance(answered, InvalidInput):
                        raise answered
                    columns[name].append(_scores(Evaluation(task, answered), clean[name]))
                except InvalidInput as error:
                    broken[name] = f"at severity {severity}: {error}"
        for name, why in broken.items():
            check = Check("robustness", corruption, Verdict.FAIL, f"No usable answer {why}")
            found.checks.setdefault(name, []).append(check)
        for name in models.keys() - broken.keys():
            corrupted[name][corruption] = np.stack(columns[name], axis=1)
    for name, evaluation in clean.items():
        found.scores[name] = Stress(
            rows.items, evaluation.pairing, rows.whole, _scores(evaluation, evaluation), corrupted[name]
        )


def _answered(
    models: Mapping[str, Predictor], batches: Iterable[Batch], task: Task, advance: Advance, note: str
) -> dict[str, Predictions | InvalidInput]:
    """What each model says to the same batches, or why it cannot."""
    kept: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    broken: dict[str, InvalidInput] = {}
    seen: list[Batch] = []
    for batch in batches:
        for name, model in models.items():
            if name not in broken:
                try:
                    kept[name].append(reduce_batch(task, model(batch.inputs), batch.inputs, batch.labels))
                except InvalidInput as error:
                    broken[name] = error
            advance(len(batch), note)
        seen.append(Batch(batch.items, {}, batch.labels, {}, batch.groups))
    labels = None if seen[0].labels is None else _joined([batch.labels for batch in seen])
    groups = (
        None if seen[0].groups is None else np.concatenate([b.groups for b in seen if b.groups is not None])
    )
    items = np.concatenate([batch.items for batch in seen])
    return {
        name: broken.get(name)
        or Predictions.of(
            {o: _joined([part[o] for part in kept[name]]) for o in kept[name][0]}, labels, None, groups, items
        )
        for name in models
    }


def _scores(evaluation: Evaluation, clean: Evaluation) -> Scores:
    mine, theirs = evaluation.scorer, clean.scorer
    if isinstance(mine, EmbeddingScorer) and isinstance(theirs, EmbeddingScorer) and mine.truth is None:
        dots = np.einsum(
            "ij,ij->i", np.asarray(mine.vectors, np.float64), np.asarray(theirs.vectors, np.float64)
        )
        return np.asarray(np.minimum(dots / (mine.lengths * theirs.lengths), 1.0), np.float32)
    return evaluation.scorer.item_scores()


def measurements(variant: str, stressed: Stress) -> list[Measurement]:
    """``robustness`` of one model: at ``corruption`` its mean over severities, at ``corruption:3`` one severity.

    ``corruption:0`` is the same items without corruption. Intervals are two-sided 95 %: exact for right or wrong,
    Student's t otherwise.
    """
    found = []
    for corruption, scores in stressed.corrupted.items():
        mean = scores.astype(np.float64).mean(axis=1, keepdims=True)
        found.append(_measured(variant, corruption, mean))
        found.append(_measured(variant, f"{corruption}:0", stressed.clean[:, None]))
        for place, severity in enumerate(SEVERITIES):
            found.append(_measured(variant, f"{corruption}:{severity}", scores[:, place : place + 1]))
    return found


def save_scores(workspace: Path, variant: str, stressed: Stress) -> Path:
    """Keep one model's scores in the workspace for the gates; gives the file."""
    path = _path(workspace, variant)
    arrays = {f"corruption/{name}": scores for name, scores in stressed.corrupted.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            items=stressed.items,
            clean=stressed.clean,
            digest=np.array(stressed.digest),
            whole=np.array(stressed.whole),
            **arrays,
        )
    return path


def read_scores(workspace: Path, variant: str) -> Stress | None:
    """What ``save_scores`` kept; None when there is nothing.

    Raises:
        BrokenEvidence: the file is broken.
    """
    path = _path(workspace, variant)
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [name for name in archive.files if name.startswith("corruption/")]
            return Stress(
                archive["items"],
                str(archive["digest"]),
                bool(archive["whole"]),
                archive["clean"],
                {name.removeprefix("corruption/"): archive[name] for name in names},
            )
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BrokenEvidence(
            f"{path} does not hold robustness scores: {error}. Run: gradatim test --force"
        ) from error


def load_scores(workspace: Path, variant: str, baseline: str | None) -> list[CorruptionScores]:
    """What the gates judge robustness on: a variant's scores beside the baseline's on the same items.

    Args:
        workspace: the folder ``.gradatim``.
        variant: whose scores.
        baseline: the name under which the baseline was scored; None when nothing was released before.

    Returns:
        One for each corruption that the variant was scored under; none at all when robustness was not tested.

    Raises:
        BrokenEvidence: a file is broken, or candidate and baseline were scored on different items.
    """
    mine = read_scores(workspace, variant)
    if mine is None:
        return []
    theirs = read_scores(workspace, baseline) if baseline is not None else None
    if theirs is not None and theirs.digest != mine.digest:
        raise BrokenEvidence(
            f"The robustness of {variant} and of the baseline was measured on different items. Run: gradatim test --force"
        )
    return [
        CorruptionScores(
            corruption,
            SEVERITIES,
            scores,
            theirs.corrupted.get(corruption) if theirs else None,
            mine.digest if mine.whole else "",
        )
        for corruption, scores in mine.corrupted.items()
    ]


def _measured(variant: str, where: str, scores: NDArray[Any]) -> Measurement:
    column = np.asarray(scores, np.float64)
    bounds = severity_bounds(column, _ALPHA)[0]
    binary = bool(((column == 0) | (column == 1)).all())
    return Measurement(
        "robustness",
        variant,
        float(column.mean()),
        n=len(column),
        low=None if bounds is None else bounds[0],
        high=None if bounds is None else bounds[1],
        where=where,
        successes=int(column.sum()) if binary else None,
    )


def _path(workspace: Path, variant: str) -> Path:
    return workspace / "predictions" / "robustness" / f"{variant}.npz"


def _by_inputs(models: Mapping[str, Predictor]) -> list[dict[str, Predictor]]:
    """Models grouped by what they take."""
    groups: dict[tuple[TensorSpec, ...], dict[str, Predictor]] = {}
    for name, model in models.items():
        groups.setdefault(model.signature.inputs, {})[name] = model
    return list(groups.values())


class _Rows:
    """The sampled raw rows, in batches; held in memory while they fit, else read again in each pass."""

    def __init__(self, dataset: Dataset, items: NDArray[np.int64], batch: int) -> None:
        self.items = items
        self.whole = len(items) == len(dataset)
        self._dataset = dataset
        self._batch = batch
        self._block = self._rows_to_read(batch)
        self._held: list[Batch] | None = self._hold()

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._held) if self._held is not None else self._read()

    def example(self) -> Batch:
        """The first rows, as long as their shapes agree: the same ones whatever the batch size."""
        block = self._rows_to_read(_EXAMPLE)
        parts: list[Batch] = []
        for part in rows_of(self._dataset, self.items[:_EXAMPLE], block):
            if parts and any(part.inputs[n].shape[1:] != v.shape[1:] for n, v in parts[0].inputs.items()):
                break
            parts.append(part)
        joined = {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs}
        labels = None if parts[0].labels is None else _joined([part.labels for part in parts])
        return Batch(np.concatenate([part.items for part in parts]), joined, labels)

    def _rows_to_read(self, wanted: int) -> int:
        """Rows to read at once for so many of the sampled ones."""
        spread = wanted * len(self._dataset) // max(len(self.items), 1)
        one = sum(_bytes(a) for a in next(self._dataset.raw_batches(1)).inputs.values())
        return max(wanted, min(spread, _BLOCK_BYTES // max(one, 1)))

    def _read(self) -> Iterator[Batch]:
        for block in rows_of(self._dataset, self.items, self._block):
            for start in range(0, len(block), self._batch):
                yield block.rows(slice(start, start + self._batch))

    def _hold(self) -> list[Batch] | None:
        held, size = [], 0
        for batch in self._read():
            size += sum(_bytes(array) for array in batch.inputs.values())
            if size > _HELD_BYTES:
                return None
            held.append(batch)
        return held


def _bytes(array: NDArray[Any]) -> int:
    if array.dtype != object:
        return array.nbytes
    return sum(value.nbytes if isinstance(value, np.ndarray) else len(str(value)) for value in array)


def _joined(parts: Sequence[Any]) -> Any:
    """One column out of its parts: an array, or a list of arrays where rows differ in length."""
    even = all(isinstance(part, np.ndarray) and part.dtype != object for part in parts)
    if even and len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    if all(isinstance(part, np.ndarray) and part.ndim == 1 and not _has_arrays(part) for part in parts):
        return np.concatenate(parts)
    return [np.asarray(row) for part in parts for row in part]


def _has_arrays(part: NDArray[Any]) -> bool:
    return part.dtype == object and len(part) > 0 and isinstance(part[0], np.ndarray)
