"""build: make the model when it is not committed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL, Forms
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.training import left_by_build, mark
from gradatim.code import local_closure
from gradatim.code.confinement import Confined
from gradatim.code.surroundings import allowed
from gradatim.errors import EnvironmentLacks, InvalidInput, UsageError
from gradatim.evidence.found import Built
from gradatim.evidence.statement import Statement
from gradatim.files import digest_of, tree_digest, write_bytes
from gradatim.report import numbers

if TYPE_CHECKING:
    from gradatim.contract.subject import Build
    from gradatim.lineage.record import Lineage

_LINES_TOLD = 12


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    """The command and everything it reads; for a committed model, the model."""
    build = _needed(candidate)
    if build is None:
        return {"model": candidate.forms.original.manifest.digest}
    return {"command": digest_of(build.run), "code": digest_of(_inputs(candidate, build))}


def still_holds(candidate: Candidate, statement: Statement) -> bool:
    """Whether the model that was built is still the one that is there."""
    try:
        return candidate.forms.original.manifest.digest == statement.subjects[ORIGINAL]
    except InvalidInput:
        return False


def run(candidate: Candidate) -> Outcome:
    """Run the build command, or take the committed model as it is."""
    build = _needed(candidate)
    trained: Lineage | None = None
    if build is not None:
        before = mark(candidate)
        with candidate.progress.task("build", None):
            _run(candidate, build)
        trained = left_by_build(candidate, before)
    manifest = Forms(candidate.model, candidate.workspace).original.manifest  # as it is now that it is built
    origin = (
        f"made by `{build.run}`" if build else "committed" if _is_tracked(candidate) else "taken as it is"
    )
    return Outcome(
        f"{_shown(candidate)}, {numbers.size(manifest.size)}, {origin}",
        {ORIGINAL: manifest.digest},
        found=Built(manifest.size, trained),
    )


def _needed(candidate: Candidate) -> Build | None:
    """The command, unless the model is committed."""
    build = candidate.contract.parts.model.build
    return None if build is None or _is_tracked(candidate) else build


def _is_tracked(candidate: Candidate) -> bool:
    path = candidate.contract.parts.model.path
    if path is None:
        return False
    try:
        return candidate.repository.tracks(candidate.root / path)
    except EnvironmentLacks:
        return False


def _shown(candidate: Candidate) -> str:
    model = candidate.contract.parts.model
    return str(model.path or model.factory or (model.endpoint and model.endpoint.url))


def _run(candidate: Candidate, build: Build) -> None:
    try:
        arguments = shlex.split(build.run)
    except ValueError as error:
        raise UsageError(
            f"{candidate.contract.where('model', 'build')}: the command cannot be split: {error}."
        ) from error
    if arguments[0] in ("python", "python3"):
        arguments[0] = sys.executable  # the environment that gradatim runs in, wherever PATH leads
    try:
        process = Confined(
            arguments,
            building=True,
            cwd=candidate.root,
            env=allowed(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise EnvironmentLacks(
            f"{candidate.contract.where('model', 'build')}: `{arguments[0]}` cannot be run: {error.strerror}. "
            "Install it, or correct `model.build`."
        ) from error
    try:
        told, _ = process.communicate()
    finally:
        process.end()
    log = candidate.workspace.build_log
    write_bytes(log, told)
    if process.returncode != 0:
        said = told.decode(errors="replace").strip().splitlines()[-_LINES_TOLD:]
        raise InvalidInput(
            f"{candidate.contract.where('model', 'build')}: `{build.run}` ended with exit code {process.returncode}. "
            f"Its last words (all of them: {log}):\n" + "\n".join(f"  {line}" for line in said)
        )
    if not candidate.model.path.exists():
        raise InvalidInput(
            f"{candidate.contract.where('model', 'build')}: `{build.run}` ended well, but there is no model at "
            f"{_shown(candidate)}. Let it write there, or correct `model.path`."
        )


def _inputs(candidate: Candidate, build: Build) -> dict[str, str]:
    """Digests of what the command reads: as declared, else its scripts and the modules that they import."""
    paths: list[Path] = []
    if build.inputs is not None:
        for pattern in build.inputs:
            matches = sorted(candidate.root.glob(pattern))
            if not matches:
                place = candidate.contract.where("model", "build", "inputs")
                raise UsageError(f"{place}: nothing matches `{pattern}`. Correct `model.build.inputs`.")
            paths += matches
    else:
        for word in shlex.split(build.run):
            script = candidate.root / word
            if script.is_file():
                paths += local_closure(candidate.root, script) if script.suffix == ".py" else [script]
    root = candidate.root.resolve()
    return {path.resolve().relative_to(root).as_posix(): tree_digest(path) for path in paths}
