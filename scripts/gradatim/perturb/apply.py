"""Corrupt a batch: by name and severity, the same for an item whatever batch it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput, UsageError, did_you_mean
from gradatim.perturb.audio import corrupt_sounds
from gradatim.perturb.catalogue import KIND_OF, NAMES, SEVERITIES
from gradatim.perturb.image import corrupt_images
from gradatim.perturb.modality import Modality
from gradatim.perturb.randomness import Dice
from gradatim.perturb.tabular import corrupt_rows
from gradatim.perturb.text import corrupt_text
from gradatim.perturb.tokens import corrupt_tokens


def corrupt(
    name: str,
    severity: int,
    batch: NDArray[Any],
    items: Sequence[int] | NDArray[np.int64],
    *,
    modality: Modality,
    seed: int = 0,
) -> NDArray[Any]:
    """One corruption of one input; shape, dtype and value range stay, the batch itself is not touched.

    The random part depends on (item, name, severity, seed) alone.

    Args:
        name: one of ``catalogue.NAMES[modality.kind]``.
        severity: 1 to 5.
        batch: [b, ...]; text as strings [b].
        items: [b], each row's position in the data set.

    Raises:
        UsageError: unknown name or severity, or a corruption of another kind of input.
        InvalidInput: the batch does not fit the modality.
        EnvironmentLacks: Pillow is not installed (JPEG).
    """
    dice = _dice(name, severity, batch, items, modality, seed)
    if len(batch) == 0:
        return batch.copy()
    if modality.kind == "tokens":
        return corrupt_tokens(batch, batch != modality.padding, modality, dice)[0]
    return _corrupted(batch, modality, dice)


def corrupt_inputs(
    name: str,
    severity: int,
    inputs: Mapping[str, NDArray[Any]],
    items: Sequence[int] | NDArray[np.int64],
    *,
    input: str,  # noqa: A002 - the model's input
    modality: Modality,
    seed: int = 0,
    mask: str | None = None,
) -> dict[str, NDArray[Any]]:
    """Corrupt one input among several; the mask of a token sequence follows its ids.

    Args:
        inputs: the batch by input name.
        input: the name of the input to corrupt.
        mask: the name of the attention mask (1 where there is a token); None when there is none.

    Raises:
        As :func:`corrupt`.
    """
    batch = inputs[input]
    if modality.kind != "tokens" or mask is None:
        return {**inputs, input: corrupt(name, severity, batch, items, modality=modality, seed=seed)}
    dice = _dice(name, severity, batch, items, modality, seed)
    ids, real = corrupt_tokens(batch, inputs[mask] != 0, modality, dice)
    return {**inputs, input: ids, mask: real.astype(inputs[mask].dtype)}


def _dice(
    name: str,
    severity: int,
    batch: NDArray[Any],
    items: Sequence[int] | NDArray[np.int64],
    modality: Modality,
    seed: int,
) -> Dice:
    if name not in KIND_OF:
        raise UsageError(
            f"Unknown perturbation `{name}`. Known for {modality.kind}: "
            f"{', '.join(NAMES[modality.kind])}.{did_you_mean(name, NAMES[modality.kind])}"
        )
    if KIND_OF[name] != modality.kind:
        raise UsageError(
            f"The perturbation `{name}` is for {KIND_OF[name]}, the input is {modality.kind}. Known for it: "
            f"{', '.join(NAMES[modality.kind])}."
        )
    if severity not in SEVERITIES:
        raise UsageError(f"A severity is 1, 2, 3, 4 or 5, not {severity}.")
    numbers = np.asarray(items, np.int64)
    if numbers.shape != (len(batch),):
        raise InvalidInput(f"{len(batch)} rows were given with the positions of {numbers.size}.")
    return Dice(name, severity, seed, numbers)


def _corrupted(batch: NDArray[Any], modality: Modality, dice: Dice) -> NDArray[Any]:
    if modality.kind == "text":
        rows = batch.reshape(len(batch), -1)
        if rows.shape[1] > 2:
            raise InvalidInput(
                f"Text has one string per row, or a pair, not an array of shape {batch.shape}."
            )
        done = [
            corrupt_text(str(text), dice.corruption, dice.severity, generator)
            for texts, generator in zip(rows, dice.generators(), strict=True)
            for text in texts
        ]
        return np.array(done, dtype=object if batch.dtype == object else np.str_).reshape(batch.shape)
    if modality.kind == "tabular":
        rows = batch.reshape(len(batch), -1).astype(np.float64)
        changed = corrupt_rows(rows, modality.reference, dice).reshape(batch.shape)
        return _as(changed, batch.dtype)
    planes, restore = _with_channels(batch, modality)
    scale = modality.high - modality.low
    if modality.kind == "image":
        done_images = corrupt_images((planes - modality.low) / scale, dice)
        return _as(restore(np.clip(done_images, 0, 1) * scale + modality.low), batch.dtype)
    middle, half = (modality.high + modality.low) / 2, scale / 2
    done_sounds = corrupt_sounds((planes - middle) / half, modality.sampling_rate, dice)
    return _as(restore(np.clip(done_sounds, -1, 1) * half + middle), batch.dtype)


def _with_channels(batch: NDArray[Any], modality: Modality) -> tuple[NDArray[np.float64], Any]:
    """The batch as float64 [b, channels, ...], and the way back."""
    values = batch.astype(np.float64)
    shape = batch.shape
    axes = 4 if modality.kind == "image" else 3
    if modality.kind == "image" and values.ndim == 2:
        height, width, channels = modality.height or 0, modality.width or 0, modality.channels
        if height * width * channels != shape[1]:
            raise InvalidInput(
                f"A flat image of {shape[1]} values is not {height} x {width} pixels with {channels} channels."
            )
        planes = (len(batch), height, width, channels) if modality.channel_axis == -1 else (
            len(batch), channels, height, width,
        )  # fmt: skip
        values = values.reshape(planes)
    elif modality.channel_axis is None:
        values = values[:, None]
    if values.ndim != axes:
        raise InvalidInput(
            f"An array of shape {shape} does not hold {modality.kind} rows as {modality} says."
        )
    last = modality.channel_axis == -1
    if last:
        values = np.moveaxis(values, -1, 1)

    def restore(done: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.moveaxis(done, 1, -1) if last else done).reshape(shape)

    return values, restore


def _as(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        # The largest 64-bit integers have no float64 of their own: stay one float below.
        top = (
            float(limits.max) if int(float(limits.max)) <= limits.max else np.nextafter(float(limits.max), 0)
        )
        return np.clip(np.rint(values), float(limits.min), top).astype(dtype)
    if dtype.kind == "f":
        limit = float(np.finfo(dtype).max)
        return np.clip(values, -limit, limit).astype(dtype)
    return values.astype(dtype)
