"""Corrupted images: float64 [b, channels, height, width] in 0..1 in, the same out (not yet clipped)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import needs
from gradatim.perturb.catalogue import DEFOCUS_SOFTENING, IMAGE_LARGE, IMAGE_SMALL
from gradatim.perturb.randomness import Dice
from gradatim.perturb.single import in_a_file

Images = NDArray[np.float64]

_LARGE = 64
"""Pixels of the shorter side from which the parameters of ImageNet-C hold."""


def corrupt_images(images: Images, dice: Dice) -> Images:
    """Apply one corruption of the catalogue to images in 0..1."""
    size = "large" if min(images.shape[2:]) >= _LARGE else "small"
    large, small = IMAGE_LARGE[dice.corruption], IMAGE_SMALL.get(dice.corruption)
    level = (small if small and size == "small" else large)[dice.severity - 1]
    if (alone := in_a_file(dice.corruption)) is not None:
        return np.asarray(alone(images, level, dice))
    if dice.corruption == "defocus_blur":
        return _defocus(images, level, DEFOCUS_SOFTENING[size][dice.severity - 1])
    return _CORRUPTIONS[dice.corruption](images, level, dice)


def _gaussian_noise(images: Images, level: float, dice: Dice) -> Images:
    return images + level * dice.normal(images.shape[1:])


def _shot_noise(images: Images, level: float, dice: Dice) -> Images:
    rates = np.clip(images, 0, 1) * level
    counts = np.empty_like(images)
    for place, generator in enumerate(dice.generators()):
        counts[place] = generator.poisson(rates[place])
    return counts / level


def _impulse_noise(images: Images, level: float, dice: Dice) -> Images:
    hit = dice.uniform(images.shape[1:])
    return np.where(hit < level / 2, 0.0, np.where(hit < level, 1.0, images))


def _speckle_noise(images: Images, level: float, dice: Dice) -> Images:
    return images + images * level * dice.normal(images.shape[1:])


def _gaussian_blur(images: Images, level: float, dice: Dice) -> Images:
    from scipy.ndimage import gaussian_filter

    blurred: Images = gaussian_filter(images, (0, 0, level, level), mode="nearest", truncate=4.0)
    return blurred


def _defocus(images: Images, radius: float, softening: float) -> Images:
    from scipy.ndimage import convolve, gaussian_filter

    reach = max(math.ceil(radius), 1) + 2
    axis = np.arange(-reach, reach + 1)
    disk = (axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2).astype(np.float64)
    kernel = gaussian_filter(disk / disk.sum(), softening, mode="constant", radius=2 if radius > 8 else 1)
    kernel = kernel[1:-1, 1:-1] / kernel.sum()
    blurred: Images = convolve(images, kernel[None, None], mode="nearest")
    return blurred


def _contrast(images: Images, level: float, dice: Dice) -> Images:
    mean = images.mean(axis=(2, 3), keepdims=True)
    return np.asarray((images - mean) * level + mean)


def _brightness(images: Images, level: float, dice: Dice) -> Images:
    if images.shape[1] != 3:
        return np.asarray(images + level)
    # The value of HSV is the largest channel; raising it at the same hue and saturation scales all three.
    value = np.clip(images, 0, 1).max(axis=1, keepdims=True)
    brighter = np.minimum(value + level, 1)
    raised: Images = np.where(value > 0, images * (brighter / np.maximum(value, 1e-12)), brighter)
    return raised


def _pixelate(images: Images, level: float, dice: Dice) -> Images:
    height, width = images.shape[2:]
    done: Images = _blocks(height, level) @ images @ _blocks(width, level).T
    return done


def _jpeg(images: Images, level: float, dice: Dice) -> Images:
    with needs("pillow", "image", "The perturbation `jpeg_compression`"):
        from PIL import Image
    bytes_ = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    color = images.shape[1] == 3
    planes = bytes_.transpose(0, 2, 3, 1) if color else bytes_.reshape(-1, *images.shape[2:])
    done = np.empty_like(planes)
    for place, plane in enumerate(planes):
        stream = io.BytesIO()
        Image.fromarray(plane).save(stream, "JPEG", quality=int(level))
        done[place] = np.asarray(Image.open(stream))
    back = done.transpose(0, 3, 1, 2) if color else done.reshape(images.shape)
    scaled: Images = back / 255.0
    return scaled


def _blocks(size: int, level: float) -> NDArray[np.float64]:
    """The matrix [size, size] that makes a line of pixels coarser and blows it up again.

    From 64 pixels on as in ImageNet-C: average over a whole number of blocks, repeat the nearest. Below, the
    blocks keep their fractional length and lie centred: in whole pixels, 8 of them at .95 and at .9 would
    be the same 7, and the picture at .65 would be nearer to the original than the one at .75.
    """
    pixels = np.arange(size)
    if size >= _LARGE:
        smaller = max(int(size * level), 1)
        edges = np.arange(smaller + 1) * (size / smaller)
    else:
        reach = math.ceil(size * level / 2)
        edges = np.unique(np.clip(size / 2 + np.arange(-reach, reach + 1) / level, 0, size))
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    covered = np.clip(covered, 0, None)
    down = covered / covered.sum(axis=1, keepdims=True)
    if size < _LARGE:
        return np.asarray(covered.T @ down)
    nearest = np.minimum(((pixels + 0.5) * len(down) / size).astype(int), len(down) - 1)
    return np.asarray(down[nearest])


_CORRUPTIONS: dict[str, Callable[[Images, float, Dice], Images]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "speckle_noise": _speckle_noise,
    "gaussian_blur": _gaussian_blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg,
}
