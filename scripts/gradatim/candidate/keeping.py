"""What ``compress.keep`` asks of the calibration data."""

from __future__ import annotations

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.rows import UNLABELLED
from gradatim.errors import InvalidInput
from gradatim.metrics.catalogue import LIKENESS


def kept_metrics(candidate: Candidate) -> tuple[str, ...]:
    """The metrics of the task that ``compress.keep`` names; likeness to the original is none of them.

    Raises:
        InvalidInput: they need labels, and the calibration data have none.
    """
    settings, task = candidate.contract.parts.compress, candidate.contract.parts.task
    if settings is None or task is None:
        return ()
    wanted = tuple(metric for metric in settings.keep if metric not in LIKENESS)
    if wanted and task.type not in UNLABELLED and not has_labels(candidate):
        raise InvalidInput(_without_labels(candidate, wanted[0]))
    return wanted


def has_labels(candidate: Candidate) -> bool:
    """Whether the calibration data have labels."""
    return candidate.rows.dataset("calibration", None).label is not None


def _without_labels(candidate: Candidate, metric: str) -> str:
    where = candidate.contract.where("compress", "keep", metric)
    data = candidate.contract.parts.data.calibration
    return (
        f"{where} keeps {metric}, which needs labels, and the calibration data {data.path if data else ''} have none. "
        "Likeness to the original needs none: say `keep: {fidelity: 95%}`; or add labels, and name their column in "
        "`data.calibration.label`."
    )
