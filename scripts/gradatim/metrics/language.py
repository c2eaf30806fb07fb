"""Language modelling: perplexity from each item's summed loss and token count."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.outputs import finite
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import Floats, MetricSamples, absent
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units


class LanguageScorer:
    """Perplexity of what ``outputs.reduce_batch`` kept: outputs ``nll`` (nat) and ``tokens``, [n] each.

    Raises:
        InvalidInput: those outputs are missing, or no token was scored.
    """

    labels: tuple[Label, ...] = ()

    def __init__(self, task: Task, predictions: Predictions) -> None:
        if not {"nll", "tokens"} <= set(predictions.outputs):
            raise InvalidInput(
                "Perplexity needs each item's summed loss and its number of tokens (`nll`, `tokens`)."
            )
        self.losses = np.asarray(predictions.outputs["nll"].values, np.float64)
        self.tokens = np.asarray(predictions.outputs["tokens"].values, np.float64)
        finite(self.losses, "nll")

    def item_scores(self) -> NDArray[np.float32]:
        """Minus the mean loss of a token, [n], so that more is better."""
        return np.asarray(-self.losses / np.maximum(self.tokens, 1), np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Token counts and summed losses, as an own metric gets them."""
        return self.tokens, self.losses

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """Perplexity on some rows."""
        if metric != "perplexity":
            return absent(metric, True, f"{metric} is not known for language modelling")
        losses, tokens = self.losses[rows], self.tokens[rows]
        if not tokens.sum():
            return absent(metric, False, "no token was scored")
        value = _perplexity(np.array([[losses.sum(), tokens.sum()]]))[0]
        return MetricSamples(
            metric,
            float(value),
            False,
            units.count,
            terms=units.sums([losses, tokens]),
            statistic=_perplexity,
            low_limit=1.0,
        )


def _perplexity(sums: Floats) -> Floats:
    return np.asarray(np.exp(np.minimum(sums[:, 0] / np.maximum(sums[:, 1], 1), 700.0)))
