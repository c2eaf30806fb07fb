"""Is the answer what a program could read?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gradatim.errors import InvalidInput, needs


def json_valid(
    answer: str, references: Sequence[str], *, json_schema: Mapping[str, Any] | None = None
) -> bool:
    """Whether it is JSON and nothing else, and of the schema where there is one.

    Raises:
        InvalidInput: the schema is none.
    """
    validator = None if json_schema is None else checked(json_schema)
    try:
        value = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return validator is None or bool(validator.is_valid(value))


def checked(json_schema: Mapping[str, Any]) -> Any:
    """What holds values against a schema.

    Raises:
        InvalidInput: the schema is none.
        EnvironmentLacks: jsonschema is not installed.
    """
    with needs("jsonschema", "text", "The scorer `json_valid` with a schema"):
        import jsonschema
    kind = jsonschema.validators.validator_for(json_schema)
    try:
        kind.check_schema(json_schema)
    except jsonschema.SchemaError as error:
        raise InvalidInput(
            f"The schema of the scorer `json_valid` is no JSON schema: {error.message}."
        ) from error
    return kind(json_schema)


def _refuse(name: str) -> None:
    raise ValueError(name)
