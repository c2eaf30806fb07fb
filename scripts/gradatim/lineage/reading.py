"""Where lineage is found, what it says, and whether it changed since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradatim.errors import InvalidInput
from gradatim.files import digest_of, sha256_file
from gradatim.lineage.mlflow_run import SQLITE, is_server
from gradatim.lineage.record import Lineage

FILE = "lineage.json"

Kind = Literal["file", "mlflow", "wandb", "tensorboard"]


@dataclass(frozen=True)
class Origin:
    """Where training left its record.

    Attributes:
        kind: which tool wrote it.
        place: a path relative to the project, or the address of a tracking server.
        run: id of an MLflow run.
        experiment: name of an MLflow experiment.
    """

    kind: Kind
    place: str
    run: str | None = None
    experiment: str | None = None


def find_beside(root: Path, model: str | None) -> Origin | None:
    """The ``lineage.json`` that nobody named: beside the model, else beside the contract; None when there is none."""
    folders = [Path(model).parent] if model else []
    for folder in (*folders, Path()):
        if (root / folder / FILE).is_file():
            return Origin("file", (folder / FILE).as_posix())
    return None


def exists(origin: Origin, root: Path) -> bool:
    """Whether there is anything at its place; a server is taken to be there."""
    return is_server(origin.place) or _path(origin, root).exists()


def read_lineage(origin: Origin, root: Path) -> Lineage:
    """Read what training recorded.

    Args:
        origin: where.
        root: the project's folder.

    Raises:
        UsageError: an MLflow server without a run.
        InvalidInput: it is missing, damaged, malformed, empty, or lies outside of the project.
        EnvironmentLacks: the package that reads it is not installed, or a server does not answer.
    """
    if origin.kind == "mlflow" and is_server(origin.place):
        from gradatim.lineage.mlflow_run import read_mlflow

        return read_mlflow(origin.place, origin.place, origin.run, origin.experiment)
    path = _inside(origin, root)
    if origin.kind == "file":
        from gradatim.lineage.json_file import read_json_file

        return read_json_file(path, origin.place)
    if origin.kind == "wandb":
        from gradatim.lineage.wandb_run import find_run, read_run

        found = find_run(path)
        return read_run(found, found.relative_to(root.resolve()).as_posix())
    if origin.kind == "tensorboard":
        from gradatim.lineage.tensorboard_events import read_events

        return read_events(path, origin.place)
    from gradatim.lineage.mlflow_run import read_mlflow

    return read_mlflow(str(path), origin.place, origin.run, origin.experiment)


def fingerprint(origin: Origin, root: Path) -> str:
    """Hex digest that changes when the record does; the run of a server is taken to stay as it is.

    Raises:
        InvalidInput: as ``read_lineage``.
    """
    if is_server(origin.place):
        return digest_of([origin.place, origin.run])
    path = _inside(origin, root)
    if origin.kind == "wandb":
        from gradatim.lineage.wandb_run import find_run

        path = find_run(path)
    if origin.kind == "tensorboard":
        from gradatim.lineage.tensorboard_events import event_files

        files = event_files(path)
    elif path.is_dir():
        files = sorted(
            p for p in path.rglob("*") if p.is_file() and "artifacts" not in p.relative_to(path).parts
        )
    else:
        files = [path]
    said = [origin.kind, origin.run, origin.experiment]
    return digest_of(
        [said, {file.relative_to(root.resolve()).as_posix(): sha256_file(file) for file in files}]
    )


def _path(origin: Origin, root: Path) -> Path:
    return (root / origin.place.removeprefix(SQLITE)).resolve()


def _inside(origin: Origin, root: Path) -> Path:
    path = _path(origin, root)
    if not path.is_relative_to(root.resolve()):
        raise InvalidInput(
            f"The lineage at {origin.place} lies outside of the project. Copy it into the repository: what is released is proven by what lies there."
        )
    if not path.exists():
        raise InvalidInput(
            f"There is no {origin.place}, which `lineage` in the contract names. Let training write it, or correct `lineage`."
        )
    return path
