"""How good each item's answers are, clean and corrupted: scored, told as measurements, kept for the gates."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.workspace import Workspace
from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.found import Check
from gradatim.files import replacing
from gradatim.gates.case import CorruptionScores
from gradatim.gates.robustness import losses, severity_bounds
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.common import evaluate_known
from gradatim.metrics.embedding import EmbeddingScorer
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.perturb.catalogue import SEVERITIES

CLEAN = "clean"
"""Where a corruption is named and there is none."""

Answers = Callable[[str, int, Collection[str]], Mapping[str, Predictions | InvalidInput]]
"""What models say to all items under a corruption at a severity, or why they cannot: by the name of each one asked."""


LEFT_OUT = "the time that `test.budget` allows was over"


class LeftOut(InvalidInput):
    """A corruption that there was no time for: no fault of the model's."""

    def __init__(self) -> None:
        super().__init__(LEFT_OUT)


Scores = NDArray[np.float32]

_ALPHA = 0.025
"""Each end of an interval: together a two-sided 95 % interval."""


@dataclass(frozen=True)
class ItemScores:
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
class Robustness:
    """What was found of some models.

    Attributes:
        scores: by model.
        checks: by model, one for every corruption under which it gave no usable answer.
    """

    scores: dict[str, ItemScores] = field(default_factory=dict)
    checks: dict[str, list[Check]] = field(default_factory=dict)

    def done(self, corruptions: Iterable[str]) -> tuple[str, ...]:
        """The corruptions that there was time for; none where no model was asked."""
        missed = {c.name for own in self.checks.values() for c in own if LEFT_OUT in c.detail}
        return tuple(name for name in corruptions if name not in missed) if self.scores else ()

    def in_order(self, names: Iterable[str]) -> Robustness:
        """In the order of the models, whichever of them were asked together."""
        return Robustness(
            {name: self.scores[name] for name in names if name in self.scores},
            {name: self.checks[name] for name in names if name in self.checks},
        )


def score(
    names: Sequence[str],
    items: NDArray[np.int64],
    whole: bool,
    tasks: Callable[[str], Task],
    corruptions: Sequence[str],
    answers: Answers,
) -> Robustness:
    """Score what models say, however it was come by.

    Args:
        names: of the models.
        items: int64 [n], the places of the items in the data set.
        whole: whether these are all of them.
        tasks: how the answers of a model are read and scored, by its name.
        corruptions: names of the catalogue.
        answers: asked for ``CLEAN`` at severity 0 first; of a corruption for a model only until it is of no use.

    Raises:
        InvalidInput: clean answers cannot be used.
    """
    found = Robustness()
    clean = {}
    for name, answered in answers(CLEAN, 0, names).items():
        if isinstance(answered, InvalidInput):
            raise answered
        clean[name] = _Read.of(tasks(name), answered, tasks)
    corrupted: dict[str, dict[str, Scores]] = {name: {} for name in names}
    for corruption in corruptions:
        columns: dict[str, list[Scores]] = {name: [] for name in names}
        broken: dict[str, Check] = {}
        for severity in SEVERITIES:
            going = [name for name in names if name not in broken]
            for name, answered in answers(corruption, severity, going).items():
                try:
                    if isinstance(answered, InvalidInput):
                        raise answered
                    columns[name].append(_Read.of(tasks(name), answered, tasks).scores(clean[name]))
                except InvalidInput as error:
                    broken[name] = _without(corruption, severity, error)
        for name, check in broken.items():
            found.checks.setdefault(name, []).append(check)
        for name in names:
            if name not in broken:
                corrupted[name][corruption] = np.stack(columns[name], axis=1)
    for name, evaluation in clean.items():
        found.scores[name] = ItemScores(
            items, evaluation.pairing, whole, evaluation.scores(evaluation), corrupted[name]
        )
    return found.in_order(names)


def _without(corruption: str, severity: int, error: InvalidInput) -> Check:
    """Why a corruption has no scores: the model's fault, or nobody's."""
    if isinstance(error, LeftOut):
        return Check("robustness", corruption, Verdict.PASS, f"Left out: {error}.")
    why = f"No usable answer at severity {severity}: {error}"
    return Check("robustness", corruption, Verdict.FAIL, why)


@dataclass(frozen=True)
class _Read:
    """A model's answers, read.

    Attributes:
        evaluation: of the items whose labels it knows.
        rows: which these are among all, int64 [k]; None where it knows every label.
        n: how many there are in all.
        pairing: digest of all of them.
    """

    evaluation: Evaluation
    rows: NDArray[np.int64] | None
    n: int
    pairing: str

    @classmethod
    def of(cls, task: Task, answered: Predictions, tasks: Callable[[str], Task]) -> _Read:
        evaluation, rows = evaluate_known(task, answered, tasks(ORIGINAL).labels)
        return cls(evaluation, rows, len(answered), answered.digest_of_items())

    def scores(self, clean: _Read) -> Scores:
        """The quality of every item, NaN where the model does not know its label, float32 [n]."""
        found = _scores(self.evaluation, clean.evaluation)
        if self.rows is None:
            return found
        every = np.full(self.n, np.nan, np.float32)
        every[self.rows] = found
        return every


def _scores(evaluation: Evaluation, clean: Evaluation) -> Scores:
    mine, theirs = evaluation.scorer, clean.scorer
    if isinstance(mine, EmbeddingScorer) and isinstance(theirs, EmbeddingScorer) and mine.truth is None:
        return np.asarray(mine.cosines(theirs, np.arange(len(evaluation))), np.float32)
    return evaluation.scorer.item_scores()


def measurements(variant: str, found: ItemScores) -> list[Measurement]:
    """``robustness`` of one model: at ``corruption`` its mean over severities, at ``corruption:3`` one severity.

    ``corruption:0`` is the same items without corruption. Intervals are two-sided 95 %: exact for right or wrong,
    Student's t otherwise.
    """
    told = []
    for corruption, scores in found.corrupted.items():
        mean = scores.astype(np.float64).mean(axis=1, keepdims=True)
        told.append(_measured(variant, corruption, mean))
        told.append(_measured(variant, f"{corruption}:0", found.clean[:, None]))
        for place, severity in enumerate(SEVERITIES):
            told.append(_measured(variant, f"{corruption}:{severity}", scores[:, place : place + 1]))
    return told


def losses_in_words(mine: ItemScores, theirs: ItemScores) -> tuple[str, ...]:
    """The corruptions under which a model is proven worse than another, each at its worst severity; gated or not."""
    told = []
    shared = (
        [name for name in mine.corrupted if name in theirs.corrupted] if mine.digest == theirs.digest else []
    )
    for corruption in shared:
        new, old = mine.corrupted[corruption], theirs.corrupted[corruption]
        if worse := losses(new, old, 0.05 / len(shared)):
            severity = min(worse, key=lambda at: float(np.nanmean(new[:, at - 1] - old[:, at - 1])))
            before, after = (float(np.nanmean(scores[:, severity - 1])) for scores in (old, new))
            share = all(0 <= value <= 1 for value in (before, after))
            values = (
                f"{100 * before:.1f} % -> {100 * after:.1f} %" if share else f"{before:.3g} -> {after:.3g}"
            )
            told.append(f"{corruption} at severity {severity} ({values})")
    return tuple(told)


def save_scores(workspace: Workspace, variant: str, found: ItemScores) -> Path:
    """Keep one model's scores in the workspace for the gates; gives the file."""
    path = workspace.scores(variant)
    arrays = {f"corruption/{name}": scores for name, scores in found.corrupted.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            items=found.items,
            clean=found.clean,
            digest=np.array(found.digest),
            whole=np.array(found.whole),
            **arrays,
        )
    return path


def read_scores(workspace: Workspace, variant: str) -> ItemScores | None:
    """What ``save_scores`` kept; None when there is nothing.

    Raises:
        BrokenEvidence: the file is broken.
    """
    path = workspace.scores(variant)
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [name for name in archive.files if name.startswith("corruption/")]
            return ItemScores(
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


def load_scores(workspace: Workspace, variant: str, baseline: str | None) -> list[CorruptionScores]:
    """What the gates judge robustness on: a variant's scores beside the baseline's on the same items.

    Args:
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
    column = column[~np.isnan(column[:, 0])]
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
