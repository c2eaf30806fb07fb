"""Which columns become which inputs of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.data.columns import Array, Where, converted, is_ragged
from gradatim.data.source import Block, missing_column
from gradatim.errors import InvalidInput
from gradatim.signature import Signature, TensorSpec


@dataclass(frozen=True)
class Feed:
    """One input of the model and the columns that it is made of."""

    spec: TensorSpec
    columns: tuple[str, ...]
    together: bool
    """Several columns side by side along axis 1, even when there is only one."""

    def array(self, block: Block, place: str, start: int, exact: bool) -> Array:
        """The input for a block of rows: [b], [b, k] or [b, ...]; an object array [b] where rows differ in
        shape.

        Raises:
            InvalidInput: a value that the declared dtype cannot hold; the number of features is not the
                model's.
        """
        parts = []
        for name in self.columns:
            part = converted(block[name], self.spec.dtype, Where(place, name, start), exact)
            own_dtype = exact and block[name].dtype != object
            parts.append(part if own_dtype and not self.together else self._with_axes(part))
        if not self.together:
            return parts[0]
        if any(is_ragged(part) for part in parts):
            raise InvalidInput(
                f"{place}: the columns {', '.join(self.columns)} hold rows of unequal length, which cannot stand side by side in the input `{self.spec.name}`."
            )
        return np.concatenate(parts, axis=1)

    def _with_axes(self, values: Array) -> Array:
        """A column of single values gets the feature axis that the model declares."""
        if values.ndim != 1 or is_ragged(values):
            return values
        axes = None if self.spec.shape is None else len(self.spec.shape)
        return values[:, None] if self.together or axes == 2 else values


def plan_feeds(
    signature: Signature,
    columns: Sequence[str],
    inputs: Mapping[str, Sequence[str] | str] | None,
    tabular: bool,
    place: str,
) -> tuple[Feed, ...]:
    """Decide which columns feed which inputs.

    What ``inputs`` says comes first; then columns that bear the name of an input; then, where the model has
    one input, the only column whatever its name, or (in a table) all columns side by side in file order.

    Args:
        columns: what may be an input: neither label nor slice nor group.

    Raises:
        InvalidInput: an input is left without a column, or a named column or input does not exist.
    """
    if inputs:
        return _named(signature, columns, inputs, place)
    names = [spec.name for spec in signature.inputs]
    if all(name in columns for name in names):
        return tuple(Feed(spec, (spec.name,), together=False) for spec in signature.inputs)
    if len(names) == 1:
        spec = signature.inputs[0]
        if len(columns) == 1:
            return (Feed(spec, (columns[0],), together=False),)
        if tabular and columns and (spec.shape is None or len(spec.shape) == 2):
            features = None if spec.shape is None else spec.shape[1]
            if isinstance(features, int) and features != len(columns):
                raise InvalidInput(
                    f"The model's input `{spec.name}` takes {features} features, {place} has {len(columns)} "
                    f"columns beside label and slices: {', '.join(columns)}. Name the right ones, in order: "
                    f"`inputs: {{{spec.name}: [...]}}`."
                )
            return (Feed(spec, tuple(columns), together=True),)
    lacking = [name for name in names if name not in columns]
    raise InvalidInput(
        f"{place} has no column for the model's input `{lacking[0]}`. The model takes {', '.join(names)}; "
        f"the data has {', '.join(columns) or 'nothing beside label and slices'}. Rename a column, or say which it is: "
        f"`inputs: {{{lacking[0]}: COLUMN}}`."
    )


def _named(
    signature: Signature, columns: Sequence[str], inputs: Mapping[str, Sequence[str] | str], place: str
) -> tuple[Feed, ...]:
    feeds = []
    for name in inputs:
        if signature.input(name) is None:
            known = ", ".join(f"`{spec.name}`" for spec in signature.inputs)
            raise InvalidInput(f"The model has no input `{name}` that data could feed; it has {known}.")
    for spec in signature.inputs:
        named = inputs.get(spec.name, spec.name)
        chosen = (named,) if isinstance(named, str) else tuple(named)
        for column in chosen:
            if column not in columns:
                raise missing_column(place, column, columns)
        feed = Feed(spec, chosen, together=not isinstance(named, str))
        if feed.together and spec.shape is not None and len(spec.shape) == 1:
            raise InvalidInput(
                f"The model's input `{spec.name}` has one axis and takes one column, not a list: "
                f"`inputs: {{{spec.name}: {chosen[0]}}}`."
            )
        feeds.append(feed)
    return tuple(feeds)
