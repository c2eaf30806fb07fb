"""Which node should take which form: the changes that give back most quality for what they cost, in their order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatim.compression.forms import FORMS

_LEAST_COST = 1e-5
_LEAST_LOSS = 1e-9
_FLOAT_BITS = 32


@dataclass(frozen=True)
class Way:
    """Changes of forms, node by node.

    Attributes:
        changes: the node and its new form, in the order in which they pay.
        lost: the sum of the nodes' losses before any change and after each one; one longer than ``changes``.
    """

    changes: tuple[tuple[str, str], ...]
    lost: tuple[float, ...]

    def between(self, low: int, high: int, share: float) -> int:
        """A count to try next.

        Args:
            low: so many changes are too few.
            high: so many are enough, or too many; one more than there are while nobody knows.
            share: what part of the loss after ``low`` changes may stay.
        """
        target = self.lost[low] * share
        if high <= len(self.changes):
            target = math.sqrt(self.lost[low] * max(self.lost[high], _LEAST_LOSS))
        count = next((count for count, lost in enumerate(self.lost) if lost <= target), len(self.changes))
        return min(max(count, low + 1), high - 1)


def way(found: Mapping[str, Any], forms: Mapping[str, str]) -> Way:
    """From the forms that a recipe gives, change after change, to floats.

    Each time the change that takes away the most loss for its cost: the growth of the logarithm of size and time, each by
    half, as trials are ranked.

    Args:
        found: what ``sensitivities`` measured.
        forms: node -> the form that it has at first.
    """
    losses = {
        node: {**measured, "float": 0.0}
        for node, measured in found["losses"].items()
        if forms.get(node) in measured
    }
    now = {node: forms[node] for node in losses}
    size = sum(_bits(forms.get(node, "float")) * count for node, count in found["weights"].items()) or 1
    work = sum(_speed(forms.get(node, "float")) * count for node, count in found["products"].items()) or 1

    def worth(node: str, form: str) -> float:
        gain = losses[node][now[node]] - losses[node][form]
        bits = (_bits(form) - _bits(now[node])) * found["weights"][node]
        time = (_speed(form) - _speed(now[node])) * found["products"][node]
        return float(gain / max((bits / size + time / work) / 2, _LEAST_COST))

    changes: list[tuple[str, str]] = []
    lost = [math.fsum(losses[node][now[node]] for node in losses)]
    while True:
        options = [
            (worth(node, form), node, form)
            for node in losses
            for form in losses[node]
            if _better(losses, now, node, form)
        ]
        if not options:
            return Way(tuple(changes), tuple(lost))
        _, node, form = max(options, key=lambda option: (option[0], option[1:]))
        changes.append((node, form))
        now[node] = form
        lost.append(math.fsum(losses[node][now[node]] for node in losses))


def _better(losses: Mapping[str, Mapping[str, float]], now: Mapping[str, str], node: str, form: str) -> bool:
    return losses[node][form] < 0.9 * losses[node][now[node]]


def _bits(form: str) -> float:
    return FORMS[form].bits if form in FORMS else _FLOAT_BITS


def _speed(form: str) -> float:
    return FORMS[form].speed if form in FORMS else 1.0
