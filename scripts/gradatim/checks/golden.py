"""Golden cases: inputs whose answers are known and must not change."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.check import Finding, checked
from gradatim.checks.comparison import Allowance, compare, named_answers, rows_apart
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Check
from gradatim.files import replacing
from gradatim.gates.verdict import Verdict
from gradatim.metrics.outputs import choose_output
from gradatim.metrics.task import Task
from gradatim.models import Predictor

_EXPECTED = "expected_"
_INDEX = "gradatim"
_MOST_BYTES = 8 << 20

_Tasks = tuple[Task | None, Task | None]
"""How answers were read then, and how they are now."""


@dataclass(frozen=True)
class GoldenCase:
    """Some rows and what a model answered on them.

    Attributes:
        name: where they come from: ``evaluation``, ``contract``.
        inputs: [n, ...] by input.
        expected: by output; not every output need be there.
    """

    name: str
    inputs: Mapping[str, NDArray[Any]]
    expected: Mapping[str, NDArray[Any]]

    @property
    def bytes(self) -> int:
        """Size of all arrays."""
        return sum(array.nbytes for array in (*self.inputs.values(), *self.expected.values()))


def read_contract_case(path: Path) -> GoldenCase:
    """The contract's golden file: inputs by name, expected outputs as ``expected_NAME``.

    Raises:
        InvalidInput: it is missing, broken, or has no inputs or no expected outputs.
    """
    arrays = _load(path)
    expected = {k.removeprefix(_EXPECTED): v for k, v in arrays.items() if k.startswith(_EXPECTED)}
    inputs = {k: v for k, v in arrays.items() if not k.startswith(_EXPECTED)}
    if not expected or not inputs:
        lacking = "inputs by their names" if expected else f"expected outputs named `{_EXPECTED}OUTPUT`"
        raise InvalidInput(f"The golden file {path} holds no {lacking}. It holds: {', '.join(arrays)}.")
    return GoldenCase("contract", inputs, expected)


def golden_check(predictor: Predictor, path: Path, allowance: Allowance) -> Check:
    """Whether the contract's golden inputs still have their golden outputs; a file that cannot be used is INVALID."""
    try:
        case = read_contract_case(path)
    except InvalidInput as error:
        return Check("unit", "golden outputs", Verdict.INVALID, str(error))
    return checked("unit", "golden outputs", lambda: _exact(predictor, case, allowance))


def regression_check(
    predictor: Predictor,
    release: str,
    cases: Sequence[GoldenCase],
    allowance: Allowance,
    task: Task | None,
    strict: bool,
    *,
    before: Task | None = None,
) -> Check:
    """How many golden answers of an earlier release have changed.

    The same answer means the same class or tags, by name; where there are none, numbers within the allowance. A release
    may change its answers on purpose, so that changes are counted and fail only when ``strict``.

    Args:
        task: how the model's answers are read.
        before: how those of the earlier release are; None reads them in the same way.
    """
    tasks = (before or task, task)
    return checked("regression", release, lambda: _replayed(predictor, cases, allowance, tasks, strict))


def write_cases(path: Path, cases: Iterable[GoldenCase]) -> None:
    """Write cases for later releases to be held against; equal cases give equal bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    index = []
    for case in cases:
        entry: dict[str, Any] = {"name": case.name, "inputs": {}, "expected": {}}
        for kind, found in (("inputs", case.inputs), ("expected", case.expected)):
            for name, array in found.items():
                key = f"a{len(arrays)}"
                arrays[key] = array.astype(np.str_) if array.dtype.kind in "OU" else array
                entry[kind][name] = key
        index.append(entry)
    arrays[_INDEX] = np.array(json.dumps(index))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_cases(path: Path) -> list[GoldenCase]:
    """Read what ``write_cases`` wrote.

    Raises:
        InvalidInput: it is missing or broken.
    """
    arrays = _load(path)
    try:
        index = json.loads(str(arrays[_INDEX]))
        return [
            GoldenCase(
                entry["name"],
                {name: arrays[key] for name, key in entry["inputs"].items()},
                {name: arrays[key] for name, key in entry["expected"].items()},
            )
            for entry in index
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"{path} does not hold the golden cases of a release.") from error


def golden_rows(predictor: Predictor, inputs: Mapping[str, NDArray[Any]], rows: int) -> GoldenCase | None:
    """A case of the first rows and the model's answers, at most 8 MiB of it; None when one row is more than that."""
    while rows > 0:
        some = {name: values[:rows] for name, values in inputs.items()}
        case = GoldenCase("evaluation", some, predictor(some))
        if case.bytes <= _MOST_BYTES:
            return case
        rows //= 2
    return None


def _exact(predictor: Predictor, case: GoldenCase, allowance: Allowance) -> Finding:
    found = compare(case.expected, predictor(case.inputs), allowance)
    if found.problem:
        return Verdict.FAIL, f"A golden output has changed: {found.problem}."
    return Verdict.PASS, f"{_size(case)} rows: up to {found.worst:.2g} apart"


def _replayed(
    predictor: Predictor, cases: Sequence[GoldenCase], allowance: Allowance, tasks: _Tasks, strict: bool
) -> Finding:
    changed, rows, problems = 0, 0, []
    for case in cases:
        rows += _size(case)
        try:
            outputs = predictor(case.inputs)
            apart = _changed(tasks, case, outputs, allowance)
        except InvalidInput as error:
            problems.append(f"{case.name}: {error}")
            changed += _size(case)
            continue
        changed += int(apart.sum())
    told = f"{changed} of {rows} golden answers changed" if changed else f"{rows} golden answers as they were"
    if problems:
        told += f"; not all could be asked. {problems[0]}"
    return (Verdict.FAIL if changed and strict else Verdict.PASS), told


def _changed(
    tasks: _Tasks, case: GoldenCase, outputs: Mapping[str, NDArray[Any]], allowance: Allowance
) -> NDArray[np.bool_]:
    task, now = tasks
    before, after = named_answers(task, case.expected, case.inputs), named_answers(now, outputs, case.inputs)
    if before is not None and after is not None and len(before) == len(after):
        return np.array([old != new for old, new in zip(before, after, strict=True)])
    names = list(case.expected)
    if task is not None:
        shapes = {name: np.shape(array) for name, array in case.expected.items()}
        floating = {name: array.dtype.kind == "f" for name, array in case.expected.items()}
        names = [choose_output(task, shapes, floating)]
    apart = np.zeros(_size(case), np.bool_)
    for name in names:
        if name not in outputs:
            raise InvalidInput(f"the output `{name}` is gone; there are {', '.join(outputs)}.")
        wanted = case.expected[name]
        if len(wanted) == len(apart):
            apart |= rows_apart(wanted, np.asarray(outputs[name]), allowance)
    return apart


def _size(case: GoldenCase) -> int:
    return len(next(iter(case.inputs.values())))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise InvalidInput(
            f"The golden file {path} does not exist. Write it with numpy.savez, or take it out of the contract."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InvalidInput(f"The golden file {path} is no .npz: write it with numpy.savez.")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"The golden file {path} cannot be read: {error}") from error
