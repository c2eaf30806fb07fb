"""What kind of thing an input is: an image, a table row, text, sound, token ids; and on which scale."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput, UsageError
from gradatim.perturb.catalogue import NAMES

if TYPE_CHECKING:
    from gradatim.signature import TensorSpec

Kind = Literal["image", "tabular", "text", "audio", "tokens"]


@dataclass(frozen=True)
class Reference:
    """How the features of a table are spread in data that was not corrupted: float64 [features] each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


@dataclass(frozen=True)
class Modality:
    """The meaning of one input array [b, ...].

    Attributes:
        kind: what it is.
        low, high: the value range of images and sounds; corrupted values stay within.
        height, width: of an image, pixels. ``[b, height * width * channels]`` is taken for a flat image.
        channels: of an image or a sound.
        channel_axis: where the channels are in an array [b, ...]: 1 or -1; None when there is no such axis.
            In a flat image, 1 means one plane after the other.
        sampling_rate: of a sound, hertz.
        vocabulary: number of token ids.
        padding: the id that fills sequences up.
        unknown: the id of what is not in the vocabulary, if there is one.
        special: ids that mark structure and are never touched ([CLS], [SEP], ...).
        reference: the spread of a table's features.
    """

    kind: Kind
    low: float = 0.0
    high: float = 1.0
    height: int | None = None
    width: int | None = None
    channels: int = 1
    channel_axis: int | None = None
    sampling_rate: int = 16_000
    vocabulary: int | None = None
    padding: int = 0
    unknown: int | None = None
    special: tuple[int, ...] = ()
    reference: Reference | None = None

    def __post_init__(self) -> None:
        if self.kind not in NAMES:
            raise UsageError(f"Unknown kind of input `{self.kind}`. Known: {', '.join(NAMES)}.")
        if not self.high > self.low:
            raise UsageError(f"The value range {self.low} .. {self.high} is empty: give the lower end first.")


def fit_reference(batches: Iterable[NDArray[Any]]) -> Reference:
    """Mean and standard deviation of each feature, in one pass over batches [b, ...] (Chan et al. 1979).

    Raises:
        InvalidInput: there are no rows.
    """
    count = 0
    mean = squares = np.zeros(0)
    for batch in batches:
        if not len(batch):
            continue
        rows = np.asarray(batch, np.float64).reshape(len(batch), -1)
        own = rows.mean(axis=0)
        own_squares = ((rows - own) ** 2).sum(axis=0)
        if count:
            gap = own - mean
            squares = squares + own_squares + gap**2 * (count * len(rows) / (count + len(rows)))
            mean = mean + gap * (len(rows) / (count + len(rows)))
        else:
            mean, squares = own, own_squares
        count += len(rows)
    if not count:
        raise InvalidInput("The spread of the features cannot be measured: the data set has no rows.")
    return Reference(mean, np.sqrt(squares / count))


def modality_of(
    spec: TensorSpec,
    example: NDArray[Any],
    *,
    kind: Kind | None = None,
    low: float | None = None,
    high: float | None = None,
    **known: Any,
) -> Modality:
    """What an input most likely is, from its signature and some rows of data; what is declared is believed.

    The guess: text by dtype; token ids (and bytes) are integers [b, sequence]; an image has two equal or similar axes,
    or is a square of non-negative values laid flat; a sound is long, and a moment of it is like the one before. All else
    is a table.

    Args:
        spec: the input as the model declares it.
        example: some rows [b, ...]; more rows make the value range surer.
        kind, low, high, known: attributes of :class:`Modality` that are known.

    Raises:
        InvalidInput: the example has no rows, or cannot be the declared kind.
    """
    if len(example) == 0:
        raise InvalidInput(f"What kind of input `{spec.name}` is cannot be told from no rows.")
    kind = kind or _kind(spec, example)
    if kind in ("text", "tabular"):
        return Modality(kind, **known)
    if kind == "tokens":
        return Modality(kind, **{"vocabulary": int(example.max()) + 1, **known})
    bottom, top = _range(example, kind)
    modality = Modality(kind, bottom if low is None else low, top if high is None else high)
    found = _image_axes(spec, example, known) if kind == "image" else _sound_axes(example)
    return replace(modality, **{**found, **known})


def _kind(spec: TensorSpec, example: NDArray[Any]) -> Kind:
    name, axes, shape = spec.name.lower(), example.ndim, example.shape[1:]
    if example.dtype.kind in "OUS":
        return "text"
    if axes >= 3:
        if any(word in name for word in ("audio", "wave", "sound", "speech")):
            return "audio"
        if axes == 3 and min(shape) <= 2 and max(shape) >= 400:
            return "audio"
        pixels = _pixel_axes(shape)
        return "image" if pixels is not None and max(pixels) <= 8 * min(pixels) else "tabular"
    if axes == 2:
        if example.dtype.kind in "iu":
            free = spec.shape is None or not isinstance(spec.shape[1], int)
            if example.min() >= 0 and (free or any(word in name for word in ("ids", "token"))):
                return "tokens"
        elif any(word in name for word in ("audio", "wave", "sound", "speech")) or (
            shape[0] >= 400 and example.min() < 0 and (np.abs(example).max() <= 1 or _goes_on(example))
        ):
            return "audio"
        side = math.isqrt(shape[0])
        named = any(word in name for word in ("image", "pixel", "img"))
        if side * side == shape[0] and (named or (side >= 8 and _looks_like_pixels(example))):
            return "image"
        if example.dtype.kind in "iu" and shape[0] >= _LONG_IDS and example.min() >= 0:
            return "tokens"
    return "tabular"


_LONG_IDS = 128
"""No table has so many columns of whole numbers; a sequence of token ids or bytes has."""


def _goes_on(example: NDArray[Any]) -> bool:
    """Whether a value is like the one before it, row by row: lag-1 autocorrelation of at least a half."""
    rows = np.asarray(example, np.float64)
    rows = rows - rows.mean(axis=1, keepdims=True)
    power = (rows**2).sum(axis=1)
    moving = power > 0
    if not moving.any():
        return False
    return float(np.median((rows[moving, 1:] * rows[moving, :-1]).sum(axis=1) / power[moving])) >= 0.5


def _looks_like_pixels(example: NDArray[Any]) -> bool:
    """One scale for all features, none negative, dark and bright: 0..1 or whole numbers up to 255."""
    if example.min() < 0 or example.max() > 255 or example.min() != 0:
        return False
    whole = np.array_equal(example, np.rint(example))
    return bool(example.max() > 1 and whole) or bool(0.5 < example.max() <= 1 and not whole)


def _range(example: NDArray[Any], kind: Kind) -> tuple[float, float]:
    if example.dtype == np.uint8:
        return 0.0, 255.0
    bottom, top = float(example.min()), float(example.max())
    if kind == "audio":
        if example.dtype.kind == "i":
            limits = np.iinfo(example.dtype)
            return float(limits.min), float(limits.max)
        reach = max(1.0, -bottom, top)
        return -reach, reach
    if bottom >= 0:
        return 0.0, next((high for high in (1.0, 16.0, 255.0, 65535.0) if top <= high), top)
    if bottom >= -1 and top <= 1:
        return -1.0, 1.0
    return bottom, top  # normalised by a mean and a deviation: what is seen is all that is known


def _pixel_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) != 3:
        return None
    if shape[0] <= 4 or shape[2] > 4:
        return shape[1], shape[2]
    return shape[0], shape[1]


def _image_axes(spec: TensorSpec, example: NDArray[Any], known: dict[str, Any]) -> dict[str, Any]:
    shape = example.shape[1:]
    if len(shape) == 3:
        first = shape[0] <= 4 or shape[2] > 4
        height, width = (shape[1], shape[2]) if first else (shape[0], shape[1])
        return {
            "height": height, "width": width, "channels": shape[0] if first else shape[2],
            "channel_axis": 1 if first else -1,
        }  # fmt: skip
    if len(shape) == 2:
        return {"height": shape[0], "width": shape[1], "channels": 1, "channel_axis": None}
    if len(shape) == 1:
        channels = int(known.get("channels", 1))
        side = math.isqrt(shape[0] // channels)
        height = int(known.get("height", side))
        width = int(known.get("width", shape[0] // channels // max(height, 1)))
        if height * width * channels == shape[0]:
            axis = None if channels == 1 else 1
            return {"height": height, "width": width, "channels": channels, "channel_axis": axis}
    raise InvalidInput(
        f"`{spec.name}` of shape {example.shape} cannot be an image: say its height, width and channels."
    )


def _sound_axes(example: NDArray[Any]) -> dict[str, Any]:
    if example.ndim == 2:
        return {"channels": 1, "channel_axis": None}
    first = example.shape[1] <= example.shape[-1]
    return {"channels": example.shape[1] if first else example.shape[-1], "channel_axis": 1 if first else -1}
