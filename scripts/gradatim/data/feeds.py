"""Which columns become which inputs of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.data.columns import Array, Where, converted, is_ragged
from gradatim.data.source import Block, missing_column
from gradatim.errors import InvalidInput
from gradatim.signature import Signature, TensorSpec


class WrongWidth(InvalidInput):
    """A table has another number of columns than the model's one input has features.

    Attributes:
        columns: those beside label, slices and group.
    """

    def __init__(self, spec: TensorSpec, features: int, columns: Sequence[str], place: str) -> None:
        self.columns = tuple(columns)
        super().__init__(
            f"The model's input `{spec.name}` takes {features} features, and {place} has {len(columns)} columns beside "
            f"label and slices: {_listed(columns)}. Name the right ones, in order: `inputs: {{{spec.name}: [...]}}`."
        )


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

    What ``inputs`` says comes first; then columns that bear the name of an input, where an optional one may lack its
    column; then, where the model has one input, the only column whatever its name, or (in a table) all columns side by
    side in file order. A model that brings its tokenizer takes the column ``text``, or the only one, instead.

    Args:
        columns: what may be an input: neither label nor slice nor group.

    Raises:
        InvalidInput: an input is left without a column, or a named column or input does not exist.
    """
    if inputs:
        return _named(signature, columns, inputs, place)
    names = [spec.name for spec in signature.inputs if not spec.optional]
    if all(name in columns for name in names):
        there = (spec for spec in signature.inputs if spec.name in columns)
        return tuple(Feed(spec, (spec.name,), together=False) for spec in there)
    if signature.text is not None:
        return (_text(signature.text, columns, place),)
    if len(signature.inputs) == 1:
        spec = signature.inputs[0]
        if len(columns) == 1:
            return (Feed(spec, (columns[0],), together=False),)
        if tabular and columns and (spec.shape is None or len(spec.shape) == 2):
            features = None if spec.shape is None else spec.shape[1]
            if isinstance(features, int) and features != len(columns):
                raise WrongWidth(spec, features, columns, place)
            return (Feed(spec, tuple(columns), together=True),)
    lacking = [name for name in names if name not in columns]
    left = [column for column in columns if column not in names]
    raise InvalidInput(
        f"{place} has no column for the model's input{'s' if lacking[1:] else ''} {', '.join(f'`{name}`' for name in lacking[:12])}; beside label and slices it has "
        f"{_listed(left) or 'nothing else'}. Rename a column, or say which it is: "
        f"`inputs: {{{lacking[0]}: COLUMN}}`.{_TOKENS if lacking[0] == 'input_ids' else ''}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


_TOKENS = " Text becomes tokens by a tokenizer in the folder of a Hugging Face model, or by a `preprocess`."


def _text(spec: TensorSpec, columns: Sequence[str], place: str) -> Feed:
    """The column of texts that a tokenizer turns into the model's inputs."""
    if spec.name in columns:
        return Feed(spec, (spec.name,), together=False)
    if len(columns) == 1:
        return Feed(spec, tuple(columns), together=False)
    pair = f", or `inputs: {{{spec.name}: [{', '.join(columns)}]}}` for pairs" if len(columns) == 2 else ""
    raise InvalidInput(
        f"{place} has the columns {', '.join(columns) or 'label and slices alone'}, and the model takes a text or its "
        f"tokens. Say which column is the text: `inputs: {{{spec.name}: COLUMN}}`{pair}."
    )


def _named(
    signature: Signature, columns: Sequence[str], inputs: Mapping[str, Sequence[str] | str], place: str
) -> tuple[Feed, ...]:
    text = signature.text
    if text is not None and text.name in inputs:
        return (_named_text(text, columns, inputs, place),)
    feeds = []
    for name in inputs:
        if signature.input(name) is None:
            takes = (*signature.inputs, *((text,) if text else ()))
            known = ", ".join(f"`{spec.name}`" for spec in takes)
            raise InvalidInput(f"The model has no input `{name}` that data could feed; it has {known}.")
    for spec in signature.inputs:
        if spec.optional and spec.name not in inputs and spec.name not in columns:
            continue
        named = inputs.get(spec.name, spec.name)
        chosen = (named,) if isinstance(named, str) else tuple(named)
        for column in chosen:
            if column not in columns:
                raise missing_column(place, column, columns)
        one_axis = spec.shape is not None and len(spec.shape) == 1
        # a contract's one column is a list, too
        alone = isinstance(named, str) or (one_axis and len(chosen) == 1)
        feed = Feed(spec, chosen, together=not alone)
        if feed.together and one_axis:
            raise InvalidInput(
                f"The model's input `{spec.name}` has one axis and takes one column, not a list: "
                f"`inputs: {{{spec.name}: {chosen[0]}}}`."
            )
        feeds.append(feed)
    return tuple(feeds)


def _named_text(
    spec: TensorSpec, columns: Sequence[str], inputs: Mapping[str, Sequence[str] | str], place: str
) -> Feed:
    named = inputs[spec.name]
    chosen = (named,) if isinstance(named, str) else tuple(named)
    if others := [name for name in inputs if name != spec.name]:
        raise InvalidInput(
            f"`inputs` feeds `{spec.name}` and `{others[0]}`: a model takes text or tokens, not both."
        )
    if not 1 <= len(chosen) <= 2:
        raise InvalidInput(
            f"`inputs: {{{spec.name}: ...}}` takes one column of text, or two for pairs; there are {len(chosen)}."
        )
    for column in chosen:
        if column not in columns:
            raise missing_column(place, column, columns)
    return Feed(spec, chosen, together=len(chosen) == 2)
