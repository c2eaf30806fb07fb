"""How much quality is lost under corruption: the same items at every severity, for every variant and the baseline."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.answers import CLEAN, Answers, asked
from gradatim.checks.check import Check
from gradatim.checks.corruption import Declared
from gradatim.data import Dataset
from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.files import replacing
from gradatim.gates.robustness import CorruptionScores, severity_bounds
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.embedding import EmbeddingScorer
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.task import Task
from gradatim.models import Predictor
from gradatim.perturb.catalogue import SEVERITIES
from gradatim.progress import Advance
from gradatim.signature import Signature

Scores = NDArray[np.float32]

_ALPHA = 0.025
"""Each end of an interval: together a two-sided 95 % interval."""


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
    for models_alike in asked(
        models,
        dataset,
        task,
        corruptions,
        most=most,
        batch=batch,
        seed=seed,
        declared=declared,
        reference=reference,
        advance=advance,
    ):
        rows = models_alike.rows
        part = score(tuple(models_alike.models), rows.items, rows.whole, task, corruptions, models_alike)
        found.scores |= part.scores
        found.checks |= part.checks
    return _in_order(found, models)


def score(
    names: Sequence[str],
    items: NDArray[np.int64],
    whole: bool,
    task: Task,
    corruptions: Sequence[str],
    answers: Answers,
) -> Stressed:
    """Score what models say, however it was come by.

    Args:
        names: of the models.
        items: int64 [n], the places of the items in the data set.
        whole: whether these are all of them.
        task: how an item is scored.
        corruptions: names of the catalogue.
        answers: asked for ``CLEAN`` at severity 0 first; of a corruption for a model only until it is of no use.

    Raises:
        InvalidInput: clean answers cannot be used.
    """
    found = Stressed()
    clean = {}
    for name, answered in answers(CLEAN, 0, names).items():
        if isinstance(answered, InvalidInput):
            raise answered
        clean[name] = Evaluation(task, answered)
    corrupted: dict[str, dict[str, Scores]] = {name: {} for name in names}
    for corruption in corruptions:
        columns: dict[str, list[Scores]] = {name: [] for name in names}
        broken: dict[str, str] = {}
        for severity in SEVERITIES:
            going = [name for name in names if name not in broken]
            for name, answered in answers(corruption, severity, going).items():
                try:
                    if isinstance(answered, InvalidInput):
                        raise answered
                    columns[name].append(_scores(Evaluation(task, answered), clean[name]))
                except InvalidInput as error:
                    broken[name] = f"at severity {severity}: {error}"
        for name, why in broken.items():
            check = Check("robustness", corruption, Verdict.FAIL, f"No usable answer {why}")
            found.checks.setdefault(name, []).append(check)
        for name in names:
            if name not in broken:
                corrupted[name][corruption] = np.stack(columns[name], axis=1)
    for name, evaluation in clean.items():
        found.scores[name] = Stress(
            items, evaluation.pairing, whole, _scores(evaluation, evaluation), corrupted[name]
        )
    return _in_order(found, names)


def _in_order(found: Stressed, names: Iterable[str]) -> Stressed:
    """In the order of the models, whichever of them were asked together."""
    return Stressed(
        {name: found.scores[name] for name in names if name in found.scores},
        {name: found.checks[name] for name in names if name in found.checks},
    )


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
