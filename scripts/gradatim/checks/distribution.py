"""The evaluation data beside those of the release that would be replaced, whose rows need not be at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gradatim.candidate.candidate import Candidate
from gradatim.checks.drift import Columns
from gradatim.gates.distribution import Distribution, Drift
from gradatim.gates.drift import FEWEST, counted, drift, is_numbers

if TYPE_CHECKING:
    from gradatim.data import Dataset


def distribution_of(dataset: Dataset, batch: int) -> tuple[int, dict[str, NDArray[Any]]]:
    """Independent units of a data set, and its inputs before preprocessing, slices and labels as columns [n]."""
    columns, groups = Columns(), set[str]()
    for rows in dataset.raw_batches(batch):
        for name, values in rows.inputs.items():
            if name not in (dataset.label, dataset.group, *dataset.slices):
                columns.add(name, values, dataset.fed_by(name))
        for name, values in rows.slices.items():
            columns.parts[name, True][name].append(values)
        if rows.labels is not None:
            _add_labels(columns, rows.labels)
        groups.update(() if rows.groups is None else rows.groups.tolist())
    return len(groups) or len(dataset), columns.joined()


def _add_labels(columns: Columns, labels: NDArray[Any]) -> None:
    if labels.ndim == 1 and (is_numbers(labels) or all(isinstance(label, str) for label in labels)):
        columns.parts["the label", True]["the label"].append(labels)
    else:
        columns.add("the label", labels)


def beside_release(candidate: Candidate, dataset: Dataset) -> tuple[Distribution | None, Drift]:
    """What the evidence keeps of the evaluation data, and how they differ from those of the release.

    Counts alone are kept; of fewer than 30 rows, or groups, nothing, for that would tell of single ones.
    """
    units, columns = distribution_of(dataset, candidate.contract.parts.data.batch)
    if units < FEWEST:
        return None, Drift(
            reason=f"there are {units} rows or groups, and {FEWEST} are the least", units=units
        )
    kept = Distribution(units, {name: counted(column) for name, column in columns.items()})
    base = candidate.replaced.release
    if base is None:
        return kept, Drift(reason="nothing was released before", units=units)
    evaluated = candidate.replaced.evaluated
    then = evaluated.distribution if evaluated else None
    if then is None:
        silent = f"the evidence of {base.label} does not tell how its evaluation data were spread"
        return kept, Drift(reason=silent, units=units)
    before = then.columns
    both = {
        name: columns[name]
        for name in before
        if name in columns and bool(before[name].edges) <= is_numbers(columns[name])
    }
    others = sorted((before.keys() | columns.keys()) - both.keys())
    why = (
        f"{', '.join(others[:5])}{', ...' * (len(others) > 5)}: not in both, or of another kind"
        if others
        else None
    )
    found = drift({name: before[name] for name in both}, both, units=(then.units, units)) if both else []
    return kept, Drift(tuple(found), why, units)


def in_words(found: Drift) -> str:
    """What changed since the release; empty where nothing did."""
    if not found.changed:
        return ""
    worst = found.changed[0]
    others = f" and {len(found.changed) - 1} more of {len(found.columns)} columns" * (len(found.changed) > 1)
    return f"the evaluation data changed since the release: {worst.column} (PSI {worst.psi:.2f}){others}"
