"""What is asked of a language model and what it answers: one line of JSON each, whoever answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.errors import InvalidInput

REQUEST = "request"
"""The input of a model that is asked for text: each row a line of JSON, which says what is asked and how."""

ANSWER = "answer"
"""Its output: each row a line of JSON."""


@dataclass(frozen=True)
class TextAnswer:
    """A model's answer to one request.

    Attributes:
        texts: one by sample that was asked for; empty where none was.
        cut: whether each ended because no more tokens were allowed.
        choices: log-likelihood of each choice, nat.
        target: log-likelihood of the reference, nat, and its bytes.
        error: why there is no answer; everything else is empty then.
    """

    texts: tuple[str, ...] = ()
    cut: tuple[bool, ...] = ()
    choices: tuple[float, ...] = ()
    target: tuple[float, int] | None = None
    error: str | None = None

    def to_text(self) -> str:
        """The line that it travels as."""
        said = {"cut": self.cut, "choices": self.choices, "target": self.target, "error": self.error}
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
            said.get("error") or None,
        )
        if not all(isinstance(text, str) for text in texts) or len(found.cut) != len(texts):
            raise TypeError
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"The answer to row {row + 1} is not one that gradatim can read: {line[:80]!r}. A model of your own gives text in "
            'its output `text`, or lines such as {"texts": ["..."]} in its output `answer`.'
        ) from error
    numbers = (*found.choices, *((found.target[0],) if found.target else ()))
    if not all(map(math.isfinite, numbers)):
        raise InvalidInput(f"The answer to row {row + 1} has a log-likelihood that is NaN or infinite.")
    return found


def _target(said: Any) -> tuple[float, int] | None:
    if said is None:
        return None
    nats, size = said
    return float(nats), int(size)


def references_of(label: str) -> list[str]:
    """The texts that a row's reference allows."""
    value = json.loads(label)
    listed: Sequence[Any] = value if isinstance(value, list) else [value]
    return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in listed]
