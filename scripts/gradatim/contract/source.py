"""YAML with the line and column of every key and value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gradatim.errors import Problem

Place = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the top."""

ONE_MODEL = (
    "a contract is for one model, and here are several. Give each a folder of its own with its `gradatim.yml`: "
    "one contract a folder"
)

_MOST_NODES = 100_000
_LONGEST_NUMBER = 1000
"""Characters; PyYAML's way to numbers to the base of 60, and Python's to any, take the square of it in time."""


@dataclass(frozen=True)
class ContractText:
    """A parsed YAML document.

    Attributes:
        data: plain Python values.
        keys: (line, column) of each key, 1-based, by place.
        values: (line, column) of each value, 1-based, by place.
        problems: keys that stand twice.
    """

    data: Any
    keys: dict[Place, tuple[int, int]]
    values: dict[Place, tuple[int, int]]
    problems: tuple[Problem, ...] = ()

    def locate(self, place: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Line and column of a value (or of its key), or of the nearest thing around it that exists."""
        first, second = (self.keys, self.values) if key else (self.values, self.keys)
        for length in range(len(place), 0, -1):
            prefix = tuple(place[:length])
            found = first.get(prefix) or second.get(prefix)
            if found:
                return found
        return (1, 1)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe one, whatever is wrong a ``YAMLError`` that tells where."""

    def get_single_data(self) -> Any:
        try:
            return super().get_single_data()
        except RecursionError as error:
            raise yaml.YAMLError("it is nested too deep, or within itself") from error

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        no = yaml.constructor.ConstructorError(None, None, f"no {kind}", node.start_mark)
        if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
            raise no
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError) as error:
            raise no from error


def parse(text: str) -> ContractText | Problem:
    """Parse YAML, keeping positions. A syntax error comes back as the one problem it is."""
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        walk = _Walk()
        if node is not None:
            walk.visit(node, ())
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if error.context == "expected a single document in the stream":
            return Problem(ONE_MODEL, line, column)
        said = " ".join(part for part in (error.context, error.problem) if part)
        return Problem(f"not valid YAML: {said}", line, column)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Problem(f"not valid YAML: {str(error).splitlines()[0]}")
    finally:
        loader.dispose()
    return ContractText(data, walk.keys, walk.values, tuple(walk.problems))


class _Walk:
    def __init__(self) -> None:
        self.keys: dict[Place, tuple[int, int]] = {}
        self.values: dict[Place, tuple[int, int]] = {}
        self.problems: list[Problem] = []

    def visit(self, node: yaml.Node, place: Place) -> None:
        if len(self.values) > _MOST_NODES:
            raise ValueError(f"more than {_MOST_NODES} values")
        self.values[place] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, place)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*place, index))

    def _mapping(self, node: yaml.MappingNode, place: Place) -> None:
        seen: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else repr(key.value)
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if name in seen:
                message = f"`{name}` stands twice; it is already on line {seen[name]}"
                self.problems.append(Problem(message, line, column))
            seen[name] = line
            self.keys[(*place, name)] = (line, column)
            self.visit(value, (*place, name))
