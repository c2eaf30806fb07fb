"""Answers of a language model as scores: a number, or a few, for every row by every scorer of the task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.answers import ANSWER, REQUEST, RowRefused, TextAnswer, read_answer, references_of
from gradatim.metrics.columns import Array
from gradatim.metrics.scorers.table import Scoring, function_of
from gradatim.metrics.task import Task

SCORE = "score:"
"""What the names of outputs begin with that are scores by row."""


def score_batch(
    task: Task, outputs: Mapping[str, Array], inputs: Mapping[str, Array], labels: Any
) -> dict[str, Any]:
    """What is kept of answers: themselves, and each row's score by each scorer of the task.

    A request that failed, or was cut off unless the task lets it, is a row that failed: wrong to whatever is right or
    wrong, an empty answer to the rest.

    Args:
        outputs: ``answer``, lines of ``TextAnswer`` [b]; else ``text``, or the only output, as plain text [b], or [b, samples].
        inputs: ``request`` [b], the questions.
        labels: each row's reference as JSON [b], None where there are none.

    Raises:
        InvalidInput: answers that cannot be read; a reference that a scorer needs is missing.
    """
    answers = _answers(task, outputs, len(inputs[REQUEST]))
    requests = [json.loads(str(line)) for line in inputs[REQUEST]]
    given = [None] * len(answers) if labels is None else [str(label) for label in labels]
    kept: dict[str, Any] = {ANSWER: np.array([answer.to_text() for answer in answers], object)}
    for scoring in task.scorers:
        if scoring.own is not None:
            scores: Sequence[Any] = _by_own(task, scoring, answers, given)
        else:
            rows = enumerate(zip(answers, requests, given, strict=True))
            scores = [_at(place, task, scoring, *row) for place, row in rows]
        kept[SCORE + scoring.name] = np.asarray(scores, np.float64)
    return kept


def _answers(task: Task, outputs: Mapping[str, Array], prompts: int) -> list[TextAnswer]:
    if ANSWER in outputs and task.output in (None, ANSWER):
        lines = np.asarray(outputs[ANSWER]).reshape(-1)
        if len(lines) != prompts:
            raise InvalidInput(
                f"The model gave {len(lines)} answer{'s' * (len(lines) != 1)} to {prompts} prompts."
            )
        return [read_answer(str(line), row) for row, line in enumerate(lines)]
    name = task.output or ("text" if "text" in outputs else next(iter(outputs)))
    texts, wanted = np.asarray(outputs[name]), max(task.samples, 1)
    if not all(isinstance(text, str) for text in texts.reshape(-1)):
        raise InvalidInput(
            f"The output `{name}` holds no text, and the task is generation. Name one under `task: output:`."
        )
    if texts.size != prompts * wanted or (wanted > 1 and texts.shape != (prompts, wanted)):
        raise InvalidInput(
            f"The output `{name}` holds {texts.size} texts for {prompts} prompts, and {wanted} answer{'s' * (wanted > 1)} to each "
            f"{'are' if wanted > 1 else 'is'} asked for: a row a prompt, and a column for each of `samples`."
        )
    return [TextAnswer(tuple(map(str, row)), (False,) * wanted) for row in texts.reshape(prompts, wanted)]


def failed(task: Task, answer: TextAnswer, sample: int) -> bool:
    """Whether there is no such answer, or one that was cut off where the task does not let it."""
    if answer.error is not None or sample >= len(answer.texts):
        return True
    return answer.cut[sample] and task.cut_off == "fail"


def _references(scoring: Scoring, label: str | None) -> list[str]:
    found = [] if label is None else references_of(label)
    if not scoring.needs_references:
        return found
    if label is None:
        raise InvalidInput(no_references(scoring.name))
    if not found:
        raise InvalidInput(
            f"`{scoring.name}` holds an answer against references, and an empty list has none."
        )
    if not (scoring.kind and scoring.kind.blank) and not all(one.strip() for one in found):
        raise InvalidInput(
            f"An empty reference tells `{scoring.name}` nothing of an answer. Take the row out."
        )
    return found


def no_references(scorer: str) -> str:
    """Of data without the column that a scorer rests on."""
    return f"The scorer `{scorer}` holds answers against references, and the data have none: `data.label` names their column."


def _at(place: int, *row: Any) -> float | Sequence[float]:
    """``by_row`` of a row in its place; a refusal says which."""
    try:
        return by_row(*row)
    except InvalidInput as error:
        raise RowRefused(str(error), place) from error


def by_row(
    task: Task, scoring: Scoring, answer: TextAnswer, request: Mapping[str, Any], label: str | None
) -> float | Sequence[float]:
    """The score, or the numbers that make one, of one row by a scorer of the table.

    Raises:
        InvalidInput: what the scorer rests on is missing.
    """
    kind = scoring.kind
    assert kind is not None  # noqa: S101 (score_batch looked)
    judge = function_of(kind.by)
    if kind.reads == "choices":
        return _chosen(scoring, judge, answer, request, label)
    if kind.reads == "target":
        if answer.target is None:
            raise InvalidInput(
                f"There is no likelihood of the reference, which `{scoring.name}` needs{f': {answer.error}' if answer.error else ''}."
            )
        return tuple(judge(-answer.target[0], answer.target[1]))
    references = _references(scoring, label)
    found: list[tuple[float, ...]] = []
    for sample in range(max(task.samples, 1)):
        lacking = failed(task, answer, sample)
        if lacking and kind.shape == "decision":
            found.append((0.0,))
            continue
        said = judge("" if lacking else answer.texts[sample], references, **scoring.settings)
        found.append(tuple(map(float, said)) if isinstance(said, tuple) else (float(said),))
    if scoring.k is not None:
        return pass_at(len(found), int(sum(one[0] for one in found)), scoring.k)
    table = np.asarray(found)
    joined = table.sum(axis=0) if kind.width > 1 else table.mean(axis=0)
    return [float(one) for one in joined] if kind.width > 1 else float(joined[0])


def _chosen(
    scoring: Scoring,
    judge: Callable[..., Any],
    answer: TextAnswer,
    request: Mapping[str, Any],
    label: str | None,
) -> float:
    choices = request.get("choices")
    if not choices or label is None:
        raise InvalidInput(
            f"`{scoring.name}` needs the column `choices`, a list of texts, and in the label's column the right one: the text, "
            "or its place from 0."
        )
    right = json.loads(label)
    spelled = [choice.strip() for choice in choices]
    named = isinstance(right, str) and right.strip() in spelled
    place = spelled.index(right.strip()) if named else right
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(choices):
        raise InvalidInput(f"The right choice is {label}, which is none of {json.dumps(choices)[:200]}.")
    if answer.error is not None:
        return 0.0
    if len(answer.choices) != len(choices):
        raise InvalidInput(
            f"`{scoring.name}` needs the likelihood of each of `choices`, and the model tells {len(answer.choices)} of "
            f'{len(choices)}: a function gives lines such as {{"texts": [], "choices": [-1.2, -3.4]}} in `answer`; or score its text.'
        )
    return float(judge(answer.choices, [len(choice) for choice in choices], place))


def _by_own(
    task: Task, scoring: Scoring, answers: Sequence[TextAnswer], labels: Sequence[str | None]
) -> list[float]:
    """The user's own function over all answers of a batch at once; None in place of a reference where there is none."""
    assert scoring.own is not None  # noqa: S101 (score_batch looked)
    texts, references, whose = [], [], []
    for row, (answer, label) in enumerate(zip(answers, labels, strict=True)):
        for sample in range(max(task.samples, 1)):
            if not failed(task, answer, sample):
                texts.append(answer.texts[sample])
                references.append(None if label is None else json.loads(label))
                whose.append(row)
            elif not scoring.metric.higher_is_better:
                raise InvalidInput(
                    f"A request failed ({answer.error or 'cut off'}), and `{scoring.name}`, of which less is better, has no worst "
                    "score for it."
                )
    scores = _numbers(scoring.name, scoring.own(references, texts) if texts else [], len(texts))
    sums = np.bincount(whose, weights=scores, minlength=len(answers)) if texts else np.zeros(len(answers))
    n = max(task.samples, 1)
    if scoring.k is None:
        return [float(one) / n for one in sums]
    if not np.isin(scores, (0.0, 1.0)).all():
        raise InvalidInput(
            f"`{scoring.name}` counts answers that are right: its function must give True or False for each."
        )
    return [pass_at(n, int(one), scoring.k) for one in sums]


def _numbers(name: str, said: Any, wanted: int) -> NDArray[np.float64]:
    try:
        scores = np.asarray(said if isinstance(said, np.ndarray) else list(said), np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The own scorer `{name}` must give one number an answer.") from error
    if scores.shape[0] != wanted or not np.isfinite(scores).all():
        raise InvalidInput(
            f"The own scorer `{name}` must give one finite number an answer: {wanted} were asked for, {scores.shape[0]} came."
        )
    return scores


def pass_at(n: int, right: int, k: int) -> float:
    """Chance that one of k answers, drawn of n of which so many are right, is right.

    The unbiased estimator of Chen et al. (2021), "Evaluating large language models trained on code", eq. 1:
    1 - C(n - right, k) / C(n, k), as a product so that nothing overflows.

    Raises:
        InvalidInput: fewer answers than k.
    """
    if k > n:
        raise InvalidInput(
            f"`pass_at_{k}` needs {k} answers a problem or more: set `task.generation.samples`, it is {n}."
        )
    if n - right < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1)))
