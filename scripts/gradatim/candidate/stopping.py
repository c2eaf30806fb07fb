"""Evaluation in an order of the candidate's own, until its gates are decided: looked at more and more rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.replaced import BASELINE
from gradatim.candidate.uses import reuse_counted
from gradatim.evidence.found import CountedUse
from gradatim.files import digest_of
from gradatim.gates.rule import Rule
from gradatim.metrics import catalogue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradatim.data import Dataset
    from gradatim.metrics.evaluation import Evaluation
    from gradatim.metrics.predictions import Predictions

_FIRST = 64
"""Rows before the first look; each later look comes after a quarter more, for every look opens the models anew."""


def stopping_rules(candidate: Candidate) -> tuple[Rule, ...]:
    """The gates on rows of the evaluation data, of all stages, where every one of them is sequential; else nothing."""
    on_rows = rules_on_rows(candidate)
    return on_rows if all(rule.sequential for rule in on_rows) else ()


def rules_on_rows(candidate: Candidate) -> tuple[Rule, ...]:
    """The gates on rows of the evaluation data, of all stages."""
    task = candidate.contract.parts.task
    if task is None:
        return ()
    kinds = {
        rule: catalogue.find(rule.metric, task.type, task.own) for rule in candidate.contract.all_rules()
    }
    on_rows = ("quality", "comparison", "own")
    return tuple(rule for rule, found in kinds.items() if found and found.kind in on_rows)


def looks(candidate: Candidate, rows: int) -> Iterator[NDArray[np.int64]]:
    """The rows up to each look that are new there: places in the data set, int64 [k], in an order that the bytes of the candidate
    draw, so that nobody picks it."""
    import numpy as np

    digest = digest_of(candidate.forms.original.manifest.digest).rpartition(":")[2]
    order = np.random.default_rng(int(digest[:16], 16)).permutation(rows)
    start, stop = 0, _FIRST
    while start < rows:
        yield order[start:stop]
        start, stop = stop, stop + max(1, stop // 4)


def awaited(rules: tuple[Rule, ...], dataset: Dataset) -> dict[str, frozenset[str]]:
    """The values of each column that rules slice by, of all rows: none may be left unseen, however rare it is."""
    from gradatim.metrics.evaluation import CLASS

    named = {rule.slices for rule in rules} - {None}
    columns = set(dataset.slices) if named & {"every", *dataset.slices} else set()
    found = {column: frozenset(map(str, dataset.slice_values(column))) for column in sorted(columns)}
    if CLASS in named - columns or ("every" in named and not columns):
        found[CLASS] = frozenset(map(str, dataset.classes()))
    return found


def decided(
    candidate: Candidate,
    rules: tuple[Rule, ...],
    wanted: Mapping[str, frozenset[str]],
    offered: int,
    use: CountedUse | None,
) -> bool:
    """Whether every gate is decided, on every form of the candidate, by the rows that are predicted so far.

    Args:
        wanted: the values of columns that the rows so far must have shown.
    """
    from gradatim.gates.case import Case
    from gradatim.gates.judge import settled

    base, forms = candidate.replaced.release, candidate.forms.all
    for form in forms:
        mine, baseline = evaluations(candidate, form.name)
        if any(not values <= set(mine.values_of(column)) for column, values in wanted.items()):
            return False
        case = Case(
            form.name, candidate=mine, baseline=baseline, first_release=base is None, forms=len(forms), offered=offered,
            reuse=reuse_counted(candidate, use),
        )  # fmt: skip
        if not settled(rules, case):
            return False
    return True


def evaluations(candidate: Candidate, name: str) -> tuple[Evaluation, Evaluation | None]:
    """A form's answers, in the order of the data, beside the release's; beside the original's, for likeness, where nothing was
    released before. The original with the other candidates of its recipe, where there are any."""
    from gradatim.metrics.population import Population

    found, baseline = _evaluated(candidate, name)
    others = [_evaluated(candidate, other)[0] for other in candidate.forms.others]
    return (Population([found, *others]) if others else found), baseline


def _evaluated(candidate: Candidate, name: str) -> tuple[Evaluation, Evaluation | None]:
    import numpy as np

    from gradatim.metrics.common import evaluate_beside
    from gradatim.metrics.evaluation import Evaluation

    def load(name: str) -> Predictions:
        found = candidate.workspace.predictions(name)
        return found if (np.diff(found.items) > 0).all() else found.take(np.argsort(found.items))

    task = candidate.rows.task()
    if candidate.replaced.release is None:
        alone = name in (ORIGINAL, *candidate.forms.others)
        original = None if alone else Evaluation(task, load(ORIGINAL))
        return Evaluation(task, load(name), original), None
    return evaluate_beside(task, load(name), candidate.task_of(BASELINE), load(BASELINE))
