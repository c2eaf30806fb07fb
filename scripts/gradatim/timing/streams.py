"""A round of answers that come token by token: the contestants are asked in turn, each prompt of all of them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradatim.models.predictor import Predictor
from gradatim.models.streaming import Streamed, ask, timed_request
from gradatim.timing.blocks import BlockPlan
from gradatim.timing.contestant import Worker
from gradatim.timing.rounds import Turn

WARM_UP = 2
"""Requests of each contestant in each round that do not count."""


@dataclass(frozen=True)
class Streaming:
    """What language models are asked.

    Attributes:
        requests: lines of JSON, rows of the data; a round takes the next of them.
        tokens: of each answer.
        prompts: requests of each contestant in a round.
        bounds: seconds by ``ttft``, ``tpot``, ``latency`` that an answer must keep to for ``goodput``.
    """

    requests: tuple[str, ...]
    tokens: int
    prompts: int
    bounds: Mapping[str, float] = field(default_factory=dict)

    @property
    def plan(self) -> BlockPlan:
        """A round in the words of calls."""
        return BlockPlan(0, 1, self.prompts)

    def seconds(self, predictor: Predictor) -> float:
        """About how long a round takes, by the second of two requests: the first may find the server asleep."""
        draw = random.Random()  # noqa: S311 (a prompt's letters)
        _, awake = (ask(predictor, timed_request(self.requests[0], self.tokens, draw)) for _ in range(2))
        return (self.prompts + WARM_UP) * awake.seconds

    def play(self, workers: Mapping[str, Worker], turns: Mapping[str, Turn], draw: random.Random) -> None:
        """Have each contestant answer the same prompts, in an order drawn anew for each.

        What makes a prompt unique is drawn for each contestant, for both may be asked of one server.
        """

        lines = draw.choices(self.requests, k=self.prompts + WARM_UP)
        for place, line in enumerate(lines):
            for name in draw.sample(list(workers), len(workers)):
                answer = Streamed(**workers[name].ask("ask", line=timed_request(line, self.tokens, draw)))
                if place >= WARM_UP:
                    turns[name].answered(answer)
