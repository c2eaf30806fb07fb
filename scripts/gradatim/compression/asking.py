"""What an attempt is asked to do, so that a recipe is carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradatim.compression.recipe import BF16, EXPORT, LEARNT, LITERT, Recipe
from gradatim.compression.sandbox import Limits


def request_of(
    recipe: Recipe, *, opened: Mapping[str, Any], model: Path, source: Path, whole: Path | None, root: Path, learned: Sequence[Path],
    ranges: Path, heard: Path | None, limits: Limits, least: tuple[str, float],
) -> dict[str, Any]:  # fmt: skip
    """The request, but for what is the same for every recipe.

    Args:
        opened: how the model is opened as it was given.
        model: the one that the methods work on.
        source: what the form is made from.
        whole: the form that is cut into stages, where one is.
        root: the project's folder.
        learned: files of batches.
        ranges: the file that keeps what was seen in the model.
        heard: the file that keeps what a model is asked that is asked for text; None for any other model.
        limits: of the attempt.
        least: likeness that must be kept.
    """
    rows = [*map(str, learned)]
    if recipe.stages is not None:
        return {
            "do": "split", "model": str(model), "whole": str(whole), "threads": limits.threads, **asdict(recipe.stages),
        }  # fmt: skip
    if heard is not None:
        return {
            "do": "speak", "opened": opened, "source": str(source), "recipe": asdict(recipe), "root": str(root), "learned": rows,
            "heard": str(heard), "seconds": limits.left / 2,
        }  # fmt: skip
    if recipe.method == EXPORT:
        return {"do": "export", "opened": opened}
    if recipe.method in LEARNT:
        return {
            "do": "learn", "opened": opened, "model": str(model), "recipe": asdict(recipe), "root": str(root), "learned": rows,
            "seconds": limits.left / 2,
        }  # fmt: skip
    if recipe.method == BF16:
        return {"do": "halve", "opened": opened, "learned": rows}
    if recipe.method in LITERT:
        return {"do": "litert", "opened": opened, "numbers": LITERT[recipe.method], "learned": rows}
    return {
        "do": "try", "model": str(model), "source": str(source), "recipe": asdict(recipe), "root": str(root), "learned": rows,
        "ranges": str(ranges), "threads": limits.threads, "least": least,
    }  # fmt: skip
