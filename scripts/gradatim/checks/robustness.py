"""The robustness of a release: its variants and the baseline under corruption, in one go or shared out among jobs."""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.candidate.sharding import Part, begin, left, merged
from gradatim.checks.answers import Asked, Study, answers_of, asked
from gradatim.checks.corruption import Declared
from gradatim.checks.robustness_scores import LEFT_OUT, Answers, LeftOut, Robustness, score
from gradatim.checks.sampled import sample
from gradatim.data import Dataset
from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.predictions_writer import PredictionsWriter
from gradatim.models import Predictor
from gradatim.perturb.catalogue import SEVERITIES
from gradatim.progress import Advance
from gradatim.signature import Signature

if TYPE_CHECKING:
    from gradatim.shard import Shard


def robustness(
    candidate: Candidate, models: Mapping[str, Path], shards: Sequence[Part], advance: Advance
) -> Robustness:
    """Score models under the contract's corruptions; nothing where it names none, or there is no model.

    Args:
        models: the model's file or folder by name.
        shards: what jobs left that shared the rows; without them the models are asked here.
        advance: told of the items done: ``work`` in all.
    """
    if not models or not candidate.contract.parts.can_share("test"):
        return Robustness()
    if not shards:
        with _opened(candidate, models) as opened:
            return score_models(opened, study_of(candidate, advance))
    items, total = _items(candidate)
    with tempfile.TemporaryDirectory(prefix=".merging.", dir=candidate.workspace.folder) as folder:
        answers = _merging(shards, items, Path(folder), advance)
        corruptions = candidate.contract.parts.test.robustness
        return score(tuple(models), items, len(items) == total, candidate.task_of, corruptions, answers)


def score_models(models: Mapping[str, Predictor], study: Study) -> Robustness:
    """Score models on the same items, clean and under every corruption at severity 1 to 5.

    Raises:
        UsageError: a corruption that is not for such data.
        InvalidInput: the data or the clean answers cannot be used.
    """
    found = Robustness()
    for group in asked(models, study):
        items, whole = group.rows.items, group.rows.whole
        part = score(tuple(group.models), items, whole, study.tasks, study.corruptions, group)
        found.scores |= part.scores
        found.checks |= part.checks
    return found.in_order(models)


def robustness_shard(candidate: Candidate, shard: Shard) -> Outcome:
    """Ask every variant and the baseline one part of the items, clean and corrupted; leave the answers to be merged."""
    models = {variant.name: variant.path for variant in candidate.forms.all}
    baseline = candidate.replaced.path
    models |= {BASELINE: baseline} if baseline else {}
    items, _ = _items(candidate)
    rows = shard.rows(len(items), candidate.contract.parts.data.batch)
    folder = begin(candidate, "test", shard)
    broken: dict[str, str] = {}
    everything = work(candidate, len(models)) * len(rows) // len(items)
    with candidate.progress.task("test", everything) as advance, _opened(candidate, models) as opened:
        for group in asked(opened, study_of(candidate, advance), shard):
            broken |= _kept(group, folder)
    return left(candidate, shard, folder, rows.start, len(rows), len(items), broken=broken)


def work(candidate: Candidate, models: int) -> int:
    """Parts of the work: one for each item, model and severity."""
    if not candidate.contract.parts.can_share("test"):
        return 0
    return (
        len(_items(candidate)[0])
        * models
        * (1 + len(SEVERITIES) * len(candidate.contract.parts.test.robustness))
    )


def _kept(group: Asked, folder: Path) -> dict[str, str]:
    """Write what models say; returns what went wrong where one cannot answer."""
    broken = {}
    for name, corruption, severity, answered in answers_of(group) if len(group.rows.mine()) else ():
        where = _where(name, corruption, severity)
        if isinstance(answered, InvalidInput):
            broken[where] = str(answered)
            continue
        with PredictionsWriter(folder / where) as writer:
            writer.extend(answered)
    return broken


def _merging(shards: Sequence[Part], items: NDArray[np.int64], folder: Path, advance: Advance) -> Answers:
    """The answers of all shards as those of one walk; the first that went wrong is what a walk would have met."""
    broken: dict[str, str] = {}
    for part in reversed(shards):
        if part.broken is None:
            raise BrokenEvidence(
                f"Shard {part.shard} of `test` does not say which answers failed. Run it again."
            )
        broken |= part.broken

    def answers(
        corruption: str, severity: int, names: Collection[str]
    ) -> dict[str, Predictions | InvalidInput]:
        found: dict[str, Predictions | InvalidInput] = {}
        for name in names:
            where = _where(name, corruption, severity)
            if broken.get(where) == LEFT_OUT:
                found[name] = LeftOut()
            elif where in broken:
                found[name] = InvalidInput(broken[where])
            else:
                found[name] = merged("test", shards, where, folder / where, items)
            advance(len(items), f"{corruption}:{severity}")
        return found

    return answers


def _where(name: str, corruption: str, severity: int) -> str:
    """Where a shard keeps a model's answers."""
    return f"{name}/{corruption}-{severity}"


def _items(candidate: Candidate) -> tuple[NDArray[np.int64], int]:
    """The places in the evaluation data of the items that are corrupted, and how many there are in all."""
    settings = candidate.contract.parts.test
    total = len(candidate.rows.dataset("evaluation", None))
    return sample(total, settings.items, settings.seed), total


def study_of(candidate: Candidate, advance: Advance = lambda amount=1, note="": None) -> Study:
    """What the contract says."""
    settings = candidate.contract.parts.test
    low, high = settings.range or (None, None)
    return Study(
        lambda name, signature: candidate.rows_of(name).dataset("evaluation", signature),
        functools.cache(candidate.task_of),
        settings.robustness,
        settings.items,
        candidate.contract.parts.data.batch,
        settings.seed,
        Declared(settings.modality, low, high),
        lambda name, signature: _calibration(candidate, name, signature),
        lambda name: repr(candidate.rows_of(name).feeding("evaluation")),
        time.monotonic() + (math.inf if settings.budget is None else settings.budget),
        advance,
    )


def _calibration(candidate: Candidate, name: str, signature: Signature) -> Dataset | None:
    if candidate.contract.data_set("calibration") is None:
        return None
    return candidate.rows_of(name).dataset("calibration", signature)


@contextlib.contextmanager
def _opened(candidate: Candidate, models: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(candidate.model_of(name).open(path)) for name, path in models.items()
        }
