"""What users said of released versions: counted by version and slice, joined with nothing that tells who said it."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.metrics.intervals import clopper_pearson
from gradatim.report.iteration import Share

VERSION, GOOD, EXPECTED = "version", "good", "expected"
"""Which version answered, whether the answer was good, and what would have been right, where the user said it."""

_YES = {"true", "1", "yes", "good", "up", "+1", "👍"}
_SAID = re.compile(
    r"^#{2,4} +(.+)\n+((?:(?!#).*\n?)*)|^[*_]{0,3}(\w[\w .-]{0,60}?)[*_]{0,3}:[*_]{0,3} +(.+)$", re.MULTILINE
)
_NO = {"false", "0", "no", "bad", "down", "-1", "👎"}


@dataclass
class Feedback:
    """What a file of feedback says.

    Attributes:
        shares: by version, then by slice.
        proposed: rows that a version answered wrongly, with what would have been right: golden cases for a person to judge.
        unknown: how many lines name no released version.
        left_out: columns that were not kept.
    """

    shares: list[Share] = field(default_factory=list)
    proposed: list[dict[str, Any]] = field(default_factory=list)
    unknown: int = 0
    left_out: tuple[str, ...] = ()


def read_feedback(
    path: Path,
    versions: Collection[str],
    inputs: Sequence[str],
    slices: Mapping[str, Collection[str]],
    label: str,
    labels: Collection[str] = (),
) -> Feedback:
    """``count_feedback`` of a .jsonl or .csv.

    Raises:
        InvalidInput: the file is broken or empty, or a line does not say whether the answer was good; names the line.
    """
    return count_feedback(_rows(path), str(path), versions, inputs, slices, label, labels)


def count_feedback(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    source: str,
    versions: Collection[str],
    inputs: Sequence[str],
    slices: Mapping[str, Collection[str]],
    label: str,
    labels: Collection[str] = (),
) -> Feedback:
    """Join feedback to versions. Kept are counts, and of wrong answers the model's own inputs; who, when and why are not.

    Args:
        rows: by their place in ``source``, with the columns ``version`` and ``good``, and perhaps ``expected``, inputs and slices.
        versions: those that were released.
        inputs: columns that a proposed case must have; numbers and lists of them are kept, text never is.
        slices: columns to count by, and the values that the data have; others may be anything, and count as ``other``.
        label: what the right answer is called in the data.
        labels: the right answers that there are; besides these, numbers alone are kept.

    Raises:
        InvalidInput: there is none, or a row does not say whether the answer was good; names the place.
    """
    found = Feedback()
    counts: Counter[tuple[str, str, bool]] = Counter()
    seen: dict[str, None] = {}
    lines = 0
    for place, row in rows:
        lines += 1
        seen |= dict.fromkeys(row)
        version = str(row.get(VERSION) or "").strip()
        version = version if version.startswith("v") else f"v{version}"
        good = _good(row, place)
        if version not in versions:
            found.unknown += 1
            continue
        told = {column: str(row[column]) for column in slices if row.get(column) not in (None, "")}
        places = ["", *(f"{c}={value if value in slices[c] else 'other'}" for c, value in told.items())]
        counts.update((version, where, good) for where in places)
        numbers = {column: _numbers(row.get(column)) for column in inputs}
        right = row.get(EXPECTED)
        known = str(right) in labels or _numbers(right) is not None
        if not good and known and numbers and all(value is not None for value in numbers.values()):
            found.proposed.append({**numbers, label: right})
    if not lines:
        raise InvalidInput(f"{source} holds no feedback.")
    for version, where in sorted({(version, where) for version, where, _ in counts}):
        bad, well = counts[version, where, False], counts[version, where, True]
        low, high = clopper_pearson(bad, bad + well, 0.025)
        found.shares.append(Share(version, where, bad, bad + well, low, high))
    kept = {VERSION, GOOD, EXPECTED, *inputs, *slices}
    found.left_out = tuple(column for column in seen if column not in kept)
    return found


def rows_of_issues(issues: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What issues say, as rows: an issue form's headings with what stands below, and lines ``key: value``.

    Of nothing else can be told what it means: an issue that names no version counts as unknown. Who bears the label and
    does not say that the answer was good says that it was not.
    """
    for place, text in issues.items():
        said: dict[str, str] = {}
        for heading, below, key, value in _SAID.findall(text.replace("\r\n", "\n")):
            name, told = (heading, below) if heading else (key, value)
            said.setdefault(name.strip().lower(), told.strip())
        told = {key: value for key, value in said.items() if value and value != "_No response_"}
        good = told.get(GOOD, "no").lower()
        yield place, {**told, GOOD: good} if good in _YES | _NO else {GOOD: False}


def _good(row: Mapping[str, Any], place: str) -> bool:
    if GOOD not in row:
        raise InvalidInput(
            f"{place} has no column `{GOOD}` that says whether the answer was; it has {', '.join(row)}."
        )
    word = str(row[GOOD]).strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise InvalidInput(f"{place} does not say whether the answer was good: `{GOOD}` is true or false.")


def _numbers(value: Any) -> Any:
    """Numbers and nested lists of them, from JSON or from a csv's text; None for all else, text above all."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, list):
        return value if value and all(_numbers(one) is not None for one in value) else None
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                reader = csv.DictReader(file)
                yield from (
                    (f"{path}:{reader.line_num}", {k: v for k, v in row.items() if k}) for row in reader
                )
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise InvalidInput(f"{path}:{number} is no JSON object.")
                    yield f"{path}:{number}", row
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read as feedback: {error}. Write jsonl or csv.") from error
