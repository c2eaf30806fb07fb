"""Answers that come token by token: what is asked so that they are alike, and how a server sends them."""

from __future__ import annotations

import json
import random
import string
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradatim.metrics.answers import ANSWER, REQUEST, read_answer
from gradatim.models.predictor import Predictor

_LEAST = 2
"""So many pieces are the least that there is a time between two of."""


@dataclass(frozen=True)
class Streamed:
    """An answer as it came.

    Attributes:
        times: seconds from the request to each piece of it, ascending.
        tokens: that it has; a piece may hold several.
        seconds: from the request to its end.
        failed: why there is none; empty where there is one.
    """

    times: tuple[float, ...]
    tokens: int
    seconds: float
    failed: str = ""


@dataclass(frozen=True)
class Piece:
    """What one event of a stream holds: text of the answer, its end, how many tokens it has (0 where it does not say)."""

    text: bool = False
    last: bool = False
    tokens: int = 0


def timed_request(line: str, tokens: int, draw: random.Random) -> str:
    """A request for an answer of so many tokens, whose prompt begins as none before it did.

    A server remembers what prompts began with, and its second answer to one comes in a fraction of the time [1]_. So eight
    letters, drawn anew, stand before each: as many tokens for whoever reads them. Nothing ends the answer early.

    .. [1] Zheng et al. (2024), "SGLang", RadixAttention; vLLM's automatic prefix caching.
    """
    said = json.loads(line)
    before = " ".join(draw.choices(string.ascii_lowercase, k=8)) + "\n"
    if "messages" in said:
        first, *others = said["messages"]
        asked = {"messages": [{**first, "content": before + first["content"]}, *others]}
    else:
        asked = {"prompt": before + said["prompt"]}
    sampling = {key: said[key] for key in ("temperature", "top_p", "top_k") if key in said}
    return json.dumps(
        {"temperature": 0.0, **sampling, **asked, "max_new_tokens": tokens, "samples": 1, "wants": ["times"]}
    )


def ask(predictor: Predictor, line: str) -> Streamed:
    """Ask a model once, by a line of ``timed_request``, and time its answer; one that cannot be timed has failed."""
    began = time.perf_counter()
    answers = predictor({REQUEST: np.array([line], object)})[ANSWER]
    seconds = time.perf_counter() - began
    answer = read_answer(str(answers.reshape(-1)[0]), 0)
    failed = answer.error or ""
    if not failed and len(answer.times) < _LEAST:
        failed = f"an answer of {len(answer.times)} pieces, which has no time between two tokens"
    return Streamed(answer.times, answer.tokens, seconds, failed)


def events(pieces: Iterable[bytes]) -> Iterator[Mapping[str, Any] | None]:
    """The events of a stream as servers send them [1]_, and None at its end, ``[DONE]``.

    Raises:
        ValueError: an event is no JSON object, or tells of an error.

    .. [1] WHATWG, HTML Living Standard, 9.2, "Server-sent events"; OpenAI's API, "Streaming".
    """
    for line in _lines(pieces):
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            yield None
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise ValueError(f"an event that is no JSON object: {data[:60]!r}")
        if error := event.get("error"):
            raise ValueError(f"an error in its middle: {str(error)[:200]}")
        yield event


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest
