"""How much of a network is taken out before it learns: as much as the quality bears, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradatim.compression.recipe import Recipe
from gradatim.evidence.trial import Trial

_SHARES = (0.25, 0.125, 0.0)
_LAYERS = (1, 2, 3, 5, 8)


def thin(recipe: Recipe, attempt: Callable[[Recipe], Trial], *, layers: bool) -> list[Trial]:
    """Those accepted: with half of the channels gone, then more or fewer; and with layers gone besides, where most channels went.

    Args:
        attempt: carries a recipe out and judges it.
        layers: whether those are taken out that another can stand for.
    """
    share, held = 0.5, []
    for step in _SHARES:
        trial = attempt(replace(recipe, share=share))
        if trial.size is None:
            break
        held += [trial] if trial.accepted else []
        share += step if trial.accepted else -step
    for share in sorted((trial.recipe["share"] for trial in held if layers), reverse=True):
        if shorter := _shortened(replace(recipe, share=share), attempt):
            return [*held, *shorter]
    return held


def _shortened(recipe: Recipe, attempt: Callable[[Recipe], Trial]) -> list[Trial]:
    found: list[Trial] = []
    for count in _LAYERS:
        trial = attempt(replace(recipe, shorter=count))
        if not trial.accepted:
            break
        found.append(trial)
    return found
