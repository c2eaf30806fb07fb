"""Answers of the candidate beside the release's, shown to the contract's judge: each pair in both orders."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.model import server_settings
from gradatim.candidate.replaced import BASELINE
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Judging
from gradatim.files import digest_of, sha256_file

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.contract.generation import JudgeSection, PeopleSection
    from gradatim.measurement import Measurement
    from gradatim.metrics.answers import TextAnswer
    from gradatim.metrics.judged import Judgements
    from gradatim.metrics.task import Task
    from gradatim.progress import Advance

_AT_A_TIME = 64
"""Pairs that are handed over together."""

Said = Sequence[tuple[str | None, str]]
"""What was said of each pair, ``first``, ``second`` or ``tie``; None, and why, where there was no verdict."""
Judge = Callable[[Sequence[Mapping[str, Any]], Sequence[str], Sequence[str]], Said]


def judge_of(candidate: Candidate) -> JudgeSection | None:
    task = candidate.contract.parts.task
    return task.judge if task else None


def judged_by(candidate: Candidate) -> dict[str, str]:
    """Digest of what people judged; the rest of the judge is the contract's ``task`` and the user's code."""
    said = judge_of(candidate)
    if said is None or said.human is None:
        return {}
    path = candidate.contract.root / said.human.path
    return {"human": digest_of(sha256_file(path) if path.is_file() else None)}


def judge_answers(
    candidate: Candidate, task: Task, names: Iterable[str]
) -> tuple[Judging | None, list[Measurement]]:
    """Judge each form of the candidate beside the release, or a compressed one beside the original where nothing was released
    before, and keep what was said with its predictions.

    Returns:
        Who judged, None where nobody did; what was measured of the judge.

    Raises:
        EnvironmentLacks: the judge cannot be reached, refuses us, or fails again and again.
        InvalidInput: a function that says what is no verdict; a broken file of what people judged.
    """
    from gradatim.metrics.measure import measured as as_measurement

    said, all_of = judge_of(candidate), tuple(names)
    against = BASELINE if BASELINE in all_of else ORIGINAL
    forms = [name for name in all_of if name not in (BASELINE, against)]
    if said is None or not forms:
        return None, []
    questions = _questions(candidate)
    with _met(candidate, said) as (judge, name, pairs):
        total = 2 * (len(pairs) + len(forms) * len(questions))
        with candidate.progress.task("judge", total) as advance:
            kappa, believed, reasons = _held_against_people(judge, pairs, said.human, advance)
            measured = []
            for form in forms:
                verdicts, failed = _compared(candidate, task, judge, questions, (form, against), advance)
                reasons += failed
                bias = verdicts.bias()
                _keep(candidate, form, verdicts, believed)
                measured += [as_measurement(one, form) for one in (bias, *([kappa] if kappa else []))]
    return Judging(name, said.rubric, len(pairs), len(reasons), reasons[0] if reasons else None), measured


def meet_judge(candidate: Candidate, *, asked: bool) -> None:
    """See that the contract's judge can be asked, before hours are spent on answers that nobody compares.

    Args:
        asked: whether there is anything to compare; where there is not, a function must be there, and a server need not.

    Raises:
        EnvironmentLacks, InvalidInput: as ``judge_answers``.
    """
    said = judge_of(candidate)
    if said is not None and (asked or said.function is not None):
        with _met(candidate, said):
            pass


@contextlib.contextmanager
def _met(candidate: Candidate, said: JudgeSection) -> Iterator[tuple[Judge, str, list[_Pair]]]:
    """The judge, who that is, and what people judged."""
    with candidate.contract.blamed("task", "judge", "human"):
        pairs = _judged_by_people(candidate.contract.root, said.human)
    with candidate.contract.blamed("task", "judge"), _opened(candidate, said) as (judge, name):
        yield judge, name, pairs


@contextlib.contextmanager
def _opened(candidate: Candidate, said: JudgeSection) -> Iterator[tuple[Judge, str]]:
    """The judge, and who that is."""
    if said.function is not None:
        yield _OwnJudge(said.function, candidate.contract.root), said.function
        return
    from gradatim.models.judging import EndpointJudge

    assert said.endpoint is not None  # noqa: S101 (the contract has one of the two)
    settings = server_settings(candidate.contract, said.endpoint, "task", "judge", "endpoint")
    judge = EndpointJudge(settings, said.rubric or "", said.max_new_tokens)
    try:
        yield judge, judge.name
    finally:
        judge.close()


class _OwnJudge:
    """The user's function, in the process of the user's code."""

    def __init__(self, reference: str, root: Path) -> None:
        from gradatim.code.apart import Apart

        self._reference, self._function = reference, Apart(reference, root)

    def __call__(
        self, questions: Sequence[Mapping[str, Any]], first: Sequence[str], second: Sequence[str]
    ) -> Said:
        from gradatim.models.judging import PREFERENCES

        told = self._function(list(questions), list(first), list(second))
        try:
            some = itertools.islice(told, len(questions) + 1)  # one may never end
            found = [None if one is None else str(one) for one in some]
        except TypeError:
            found = []
        if len(found) != len(questions):
            raise InvalidInput(
                f"`{self._reference}` must give one verdict a pair: {len(questions)} were asked for, {len(found)} came."
            )
        if strange := [one for one in found if one not in (None, *PREFERENCES)]:
            raise InvalidInput(
                f"`{self._reference}` said {strange[0]!r} of a pair: `first`, `second` or `tie` is wanted, or None where it cannot tell."
            )
        return [(one, "" if one else "the judge could not tell") for one in found]


@dataclass(frozen=True)
class _Pair:
    """Two answers, and whom people preferred."""

    question: Mapping[str, Any]
    first: str
    second: str
    preferred: str


def _judged_by_people(root: Path, said: PeopleSection | None) -> list[_Pair]:
    """Pairs that people judged; none where nobody was asked.

    Raises:
        InvalidInput: there is no such file, or a line of it is no pair.
    """
    from gradatim.models.judging import PREFERENCES

    if said is None:
        return []
    path = root / said.path
    if not path.is_file():
        raise InvalidInput(f"There are no pairs that people judged at {path}.")
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
            question = {key: row[key] for key in ("messages", "prompt", "references") if key in row}
            texts, preferred = (row["first"], row["second"]), row[said.label]
            asks = isinstance(row.get("prompt"), str) or isinstance(row.get("messages"), list)
            if not asks or preferred not in PREFERENCES or not all(isinstance(text, str) for text in texts):
                raise ValueError
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InvalidInput(
                f'{path}:{number} is no pair that somebody judged: {{"prompt": "...", "first": "...", "second": "...", '
                f'"{said.label}": "first"}} is wanted, or "second", or "tie".'
            ) from None
        found.append(_Pair(question, *texts, preferred))
    if not found:
        raise InvalidInput(f"{path} holds no pair.")
    return found


def _questions(candidate: Candidate) -> dict[int, Mapping[str, Any]]:
    """What each row asks, by its place in the data."""
    from gradatim.metrics.answers import REQUEST, references_of

    dataset, found = (
        candidate.rows.dataset("evaluation", candidate.model.signature),
        dict[int, Mapping[str, Any]](),
    )
    for block in dataset.blocks(candidate.contract.parts.data.batch):
        for row, place in enumerate(block.items.tolist()):
            asked = json.loads(str(block.inputs[REQUEST][row]))
            label = None if block.labels is None else str(block.labels[row])
            found[place] = {
                **{key: asked[key] for key in ("messages", "prompt") if key in asked},
                **({"references": references_of(label)} if label else {}),
            }
    return found


def _both_orders(
    judge: Judge,
    questions: Sequence[Mapping[str, Any]],
    first: Sequence[str],
    second: Sequence[str],
    advance: Advance,
) -> tuple[Said, Said]:
    """What is said in the order given, and what with the answers exchanged."""
    both: tuple[list[tuple[str | None, str]], list[tuple[str | None, str]]] = ([], [])
    for found, one, other in ((both[0], first, second), (both[1], second, first)):
        for start in range(0, len(questions), _AT_A_TIME):
            some = slice(start, start + _AT_A_TIME)
            found += judge(questions[some], one[some], other[some])
            advance(len(questions[some]))
    return both


def _held_against_people(
    judge: Judge, pairs: Sequence[_Pair], said: PeopleSection | None, advance: Advance
) -> tuple[Any, bool, list[str]]:
    """Kappa with people, whether it is proven to be as much as the contract asks, and why verdicts are lacking; None, True and
    nothing where no people were asked."""
    from gradatim.metrics.judged import final, kappa

    if said is None:
        return None, True, []
    orders = _both_orders(
        judge, [p.question for p in pairs], [p.first for p in pairs], [p.second for p in pairs], advance
    )
    told = final(*([verdict for verdict, _ in order] for order in orders))
    prompts = [json.dumps(pair.question, sort_keys=True) for pair in pairs]
    found = kappa([pair.preferred for pair in pairs], told, prompts)
    bounds = found.bounds(_ALPHA)
    return found, bounds is not None and bounds[0] >= said.kappa, _lacking(orders)


_ALPHA = 0.05
"""How often a judge may be believed whom people do not bear out."""


def _compared(
    candidate: Candidate,
    task: Task,
    judge: Judge,
    questions: Mapping[int, Mapping[str, Any]],
    names: tuple[str, str],
    advance: Advance,
) -> tuple[Judgements, list[str]]:
    """Verdicts on a form's answers beside another's, and why some are lacking."""
    import numpy as np

    from gradatim.metrics.answers import ANSWER, read_answer
    from gradatim.metrics.judged import LOST, TIED, UNKNOWN, WON, Judgements

    load = candidate.workspace.predictions
    form, other = (load(name) for name in names)
    mine, theirs = (
        [read_answer(str(line), row) for row, line in enumerate(one.outputs[ANSWER].plain(slice(None)))]
        for one in (form, other)
    )
    facts = [_without_judge(task, new, old) for new, old in zip(mine, theirs, strict=True)]
    open_ = [row for row, fact in enumerate(facts) if fact is None]
    codes = np.array([[fact if fact is not None else UNKNOWN] * 2 for fact in facts], np.int8)
    asked = [questions[int(form.items[row])] for row in open_]
    texts = [[of[row].texts[0] for row in open_] for of in (mine, theirs)]
    orders = _both_orders(judge, asked, texts[0], texts[1], advance)
    advance(2 * (len(facts) - len(open_)))
    for place, meaning in enumerate(({"first": WON, "second": LOST}, {"first": LOST, "second": WON})):
        for row, (verdict, _) in zip(open_, orders[place], strict=True):
            codes[row, place] = UNKNOWN if verdict is None else meaning.get(verdict, TIED)
    was_asked = np.array([fact is None for fact in facts], np.int8)
    return Judgements(codes[:, 0], codes[:, 1], was_asked, np.ones_like(was_asked)), _lacking(orders)


def _lacking(orders: Iterable[Said]) -> list[str]:
    """Why there is no verdict, of each that there is not."""
    return [why for order in orders for verdict, why in order if verdict is None]


def _without_judge(task: Task, mine: TextAnswer, theirs: TextAnswer) -> int | None:
    """What answers say by themselves: equal texts are even, an answer that failed or was cut off loses; None for a judge to say."""
    from gradatim.metrics.judged import LOST, TIED, UNKNOWN, WON
    from gradatim.metrics.scored import failed

    lacking, lacked = failed(task, mine, 0), failed(task, theirs, 0)
    if lacking or lacked:
        if lacking and lacked:
            return TIED
        if lacking:
            return LOST
        return UNKNOWN if theirs.error is not None else WON  # what failed elsewhere is no merit of ours
    return TIED if mine.texts[0].strip() == theirs.texts[0].strip() else None


def _keep(candidate: Candidate, form: str, verdicts: Judgements, believed: bool) -> None:
    """Write the verdicts beside the form's answers."""
    import numpy as np

    from gradatim.metrics.columns import Column
    from gradatim.metrics.judged import PREFERRED
    from gradatim.metrics.predictions_writer import PredictionsWriter

    found = candidate.workspace.predictions(form)
    table = np.array(verdicts.table())
    table[:, 3] = believed
    with PredictionsWriter(candidate.workspace.predictions_folder(form)) as writer:
        writer.extend(found.with_output(PREFERRED, Column(table)))
