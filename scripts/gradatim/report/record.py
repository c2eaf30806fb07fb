"""Frozen dataclasses to JSON values and back, by their annotations."""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from gradatim.errors import BrokenEvidence, GradatimError, InvalidInput
from gradatim.gates.verdict import GateResult
from gradatim.lineage.record import Lineage
from gradatim.measurement import Measurement

T = TypeVar("T")

_OWN = (GateResult, Measurement, Lineage)
"""Types that bring their own record."""


def encode(value: Any) -> Any:
    """A JSON value; fields that are None or empty are left out."""
    if isinstance(value, _OWN):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        items = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: encode(item) for name, item in items.items() if not _absent(item)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], value: Any, place: str) -> T:
    """Read back what ``encode`` wrote.

    Args:
        kind: the dataclass to read.
        value: a JSON value.
        place: where the value stands, for the message.

    Raises:
        BrokenEvidence: a field is unknown, missing or of another type.
    """
    decoded: T = _decode(kind, value, place)
    return decoded


def refuse_nonfinite(value: Any, place: str) -> None:
    """Walk through a record and refuse NaN and infinity.

    Raises:
        InvalidInput: naming the place of the first such number.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"{place} is {value}, not a finite number: it cannot stand in a report.")
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            refuse_nonfinite(getattr(value, field.name), f"{place}.{field.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_nonfinite(item, f"{place}.{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            refuse_nonfinite(item, f"{place}[{index}]")


def _absent(item: Any) -> bool:
    return item is None or (isinstance(item, tuple | list | Mapping) and not item)


def _decode(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(inner, value, place)
    if origin is tuple:
        return _decode_tuple(arguments, value, place)
    if origin is Mapping:
        _expect(value, dict, place)
        return {key: _decode(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if kind in _OWN:
        _expect(value, dict, place)
        try:
            return kind.from_json(value)
        except GradatimError as error:
            raise BrokenEvidence(f"{place}: {error}") from error
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, place)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError as error:
            raise BrokenEvidence(
                f"{place} is {value!r}, not one of {', '.join(k.value for k in kind)}."
            ) from error
    if kind is float:
        _expect(value, int | float, place)
        return float(value)
    _expect(value, kind, place)
    return value


def _decode_tuple(arguments: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    _expect(value, list, place)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_decode(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(value))
    if len(value) != len(arguments):
        raise BrokenEvidence(f"{place} has {len(value)} values where {len(arguments)} belong.")
    return tuple(
        _decode(a, item, f"{place}[{i}]") for i, (a, item) in enumerate(zip(arguments, value, strict=True))
    )


def _decode_dataclass(kind: Any, value: Any, place: str) -> Any:
    _expect(value, dict, place)
    hints = get_type_hints(kind)
    if unknown := set(value) - set(hints):
        raise BrokenEvidence(f"{place} has unknown fields: {', '.join(sorted(unknown))}.")
    try:
        return kind(**{name: _decode(hints[name], item, f"{place}.{name}") for name, item in value.items()})
    except TypeError as error:
        raise BrokenEvidence(f"{place} is incomplete: {error}.") from error


def _expect(value: Any, kind: Any, place: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = getattr(kind, "__name__", str(kind))
        raise BrokenEvidence(f"{place} is {type(value).__name__}, where {wanted} belongs.")
