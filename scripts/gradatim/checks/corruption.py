"""Where a corruption applies in a data set: to raw columns before preprocessing, or to the model's own inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gradatim.data import Batch, Dataset
from gradatim.data.columns import is_ragged, object_array
from gradatim.errors import UsageError
from gradatim.perturb.apply import corrupt, corrupt_inputs
from gradatim.perturb.catalogue import KIND_OF
from gradatim.perturb.modality import Kind, Modality, Reference, fit_reference, modality_of
from gradatim.signature import Signature, TensorSpec

Arrays = Mapping[str, NDArray[Any]]

_BLOCK = 1024
"""Rows in which a table's spread is measured: always the same, so that rounding does not depend on the batch size."""

_REFERENCE_BLOCKS = 100


@dataclass(frozen=True)
class Declared:
    """What the contract says of the items; None where it leaves that to be seen."""

    kind: Kind | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Target:
    """What is corrupted: one array, or for a table all numeric columns side by side."""

    names: tuple[str, ...]
    modality: Modality
    before: bool
    mask: str | None = None


class Corruptor:
    """Applies corruptions to batches of one data set.

    Text is corrupted as text, before it becomes tokens; an image as it comes, before it is normalised, when the
    raw column is an image.

    Args:
        dataset: hands out the batches; prepares them for the model.
        example: raw rows that tell what the items are and on which scale; always the same for one data set.
        signature: what the model takes.
        declared: what the contract says of them.
        seed: of all that is random.
        reference: rows that show how a table's features are spread; None takes the data set's own.
    """

    def __init__(
        self,
        dataset: Dataset,
        example: Batch,
        signature: Signature,
        declared: Declared,
        seed: int,
        reference: Callable[[], Dataset | None],
    ) -> None:
        self._dataset = dataset
        self._raw = example
        self._signature = signature
        self._declared = declared
        self._seed = seed
        self._reference = reference
        self._targets: dict[Kind, _Target] = {}

    def apply(self, corruption: str, severity: int, raw: Batch) -> Batch:
        """Raw rows to the model's inputs, with a corruption somewhere on the way.

        Raises:
            UsageError: nothing in the data is what the corruption is for.
            InvalidInput: the preprocessing cannot take the corrupted rows.
        """
        target = self._target(corruption)
        if target.before:
            return self._dataset.prepare(self._corrupted(corruption, severity, raw, target))
        return self._corrupted(corruption, severity, self._dataset.prepare(raw), target)

    def check(self, corruption: str) -> None:
        """Find out now whether a corruption applies.

        Raises:
            UsageError: it does not.
        """
        self._target(corruption)

    def _corrupted(self, corruption: str, severity: int, batch: Batch, target: _Target) -> Batch:
        inputs, items, seed = batch.inputs, batch.items, self._seed
        if target.modality.kind == "tabular":
            table = _table(inputs, target.names)
            done = corrupt(corruption, severity, table, items, modality=target.modality, seed=seed)
            return batch.with_inputs(_columns(done, inputs, target.names))
        (name,) = target.names
        values = inputs[name]
        if is_ragged(values):
            rows = [
                corrupt(
                    corruption, severity, row[None], items[i : i + 1], modality=target.modality, seed=seed
                )[0]
                for i, row in enumerate(values)
            ]
            return batch.with_inputs({name: object_array(rows)})
        done_inputs = corrupt_inputs(
            corruption,
            severity,
            inputs,
            items,
            input=name,
            modality=target.modality,
            seed=seed,
            mask=target.mask,
        )
        return batch.with_inputs(done_inputs)

    def _target(self, corruption: str) -> _Target:
        kind = cast("Kind", KIND_OF[corruption])
        if kind not in self._targets:
            self._targets[kind] = self._find(corruption, kind)
        return self._targets[kind]

    def _find(self, corruption: str, kind: Kind) -> _Target:
        declared = self._declared.kind
        if declared is not None and declared != kind:
            raise UsageError(
                f"The corruption `{corruption}` is for {kind}, but `test.modality` says {declared}. Take it out of `test.robustness`, or correct the modality."
            )
        stages = [(self._raw.inputs, True)] if self._dataset.preprocess else []
        for inputs, before in [*stages, (self._prepared.inputs, False)]:
            names = [name for name, values in inputs.items() if self._may_be(kind, name, values, inputs)]
            if names:
                return self._made(kind, names, inputs, before)
        seen = ", ".join(f"`{n}` {v.dtype}{list(v.shape[1:])}" for n, v in self._prepared.inputs.items())
        raise UsageError(
            f"The corruption `{corruption}` is for {kind}, and nothing in the data looks like that ({seen}). Say "
            f"`test.modality: {kind}` if it is, or choose others: gradatim schema --corruptions"
        )

    @cached_property
    def _prepared(self) -> Batch:
        return self._dataset.prepare(self._raw)

    def _may_be(self, kind: Kind, name: str, values: NDArray[Any], inputs: Arrays) -> bool:
        """Whether an array is (where nothing is declared) or can be (where it is) of a kind."""
        textual = values.dtype.kind in "OU" and not is_ragged(values)
        if textual or kind == "text":
            return textual and kind == "text"
        if kind == "tokens" and _is_mask(name, values, inputs):
            return False
        shown = _shown(values)
        if self._declared.kind is None:
            spec = self._spec(name, values)
            return values.dtype.kind in "iufO" and modality_of(spec, shown).kind == kind
        if kind == "tokens":
            return shown.dtype.kind in "iu" and shown.ndim == 2
        if kind == "tabular":
            return shown.dtype.kind in "iuf" and not is_ragged(values)
        return shown.dtype.kind in "iuf" and shown.ndim >= 2

    def _made(self, kind: Kind, names: list[str], inputs: Arrays, before: bool) -> _Target:
        if kind == "tabular":
            reference = self._spread(tuple(names), before)
            return _Target(tuple(names), Modality("tabular", reference=reference), before)
        name = max(names, key=lambda each: _shown(inputs[each]).size)
        values = inputs[name]
        declared = self._declared
        modality = modality_of(
            self._spec(name, values),
            _shown(values),
            kind=kind,
            low=declared.low,
            high=declared.high,
        )
        if (
            is_ragged(values)
            and kind in ("image", "audio")
            and declared.low is None
            and values[0].dtype.kind == "f"
        ):
            modality = _ranged(modality, values)
        mask = next((n for n, v in inputs.items() if "mask" in n.lower() and v.shape == values.shape), None)
        return _Target((name,), modality, before, mask if kind == "tokens" else None)

    def _spread(self, names: tuple[str, ...], before: bool) -> Reference:
        dataset = self._reference() or self._dataset

        def tables() -> Iterator[NDArray[np.float64]]:
            for raw in islice(dataset.raw_batches(_BLOCK), _REFERENCE_BLOCKS):
                yield _table((raw if before else dataset.prepare(raw)).inputs, names)

        return fit_reference(tables())

    def _spec(self, name: str, values: NDArray[Any]) -> TensorSpec:
        return self._signature.input(name) or TensorSpec(name, values.dtype.name, None)


def _table(inputs: Arrays, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Columns side by side, float64 [b, features]."""
    return np.concatenate(
        [np.asarray(inputs[n], np.float64).reshape(len(inputs[n]), -1) for n in names], axis=1
    )


def _columns(table: NDArray[np.float64], inputs: Arrays, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The table cut into its columns again, each in its own dtype and shape."""
    found, start = {}, 0
    for name in names:
        like = inputs[name]
        width = int(np.prod(like.shape[1:], dtype=int))
        part = table[:, start : start + width].reshape(like.shape)
        if like.dtype.kind in "iu":
            limits = np.iinfo(like.dtype)
            part = np.clip(np.rint(part), float(limits.min), np.nextafter(float(limits.max), 0))
        found[name] = part.astype(like.dtype)
        start += width
    return found


def _is_mask(name: str, values: NDArray[Any], inputs: Arrays) -> bool:
    """Whether an integer input only accompanies the token ids: a mask, segment numbers, positions."""
    said = any(word in name.lower() for word in ("mask", "type_ids", "segment", "position"))
    return said and len(inputs) > 1 and values.dtype.kind in "iub"


def _shown(values: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or the first of rows of unequal shape."""
    return np.asarray(values[0])[None] if is_ragged(values) else values


def _ranged(modality: Modality, values: NDArray[Any]) -> Modality:
    low, high = min(float(row.min()) for row in values), max(float(row.max()) for row in values)
    return replace(modality, low=min(low, modality.low), high=max(high, modality.high))
