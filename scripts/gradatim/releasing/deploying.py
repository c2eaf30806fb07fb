"""Putting a released version where it serves: a folder whose link is swapped, or the team's own command; and what is kept of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput
from gradatim.files import cannot_write, canonical_json, parse_json, refuse_link
from gradatim.publishers.retrieval import retrieve
from gradatim.registry.ledger import keep, open_ledger
from gradatim.registry.tag_object import identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradatim.registry.git import Repository
    from gradatim.registry.history import Release

CURRENT = "current"
"""The link in a folder of versions that names the one in use."""


@dataclass(frozen=True)
class Deployment:
    """One version put to work, as git keeps it beside the release.

    Attributes:
        stage, version, manifest: what was deployed, for which stage.
        kind: ``folder``, ``command`` or ``kubernetes``.
        place: the folder, the command as it ran, or what the cluster runs.
        by: who did it.
        at: when, seconds since 1970.
        told: what a platform says of who let it through; may be empty.
    """

    stage: str
    version: str
    manifest: str
    kind: str
    place: str
    by: str
    at: int
    told: Mapping[str, str]


def words_of(command: str, version: str, stage: str, folder: str, manifest: str) -> list[str]:
    """A command with what it is told filled in: ``{version}``, ``{stage}``, ``{folder}``, ``{manifest}``."""
    given = {"version": version, "stage": stage, "folder": folder, "manifest": manifest}
    words = shlex.split(command)
    for name, value in given.items():
        words = [word.replace(f"{{{name}}}", value) for word in words]
    return words


def deploy(
    repository: Repository,
    release: Release,
    stage: str,
    kind: str,
    address: str,
    *,
    root: Path,
    retrieved: Path,
    told: Mapping[str, str],
    manifests: str = "",
) -> Deployment:
    """Deploy a release that was verified, and keep who did it, when, which bytes and where, beside its evidence.

    What fails is not recorded. What is in place already is put there again, which changes nothing.

    Args:
        kind: ``folder``, ``command`` or ``kubernetes``.
        address: the folder, the command, or what the cluster runs.
        root: what a relative folder is relative to, and where the command runs.
        retrieved: where the model's files are put for a command.
        told: who let it through, as the platform says.
        manifests: what kubectl applies.

    Raises:
        BrokenEvidence: the bytes are not what was released, or its tag names none.
        EnvironmentLacks: the folder cannot be written, or the command fails.
    """
    if release.manifest is None:
        raise BrokenEvidence(f"The tag {release.tag} names no manifest: nothing proves which bytes it means.")
    version, manifest = str(release), release.manifest
    if kind == "folder":
        place = str(swap(repository, release, (root / address).resolve()))
    elif kind == "kubernetes":
        _run(["kubectl", "apply", "--filename", "-"], root, manifests)
        place = address
    else:
        retrieve(repository, release.commit, retrieved, manifest=manifest, version=version)
        words = words_of(address, version, stage, str(retrieved), manifest)
        _run(words, root)
        place = shlex.join(words)
    done = Deployment(
        stage, version, manifest, kind, place, identity(repository)[0], int(time.time()), dict(told)
    )
    path = f"{version}/deployments/{stage}-{done.at}.json"
    keep(repository, manifest, {path: canonical_json(asdict(done))}, release.commit)
    return done


def deployments_of(repository: Repository, manifest: str) -> list[Deployment]:
    """Every deployment of these bytes, oldest first.

    Raises:
        BrokenEvidence: a record is broken.
    """
    ledger = open_ledger(repository, manifest)
    found = []
    for path in ledger.paths():
        if "/deployments/" in path:
            try:
                found.append(Deployment(**parse_json(ledger.read(path), path)))
            except (TypeError, InvalidInput) as error:
                raise BrokenEvidence(f"{path}, as git keeps it, is no record of a deployment.") from error
    return sorted(found, key=lambda one: one.at)


def swap(repository: Repository, release: Release, folder: Path) -> Path:
    """Lay a version down in ``folder/versions`` and point ``folder/current`` to it in one move: a reader sees the old one or the
    new one, whole.

    Raises:
        BrokenEvidence: the bytes are not what was released.
        EnvironmentLacks: the folder cannot be written.
    """
    version = folder / "versions" / str(release)
    try:
        version.mkdir(parents=True, exist_ok=True)
        refuse_link(version)
        retrieve(repository, release.commit, version, manifest=release.manifest, version=str(release))
        link = folder / CURRENT
        if link.exists() and not link.is_symlink():
            raise EnvironmentLacks(
                f"{link} is there and is no link: nothing of yours is replaced. Move it away, and deploy again."
            )
        fresh = folder / f".{CURRENT}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(version.relative_to(folder))
        fresh.replace(link)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return link


def _run(words: list[str], root: Path, given: str = "") -> None:
    try:
        done = subprocess.run(words, cwd=root, input=given, capture_output=True, text=True, timeout=3600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentLacks(f"The deploy command `{words[0]}` could not run: {error}.") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise EnvironmentLacks(
            f"The deploy command ended with {done.returncode}, so nothing is recorded: {json.dumps(' '.join(last))}"
        )
