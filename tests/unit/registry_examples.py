"""Real git repositories with releases in them, for the tests of registry, evidence and publishers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from gradatim.evidence.assembly import ReleaseFiles, Source, assemble
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.statement import Bundle, Statement
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.publishers.retrieval import Retrieved, committed_paths, retrieve
from gradatim.registry.history import Registry
from gradatim.registry.reading import read
from gradatim.subversion import checkout

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def act_as_ada(monkeypatch: pytest.MonkeyPatch, credentials: Mapping[str, str] | None = None) -> None:
    """Let git, and the places that want credentials, take us for Ada."""
    for key, value in {**IDENTITY, **(credentials or {})}.items():
        monkeypatch.setenv(key, value)


def git(place: Path, *arguments: str, date: int | None = None, **environment: str) -> str:
    """Run git as Ada, at a date of our own (seconds since 1970)."""
    dates = (
        {} if date is None else {"GIT_AUTHOR_DATE": f"{date} +0000", "GIT_COMMITTER_DATE": f"{date} +0000"}
    )
    done = subprocess.run(
        ["git", "-C", str(place), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **IDENTITY, **dates, **environment},
    )
    return done.stdout.strip()


def new_repository(place: Path, *, remote: Path | None = None) -> Path:
    """A repository on branch ``main`` with one commit, and a bare remote beside it if wanted."""
    place.mkdir(parents=True)
    git(place, "init", "-q", "-b", "main")
    if remote is not None:
        git(place, "init", "-q", "--bare", "-b", "main", str(remote))
        git(place, "remote", "add", "origin", str(remote))
    commit_file(place, "README.md", b"a model\n")
    return place


def clone(remote: Path, place: Path, *options: str) -> Path:
    """Another clone of a remote."""
    git(remote, "clone", "-q", *options, remote.absolute().as_uri(), str(place))
    return place


def commit_file(place: Path, name: str, data: bytes, *, date: int = 1_700_000_000) -> str:
    """Commit one file, push the branch where there is a remote, and return the commit's id."""
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data)
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", f"Add {name}", date=date)
    if git(place, "remote"):
        git(place, "push", "-q", "origin", "HEAD")
    return git(place, "rev-parse", "HEAD")


def tag(
    place: Path, name: str, *, commit: str = "HEAD", date: int = 1_700_000_000, message: str = ""
) -> None:
    """An annotated tag, made by hand."""
    git(place, "tag", "-a", "-m", message or name, name, commit, date=date)


def many_tags(place: Path, count: int, *, by: str = "gradatim", prefix: str = "digits@") -> Path:
    """A repository of ``count`` annotated tags, with the messages that gradatim or gto writes: a commit a version.

    Every version is assigned to a stage, every twelfth assignment is rolled back, every fifth version is a candidate.
    """
    place.mkdir(parents=True)
    git(place, "init", "-q", "-b", "main")
    lines: list[str] = []
    made = counter = 0

    def tagged(name: str, message: str) -> None:
        nonlocal made
        made += 1
        who = f"tagger Ada <ada@example.org> {1_700_000_000 + made} +0000"
        lines.append(
            f"tag {name}\nmark :{10**6 + made}\nfrom :{number}\n{who}\ndata {len(message)}\n{message}\n"
        )

    def assigned(stage: str, version: str, *, cancel: bool = False) -> None:
        nonlocal counter
        counter += 1
        said = f"digits {version} {'out of' if cancel else 'into'} {stage}\n\nmodel: digits\nstage: {stage}\n"
        said += f"version: {version}\nmanifest: sha256:{number:064x}\n"
        mark = f"{stage}{'!' if cancel else ''}"
        plain = (
            f"{'Unassigning' if cancel else 'Assigning'} stage {stage} to artifact digits version {version}"
        )
        tagged(f"digits#{mark}#{counter}", said if by == "gradatim" else plain)

    number = 0
    while made < count:
        number += 1
        who = f"committer Ada <ada@example.org> {1_600_000_000 + number} +0000"
        parent = f"from :{number - 1}\n" if number > 1 else ""
        lines.append(f"commit refs/heads/main\nmark :{number}\n{who}\ndata 2\nx\n{parent}\n")
        stage = ("production", "beta", "alpha")[number % 3]
        version = f"v1.{number // 5}.{number % 5}" + ("-rc.1" if number % 5 == 4 else "")
        said = f"digits {version} for {stage}\n\nmodel: digits\nversion: {version}\nstage: {stage}\n"
        said += f"manifest: sha256:{number:064x}\nrelease: sha256:{number:064x}\n"
        tagged(
            f"{prefix}{version}",
            said if by == "gradatim" else f"Registering artifact digits version {version}",
        )
        if made < count:
            assigned(stage, version)
        if number % 12 == 0 and made < count:
            assigned(stage, version, cancel=True)
    subprocess.run(
        ["git", "-C", str(place), "fast-import", "--quiet"], input="".join(lines).encode(), check=True
    )
    return place


def baseline(place: Path, version: str, into: Path) -> Retrieved:
    """The model of a release, as an evaluation gets it."""
    release = registry_of(place, "digits").find(version)
    return retrieve(
        checkout.open(place), release.commit, into, manifest=release.manifest, version=str(release)
    )


def registry_of(place: Path, name: str | None = None) -> Registry:
    """What the tags of a repository say."""
    return read(checkout.open(place), name)


def evidence_for(
    manifest: str, *, variant: str = "fp32", verdict: Verdict = Verdict.PASS, accuracy: float = 0.97
) -> Bundle:
    """Evidence of two steps about one manifest digest."""
    gate = GateResult(
        "accuracy",
        "accuracy",
        verdict,
        variant,
        "at least 95 %",
        f"accuracy was {accuracy:.1%}",
        value=accuracy,
    )
    measured = (Measurement("accuracy", variant, accuracy, n=597, low=accuracy - 0.02, high=accuracy + 0.02),)
    return Bundle(
        (
            Statement(
                "evaluate", {variant: manifest}, Verdict.PASS, "0.1.0", {"evaluation": "e" * 64}, measured
            ),
            Statement("gate", {variant: manifest}, verdict, "0.1.0", {"contract": "c" * 64}, gates=(gate,)),
        )
    )


def release_files(
    place: Path,
    version: str,
    data: bytes | Mapping[str, bytes] = b"weights",
    *,
    commit: str | None = None,
    name: str = "digits",
    stage: str | None = "production",
    previous: str | None = None,
    evidence: Bundle | None = None,
    others: Mapping[str, Source] | None = None,
    named: bool = False,
) -> ReleaseFiles:
    """A release of a model whose files lie in an untracked folder of the repository."""
    repository = checkout.open(place)
    folder = place / ".gradatim" / "models" / version
    contents = {"digits.onnx": data} if isinstance(data, bytes) else data
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    manifest = Manifest.of(name, folder, [folder / path for path in contents])
    at = commit or repository.head()
    return assemble(
        manifest,
        folder,
        evidence_for(manifest.digest) if evidence is None else evidence,
        tag=f"{name}@{version}" if named else version,
        version=version,
        stage=stage,
        variant="fp32",
        commit=at,
        previous=previous,
        committed=committed_paths(repository, at, manifest, "model/digits.onnx"),
        others={"report.html": b"<p>fine</p>"} if others is None else others,
    )
