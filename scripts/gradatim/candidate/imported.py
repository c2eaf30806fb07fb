"""Results of another harness in place of our own calls of the model: paired, row by row, with those of the baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.replaced import BASELINE
from gradatim.errors import InvalidInput, UsageError
from gradatim.evidence.found import ImportedRun
from gradatim.files import digest_of, sha256_file
from gradatim.signature import Signature

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.data.harness import HarnessRow, HarnessRun
    from gradatim.metrics.task import Task

UNSEEN = Signature((), ())
"""Of a model that was not called here."""


def imported_files(candidate: Candidate) -> dict[str, Path]:
    """Whose results are imported, and from where: the candidate's and, where a release would be replaced, its own.

    Raises:
        UsageError: there is a release to compare with, and the contract names no results of it.
    """
    said, root = candidate.contract.parts.evaluate.imported, candidate.contract.root
    if said is None:
        return {}
    found = {candidate.forms.original.name: root / said.path}
    if candidate.replaced.release is None:
        return found
    if said.baseline is None:
        raise UsageError(
            f"{candidate.contract.where('evaluate', 'import')}: {candidate.replaced.release.label} would be replaced, and only the "
            "candidate's results are imported. Name the results of the release on the same rows: `import: {path: ..., baseline: ...}`."
        )
    return {**found, BASELINE: root / said.baseline}


def imports_digest(candidate: Candidate) -> str:
    """Digest of the files' bytes and of whose they are."""
    files = imported_files(candidate)
    return digest_of({name: sha256_file(path) if path.is_file() else None for name, path in files.items()})


def import_answers(candidate: Candidate, task: Task) -> tuple[ImportedRun, ...]:
    """Write the predictions of candidate and baseline as `evaluate` would have left them.

    Raises:
        InvalidInput: a file is broken; the two were asked in different ways or about different rows; a score is missing.
    """
    from gradatim.data.harness import read_run

    said = candidate.contract.parts.evaluate.imported
    if said and said.baseline and not (candidate.contract.root / said.baseline).is_file():
        place = candidate.contract.where("evaluate", "import", "baseline")
        raise InvalidInput(
            f"{place}: there are no results at {said.baseline}. Correct the path, or leave `baseline` out of a first release."
        )
    with candidate.contract.blamed("evaluate", "import"):
        files = imported_files(candidate)
        for path in files.values():
            if not path.is_file():
                raise InvalidInput(f"There are no results at {path}.")
        runs = {name: read_run(path) for name, path in files.items()}
        mine, *others = runs.values()
        for other in others:
            _refuse_unlike(mine, other)
        order = [row.id for row in mine.rows]
        for name, run in runs.items():
            by_id = {row.id: row for row in run.rows}
            rows = [by_id[one] for one in order]
            _write(candidate, task, candidate.workspace.predictions_folder(name), rows, mine.rows)
    return tuple(
        ImportedRun(name, run.harness, sha256_file(files[name]), json.dumps(run.settings, sort_keys=True))
        for name, run in runs.items()
    )


def _refuse_unlike(mine: HarnessRun, theirs: HarnessRun) -> None:
    if mine.harness != theirs.harness:
        raise InvalidInput(
            f"The candidate's results are of {mine.harness} and the baseline's of {theirs.harness}: not to be compared."
        )
    for key in sorted({*mine.settings, *theirs.settings}):
        one, other = mine.settings.get(key), theirs.settings.get(key)
        if one != other:
            raise InvalidInput(
                f"The two runs have different settings: `{key}` is {json.dumps(one)[:120]} for the candidate and "
                f"{json.dumps(other)[:120]} for the baseline. Run both alike."
            )
    ours, old = ({row.id: row.asked for row in run.rows} for run in (mine, theirs))
    if lacking := sorted({*ours} ^ {*old}):
        raise InvalidInput(
            f"The two runs are not of the same rows: {', '.join(lacking[:5])} {'is' if len(lacking) == 1 else 'are'} in one alone. "
            "A row that is missing is none that passed."
        )
    if changed := [name for name, asked in ours.items() if asked != old[name]]:
        raise InvalidInput(
            f"The two runs were not asked the same: the prompt of {changed[0]} differs. Run both alike."
        )
    ours, old = ({row.id: row.reference for row in run.rows} for run in (mine, theirs))
    if changed := [name for name, reference in ours.items() if reference != old[name]]:
        raise InvalidInput(
            f"{changed[0]} was scored against {ours[changed[0]][:120]} for the candidate and {old[changed[0]][:120]} for the baseline. "
            "Score both alike."
        )


def _write(
    candidate: Candidate, task: Task, folder: Path, rows: Sequence[HarnessRow], known: Sequence[HarnessRow]
) -> None:
    import numpy as np

    from gradatim.metrics.answers import ANSWER, TextAnswer
    from gradatim.metrics.predictions_writer import PredictionsWriter
    from gradatim.metrics.scored import SCORE, by_row

    answers = [
        TextAnswer((row.answer,), (False,)) if row.scores else TextAnswer(error="the harness got no answer")
        for row in rows
    ]
    outputs: dict[str, Any] = {ANSWER: np.array([answer.to_text() for answer in answers], object)}
    for scoring in task.scorers:
        if scoring.kind is not None and scoring.kind.width > 1 and scoring.kind.reads == "text":
            # of all rows together: no number of a row would do
            pairs = zip(answers, rows, strict=True)
            scores: list[Any] = [by_row(task, scoring, said, {}, _reference(row)) for said, row in pairs]
        else:
            scores = [_score(row, scoring.name, scoring.metric.higher_is_better) for row in rows]
        outputs[SCORE + scoring.name] = np.array(scores, np.float64)
    slices: Mapping[str, Any] = {
        column: np.array([_column(row, column) for row in known])
        for column in candidate.contract.parts.data.slices
    }
    units = [row.unit for row in known]
    groups = np.array(units) if len(set(units)) < len(units) else None
    labels = np.array([row.reference for row in known], object)
    with PredictionsWriter(folder) as writer:
        writer.append(outputs, labels, slices, groups)


def _reference(row: HarnessRow) -> str:
    """A row's reference as JSON, where it is what an answer can be held against."""
    said = json.loads(row.reference)
    if not said or not all(isinstance(one, str) for one in (said if isinstance(said, list) else [said])):
        raise InvalidInput(
            f"The row {row.id} has no reference that is a text, or several, which BLEU, WER and CER are made of."
        )
    return row.reference


def _score(row: HarnessRow, name: str, higher_is_better: bool) -> float:
    if name in row.scores:
        return row.scores[name]
    if row.scores or not higher_is_better:
        raise InvalidInput(
            f"The row {row.id} has no score `{name}`; it has {', '.join(row.scores) or 'none: its request failed'}. Name one of them "
            "under `task.scorers`."
        )
    return 0.0  # the request failed: a row that failed


def _column(row: HarnessRow, column: str) -> str:
    if column not in row.columns:
        raise InvalidInput(
            f"The row {row.id} has no `{column}` to slice by; it has {', '.join(row.columns) or 'nothing'}."
        )
    return row.columns[column]
