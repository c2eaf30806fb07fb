"""Corrupted token ids: integers [b, sequence] in, the same out, padded where it gets shorter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.perturb.catalogue import TOKENS
from gradatim.perturb.modality import Modality
from gradatim.perturb.randomness import Dice


def corrupt_tokens(
    ids: NDArray[Any], real: NDArray[np.bool_], modality: Modality, dice: Dice
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Apply one corruption of the catalogue.

    Args:
        ids: [b, sequence].
        real: [b, sequence], False where there is padding.

    Returns:
        The new ids, and where they are real: the new attention mask.

    Raises:
        InvalidInput: the size of the vocabulary or the id of the unknown token is needed and not known.
    """
    level = TOKENS[dice.corruption][dice.severity - 1]
    free = real & ~np.isin(ids, modality.special)
    sequence = (ids.shape[1],)
    if dice.corruption == "truncation":
        lengths = real.sum(axis=1, keepdims=True)
        position = np.cumsum(real, axis=1)
        cut = free & (position > np.maximum(np.ceil(lengths * level), 1))
        return _closed_up(ids, real, ~cut, modality.padding)
    hit = free & (dice.uniform(sequence) < level)
    if dice.corruption == "token_drop":
        hit &= (real & ~hit).any(axis=1, keepdims=True)  # at least one token stays
        return _closed_up(ids, real, ~hit, modality.padding)
    if dice.corruption == "unknown_tokens":
        if modality.unknown is None:
            raise InvalidInput("The perturbation `unknown_tokens` needs the id of the unknown token: say it.")
        return np.where(hit, modality.unknown, ids).astype(ids.dtype), real
    if modality.vocabulary is None:
        raise InvalidInput("The perturbation `token_substitution` needs the number of token ids: say it.")
    marks = {modality.padding, *modality.special}
    candidates = np.array([number for number in range(modality.vocabulary) if number not in marks] or [0])
    chosen = candidates[(dice.uniform(sequence, part=1) * len(candidates)).astype(int)]
    return np.where(hit, chosen, ids).astype(ids.dtype), real


def _closed_up(
    ids: NDArray[Any], real: NDArray[np.bool_], kept: NDArray[np.bool_], padding: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Remove tokens, move the rest together on the side where the sequence begins, pad the other end.

    Padding that came before the sequence stays before it.
    """
    stays = kept & real
    left_padded = ~real[:, :1] & real.any(axis=1, keepdims=True)
    rank = np.where(stays, 0, 1)
    order = np.argsort(np.where(left_padded, -rank, rank), axis=1, kind="stable")
    moved = np.take_along_axis(ids, order, axis=1)
    still = np.take_along_axis(stays, order, axis=1)
    return np.where(still, moved, padding).astype(ids.dtype), still
