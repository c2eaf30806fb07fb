"""Frozen dataclasses to JSON values and back, by their annotations."""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections.abc import Collection, Mapping, Set
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gradatim.errors import BrokenEvidence, InvalidInput

T = TypeVar("T")


def encode(value: Any) -> dict[str, Any]:
    """The JSON object of a dataclass; fields that were left at None or empty, as they are by default, are left out."""
    items = ((field, getattr(value, field.name)) for field in fields(value))
    return {_key(field.name): _encoded(item) for field, item in items if not _left(field, item)}


def decode(kind: type[T], value: Any, place: str, *, newer: bool = False) -> T:
    """Read back what ``encode`` wrote.

    Args:
        kind: the dataclass to read.
        value: a JSON value.
        place: where the value stands, for the message.
        newer: whether it may be of a newer version, whose unknown fields are passed over.

    Raises:
        BrokenEvidence: a field is missing, of another type or unknown, or the dataclass refuses the values.
    """
    decoded: T = _Reader(newer).read(kind, value, place)
    return decoded


def keys(kind: Any) -> Set[str]:
    """The keys of a dataclass's record."""
    return _hints(kind).keys()


def _key(name: str) -> str:
    """The key of a field: ``from_`` is ``from``, which Python keeps for itself."""
    return name.rstrip("_")


def _left(field: Field[Any], item: Any) -> bool:
    """Whether a field was left at None or empty."""
    if item is not None and not (isinstance(item, tuple | list | Mapping) and not item):
        return False
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return bool(item == default)


def _encoded(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return _encoded(value.to_json())
    if is_dataclass(value) and not isinstance(value, type):
        return encode(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encoded(item) for item in value]
    return value


@functools.cache
def _hints(kind: Any) -> dict[str, tuple[str, Any]]:
    """Name and type of each field by its key."""
    hints = get_type_hints(kind)
    return {_key(field.name): (field.name, hints[field.name]) for field in fields(kind) if field.init}


class _Reader:
    """Reads JSON values by the type that they must have."""

    def __init__(self, newer: bool) -> None:
        self.newer = newer

    def read(self, kind: Any, value: Any, place: str) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any:
            return value
        if origin in (types.UnionType, Union):
            return self._union(arguments, value, place)
        if origin is tuple:
            return self._tuple(arguments, value, place)
        if origin in (Mapping, dict):
            _expect(value, place, dict)
            return {key: self.read(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
        if is_dataclass(kind):
            return self._dataclass(kind, value, place)
        if origin is Literal:
            return _one_of(arguments, value, place)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return kind(_one_of([known.value for known in kind], value, place))
        if kind is float:
            _expect(value, place, int, float)
            if not abs(value) <= sys.float_info.max:
                raise BrokenEvidence(f"{place} is not a finite number.")
            return value
        _expect(value, place, kind)
        return value

    def _union(self, kinds: tuple[Any, ...], value: Any, place: str) -> Any:
        if value is None and type(None) in kinds:
            return None
        wanted = [kind for kind in kinds if kind is not type(None)]
        if len(wanted) == 1:
            return self.read(wanted[0], value, place)
        _expect(value, place, *(get_origin(kind) or kind for kind in wanted))
        return value

    def _tuple(self, kinds: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
        _expect(value, place, list)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(value) != len(kinds):
            raise BrokenEvidence(f"{place} has {len(value)} values where {len(kinds)} belong.")
        pairs = zip(kinds, value, strict=True)
        return tuple(self.read(kind, item, f"{place}[{i}]") for i, (kind, item) in enumerate(pairs))

    def _dataclass(self, kind: Any, value: Any, place: str) -> Any:
        _expect(value, place, dict)
        hints = _hints(kind)
        if not self.newer and (unknown := value.keys() - hints.keys()):
            raise BrokenEvidence(f"{place} has unknown fields: {', '.join(sorted(unknown))}.")
        given = {
            name: self.read(hint, value[key], f"{place}.{key}")
            for key, (name, hint) in hints.items()
            if key in value
        }
        needed = [f for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        if missing := [f"`{_key(field.name)}`" for field in needed if field.name not in given]:
            raise BrokenEvidence(f"{place} is incomplete: it lacks {', '.join(missing)}.")
        try:
            return kind(**given)
        except InvalidInput as error:
            raise BrokenEvidence(f"{place}: {error}") from error


def _one_of(known: Collection[Any], value: Any, place: str) -> Any:
    if value not in known:
        raise BrokenEvidence(f"{place} is {value!r}, not one of {', '.join(map(str, known))}.")
    return value


def _expect(value: Any, place: str, *kinds: type) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " | ".join(kind.__name__ for kind in kinds)
        raise BrokenEvidence(f"{place} is {type(value).__name__}, where {wanted} belongs.")
