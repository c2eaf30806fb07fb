"""Pictures in class folders for a model of numbers: what must stand between them, found out by trying."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from gradatim.checks.rehearsal import Seen
from gradatim.errors import InvalidInput
from gradatim.signature import Signature, TensorSpec

MODULE = "pictures.py"
REFERENCE = "pictures:prepare"

_SCALES = {
    "0 to 1": "values / 255",
    "0 to 1, less the mean of ImageNet, in its deviations": (
        "(values / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"
    ),
    "-1 to 1": "values / 127.5 - 1",
    "0 to 255": "values",
}
"""How pictures are scaled in the field, the commonest first."""

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_CROP = (224, 224)
_LOOKED_AT = 32
_ABOVE_CHANCE = 0.2
_CLEAR = 0.1
"""So much more often right than the next, a scale needs no second look."""

_SOURCE = '''"""Pictures as the model takes them. `gradatim init` wrote this after it had tried several ways; it is yours now."""

import numpy as np
from PIL import Image

HEIGHT, WIDTH = {height}, {width}


def prepare(columns):
    """Pictures of any size as float32 {shape}, scaled {words}."""
    found = [
        np.asarray(Image.fromarray(one).convert("{mode}").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
        for one in columns["image"]
    ]
    values = np.stack(found).astype(np.float32){axis}
    return {{{name}: ({scaled}).astype(np.float32){order}}}
'''

_BY_PROCESSOR = '''"""Pictures as the model's own image processor makes them. `gradatim init` wrote this; it is yours now."""

from pathlib import Path

from PIL import Image
from transformers import AutoImageProcessor

_OWN = AutoImageProcessor.from_pretrained(Path(__file__).parent / {path}, local_files_only=True)


def prepare(columns):
    """Pictures of any size as numbers of one size."""
    found = [Image.fromarray(one).convert("RGB") for one in columns["image"]]
    return {{{name}: _OWN(found, return_tensors="np")["pixel_values"]}}
'''


@dataclass(frozen=True)
class Preparation:
    """A way to make numbers of pictures.

    Attributes:
        scale: in words.
        source: a module that does it, whose function is ``REFERENCE``.
    """

    scale: str
    source: str


def usual_size(path: str, root: Path) -> tuple[int, int]:
    """Height and width of a data set's pictures; what the field crops photographs to, where the first of them differ.

    They are looked at as far as they can be read.
    """
    from gradatim.data import open_data

    alone = Signature((TensorSpec("image", "unknown", None),), ())
    first = islice(open_data(path, root=root, label=None, signature=alone).batches(1), _LOOKED_AT)
    sizes: set[tuple[int, int]] = set()
    with contextlib.suppress(InvalidInput):
        sizes.update(batch.inputs["image"].shape[1:3] for batch in first)
    return sizes.pop() if len(sizes) == 1 else _CROP


def preparations(signature: Signature | None, own: tuple[int, int]) -> Iterator[Preparation]:
    """The ways that there are to feed a model whose only input is a picture of numbers.

    Args:
        own: height and width for a model that takes pictures of any size.
    """
    specs = () if signature is None else signature.inputs
    if len(specs) != 1 or not specs[0].dtype.startswith("float") or len(specs[0].shape or ()) != 4:
        return
    _, *sizes = specs[0].shape or ()
    channels = sizes[0] if sizes[0] in (1, 3) else sizes[2]
    first = sizes[0] == channels
    if channels not in (1, 3):
        return
    free = sizes[1:] if first else sizes[:2]
    height, width = (size if isinstance(size, int) else of for size, of in zip(free, own, strict=True))
    for words, scaled in _SCALES.items():
        if channels == 1 and "[" in scaled:
            continue
        yield Preparation(words, _source(specs[0], height, width, channels == 3, first, words, scaled))


def declared(signature: Signature | None, path: str, root: Path) -> Preparation | None:
    """The way that a Hugging Face directory itself declares, in its image processor's settings; None where it has none."""
    specs = () if signature is None else signature.inputs
    if len(specs) != 1 or not any((root / path / name).is_file() for name in _PROCESSORS):
        return None
    return Preparation("as its own", _BY_PROCESSOR.format(path=_literal(path), name=_literal(specs[0].name)))


def _literal(text: str) -> str:
    """A name or path may be anything: it is written as text, never as code."""
    return json.dumps(text, ensure_ascii=False)


def _source(
    spec: TensorSpec, height: int, width: int, colours: bool, first: bool, words: str, scaled: str
) -> str:
    channels = 3 if colours else 1
    shape = [channels, height, width] if first else [height, width, channels]
    return _SOURCE.format(
        height=height,
        width=width,
        shape=f"[batch, {', '.join(map(str, shape))}]",
        words=words,
        mode="RGB" if colours else "L",
        axis="" if colours else "[..., None]",
        name=_literal(spec.name),
        scaled=scaled,
        order=".transpose(0, 3, 1, 2)" if first else "",
    )


def rightness(seen: Seen) -> float:
    """How well the answers tell the labels apart, from 0 for no better than by chance to 1, whatever the classes' order.

    The share of rows whose label is the commonest among those of the same answer, beside that of the commonest label.
    """
    scores = next((v for v in seen.outputs.values() if v.ndim == 2 and v.shape[1] > 1), None)
    if scores is None or seen.labels is None or seen.labels.ndim != 1:
        return 0.0
    said, labels = scores.argmax(axis=1), np.unique(seen.labels, return_inverse=True)[1]
    chance = np.bincount(labels).max() / len(labels)
    hits = sum(np.bincount(labels[said == answer]).max() for answer in np.unique(said)) / len(labels)
    return float((hits - chance) / (1 - chance)) if chance < 1 else 0.0


def best(tried: list[tuple[Preparation, float]]) -> tuple[Preparation, str | None] | None:
    """The way by which a model is most often right, and what is to be looked at; None where all are as good as chance."""
    ranked = sorted(tried, key=lambda each: -each[1])
    if not ranked or ranked[0][1] < _ABOVE_CHANCE:
        return None
    (chosen, share), others = ranked[0], ranked[1:]
    near = [other.scale for other, its in others if share - its < _CLEAR]
    doubt = (
        f"{MODULE} scales pictures {chosen.scale}; the model is as often right with {near[0]}."
        if near
        else None
    )
    return chosen, doubt and f"{doubt} See that it is what the model was trained with."


def lay_beside(root: Path, files: Iterable[str], source: str, folder: Path) -> Path:
    """A folder like a repository, with a module that it does not have yet: nothing is written in the repository itself.

    All in it are links, hard ones (or copies) for the model, of which releases want plain files.

    Args:
        files: of the model, relative to ``root``.
        source: of the module.

    Returns:
        ``folder``, which is made.
    """
    folder.mkdir()
    own = {Path(file).parts[0] for file in files}
    for entry in root.iterdir():
        if entry.name not in (".git", *own):
            (folder / entry.name).symlink_to(entry)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(root / file, folder / file)
        except OSError:
            shutil.copy(root / file, folder / file)
    (folder / MODULE).write_text(source, encoding="utf-8")
    return folder
