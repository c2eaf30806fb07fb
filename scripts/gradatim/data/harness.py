"""What another harness measured, row by row: lm-evaluation-harness, Inspect, promptfoo. Read strictly: nothing is passed over."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradatim.data.source import refuse_broken_file
from gradatim.errors import InvalidInput

Json = Mapping[str, Any]

_MARKS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Inspect's letters: correct, incorrect, partial, no answer."""


@dataclass(frozen=True)
class HarnessRow:
    """One row of a run.

    Attributes:
        id: what tells it from the others of its run.
        unit: what several samples of one question share.
        asked: what was asked, as far as the file tells: two runs that are compared must agree.
        reference: as JSON: what the answer was scored against.
        answer: as text, for people.
        scores: by name; none where the request failed.
        columns: what can be sliced by.
    """

    id: str
    unit: str
    asked: str
    reference: str
    answer: str
    scores: Mapping[str, float]
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HarnessRun:
    """A results file: which harness wrote it, how the model was asked, and its rows."""

    harness: str
    settings: Mapping[str, Any]
    rows: tuple[HarnessRow, ...]


def read_run(path: Path) -> HarnessRun:
    """Read a samples file of lm-eval (``--log_samples``), a log of Inspect (.json) or the output of promptfoo (.json).

    Raises:
        InvalidInput: it is none of these, the run did not succeed, an id stands twice, rows or scores are missing, or a score is
            no finite number.
    """
    refuse_broken_file(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text in UTF-8: no results of a harness.") from error
    whole = _whole(text)
    try:
        if isinstance(whole, dict) and "samples" in whole and "eval" in whole:
            found = _inspect(whole, path)
        elif isinstance(whole, dict) and isinstance(whole.get("results"), dict):
            found = _promptfoo(whole, path)
        else:
            found = _lm_eval(list(_lines(text, path)), path)
    except (KeyError, TypeError, AttributeError) as error:
        lacking = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(
            f"{path} is not laid out as lm-eval's samples, an Inspect log or promptfoo's output of a version that is known here: {lacking}."
        ) from error
    ids = [row.id for row in found.rows]
    if not ids:
        raise InvalidInput(f"{path} holds no row: nothing was measured.")
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise InvalidInput(
            f"{path}: the id {twice} stands twice. A row counts once: take one out, or give it an id of its own."
        )
    return found


def _whole(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lines(text: str, path: Path) -> Iterator[Json]:
    for number, line in enumerate(text.split("\n"), 1):  # text of a row may hold other ends of lines
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidInput(
                    f"{path}:{number} is not valid JSON. The file may be truncated."
                ) from error
            if not isinstance(row, dict) or "doc_id" not in row:
                raise InvalidInput(f"{path}:{number} is no sample of lm-eval: it has no `doc_id`.")
            yield row


def _number(value: Any, name: str, where: str) -> float:
    if isinstance(value, str) and value in _MARKS:
        return _MARKS[value]
    if not isinstance(value, bool | int | float) or not abs(value) <= sys.float_info.max:
        raise InvalidInput(f"{where}: the score `{name}` is {str(value)[:40]}, which is not a finite number.")
    return float(value)


def _scored(scores: dict[str, float], where: str) -> dict[str, float]:
    """The scores of a row whose request did not fail."""
    if not scores:
        raise InvalidInput(f"{where} has no score, and its request did not fail. Score every row.")
    return scores


def _refuse_fewer(rows: Sequence[HarnessRow], wanted: Any, path: Path) -> None:
    """Refuse a file of other rows than it says itself that there were."""
    if isinstance(wanted, int) and wanted != len(rows):
        raise InvalidInput(
            f"{path} holds {len(rows)} rows, and says itself that there were {wanted}. A row that is missing is none that passed."
        )


def _flat(columns: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in columns.items() if isinstance(value, str | int | float)} if isinstance(columns, dict) else {}  # fmt: skip


def _lm_eval(lines: Sequence[Json], path: Path) -> HarnessRun:
    """Each line is a document under one filter; scores of several filters bear the filter's name."""
    filters = list(dict.fromkeys(str(line.get("filter", "none")) for line in lines))
    rows: dict[str, HarnessRow] = {}
    seen: set[tuple[str, str]] = set()
    settings: dict[str, Any] = {"filters": filters}
    for line in lines:
        name, filtered = str(line["doc_id"]), str(line.get("filter", "none"))
        where = f"{path}, doc_id {name}"
        if (name, filtered) in seen:
            raise InvalidInput(f"{path}: the id {name} stands twice. A row counts once: take one out.")
        seen.add((name, filtered))
        mark = "" if len(filters) == 1 else "_" + re.sub(r"\W", "_", filtered)
        numbers = {
            key: line[key] for key in line["metrics"] if not isinstance(line[key], list)
        }  # a pair: of all rows
        scores = _scored(
            {f"{key}{mark}": _number(value, key, where) for key, value in numbers.items()}, where
        )
        asked = _sampling(line.get("arguments"))
        if settings.setdefault("sampling", asked) != asked:
            raise InvalidInput(
                f"{where}: it was asked with {asked}, rows before with {settings['sampling']}: a run has one way."
            )
        known = rows.get(name)
        prompt = str(
            line.get("prompt_hash") or line.get("doc_hash") or json.dumps(line.get("doc"), sort_keys=True)
        )
        rows[name] = HarnessRow(
            name, name, prompt, json.dumps(line["target"]), _said(line["filtered_resps"]),
            {**(known.scores if known else {}), **scores}, _flat(line.get("doc")),
        )  # fmt: skip
    beside = _beside(path)
    for task, counted in (beside.pop("n-samples", None) or {}).items():
        if path.name.startswith(f"samples_{task}_"):
            _refuse_fewer(tuple(rows.values()), counted.get("effective"), path)
    return HarnessRun("lm-eval", {**settings, **beside}, tuple(rows.values()))


def _said(answers: Any) -> str:
    """What was answered: a text alone as it is."""
    alone = isinstance(answers, list) and len(answers) == 1 and isinstance(answers[0], str)
    return str(answers[0]) if alone else json.dumps(answers)


def _sampling(arguments: Any) -> Any:
    """What ``generate_until`` was told besides the prompt."""
    given = arguments.values() if isinstance(arguments, dict) else arguments or ()
    for one in given:
        parts = one.values() if isinstance(one, dict) else one
        for part in parts:
            if isinstance(part, dict):
                return part
    return {}


def _beside(path: Path) -> dict[str, Any]:
    """What the results file of the same run says of few-shot examples and versions, where it lies beside the samples."""
    stamp = re.search(r"_(\d{4}-\d{2}-\d{2}T[\d.:-]+)\.jsonl$", path.name)
    results = path.with_name(f"results_{stamp[1]}.json") if stamp else None
    said = _whole(results.read_text(encoding="utf-8")) if results and results.is_file() else None
    if not isinstance(said, dict):
        return {}
    return {
        key: said[key]
        for key in ("n-shot", "n-samples", "versions", "fewshot_as_multiturn", "chat_template_sha")
        if key in said
    }


def _inspect(log: Json, path: Path) -> HarnessRun:
    if log.get("status") != "success":
        raise InvalidInput(
            f"{path} is the log of a run that ended with `{log.get('status')}`: only a whole run is evidence."
        )
    about = log["eval"]
    config = (log.get("plan") or {}).get("config") or {}
    settings = {
        "task": about["task"], "task_version": about.get("task_version"), "task_args": about.get("task_args") or {},
        "epochs": (about.get("config") or {}).get("epochs"), "generate": config, "model": about.get("model_generate_config"),
        "steps": (log.get("plan") or {}).get("steps"), "scorers": about.get("scorers"),
    }  # fmt: skip
    rows = []
    for sample in log["samples"]:
        unit, epoch = str(sample["id"]), sample.get("epoch", 1)
        where = f"{path}, sample {unit}"
        scores: dict[str, float] = {}
        failed = bool(sample.get("error"))
        for name, score in ({} if failed else sample.get("scores") or {}).items():
            scores[str(name)] = _number(score["value"], name, where)
        output = sample.get("output") or {}
        rows.append(
            HarnessRow(
                f"{unit}#{epoch}",
                unit,
                json.dumps(sample["input"], sort_keys=True),
                json.dumps(sample.get("target")),
                str(output.get("completion", "")),
                scores if failed else _scored(scores, where),
                _flat(sample.get("metadata")),
            )
        )
    _refuse_fewer(rows, (log.get("results") or {}).get("total_samples"), path)
    return HarnessRun("inspect", settings, tuple(rows))


def _promptfoo(said: Json, path: Path) -> HarnessRun:
    results = said["results"]["results"]
    providers = [row.get("provider") or {} for row in results]
    whom = {" ".join(str(one[key]) for key in ("id", "label") if one.get(key)) for one in providers}
    if len(whom) > 1:
        raise InvalidInput(
            f"{path} holds the answers of several providers ({', '.join(sorted(whom))}). Write one file for each."
        )
    rows = []
    for row in results:
        name = f"{row['testIdx']}.{row.get('promptIdx', 0)}"
        where = f"{path}, test {name}"
        passed, asked_of = row["success"], row["prompt"]
        failed = (
            row.get("response") is None
            or (row["response"] or {}).get("error")
            or row.get("failureReason") == 2
        )
        scores: dict[str, float] = {}
        if not failed:
            scores = {
                "pass": _number(passed, "success", where),
                "score": _number(row["score"], "score", where),
            }
            scores |= {
                key: _number(value, key, where) for key, value in (row.get("namedScores") or {}).items()
            }
        asked = json.dumps([asked_of.get("raw"), row.get("vars")], sort_keys=True)
        answer = (row.get("response") or {}).get("output", "")
        rows.append(
            HarnessRow(
                name,
                str(row["testIdx"]),
                asked,
                json.dumps((row.get("testCase") or {}).get("assert")),
                answer if isinstance(answer, str) else json.dumps(answer),
                scores,
                _flat(row.get("vars")),
            )
        )
    config = said.get("config") or {}
    sampling = [one.get("config") or {} for one in config.get("providers") or () if isinstance(one, dict)]
    settings = {
        "sampling": sampling,
        "defaultTest": config.get("defaultTest"),
        "version": said["results"].get("version"),
    }
    counts = said["results"].get("stats") or {}
    wanted = [counts.get(key) for key in ("successes", "failures", "errors")]
    _refuse_fewer(rows, sum(n for n in wanted if n is not None) if any(wanted) else None, path)
    return HarnessRun("promptfoo", settings, tuple(rows))
