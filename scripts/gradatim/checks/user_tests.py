"""The user's own pytest files, run as the user would run them, their results as checks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradatim.code.confinement import Confined
from gradatim.code.surroundings import allowed
from gradatim.errors import UsageError, missing_package
from gradatim.evidence.found import Check
from gradatim.files import digest_of, nearest_file, sha256_file, write_text
from gradatim.gates.verdict import Verdict

MODEL_VARIABLE = "GRADATIM_MODEL"
"""Environment variable: the model file or folder that the fixture ``model`` opens."""

BASELINE_VARIABLE = "GRADATIM_BASELINE"
DEVICE_VARIABLE = "GRADATIM_DEVICE"
"""Environment variable: the file or folder that the fixture ``baseline`` opens; empty when nothing was released."""

_GROUP = "pytest"
_TAIL = 2000
_TABLES = {
    "pytest.toml": (),
    ".pytest.toml": (),
    "pytest.ini": (),
    ".pytest.ini": (),
    "pyproject.toml": ("tool.pytest", "tool.pytest.ini_options"),
    "tox.ini": ("pytest",),
    "setup.cfg": ("tool:pytest",),
}
"""Files that may hold pytest's settings, in its order, and the tables that make them so; the first four always do."""
_NOT_STARTED = (2, 3, 4)
"""Exit codes with which pytest says itself, in its output, what is wrong."""

_REASONS = {
    2: "pytest was interrupted before it was done",
    3: "pytest itself failed",
    4: "pytest could not be started this way",
    5: "no tests were found",
}


def run_user_tests(
    paths: Sequence[str],
    *,
    contract: Path,
    top: Path,
    model: Path | str,
    baseline: Path | str | None,
    device: str = "cpu",
    timeout: float,
    log: Path | None = None,
) -> list[Check]:
    """Run ``pytest --gradatim`` over files, folders or test ids, from the contract's folder.

    Settings and ``conftest.py`` come from the contract's own repository: pytest alone would look in every folder above
    it, and take those of a project that the repository merely lies in.

    A test that is skipped passes with its reason. No test at all, a file that does not import, a run that takes too
    long or a process that crashes is a failed check with the end of pytest's output.

    Args:
        paths: as on pytest's command line, relative to the contract's folder.
        contract: the contract; the fixtures open what it names.
        top: the folder above which nothing is the user's own: the repository around the contract.
        model: what the fixture ``model`` opens.
        baseline: what the fixture ``baseline`` opens; None when nothing was released before.
        device: what both run on.
        timeout: seconds for all of them together.
        log: the file that keeps all that pytest printed.

    Raises:
        EnvironmentLacks: pytest is not installed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise missing_package("pytest", "test", "Running your own tests (`test.pytest`)")
    settings = settings_file(contract.parent, top, paths)
    with tempfile.TemporaryDirectory(prefix="gradatim-") as scratch:
        junit = Path(scratch) / "junit.xml"
        command = [
            *(sys.executable, "-m", "pytest", "-p", "gradatim", "-p", "no:cacheprovider", "--gradatim"),
            *("--gradatim-contract", str(contract), f"--junitxml={junit}", "-o", "junit_family=xunit2"),
            *(f"--rootdir={settings.parent if settings else contract.parent}", f"--confcutdir={top}"),
            *("-c", str(settings or os.devnull)),
            *("-q", "--tb=short", "--color=no", *paths),
        ]
        began = time.perf_counter()
        code, output = _run(command, contract.parent, Path(scratch) / "output", timeout, {
            MODEL_VARIABLE: str(model), BASELINE_VARIABLE: str(baseline or ""), DEVICE_VARIABLE: device,
        })  # fmt: skip
        if log is not None:
            write_text(log, output)
        checks = list(_read(junit))
    problem = _problem(code, timeout, checks)
    if problem:
        words = f": {_own_words(output)}" if code in _NOT_STARTED else "."
        detail = f"{problem}{words}\n{output[-_TAIL:].strip()}".strip()
        checks.append(Check(_GROUP, "pytest", Verdict.FAIL, detail, time.perf_counter() - began))
    return checks


def settings_file(root: Path, top: Path, paths: Sequence[str]) -> Path | None:
    """The file of the user's repository that holds pytest's settings; None where it has none.

    As pytest looks for it: from the folder that all tests share upwards, but never above ``top``.

    Args:
        root: the contract's folder, which the paths are relative to.
        top: the top of the repository.
        paths: as on pytest's command line.
    """
    tests = [(root / path.partition("::")[0]).resolve() for path in paths]
    shared = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in tests] or [root]))
    last = top.resolve()
    for folder in (shared, *shared.parents) if shared.is_relative_to(last) else ():
        for name, tables in _TABLES.items():
            if (folder / name).is_file() and (not tables or _has_table(folder / name, tables)):
                return folder / name
        if folder == last:
            break
    return None


def _has_table(path: Path, tables: Sequence[str]) -> bool:
    """Whether one of these tables stands in an ini or TOML file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return any(line.strip() == f"[{table}]" for line in text.splitlines() for table in tables)


def digest_of_tests(root: Path, top: Path, paths: Sequence[str]) -> str:
    """Digest of the user's tests: their files, the local modules they import, and pytest's settings.

    Raises:
        UsageError: one of the paths does not exist.
    """
    from gradatim.code import local_closure

    files: set[Path] = {path for path in (settings_file(root, top, paths),) if path}
    for written in paths:
        path = root / written.partition("::")[0]
        if not path.exists():
            raise UsageError(
                f"`test.pytest` names {written}, which does not exist.{nearest_file(root, written) or ' Write your tests there.'}"
            )
        for file in _files(path):
            files |= {file, *(local_closure(root, file) if file.suffix == ".py" else ())}
        inside = (folder for folder in path.resolve().parents if folder.is_relative_to(top.resolve()))
        files |= {folder / "conftest.py" for folder in inside if (folder / "conftest.py").is_file()}
    found = {os.path.relpath(file, root): sha256_file(file) for file in files if file.is_file()}
    return digest_of(found)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for each in sorted(path.rglob("*")):
            parts = each.relative_to(path).parts
            if each.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in parts):
                yield each


def _run(
    command: list[str], folder: Path, sink: Path, timeout: float, variables: dict[str, str]
) -> tuple[int | None, str]:
    """Exit code, None after a timeout, and all output."""
    with sink.open("w+b") as output:
        process = Confined(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**allowed(), **variables, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout)
        finally:
            process.end()
    return code, sink.read_bytes().decode(errors="replace")


def _read(path: Path) -> Iterator[Check]:
    """The test cases of a JUnit file; none where there is no whole file."""
    import xml.etree.ElementTree as ET

    try:
        root = ET.parse(path).getroot()  # noqa: S314 (written by pytest)
    except (OSError, ET.ParseError):
        return
    for case in root.iter("testcase"):
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        verdict, detail = Verdict.PASS, ""
        for outcome in case:
            if outcome.tag in ("failure", "error"):
                verdict = Verdict.FAIL
                detail = (outcome.text or outcome.get("message") or "").strip()[-_TAIL:]
            elif outcome.tag == "skipped":
                detail = f"skipped: {outcome.get('message') or 'no reason given'}"
        yield Check(_GROUP, name, verdict, detail, float(case.get("time") or 0.0))


def _own_words(output: str) -> str:
    """The line in which pytest says what is wrong, else its last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    raised = [line.removeprefix("E").strip() for line in lines if line.startswith("E ")]
    errors = [line for line in lines if "error: " in line.lower() and "usage:" not in line]
    return [*raised, *errors, *reversed(lines), "it said nothing"][0]


def _problem(code: int | None, timeout: float, checks: Sequence[Check]) -> str | None:
    """What is wrong beyond the tests that failed."""
    if code is None:
        return f"Your tests were not done after {timeout:g} s and were ended; `test.timeout` allows more"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"pytest crashed with {signal.Signals(-code).name}"
        return f"pytest crashed with signal {-code}"
    if code == 0:
        return None if checks else "pytest passed without reporting a test"
    if any(check.verdict is not Verdict.PASS for check in checks):
        return None
    return _REASONS.get(code, f"pytest ended with exit code {code}").capitalize()
