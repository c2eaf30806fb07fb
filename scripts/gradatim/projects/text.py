"""A proposal as the text of a contract, commented in the schema's own words."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

from gradatim.files import template_folder
from gradatim.projects.proposal import Proposal


def render(proposal: Proposal) -> str:
    """The proposal as a commented ``gradatim.yml``; the comments are the schema's own words."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 (YAML, not HTML)
        loader=jinja2.FileSystemLoader(template_folder("projects")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["flow"] = flow
    environment.filters["wrapped"] = _wrapped
    text = environment.get_template("gradatim.yml.j2").render(p=proposal, about=_Schema().about)
    return re.sub(r"\n{3,}", "\n\n", text)


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")


def _wrapped(values: list[Any], indent: int) -> str:
    """A list on as many lines of YAML as it takes."""
    import yaml

    text = yaml.safe_dump(values, default_flow_style=True, allow_unicode=True, width=110, sort_keys=False)
    return text.rstrip("\n").replace("\n", "\n" + " " * indent)


class _Schema:
    """The contract's descriptions as comments."""

    def __init__(self) -> None:
        from gradatim.contract.reading import json_schema

        self._schema = json_schema()

    def about(self, place: str, indent: int = 0) -> str:
        """``# description`` of a key such as ``model.path``, wrapped; a section's own key may be followed."""
        section: dict[str, Any] = self._schema
        *path, last = place.split(".")
        for key in path:
            section = self._section(section["properties"][key])
        text = section["properties"][last]["description"]
        prefix = " " * indent + "# "
        return "\n".join(textwrap.wrap(text, 100, initial_indent=prefix, subsequent_indent=prefix))

    def _section(self, node: dict[str, Any]) -> dict[str, Any]:
        reference = re.search(r'"#/\$defs/(\w+)"', json.dumps(node))
        if reference is None:
            raise KeyError("a place in the contract that is no section")
        found: dict[str, Any] = self._schema["$defs"][reference[1]]
        return found
