"""Unit checks: what any model must do, whatever it is for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.check import Finding, checked
from gradatim.checks.comparison import Allowance, compare, flips
from gradatim.checks.direct import direct, direct_inputs
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Check
from gradatim.gates.verdict import Verdict
from gradatim.metrics.task import Task
from gradatim.models import Predictor
from gradatim.signature import TensorSpec

Arrays = Mapping[str, NDArray[Any]]

REPEATS = 3
"""Calls on the same inputs that must agree."""

ALONE = 8
"""Rows that are also predicted one by one."""

_GROUP = "unit"


def unit_checks(
    predictor: Predictor,
    inputs: Arrays,
    allowance: Allowance,
    task: Task | None,
    told: Callable[[float], None] = lambda seconds: None,
) -> list[Check]:
    """The declared signature, finite outputs, determinism, and that an answer does not depend on its neighbours.

    Args:
        predictor: the model, taking any number of rows.
        inputs: rows that it is made for, [n, ...] each.
        allowance: how far two answers may be apart.
        task: tells which answers are the same although their numbers differ a little; None without one.
        told: is told how many seconds the first answer took, before there are others.
    """
    began = time.monotonic()
    try:
        outputs = predictor(inputs)
    except InvalidInput as error:
        return [Check(_GROUP, "answers", Verdict.FAIL, f"The model does not answer on real rows. {error}")]
    told(time.monotonic() - began)
    few = {name: values[:ALONE] for name, values in inputs.items()}
    return [
        checked(_GROUP, "signature", lambda: _signature(direct(predictor), direct_inputs(predictor, inputs))),
        checked(_GROUP, "finite outputs", lambda: _finite(outputs)),
        checked(_GROUP, "determinism", lambda: _repeats(predictor, inputs, outputs, allowance, task)),
        checked(_GROUP, "one by one", lambda: _one_by_one(predictor, few, allowance, task)),
        checked(_GROUP, "permutation", lambda: _permuted(predictor, inputs, outputs, allowance)),
    ]


def self_flips(predictor: Predictor, inputs: Arrays, task: Task | None) -> tuple[int, int] | None:
    """How many rows a model answers otherwise when asked again, of how many; None where there are no classes."""
    changed = flips(task, predictor(inputs), predictor(inputs), inputs)
    return None if changed is None else (int(changed.sum()), len(changed))


def nonfinite(outputs: Arrays) -> list[str]:
    """The outputs that hold NaN or infinity."""
    found = []
    for name, values in outputs.items():
        array = np.asarray(values)
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            found.append(name)
    return found


def _signature(model: Predictor, inputs: Arrays) -> Finding:
    """Whether names, dtypes, axes and fixed sizes of the outputs are as declared, and equal names mean equal sizes."""
    signature, outputs = model.signature, model(inputs)
    declared = {spec.name: spec for spec in signature.outputs}
    problems = [f"`{name}` is declared and was not returned" for name in declared if name not in outputs]
    if declared:
        problems += [f"`{name}` was returned and is not declared" for name in outputs if name not in declared]
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        if spec.shape is not None and spec.name in inputs and inputs[spec.name].ndim == len(spec.shape):
            pairs = zip(spec.shape, inputs[spec.name].shape, strict=True)
            sizes |= {axis: size for axis, size in pairs if isinstance(axis, str)}
    for name, spec in declared.items():
        if name in outputs and (problem := _misfit(spec, np.asarray(outputs[name]), sizes)):
            problems.append(problem)
    if problems:
        return Verdict.FAIL, (
            f"The outputs are not what the signature says: {'; '.join(problems)}. What serves the model may believe the signature: "
            "export it with what it gives (ONNX: `graph.output`, which skl2onnx takes as `final_types`)."
        )
    if not declared:
        return Verdict.PASS, f"The format declares no outputs; there are {', '.join(outputs)}."
    return Verdict.PASS, f"{len(declared)} outputs as declared"


def _misfit(spec: TensorSpec, array: NDArray[Any], sizes: Mapping[str, int]) -> str | None:
    got = "str" if array.dtype.kind in "OUS" else array.dtype.name
    if spec.dtype not in ("unknown", got):
        return f"`{spec.name}` is declared {spec.dtype} and is {got}"
    if spec.shape is None:
        return None
    wanted = [sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in spec.shape]
    fits = len(wanted) == array.ndim and all(
        not isinstance(axis, int) or axis == size for axis, size in zip(wanted, array.shape, strict=False)
    )
    return None if fits else f"`{spec}` is declared, and the shape is {list(array.shape)}"


def _finite(outputs: Arrays) -> Finding:
    if bad := nonfinite(outputs):
        return Verdict.FAIL, f"NaN or infinity in {', '.join(f'`{name}`' for name in bad)} on ordinary rows."
    return Verdict.PASS, ""


def _repeats(
    predictor: Predictor, inputs: Arrays, outputs: Arrays, allowance: Allowance, task: Task | None
) -> Finding:
    worst, most, n = 0.0, None, _rows(inputs)
    # a second run must repeat the first, compressed or not: there is no batch or rounding to excuse it
    exact = allowance.sharing(0.0)
    for _ in range(REPEATS - 1):
        again = predictor(inputs)
        found = compare(outputs, again, exact)
        if found.problem:
            return (
                Verdict.FAIL,
                f"The same {n} rows were answered differently the second time: {found.problem}.",
            )
        worst = max(worst, found.worst)
        changed = flips(task, outputs, again, inputs)
        most = most if changed is None else max(most or 0, int(changed.sum()))
    told = "identical" if worst == 0 else f"up to {worst:.2g} apart"
    flipped = "" if most is None else f", {most} of {n} answers changed"
    return Verdict.PASS, f"{REPEATS} runs over {n} rows: {told}{flipped}"


def _one_by_one(predictor: Predictor, inputs: Arrays, allowance: Allowance, task: Task | None) -> Finding:
    n = _rows(inputs)
    together = predictor(inputs)
    alone = [predictor({name: values[row : row + 1] for name, values in inputs.items()}) for row in range(n)]
    counted = _by_row(together, n)
    joined = {name: np.concatenate([one[name] for one in alone]) for name in counted if _joins(alone, name)}
    found = compare({name: counted[name] for name in joined}, joined, allowance)
    if found.problem:
        text = "A row is answered differently alone and among others"
        return Verdict.FAIL, f"{text}: {found.problem}. The answer depends on what else is in the batch."
    changed = flips(task, together, joined, inputs) if set(joined) == set(together) else None
    flipped = (
        f", {int(changed.sum())} of {n} answers changed" if changed is not None and changed.any() else ""
    )
    return Verdict.PASS, f"{n} rows: up to {found.worst:.2g} apart{flipped}"


def _permuted(predictor: Predictor, inputs: Arrays, outputs: Arrays, allowance: Allowance) -> Finding:
    n = _rows(inputs)
    order = np.arange(n)[::-1]
    swapped = predictor({name: np.ascontiguousarray(values[order]) for name, values in inputs.items()})
    wanted = {name: values[order] for name, values in _by_row(outputs, n).items()}
    found = compare(wanted, swapped, allowance)
    if found.problem:
        return Verdict.FAIL, f"Rows in another order are answered differently: {found.problem}."
    return Verdict.PASS, f"{n} rows: up to {found.worst:.2g} apart"


def _rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def _by_row(outputs: Arrays, n: int) -> dict[str, NDArray[Any]]:
    """The outputs with one row an item: a loss over the whole batch has none."""
    return {name: values for name, values in outputs.items() if np.ndim(values) and len(values) == n}


def _joins(alone: list[dict[str, NDArray[Any]]], name: str) -> bool:
    return len({one[name].shape[1:] for one in alone}) == 1 and all(one[name].ndim for one in alone)
