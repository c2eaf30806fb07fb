"""What the schema refuses, in words for a person: which key, what belongs there, what stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast, get_origin

from pydantic import BaseModel, ValidationError

from gradatim.contract import schema
from gradatim.contract.rules import unknown
from gradatim.contract.source import ONE_MODEL, ContractText, Place
from gradatim.contract.values import PATTERNS
from gradatim.errors import Problem

_EXPECTED = {
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "string_too_long": "at most {max_length} characters",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "multiple_of": "a multiple of {multiple_of:g}",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "list_type": "a list",
    "tuple_type": "a list",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "literal_error": "{expected}",
}
"""What belongs there, by the kind of mistake that pydantic found."""


def told(error: ValidationError, source: ContractText) -> Iterator[Problem]:
    """Every mistake, each at its line and column."""
    details = error.errors(include_url=False)
    several = _several_models(source.data)
    if several:
        yield Problem(ONE_MODEL, *source.locate((several,), key=several != "model" or _is_mapping(source)))
        details = [detail for detail in details if detail["loc"][0] not in (several, "model")]
    lacking = {detail["loc"] for detail in details if detail["type"] == "missing"}
    for detail in details:
        *around, last = detail["loc"]
        if isinstance(last, int) and (*around, last + 1) in lacking:
            continue  # a list that is too short is one mistake, told by its last entry
        yield _problem(detail, tuple(part for part in detail["loc"] if part != "[key]"), source)


def _as_written(place: Place, data: Any) -> Place:
    """A place without the keys that a shorthand left out: ``publish.0`` where the schema says ``publish.to.0``."""
    written: list[str | int] = []
    for part in place:
        if isinstance(part, str) and isinstance(data, list | str | int | float):
            continue
        written.append(part)
        try:
            data = data[part]
        except (LookupError, TypeError):
            data = None
    return tuple(written)


def kind(value: Any) -> str:
    """What stands there, in a word or two."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else _shown(repr(value))


def _problem(detail: Any, place: Place, source: ContractText) -> Problem:
    key = "[key]" in detail["loc"]
    written = _as_written(place, source.data)
    if detail["type"] == "extra_forbidden":
        known = _keys_at(place[:-1])
        return Problem(
            unknown("key", _shown(str(place[-1])), known, context=" here"), *source.locate(written, key=True)
        )
    if detail["type"] == "missing" and isinstance(place[-1], int):
        length = (
            f"`{_dotted(place[:-1])}`: expected {place[-1] + 1} entries, got a list of {len(detail['input'])}"
        )
        return Problem(length, *source.locate(place[:-1]))
    if detail["type"] == "missing":
        where = source.locate(place[:-1], key=True)
        return Problem(f"`{_dotted(place)}` is missing: {_description(place)}", *where)
    said = _plain(detail, place)
    return Problem(
        f"`{_shown(_dotted(written))}`: {said}" if place else said, *source.locate(written, key=key)
    )


def _plain(detail: Any, place: Place) -> str:
    """What was expected, and what was got."""
    got, context, found = detail.get("input"), detail.get("ctx", {}), detail["type"]
    if found == "value_error":
        return str(context["error"])
    if found == "string_pattern_mismatch":
        return f"{PATTERNS[context['pattern']]}, got {kind(got)}"
    if found == "literal_error" and isinstance(got, str):
        return unknown("value", _shown(got), re.findall("'([^']+)'", context["expected"]))
    if place == ("model",) and isinstance(got, str):
        return f"a model is named and found: write `model: {{name: ..., path: {_shown(got)}}}`"
    if found in ("too_long", "too_short") and context.get("field_type") in ("Tuple", "List"):
        wanted = context.get("max_length", context.get("min_length"))
        return f"expected {wanted} entries, got a list of {context['actual_length']}"
    if found == "invalid_key":
        return f"a key is a text, got {got!r}: quote it"
    expected = _EXPECTED.get(found, "another value").format(**context)
    return f"expected {expected}, got {kind(got)}"


def _several_models(data: Mapping[str, Any]) -> str | None:
    """The key under which several models stand, if that is what this is."""
    models = data.get("model")
    if isinstance(models, list):
        return "model"
    if isinstance(models, dict) and "name" not in models and len(models) > 1:
        sections = [
            one for one in models.values() if isinstance(one, dict) and {"path", "factory", "name"} & set(one)
        ]
        return "model" if len(sections) == len(models) else None
    return "models" if "models" in data and "model" not in data else None


def _is_mapping(source: ContractText) -> bool:
    return isinstance(source.data["model"], dict)


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _keys_at(place: Place) -> list[str]:
    section = _section_at(place)
    return list(section.model_fields) if section else []


def _description(place: Place) -> str:
    section = _section_at(place[:-1])
    field = section.model_fields.get(str(place[-1])) if section else None
    return (field.description if field and field.description else "a value is needed").rstrip(".")


def _section_at(place: Place) -> type[BaseModel] | None:
    """The section of the schema that stands at a place, found by walking the types."""
    current: Any = schema.Contract
    named = False
    for part in place:
        if named or isinstance(
            part, int
        ):  # an entry of a mapping or a list: the section found is the entry's
            named = False
            continue
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = _section_in(field.annotation) if field else None
            named = field is not None and get_origin(field.annotation) is dict
        if current is None:
            return None
    return cast("type[BaseModel]", current)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_in(inner)
        if found:
            return found
    return None
