"""A folder of images, arrays or sounds: one subfolder per class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.data.columns import object_array
from gradatim.data.source import Block, refuse_broken_file
from gradatim.errors import InvalidInput, needs
from gradatim.files import list_files

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SOUNDS = (".wav",)
ARRAYS = (".npy",)


class FolderSource:
    """Files below class folders, in the order of their names.

    Columns: ``image`` (uint8 [height, width] or [height, width, channels], as the file has it), ``audio``
    (float32 [samples] or [samples, channels] in -1..1, with ``sampling_rate``) or ``array`` (an ``.npy`` as
    it is); ``path`` relative to the folder; and the label column with the name of the class folder. Hidden
    files, and files beside the class folders (a README, a licence), are left out.

    Args:
        path: the folder.
        label: the name that the class column gets; None when the files are not in class folders.

    Raises:
        InvalidInput: no files, files of several kinds, a file that cannot be decoded.
        EnvironmentLacks: Pillow is not installed.
    """

    textual = True
    tabular = False
    exact = True

    def __init__(self, path: Path, label: str | None) -> None:
        self.place = str(path)
        self._path = path
        self._label = label
        names = [
            name for name in list_files(path) if not any(part.startswith(".") for part in name.split("/"))
        ]
        self._names = [name for name in names if label is None or "/" in name]
        known = (*IMAGES, *SOUNDS, *ARRAYS)
        if label is None:
            self._names = [name for name in self._names if name.lower().endswith(known)]
        kinds = {kind_of_file(path / name) for name in self._names}
        if len(kinds) > 1:
            raise InvalidInput(
                f"{path} mixes {' and '.join(sorted(kinds))} files. Keep one kind in a data set."
            )
        if not kinds:
            where = "in subfolders, one per class" if label else "in it"
            raise InvalidInput(f"{path} holds no data: there are no image, .wav or .npy files {where}.")
        self._kind = kinds.pop()
        rate = ("sampling_rate",) if self._kind == "audio" else ()
        self.inputs: tuple[str, ...] = (self._kind,)
        self.columns: tuple[str, ...] = (self._kind, *rate, "path", *((label,) if label else ()))

    def length(self, column: str) -> int:
        return len(self._names)

    def is_empty(self) -> bool:
        return not self._names

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        wanted = {self._kind, "sampling_rate"} & set(columns)
        for start in range(0, len(self._names), size):
            names = self._names[start : start + size]
            block: Block = {"path": object_array(names)}
            if self._label:
                block[self._label] = object_array([name.partition("/")[0] for name in names])
            if wanted:
                decoded = [decode(self._path / name, self._kind) for name in names]
                block[self._kind] = object_array([values for values, _ in decoded])
                block["sampling_rate"] = np.array([rate for _, rate in decoded], np.int64)
            yield {name: block[name] for name in columns}


def kind_of_file(path: Path) -> str:
    """``image``, ``audio`` or ``array``, by a file's name; raises InvalidInput for any other."""
    suffix = path.suffix.lower()
    for kind, suffixes in (("image", IMAGES), ("audio", SOUNDS), ("array", ARRAYS)):
        if suffix in suffixes:
            return kind
    raise InvalidInput(f"{path} is neither an image, a .wav nor a .npy file. Move it out of the data set.")


def decode(path: Path, kind: str) -> tuple[NDArray[Any], int]:
    """The array of a file, and its sampling rate in hertz (0 where there is none)."""
    refuse_broken_file(path)
    try:
        if kind == "image":
            return _image(path), 0
        if kind == "audio":
            return _sound(path)
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, SyntaxError, EOFError, Warning, MemoryError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InvalidInput(
            f"{path} cannot be decoded: {reason}. The file is truncated or damaged."
        ) from error
    return np.asarray(array), 0


def _image(path: Path) -> NDArray[Any]:
    with needs("pillow", "image", f"Reading {path}"):
        from PIL import Image
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                plain = {"1": "L", "LA": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "PA": "RGBA"}.get(
                    image.mode
                )
                return np.asarray(image.convert(plain) if plain else image)
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from error


def _sound(path: Path) -> tuple[NDArray[Any], int]:
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("error", wavfile.WavFileWarning)
        warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)  # metadata that nobody needs
        rate, samples = wavfile.read(path)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128, int(rate)
    if np.issubdtype(samples.dtype, np.integer):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32), int(rate)
    return samples.astype(np.float32), int(rate)
