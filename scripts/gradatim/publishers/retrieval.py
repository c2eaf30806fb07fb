"""Getting a released model back, checked byte for byte: from its commit, else from where it is public."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gradatim.errors import BrokenEvidence, EnvironmentLacks, GradatimError, InvalidInput
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.release_record import MANIFEST_FILE, RECORD_FILE, ReleaseRecord
from gradatim.files import replacing, sha256_file
from gradatim.publishers.places import open_publisher, publications_of
from gradatim.registry.git import Repository
from gradatim.registry.ledger import Ledger, open_ledger


@dataclass(frozen=True)
class Retrieved:
    """A released model on this machine.

    Attributes:
        folder: where its files lie.
        files: their paths in the release.
        manifest: what they were checked against; None for a commit that was never released by gradatim.
        source: where they came from, in words.
    """

    folder: Path
    files: tuple[str, ...]
    manifest: Manifest | None
    source: str


def retrieve(
    repository: Repository,
    commit: str,
    into: Path,
    *,
    manifest: str | None = None,
    version: str | None = None,
    path: str | None = None,
) -> Retrieved:
    """Get the model of a release, from the tagged commit, else from the first place that has it.

    What is in ``into`` already, and is right, is not fetched again.

    Args:
        repository: where the release was tagged.
        commit: the tagged commit.
        into: folder for the model's files.
        manifest: hex manifest digest that the tag vouches for; None for a tag without one.
        version: ``v1.4.0``; tells which record says where the files lie in the commit.
        path: where the contract has the model, relative to the repository's root.

    Raises:
        BrokenEvidence: what is found is not what the manifest says.
        EnvironmentLacks: no place that has it can be reached.
    """
    if manifest is None:
        return _from_commit(repository, commit, into, path, version)
    ledger = open_ledger(repository, manifest)
    if MANIFEST_FILE not in ledger.blobs:
        raise BrokenEvidence(
            f"The tag vouches for the manifest {manifest[:12]}, and neither this clone nor the remote "
            f"keeps it. Fetch it: git fetch {repository.remote or 'REMOTE'} 'refs/gradatim/*:refs/gradatim/*'"
        )
    wanted = Manifest.from_bytes(ledger.read(MANIFEST_FILE))
    if wanted.digest != manifest:
        raise BrokenEvidence(
            f"The manifest that git keeps is not {manifest[:12]}, which the tag vouches for."
        )
    names = tuple(entry.path for entry in wanted.files)
    missing = [entry for entry in wanted.files if not _holds(into / entry.path, entry)]
    if not missing:
        return Retrieved(into, names, wanted, "fetched before")
    committed = _committed(ledger, version, path)
    missing = [e for e in missing if not _export(repository, commit, committed.get(e.path), into / e.path, e)]
    if not missing:
        return Retrieved(into, names, wanted, f"commit {commit[:7]}")
    return Retrieved(into, names, wanted, _from_publishers(repository, ledger, missing, into))


def _from_publishers(repository: Repository, ledger: Ledger, missing: list[FileEntry], into: Path) -> str:
    reasons = []
    for publication in publications_of(ledger):
        try:
            publisher = open_publisher(publication.publisher, publication.location, root=repository.root)
            with tempfile.TemporaryDirectory(prefix="gradatim-") as temporary:
                folder = publisher.open(publication, Path(temporary))
                for entry in missing:
                    _take(folder / entry.path, into / entry.path, entry)
        except GradatimError as error:
            reasons.append(str(error))
            continue
        return publication.location
    why = " ".join(reasons) or "It is neither in its commit nor published anywhere that git knows of."
    raise EnvironmentLacks(f"The released model {ledger.digest[:12]} cannot be had. {why}")


def _from_commit(
    repository: Repository, commit: str, into: Path, path: str | None, version: str | None
) -> Retrieved:
    """A tag that vouches for nothing (made by hand, or by gto): the model is what its commit has there."""
    if path is None:
        raise BrokenEvidence(
            f"The tag at commit {commit[:7]} names no manifest, and no path was given to look at."
        )
    below = path.rstrip("/")
    inside = [name for name in repository.tree(commit) if name == below or name.startswith(f"{below}/")]
    if not inside:
        raise EnvironmentLacks(
            f"{version or 'What the stage holds'} was not tagged by gradatim, and there is no {path} in its commit "
            f"({commit[:7]}): the model of that release cannot be had. If it is a version of something else, say "
            "`registry: {tags: named}`: then versions of the model bear its name."
        )
    top = Path(below).parent if inside == [below] else Path(below)
    names = tuple(Path(name).relative_to(top).as_posix() for name in inside)
    for source, name in zip(inside, names, strict=True):
        repository.export(commit, source, into / name)
    return Retrieved(into, names, None, f"commit {commit[:7]}, unproven: its tag names no manifest")


def _committed(ledger: Ledger, version: str | None, path: str | None) -> Mapping[str, str]:
    record = f"{version}/{RECORD_FILE}"
    if record in ledger.blobs:
        return ReleaseRecord.from_bytes(ledger.read(record), record).committed
    if path is None:
        return {}
    folder = Path(path).parent
    manifest = Manifest.from_bytes(ledger.read(MANIFEST_FILE))
    return {entry.path: (folder / entry.path).as_posix() for entry in manifest.files}


def _export(repository: Repository, commit: str, source: str | None, target: Path, entry: FileEntry) -> bool:
    if source is None or not repository.has_file(commit, source):
        return False
    if repository.sha256(commit, source) != entry.sha256:
        return False
    try:
        repository.export(commit, source, target)
    except EnvironmentLacks as error:
        if "Git LFS" not in str(error):
            raise
        return False  # a publisher may have it still
    return _holds(target, entry)


def _take(source: Path, target: Path, entry: FileEntry) -> None:
    if not source.is_file() or source.is_symlink():
        raise BrokenEvidence(f"{source} is missing.")
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
        if sha256_file(temporary) != entry.sha256:
            raise BrokenEvidence(f"{source} was altered: its SHA-256 is not that of the release.")


def _holds(path: Path, entry: FileEntry) -> bool:
    try:
        return path.is_file() and path.stat().st_size == entry.size and sha256_file(path) == entry.sha256
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


def committed_paths(repository: Repository, commit: str, manifest: Manifest, path: str) -> dict[str, str]:
    """Which of a model's files lie in a commit with exactly these bytes, by their path in the release.

    Args:
        repository: the repository.
        commit: id of the commit.
        manifest: the model's files.
        path: where the contract has the model, relative to the repository's root.
    """
    folder = Path(path).parent
    found = {}
    for entry in manifest.files:
        for place in ((folder / entry.path).as_posix(), (Path(path) / entry.path).as_posix()):
            if repository.has_file(commit, place) and repository.sha256(commit, place) == entry.sha256:
                found[entry.path] = place
                break
    return found
