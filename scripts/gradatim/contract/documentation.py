"""The contract's reference page, written from its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradatim.contract.reading import json_schema

_HEAD = """\
# The contract, key by key

<!-- Written by `gradatim schema --markdown`; edit scripts/gradatim/contract/schema.py instead. -->

Quantities may carry a unit: `1%`, `5 MB`, `10 ms`, `3 days`. Paths are relative to `gradatim.yml`.
Where a mapping has one obvious key, its value alone will do: `task: classification` is `task: {type: classification}`.
"""


def reference_page() -> str:
    """The page in Markdown: a table for each section, in the order of the contract."""
    schema = json_schema()
    lines = [_HEAD]
    for title, section in _sections("", schema, schema["$defs"], set()):
        lines += [f"## {title or 'Top level'}", "", section.get("description", "").split("\n")[0], ""]
        lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
        required = section.get("required", ())
        for key, field in section["properties"].items():
            default = "required" if key in required else _default(field)
            lines.append(f"| `{key}` | {_type(field)} | {default} | {_cell(field.get('description', ''))} |")
        lines.append("")
    return "\n".join(lines)


def _sections(
    place: str, section: dict[str, Any], definitions: dict[str, Any], seen: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    yield place, section
    for key, field in section["properties"].items():
        for name in _references(field):
            if name not in seen:
                seen.add(name)
                nested = f"{place}.{key}" if place else key
                if "additionalProperties" in _flat(field):
                    nested += ".NAME"
                yield from _sections(nested, definitions[name], definitions, seen)


def _flat(field: dict[str, Any]) -> set[str]:
    return set(field).union(*(set(choice) for choice in field.get("anyOf", ())))


def _references(field: Any) -> Iterator[str]:
    if isinstance(field, dict):
        if "$ref" in field:
            yield field["$ref"].rsplit("/", 1)[-1]
        for value in field.values():
            yield from _references(value)
    elif isinstance(field, list):
        for value in field:
            yield from _references(value)


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return "mapping"
    if "const" in field or "enum" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "anyOf" in field:
        kinds = dict.fromkeys(_type(choice) for choice in field["anyOf"] if choice.get("type") != "null")
        # a list comes last, else what follows it seems to stand in it
        lists_last = sorted(kinds, key=lambda kind: kind.startswith("list"))
        return " or ".join(lists_last)
    if field.get("type") == "array":
        items = field.get("items")
        return f"list of {_type(items)}" if items else "list"
    if field.get("type") == "object":
        return "mapping"
    return {"string": "text", "number": "number", "integer": "whole number", "boolean": "yes or no"}.get(
        field.get("type", ""), "any"
    )


def _default(field: dict[str, Any]) -> str:
    if "default" not in field or field["default"] in (None, [], {}):
        return ""
    value = field["default"]
    return f"`{'yes' if value is True else 'no' if value is False else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
