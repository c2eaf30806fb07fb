"""Corrupted sound: float64 [b, channels, samples] in -1..1 in, the same out (not yet clipped)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradatim.perturb.catalogue import AUDIO
from gradatim.perturb.randomness import Dice
from gradatim.perturb.single import in_a_file

Sounds = NDArray[np.float64]

_PACKET_SECONDS = 0.02


def corrupt_sounds(sounds: Sounds, sampling_rate: int, dice: Dice) -> Sounds:
    """Apply one corruption of the catalogue; what gets shorter is filled up with silence."""
    level = AUDIO[dice.corruption][dice.severity - 1]
    if (alone := in_a_file(dice.corruption)) is not None:
        return np.asarray(alone(sounds, level, dice))
    samples = sounds.shape[2]
    if dice.corruption == "gain":
        quieter: Sounds = sounds * 10.0 ** (level / 20)
        return quieter
    if dice.corruption == "background_noise":
        loudness = np.sqrt(np.mean(sounds**2, axis=(1, 2), keepdims=True))
        noise: Sounds = loudness * 10.0 ** (-level / 20) * dice.normal(sounds.shape[1:])
        return sounds + noise
    if dice.corruption == "clipping":
        ceiling = np.quantile(np.abs(sounds), 1 - level, axis=(1, 2), keepdims=True)
        return np.clip(sounds, -ceiling, ceiling)
    if dice.corruption == "dropout":
        packet = max(int(sampling_rate * _PACKET_SECONDS), 1)
        lost = dice.uniform((-(-samples // packet),)) < level
        return np.where(np.repeat(lost, packet, axis=1)[:, None, :samples], 0.0, sounds)
    return _faster(sounds, level)


def _faster(sounds: Sounds, speed: float) -> Sounds:
    samples = sounds.shape[2]
    places = np.arange(samples) * speed
    inside = places <= samples - 1
    left = np.minimum(places.astype(int), samples - 1)
    right = np.minimum(left + 1, samples - 1)
    share = places - left
    mixed = sounds[..., left] * (1 - share) + sounds[..., right] * share
    return np.where(inside, mixed, 0.0)
