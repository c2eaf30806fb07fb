"""``lineage.json``, written by the training script itself."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.files import parse_json, reading
from gradatim.lineage.draft import LineageDraft, numbered
from gradatim.lineage.record import Lineage

MOST_BYTES = 64_000_000


def read_json_file(path: Path, place: str) -> Lineage:
    """Read ``lineage.json`` strictly.

    Args:
        path: the file.
        place: what it is called in messages and in the report.

    Raises:
        InvalidInput: not JSON, NaN, an unknown field, a malformed digest or path; every problem of fields at once.
    """
    with reading(place):
        if path.stat().st_size > MOST_BYTES:
            raise InvalidInput(f"{place} has more than {MOST_BYTES // 1_000_000} MB. Log fewer steps to it.")
        data = path.read_bytes()
    try:
        record = parse_json(data, place, halves=True)
    except InvalidInput as error:
        nan = " JSON has no NaN and no infinity: write null." if "is not a number" in str(error) else ""
        raise InvalidInput(f"{error}{nan}") from error
    found = _checked(record, place)
    draft = LineageDraft(place, place)
    draft.parameters(found.parameters)
    for name, used in found.data.items():
        draft.data(name, sha256=used.sha256, path=used.path, use=used.use)
    for name, logged in found.metrics.items():
        for step, value in numbered(logged if isinstance(logged, list) else [logged]):
            draft.metric(name, step, value)
    draft.environment(found.environment)
    draft.seed, draft.commit = found.seed, found.commit
    draft.started, draft.finished = found.started, found.finished
    return draft.finish()


def _checked(record: Any, place: str) -> Any:
    from pydantic import ValidationError

    from gradatim.lineage.schema import LineageFile

    try:
        return LineageFile.model_validate(record)
    except ValidationError as error:
        problems = dict.fromkeys(_told(detail) for detail in error.errors(include_url=False))
        known = [field.alias or name for name, field in LineageFile.model_fields.items()]
        raise InvalidInput(
            f"{place} is not in the format of lineage.json: {'; '.join(list(problems)[:5])}. Its fields are "
            f"{', '.join(known)}; docs/how-to/lineage.md explains them. If the file belongs to another tool, write `lineage: null` in the contract."
        ) from None


def _told(detail: Any) -> str:
    from gradatim.lineage.schema import Data, LineageFile

    # a metric may be one of three shapes, so pydantic tells of each: one word for all of them
    place = [
        str(part) for part in detail["loc"] if not str(part).startswith(("list[", "function-", "constrained"))
    ]
    if place[:1] == ["metrics"] and len(place) > 1:
        return f"metrics.{place[1]} is neither a number, nor a list of numbers, nor a list of [step, number]"
    name = ".".join(place)
    if detail["type"] == "extra_forbidden":
        known = [*LineageFile.model_fields] if len(place) == 1 else [*Data.model_fields]
        close = difflib.get_close_matches(place[-1], known, n=1)
        return f"unknown field `{name}`" + (f" (did you mean `{close[0]}`?)" if close else "")
    return f"`{name}`: {detail['msg'][0].lower()}{detail['msg'][1:]}" if name else detail["msg"]
