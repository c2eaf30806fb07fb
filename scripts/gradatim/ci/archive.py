"""The workspace on its way from one CI job to the next: a plain tar whose digest travels apart from it.

An archive holds what one job added: files below ``workspace/``, and below ``model/`` a model that the job built and
git does not hold. What arrived from earlier jobs is not sent on, so nothing travels twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.files import read_json, refuse_link, replacing, sha256_file, write_json

_ARRIVED = ".arrived.json"
_LEFT_HERE = (_ARRIVED, ".gitignore", ".lock", "outputs.env")
_HANDED = "jobs/"
"""Where archives of other jobs lie in the workspace, on CI systems that hand files on themselves."""
_MOST_FILES = 100_000
_CHUNK = 1 << 20
_DATA = re.compile(r"([._-]\w+)*[._](data|bin|weights)(_\d+)?")
"""How files are called that hold a model's data beside it."""
_CODE = re.compile(r"\.(py[a-z]*|so|dll|dylib|sh)", re.IGNORECASE)


@dataclass(frozen=True)
class Places:
    """Where an archive's files belong.

    Attributes:
        workspace: the folder ``.gradatim``.
        root: the folder of the contract.
        model: files that a build may have made, relative to the root: one file, or all below a folder.
    """

    workspace: Path
    root: Path
    model: PurePosixPath | None = None

    def has_arrived(self, model: PurePosixPath) -> bool:
        """Whether earlier jobs sent the model's file, or files of its folder, and nothing here changed any of them."""
        sent = {
            PurePosixPath(name).relative_to("model"): digest
            for name, digest in _arrived(self).items()
            if name.startswith("model/")
        }
        known = any(model in (path, *path.parents) for path in sent)
        return known and all(_is(self.root / path, digest) for path, digest in sent.items())

    def target(self, name: str) -> Path:
        """Where an archive's entry is written.

        Raises:
            BrokenEvidence: the entry would land anywhere else.
        """
        path = PurePosixPath(name)
        parts = path.parts
        plain = len(parts) > 1 and not path.is_absolute() and "\\" not in name and path.as_posix() == name
        if plain and name.isprintable() and not {"..", ".git"} & {part.lower() for part in parts}:
            inside = PurePosixPath(*parts[1:])
            if parts[0] == "workspace" and parts[1] not in _LEFT_HERE:
                return self.workspace / inside
            if parts[0] == "model" and self.model is not None and _belongs(inside, self.model):
                return self.root / inside
        raise BrokenEvidence(
            f"The archive holds {name!r}, which belongs neither to the workspace nor to the model. Models and data travel "
            "between jobs; code comes from git alone."
        )


def pack(places: Places, built: Iterable[Path], archive: Path) -> str:
    """Write what this job added into an archive.

    Args:
        places: where the files lie.
        built: files of a model that git does not hold, absolute.
        archive: the tar to write.

    Returns:
        hex SHA-256 of the archive.

    Raises:
        UsageError: a file lies outside of the contract's folder, or is a link.
        BrokenEvidence: the workspace is a link.
    """
    refuse_link(places.workspace)
    arrived = _arrived(places)
    root = places.root.resolve()
    files = {f"workspace/{name}": path for name, path in _workspace_files(places.workspace)}
    for path in built:
        if not path.resolve().is_relative_to(root):
            raise UsageError(
                f"The model's file {path} lies outside of {root}, so it cannot travel to the next job."
            )
        files[f"model/{path.resolve().relative_to(root).as_posix()}"] = path
    with replacing(archive) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(files.items()):
            if arrived.get(name) == sha256_file(path):
                continue
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return sha256_file(archive)


def unpack(places: Places, folder: Path, digests: Mapping[str, str]) -> int:
    """Take over what earlier jobs left, nothing else that lies in the folder.

    Args:
        places: where the files go.
        folder: where the archives were downloaded to.
        digests: hex SHA-256 by job, as the jobs themselves said it.

    Returns:
        the number of files that arrived.

    Raises:
        BrokenEvidence: an archive is missing or altered, holds a link, code or a path that leads elsewhere, two jobs
            disagree about a file, or the workspace is a link.
    """
    refuse_link(places.workspace)
    found = {sha256_file(path): path for path in sorted(folder.glob("*.tar"))} if folder.is_dir() else {}
    arrived = _arrived(places)
    for job, digest in digests.items():
        if digest not in found:
            raise BrokenEvidence(
                f"What the job `{job}` left is not there as it left it: no archive in {folder} has the digest "
                f"{digest[:12]}. Run that job again."
            )
        try:
            _extract(places, found[digest], job, arrived)
        except tarfile.TarError as error:
            raise BrokenEvidence(f"The archive of the job `{job}` cannot be read: {error}.") from error
    if arrived:
        write_json(places.workspace / _ARRIVED, arrived)
    return len(arrived)


def digests_of(needs: str) -> dict[str, str]:
    """Hex digest by job out of GitHub's ``toJSON(needs)``; jobs that left nothing are not in it.

    A job that is a workflow of its own tells what its jobs left in its output ``left``.

    Raises:
        UsageError: the text is nothing of the kind.
    """
    found: dict[str, str] = {}
    try:
        for job, said in json.loads(needs or "{}").items():
            outputs = said.get("outputs") or {}
            if said.get("result") in ("skipped", "cancelled"):
                continue
            if outputs.get("workspace"):
                found[job] = str(outputs["workspace"])
            found |= digests_of(outputs.get("left") or "")
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError("`needs` takes what `toJSON(needs)` gives.") from error
    return found


def digests_told(environment: Mapping[str, str]) -> dict[str, str]:
    """Hex digest by job of what the workflow passed on as ``NEEDS``, and its caller as ``BEFORE``.

    Raises:
        EnvironmentLacks: it passed nothing.
        UsageError: a variable holds anything else.
    """
    if not environment.get("NEEDS"):
        raise EnvironmentLacks("The environment variable NEEDS is empty: let the job pass `toJSON(needs)`.")
    return digests_of(environment.get("BEFORE", "")) | digests_of(environment["NEEDS"])


def digests_in(folder: Path) -> dict[str, str]:
    """Hex digest by job of every archive in a folder, where nobody tells the digests another way."""
    return {path.stem: sha256_file(path) for path in sorted(folder.glob("*.tar"))}


def _workspace_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise UsageError(f"{path} is a symbolic link, which could point anywhere: it does not travel.")
        travels = path.name not in _LEFT_HERE and not path.name.endswith(".part")
        if path.is_file() and travels and not name.startswith(_HANDED):
            yield name, path


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest


def _arrived(places: Places) -> dict[str, str]:
    path = places.workspace / _ARRIVED
    refuse_link(path)
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict) or not all(
        isinstance(digest, str) and name.startswith(("model/", "workspace/"))
        for name, digest in found.items()
    ):
        raise BrokenEvidence(
            f"{path} is not the list of arrivals that gradatim writes. Remove it and run the job again."
        )
    return found


def _extract(places: Places, archive: Path, job: str, arrived: dict[str, str]) -> None:
    with tarfile.open(archive, "r:") as tar:
        entries: Sequence[tarfile.TarInfo] = tar.getmembers()
        if len(entries) > _MOST_FILES:
            raise BrokenEvidence(f"The archive of the job `{job}` holds more than {_MOST_FILES} files.")
        for entry in entries:
            if not entry.isreg() or entry.issparse():
                raise BrokenEvidence(
                    f"The archive of the job `{job}` holds {entry.name!r}, which is no plain file."
                )
            target = places.target(entry.name)
            _refuse_links(target, places.root)
            source = tar.extractfile(entry)
            assert source is not None  # noqa: S101 (it is a plain file)
            arrived[entry.name] = _settle(source, target, job)


def _settle(source: IO[bytes], target: Path, job: str) -> str:
    """Write one file where there is none, or find the same bytes there; returns their digest."""
    if target.exists():
        digest = hashlib.sha256()
        for chunk in iter(lambda: source.read(_CHUNK), b""):
            digest.update(chunk)
        if target.is_file() and sha256_file(target) == digest.hexdigest():
            return digest.hexdigest()
        raise BrokenEvidence(
            f"The job `{job}` left another {target.name} than the one that is here at {target}. Nothing is overwritten: "
            "run all jobs again, from one commit."
        )
    with replacing(target) as temporary, temporary.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
    return sha256_file(target)


def _refuse_links(target: Path, root: Path) -> None:
    folder = target
    while folder != root and folder != folder.parent:
        refuse_link(folder)
        folder = folder.parent


def _belongs(path: PurePosixPath, model: PurePosixPath) -> bool:
    """Whether a path is the model's file, holds data of the model beside it, or lies below its folder and is no code."""
    if path == model:
        return True
    if model in path.parents:
        return not any(_CODE.fullmatch(suffix) for suffix in path.suffixes)
    return path.parent == model.parent and any(
        path.name.startswith(start) and _DATA.fullmatch(path.name[len(start) :])
        for start in (model.name, model.stem)
    )
