"""What is asked of a language model and what it answers: one line of JSON each, whoever answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gradatim.errors import InvalidInput

REQUEST = "request"
"""The input of a model that is asked for text: each row a line of JSON, which says what is asked and how."""

ANSWER = "answer"
"""Its output: each row a line of JSON."""


Spread: TypeAlias = tuple[tuple[int, float], ...]
"""Tokens by their numbers with their log-likelihoods, nat, at one place of a text: the text's own first, then the likeliest."""

LIKELY = 32
"""So many of the likeliest tokens are told."""


_ROUNDING = 1e-3
"""By how much the logarithm of a chance may exceed nought."""


class RowRefused(InvalidInput):
    """A row cannot be scored.

    Args:
        why: the reason, in sentences.
        row: its place among those that were given.
    """

    def __init__(self, why: str, row: int) -> None:
        super().__init__(why)
        self.row = row


@dataclass(frozen=True)
class TextAnswer:
    """A model's answer to one request.

    Attributes:
        texts: one by sample that was asked for; empty where none was.
        cut: whether each ended because no more tokens were allowed.
        choices: log-likelihood of each choice, nat.
        target: log-likelihood of the reference, nat, and its bytes.
        spread: what was likely at each token of the reference.
        times: seconds from the request to each piece of its answer, where those were asked for.
        tokens: of that answer.
        error: why there is no answer; everything else is empty then.
    """

    texts: tuple[str, ...] = ()
    cut: tuple[bool, ...] = ()
    choices: tuple[float, ...] = ()
    target: tuple[float, int] | None = None
    spread: tuple[Spread, ...] = ()
    times: tuple[float, ...] = ()
    tokens: int = 0
    error: str | None = None

    def to_text(self) -> str:
        """The line that it travels as."""
        said = {
            "cut": self.cut,
            "choices": self.choices,
            "target": self.target,
            "spread": self.spread,
            "times": self.times,
            "tokens": self.tokens,
            "error": self.error,
        }
        return json.dumps({"texts": self.texts, **{name: value for name, value in said.items() if value}})


def read_answer(line: str, row: int) -> TextAnswer:
    """An answer as a model gave it.

    Raises:
        InvalidInput: it is no such line, or a likelihood is not finite.
    """
    try:
        said = json.loads(line)
        if not isinstance(said, Mapping):
            raise TypeError
        texts = tuple(said.get("texts") or ())
        found = TextAnswer(
            texts,
            tuple(bool(one) for one in said.get("cut") or [False] * len(texts)),
            tuple(float(one) for one in said.get("choices") or ()),
            _target(said.get("target")),
            tuple(tuple((int(t), float(v)) for t, v in place) for place in said.get("spread") or ()),
            tuple(float(one) for one in said.get("times") or ()),
            int(said.get("tokens") or 0),
            said.get("error") or None,
        )
        if not all(isinstance(text, str) for text in texts) or len(found.cut) != len(texts):
            raise TypeError
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"The answer to row {row + 1} is not one that gradatim can read: {line[:80]!r}. A model of your own gives text in "
            'its output `text`, or lines such as {"texts": ["..."]} in its output `answer`.'
        ) from error
    likely = [value for place in found.spread for _, value in place]
    numbers = (*likely, *found.choices, *((found.target[0],) if found.target else ()))
    if not all(map(math.isfinite, numbers)):
        raise InvalidInput(f"The answer to row {row + 1} has a log-likelihood that is NaN or infinite.")
    if any(len(place) < 2 for place in found.spread) or max(likely, default=0.0) > _ROUNDING:
        raise InvalidInput(
            f"The answer to row {row + 1} tells chances that are none: at each token at least two, none likelier than surely."
        )
    return found


def _target(said: Any) -> tuple[float, int] | None:
    if said is None:
        return None
    nats, size = said
    return float(nats), int(size)


def last_asked(request: str) -> str:
    """What a request asks at its end: its prompt, or the last turn of its conversation; of a recording, how long it is."""
    said = json.loads(request)
    if "audio" in said:
        return f"[a recording of {len(said['audio']['samples']) * 3 / 16 / said['audio']['sampling_rate']:.1f} s]"
    return str(said["messages"][-1]["content"] if "messages" in said else said["prompt"])


def references_of(label: str) -> list[str]:
    """The texts that a row's reference allows."""
    value = json.loads(label)
    listed: Sequence[Any] = value if isinstance(value, list) else [value]
    return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in listed]


def divergence(old: Sequence[Spread], new: Sequence[Spread]) -> float | None:
    """Kullback-Leibler divergence of new answers from old, nat, mean over a reference's tokens; None for other tokens.

    Of each only the likeliest tokens are known. One that the new do not list is taken for as likely as the last that they do, and all
    that the old do not list for one token: so it is a lower bound, and close where the listed ones hold most of the chance.
    """
    if [place[0][0] for place in old] != [place[0][0] for place in new] or not old:
        return None
    return sum(map(_diverges, old, new)) / len(old)


def _diverges(old: Spread, new: Spread) -> float:
    before, after = dict(old), dict(new)
    last = min(value for _, value in new[1:])
    told = sum(math.exp(value) * (value - after.get(token, last)) for token, value in before.items())
    rest = 1 - sum(map(math.exp, before.values()))
    others = 1 - sum(math.exp(after[token]) for token in before if token in after)
    rest, others = max(rest, 1e-12), max(others, 1e-12)
    return max(0.0, told + rest * math.log(rest / others))
