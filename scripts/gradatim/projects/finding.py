"""What lies in a repository: models, pickles, data sets and label lists, by what they are and what they are called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from gradatim.contract.lookup import DEFAULT_PATH
from gradatim.contract.model_formats import FORMATS, extra_of
from gradatim.errors import GradatimError
from gradatim.projects.labelling import is_label_list

Role = Literal["evaluation", "calibration", "training"]

IGNORED = frozenset(
    {
        "venv", "env", "node_modules", "__pycache__", "site-packages", "dist", "build", "releases", "mlruns",
        "wandb", "lightning_logs",
    }
)  # fmt: skip
"""Folders that hold what was installed, built or logged; hidden folders and virtual environments aside."""

_MODELS = (*(suffix for row in FORMATS.values() for suffix in row.suffixes), ".bin")
_PICKLES = (".pkl", ".pickle", ".joblib", ".sav")
_DATA = (".npz", ".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson")
_ITEMS = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".wav", ".npy",
)  # fmt: skip
"""Files of one item each, as class folders hold them."""

_NO_WEIGHTS = (
    *_DATA, *_ITEMS, ".py", ".pyc", ".ipynb", ".md", ".rst", ".txt", ".yml", ".yaml", ".toml", ".cfg", ".ini", ".lock", ".sh",
    ".html", ".css", ".js", ".log", ".zip", ".gz", ".pdf", ".svg",
)  # fmt: skip
_WEIGHTS = ("model", "weight", "param", "checkpoint", "net")
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

    @property
    def unsaid(self) -> str | None:
        """The format, where CI could not tell by the path which extra runs it: the name of a folder says nothing."""
        known = FORMATS.get(self.format)
        folder = not PurePosixPath(self.path).suffix
        return self.format if known and folder and extra_of(self.path) != known.extra else None


@dataclass(frozen=True)
class FoundData:
    """A data file, or a folder of class folders with images, sounds or arrays.

    Attributes:
        path: relative to the repository, with slashes.
        role: what its name says it is for; None when the name says nothing.
    """

    path: str
    role: Role | None


@dataclass(frozen=True)
class Findings:
    """Everything found, the likeliest of each kind first.

    Attributes:
        models: files and folders of a known format, and those that only seem to be.
        pickles: what can run any code when it is opened.
        data: data sets.
        label_lists: files that may hold the names of labels.
        weights: files that only a function of the user's could make a model of.
        contracts: contracts in folders below, which hold models of their own that are not among ``models``.
        loose: folders of images, sounds or arrays that are no class folders: their labels are not known.
        notes: sentences for the user.
    """

    models: tuple[FoundModel, ...]
    pickles: tuple[str, ...]
    data: tuple[FoundData, ...]
    label_lists: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, role: Role) -> tuple[FoundData, ...]:
        """The data sets whose names say this role."""
        return tuple(data for data in self.data if data.role == role)


def look_around(root: Path) -> Findings:
    """Walk a repository and sort out what may be a model or data; models are only sniffed at, never loaded."""
    sorting = _Sorting(root)
    for folder, names in _walk(root, sorting.contracts):
        sorting.seen += len(names)
        if sorting.seen > _MOST_FILES:
            sorting.notes.append(f"Only the first {_MOST_FILES} files were looked at: name the rest by hand.")
            break
        sorting.sort(PurePosixPath(folder.relative_to(root).as_posix()), names)
    return sorting.findings()


class _Sorting:
    """What was found so far."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.seen = 0
        self.contracts: list[str] = []
        self.notes: list[str] = []
        self._models: list[FoundModel] = []
        self._pickles: list[str] = []
        self._data: list[FoundData] = []
        self._labels: list[str] = []
        self._weights: list[str] = []
        self._with_items: set[PurePosixPath] = set()

    def sort(self, here: PurePosixPath, names: list[str]) -> None:
        """Sort the files of one folder."""
        if "config.json" in names and any(name.endswith((".safetensors", ".bin")) for name in names):
            _add_model(self._root, str(here), self._models, self._pickles)
            return
        if any(row.made_of(names, folder=True) for row in FORMATS.values()):
            _add_model(self._root, str(here), self._models, self._pickles)
        if any(name.lower().endswith(_ITEMS) for name in names):
            self._with_items.add(here)
        for name in names:
            path, suffix = str(here / name), PurePosixPath(name).suffix.lower()
            if suffix in _PICKLES:
                self._pickles.append(path)
            elif suffix in _MODELS:
                _add_model(self._root, path, self._models, self._pickles)
            elif suffix in _DATA and not _NO_DATA & set(here.parts) and not _is_weights(name):
                self._data.append(FoundData(path, role_of(path)))
            elif is_label_list(name):
                self._labels.append(path)
            elif _may_hold_weights(name) and (_is_weights(name) or _NO_DATA & set(here.parts)):
                self._weights.append(path)

    def findings(self) -> Findings:
        class_folders = [folder.parent for folder in self._with_items if folder.parts]
        parents = {one for one in class_folders if class_folders.count(one) > 1}
        self._data += [FoundData(str(parent), role_of(str(parent))) for parent in parents]
        loose = sorted(str(folder) for folder in self._with_items if folder.parent not in parents)
        return Findings(
            tuple(sorted(self._models, key=_model_order)),
            tuple(sorted(self._pickles)),
            tuple(sorted(self._data, key=_data_order)),
            tuple(sorted(self._labels)),
            tuple(sorted(self._weights, key=lambda path: (len(PurePosixPath(path).parts), path))),
            tuple(sorted(self.contracts)),
            tuple(loose),
            tuple(self.notes),
        )


def _may_hold_weights(name: str) -> bool:
    suffix = PurePosixPath(name).suffix.lower()
    return bool(suffix) and (suffix not in _NO_WEIGHTS or suffix == ".npz")


def _is_weights(name: str) -> bool:
    """Whether a file's name says that it holds what a model has learnt."""
    return role_of(name) is None and any(word in PurePosixPath(name).stem.lower() for word in _WEIGHTS)


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


def _walk(root: Path, contracts: list[str]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with its files, but for those of other contracts, whose paths are noted."""
    for folder, folders, names in os.walk(root):
        if DEFAULT_PATH in names and Path(folder) != root:
            contracts.append((Path(folder) / DEFAULT_PATH).relative_to(root).as_posix())
            folders[:] = []
            continue
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
    rank = [*FORMATS, model.format].index(model.format)
    return bool(model.problem), "tests" in parts or "test" in parts, rank, len(parts), model.path


def _data_order(data: FoundData) -> tuple[bool, bool, bool, int, str]:
    parts = PurePosixPath(data.path).parts
    words = re.split(r"[^a-z]+", data.path.lower())
    kept_for_last = any(word in _EVALUATION_FIRST for word in words)
    return data.role is None, "tests" in parts, not kept_for_last, len(parts), data.path
