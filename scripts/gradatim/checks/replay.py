"""Recorded requests through a candidate and the release that it would replace, one beside the other."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradatim.checks.comparison import Allowance, compare, named_answers
from gradatim.checks.requests import UNNAMED, Request
from gradatim.data import open_data
from gradatim.errors import GradatimError, InvalidInput, UsageError
from gradatim.files import refuse_link, write_text
from gradatim.models import Arrays, encoded
from gradatim.models.predictor import ModelEnded

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.candidate.model import Model
    from gradatim.candidate.replaced import Replaced
    from gradatim.candidate.rows import Rows
    from gradatim.metrics.task import Task
    from gradatim.models import Predictor
    from gradatim.progress import Advance


@dataclass(frozen=True)
class Side:
    """One of the two that answer.

    Attributes:
        label: ``v1.0.0``.
        digest: of its model's bytes.
        model: how it is opened.
        path: its model on this machine.
        rows: how it is fed.
        task: how its answers are read; None without a task.
    """

    label: str
    digest: str
    model: Model
    path: Path
    rows: Rows
    task: Task | None


def sides_of(candidate: Candidate, version: str | None) -> tuple[Side, Side]:
    """The release that would be replaced, and a candidate: a released version, or the model as it lies here.

    Raises:
        UsageError: there is no such release, or nothing to stand beside it.
        BrokenEvidence: what is found is not what was released.
        EnvironmentLacks: no place that has it can be reached, or nothing is proven.
    """
    if version is None:
        return _side(candidate.replaced), side_of(candidate, None)
    release = candidate.registry.find(version, candidate.name)
    return _side(candidate.replaced.before(release)), side_of(candidate, version)


def side_of(candidate: Candidate, version: str | None) -> Side:
    """A released version, or the model as it lies here.

    Raises:
        UsageError: there is no such release.
        BrokenEvidence: what is found is not what was released.
        EnvironmentLacks: no place that has it can be reached.
    """
    if version is not None:
        return _side(candidate.replaced.of(candidate.registry.find(version, candidate.name)))
    original, rows = candidate.forms.original, candidate.rows
    task = rows.task() if candidate.contract.parts.task else None
    return Side("the model here", original.manifest.digest, candidate.model, original.path, rows, task)


def _side(replaced: Replaced) -> Side:
    release, path = replaced.release, replaced.path
    if release is None or path is None:
        raise UsageError("Nothing was released before: there is nothing to stand beside the candidate.")
    task = replaced.task() if replaced.contract.parts.task else None
    return Side(release.label, release.digest, replaced.model, path, replaced.rows, task)


@dataclass(frozen=True)
class Exchange:
    """One request, and what became of it.

    Attributes:
        baseline, candidate: seconds that the model took; None where the request failed.
        same: whether both gave the same answer.
        error: what the candidate failed with, else what the baseline failed with; empty where both answered.
    """

    baseline: float | None
    candidate: float | None
    same: bool
    error: str = ""


def replay(
    requests: Sequence[Request],
    baseline: Side,
    candidate: Side,
    record: Path,
    told: Mapping[str, str],
    advance: Advance,
) -> list[Exchange]:
    """Send every request to both, in turns who is first; each is written down as it is done, so that a replay that was killed
    goes on.

    A request fails where the model refuses it, raises on it, ends its process or takes longer than it may. A model whose
    process ended is opened again for the next request, as a server would.

    Args:
        record: what was done lies here; a record of other requests or of other models is begun anew.
        told: what the record is of.

    Raises:
        InvalidInput: a model cannot be opened at all.
        EnvironmentLacks: the record cannot be written.
    """
    refuse_link(record)
    done = _recorded(record, told)
    advance(len(done))
    if len(done) == len(requests):
        return done
    with (
        record.open("a", encoding="utf-8") as file,
        _Opened(baseline) as old,
        _Opened(candidate) as new,
        tempfile.TemporaryDirectory() as folder,
    ):
        place = Path(folder) / "request.jsonl"
        for side in (old, new):  # the first call of a model is not like the others
            side.ask(requests[0], place)
        for number in range(len(done), len(requests)):
            first, second = (old, new) if number % 2 else (new, old)
            answers = {id(side): side.ask(requests[number], place) for side in (first, second)}
            exchange = _exchange(old, answers[id(old)], new, answers[id(new)])
            done.append(exchange)
            file.write(json.dumps(vars(exchange)) + "\n")
            file.flush()
            advance(1)
    return done


@dataclass(frozen=True)
class _Answer:
    """What a model said to one request, or why it said nothing."""

    seconds: float | None
    calls: tuple[tuple[Arrays, Arrays], ...] = ()  # what it was given and what it gave
    error: str = ""


class _Opened:
    """A side that answers, and is opened again where its process ended."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._held: Predictor | None = None
        chosen = side.rows.contract.data_set("evaluation")
        self._feeding = side.rows.feeding("evaluation")
        self._others = (
            (chosen.label, chosen.group, tuple(chosen.slices or ())) if chosen else (None, None, ())
        )

    def __enter__(self) -> _Opened:
        self._held = self.side.model.open(self.side.path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held.close()

    def ask(self, request: Request, place: Path) -> _Answer:
        """Send it a request; ``place`` is a file to write its rows to."""
        if request.wrong:
            return _Answer(None, error=f"{request.place}: {request.wrong}")
        try:
            if self._held is None:
                self._held = self.side.model.open(self.side.path)
            return self._answer(request, place, self._held)
        except ModelEnded as error:
            ended, self._held = self._held, None
            if ended is not None:
                ended.close()
            return _Answer(None, error=f"{request.place}: {error}")
        except GradatimError as error:
            return _Answer(None, error=f"{request.place}: {str(error).replace(str(place), 'the request')}")

    def _answer(self, request: Request, place: Path, predictor: Predictor) -> _Answer:
        first = predictor.signature.inputs[0].name if predictor.signature.inputs else UNNAMED
        rows = [{name or first: value for name, value in row.items()} for row in request.rows]
        place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        columns = set(rows[0])
        label, group, slices = self._others
        inputs, preprocess = self._feeding
        data = open_data(
            str(place),
            root=self.side.rows.contract.root,
            signature=predictor.signature,
            label=label if label in columns else None,
            group=group if group in columns else None,
            slices=[column for column in slices if column in columns],
            inputs=inputs,
            preprocess=preprocess,
        )
        seconds, calls = 0.0, []
        for batch in data.batches(len(rows)):
            fed = encoded(predictor, batch.inputs)
            began = time.perf_counter()
            answer = predictor(fed)
            seconds += time.perf_counter() - began
            calls.append((fed, answer))
            if any(values.dtype.kind == "f" and not np.isfinite(values).all() for values in answer.values()):
                raise InvalidInput("the answer holds NaN or infinity")
        return _Answer(seconds, tuple(calls))


def _exchange(old: _Opened, before: _Answer, new: _Opened, after: _Answer) -> Exchange:
    both = before.seconds is not None and after.seconds is not None
    same = both and _same(old.side, before, new.side, after)
    return Exchange(before.seconds, after.seconds, same, after.error or before.error)


def _same(old: Side, before: _Answer, new: Side, after: _Answer) -> bool:
    """Whether two answers say the same: classes and tags by their names, all else within the contract's tolerance."""
    if len(before.calls) != len(after.calls):
        return False
    said = new.rows.contract.parts.test.tolerance
    allowance = Allowance(said.absolute, said.relative)
    for (given, mine), (before_given, theirs) in zip(after.calls, before.calls, strict=True):
        names, others = named_answers(new.task, mine, given), named_answers(old.task, theirs, before_given)
        if names is not None or others is not None:
            if names != others:
                return False
        elif set(mine) != set(theirs) or compare(theirs, mine, allowance).problem:
            return False
    return True


def _recorded(record: Path, told: Mapping[str, str]) -> list[Exchange]:
    """What was done before; a line that a kill cut short is forgotten, and so is a record of something else."""
    head = json.dumps(dict(told), sort_keys=True)
    done = list(_whole_lines(record, head)) if record.exists() else []
    lines = [head, *(json.dumps(vars(exchange)) for exchange in done)]
    write_text(record, "\n".join(lines) + "\n")
    return done


def _whole_lines(record: Path, head: str) -> Iterator[Exchange]:
    lines = record.read_text(encoding="utf-8", errors="replace").split("\n")
    if lines[0] != head:
        return
    for line in lines[1:-1]:  # what follows the last newline is cut short
        try:
            told = json.loads(line)
            yield Exchange(told["baseline"], told["candidate"], bool(told["same"]), str(told["error"]))
        except (ValueError, KeyError, TypeError):
            return
