"""What lies in a repository: model files, pickles, and data sets, by what they are and what they are called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from gradatim.errors import GradatimError

Role = Literal["evaluation", "calibration", "training"]

IGNORED = frozenset(
    {
        "venv", "env", "node_modules", "__pycache__", "site-packages", "dist", "build", "releases", "mlruns",
        "wandb", "lightning_logs",
    }
)  # fmt: skip
"""Folders that hold what was installed, built or logged; hidden folders and virtual environments aside."""

_MODELS = (".onnx", ".pt2", ".torchscript", ".ts", ".pt", ".pth", ".safetensors", ".tflite", ".bin")
_PICKLES = (".pkl", ".pickle", ".joblib", ".sav")
_DATA = (".npz", ".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_PREFERRED = ("onnx", "huggingface", "pt2", "torchscript", "litert", "safetensors")
_NO_DATA = {"model", "models", "weights", "checkpoint", "checkpoints"}
_MOST_FILES = 200_000

_WORDS: tuple[tuple[Role, tuple[str, ...]], ...] = (
    ("calibration", ("calibration", "calib", "calibrate", "cal")),
    ("evaluation", ("test", "eval", "evaluation", "holdout", "heldout", "val", "valid", "validation", "dev")),
    ("training", ("train", "training")),
)
_EVALUATION_FIRST = ("test", "eval", "evaluation", "holdout", "heldout")


@dataclass(frozen=True)
class FoundModel:
    """A model file or folder.

    Attributes:
        path: relative to the repository, with slashes.
        format: as ``models.detect_format`` tells it; empty when ``problem`` says why it cannot.
        problem: why it cannot be used.
    """

    path: str
    format: str
    problem: str | None = None


@dataclass(frozen=True)
class FoundData:
    """A data file, or a folder of class folders with images.

    Attributes:
        path: relative to the repository, with slashes.
        role: what its name says it is for; None when the name says nothing.
    """

    path: str
    role: Role | None


@dataclass(frozen=True)
class Findings:
    """Everything found, the likeliest of each kind first."""

    models: tuple[FoundModel, ...]
    pickles: tuple[str, ...]
    data: tuple[FoundData, ...]
    notes: tuple[str, ...] = ()

    def of(self, role: Role) -> tuple[FoundData, ...]:
        """The data sets whose names say this role."""
        return tuple(data for data in self.data if data.role == role)


def look_around(root: Path) -> Findings:
    """Walk a repository and sort out what may be a model or data; models are only sniffed at, never loaded."""
    models: list[FoundModel] = []
    pickles: list[str] = []
    data: list[FoundData] = []
    notes: list[str] = []
    seen = 0
    with_images: set[PurePosixPath] = set()
    for folder, names in _walk(root):
        seen += len(names)
        if seen > _MOST_FILES:
            notes.append(f"Only the first {_MOST_FILES} files were looked at: name the rest by hand.")
            break
        here = PurePosixPath(folder.relative_to(root).as_posix())
        if "config.json" in names and any(name.endswith((".safetensors", ".bin")) for name in names):
            _add_model(root, str(here), models, pickles)
            continue
        if any(name.lower().endswith(_IMAGES) for name in names):
            with_images.add(here)
        for name in names:
            path, suffix = str(here / name), PurePosixPath(name).suffix.lower()
            if suffix in _PICKLES:
                pickles.append(path)
            elif suffix in _MODELS:
                _add_model(root, path, models, pickles)
            elif suffix in _DATA and not _NO_DATA & set(here.parts):
                data.append(FoundData(path, role_of(path)))
    class_folders = [folder.parent for folder in with_images if folder.parts]
    for parent in {one for one in class_folders if class_folders.count(one) > 1}:
        data.append(FoundData(str(parent), role_of(str(parent))))
    return Findings(
        tuple(sorted(models, key=_model_order)),
        tuple(sorted(pickles)),
        tuple(sorted(data, key=_data_order)),
        tuple(notes),
    )


def role_of(path: str) -> Role | None:
    """What a data set is for, by the words in its name, then in its folders', the nearest first."""
    parts = PurePosixPath(path).parts
    for place, part in enumerate(reversed(parts)):
        stem = PurePosixPath(part).stem if place == 0 else part
        words = re.split(r"[^a-z]+", stem.lower())
        for role, known in _WORDS:
            if any(word in known for word in words):
                return role
    return None


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in IGNORED
            and not name.endswith(".egg-info")
            and not (Path(folder) / name / "pyvenv.cfg").exists()
        )
        yield Path(folder), sorted(name for name in names if not (Path(folder) / name).is_symlink())


def _add_model(root: Path, path: str, models: list[FoundModel], pickles: list[str]) -> None:
    from gradatim.models import detect_format

    try:
        found = detect_format(root / path)
    except GradatimError as error:
        if not path.endswith(".bin"):  # the name of many things that are no models
            models.append(FoundModel(path, "", str(error)))
        return
    if found == "pickle":
        pickles.append(path)
    else:
        models.append(FoundModel(path, found))


def _model_order(model: FoundModel) -> tuple[bool, bool, int, int, str]:
    parts = PurePosixPath(model.path).parts
    rank = _PREFERRED.index(model.format) if model.format in _PREFERRED else len(_PREFERRED)
    return bool(model.problem), "tests" in parts or "test" in parts, rank, len(parts), model.path


def _data_order(data: FoundData) -> tuple[bool, bool, bool, int, str]:
    parts = PurePosixPath(data.path).parts
    words = re.split(r"[^a-z]+", data.path.lower())
    kept_for_last = any(word in _EVALUATION_FIRST for word in words)
    return data.role is None, "tests" in parts, not kept_for_last, len(parts), data.path
