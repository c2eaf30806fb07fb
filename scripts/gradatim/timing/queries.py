"""The queries of a load: rows of the data as calls of the model, or as requests to a server that answers for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.models.predictor import Predictor
from gradatim.models.served import InferenceServer
from gradatim.models.streaming import ask, timed_request

MOST = 64
"""So many queries differ; then they are drawn again."""


@dataclass(frozen=True)
class LoadQuery:
    """What a query is.

    Attributes:
        rows: of the data in each.
        url: of a server that answers for the model; empty where its own process does.
        tokens: of each answer, where answers come token by token; 0 elsewhere.
        timeout: seconds for an answer of the server.
    """

    rows: int
    url: str = ""
    tokens: int = 0
    timeout: float = 60


def queries_of(
    predictor: Predictor, inputs: Mapping[str, NDArray[Any]], asked: LoadQuery
) -> Sequence[Callable[[], object]]:
    """Each answers one query, by any number of threads; what it raises is a query that failed.

    Raises:
        InvalidInput: the server answers otherwise than the model.
        EnvironmentLacks: it cannot be reached.
    """
    if asked.tokens:
        [texts] = inputs.values()
        return [partial(_streamed, predictor, str(line), asked.tokens) for line in texts.reshape(-1)[:MOST]]
    batches = _batches(inputs, asked.rows)
    if not asked.url:
        return [partial(predictor, batch) for batch in batches]
    served = InferenceServer(asked.url, asked.timeout)
    _same(asked.url, predictor(batches[0]), served(batches[0]))
    return [served.asking(batch) for batch in batches]


def _batches(inputs: Mapping[str, NDArray[Any]], rows: int) -> Sequence[Mapping[str, NDArray[Any]]]:
    """The inputs in parts of so many rows, what is left over at the end in none; all of them where they have no common rows."""
    sizes = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    size = sizes.pop() if len(sizes) == 1 else 0
    places = range(0, size - rows + 1, rows)
    batches: list[Mapping[str, NDArray[Any]]] = [
        {n: a[p : p + rows] for n, a in inputs.items()} for p in places
    ]
    return batches[:MOST] or [inputs]


def _streamed(predictor: Predictor, line: str, tokens: int) -> None:
    draw = random.Random()  # noqa: S311 (a prompt's letters)
    answer = ask(predictor, timed_request(line, tokens, draw))
    if answer.failed:
        raise InvalidInput(answer.failed)


def _same(url: str, own: Mapping[str, NDArray[Any]], served: Mapping[str, NDArray[Any]]) -> None:
    """Whether the server says what the model says, as far as rounding allows: else another model would be loaded."""
    both = own.keys() & served.keys()
    for name in both:
        mine, theirs = own[name], served[name]
        alike = mine.shape == theirs.shape and (
            np.allclose(mine, theirs, rtol=1e-2, atol=1e-3)
            if mine.dtype.kind in "fiub"
            else bool(np.all(mine.astype(str) == theirs.astype(str)))
        )
        if not alike:
            raise InvalidInput(
                f"{url} answers otherwise than the model: its `{name}` differs on the first query. See which version is served there, "
                "or correct `benchmark.load.url`."
            )
    if not both:
        raise InvalidInput(
            f"{url} answers with {', '.join(sorted(served)) or 'nothing'}, and the model with {', '.join(sorted(own))}: it serves "
            "another one. Correct `benchmark.load.url`."
        )
