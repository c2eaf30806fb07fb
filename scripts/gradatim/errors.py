"""The ways in which gradatim says no, each with its exit code, and how long it waits for others before it does.

The text of an error is one short paragraph for a person: what went wrong, where, what to do.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 10.0
"""A server that takes longer to be connected to is not there."""
ANSWER_SECONDS = 30.0
"""One small question to an API takes no longer."""
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]|\r(?!\n)"
)


def patience() -> float:
    """Seconds for which a server, or a program that speaks to one, may say nothing; ``GRADATIM_PATIENCE`` sets them."""
    try:
        return max(float(os.environ.get("GRADATIM_PATIENCE", "")), 1.0)
    except ValueError:
        return 300.0


def printable(text: str) -> str:
    """A text from elsewhere with every character replaced that steers a terminal, turns the direction of what stands around it,
    or is forbidden in XML 1.0; line breaks stay."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class GradatimError(Exception):
    """A refusal with a paragraph for a person. Anything else that escapes a command is a bug."""

    exit_code = 3

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(GradatimError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class InvalidInput(GradatimError):
    """A model, a data set or a measurement is broken: empty, truncated, mismatched, NaN."""


class MissingColumn(InvalidInput):
    """A data set lacks a column that was named."""

    def __init__(self, message: str, column: str = "") -> None:
        self.column = column
        super().__init__(message)


class BrokenEvidence(InvalidInput):
    """Evidence is missing, stale, foreign or tampered with."""


class EnvironmentLacks(GradatimError):
    """The machine lacks something: a package, a GPU, git, a remote, a writable folder."""

    exit_code = 4


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a contract, at one place (1-based line and column)."""

    message: str
    line: int = 1
    column: int = 1


class ContractError(GradatimError):
    """The contract cannot be used; carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column)))
        super().__init__("\n".join(f"{path}:{p.line}:{p.column}: {p.message}" for p in self.problems))


def missing_package(package: str, extra: str, purpose: str) -> EnvironmentLacks:
    """The error for an optional package that is not installed: names the ``pip install``."""
    return EnvironmentLacks(
        f"{purpose} needs the package `{package}`, which is not installed. "
        f"Install it with: {install_command(extra)}"
    )


def install_command(extra: str) -> str:
    """The command that adds an extra of the kit, from where the kit itself came: no index need hold it.

    Sources that it runs from are named by their folder, a clone, wheel or commit as the installer noted it (PEP 610).
    """
    import importlib.util
    import shlex
    import shutil
    import sys

    if importlib.util.find_spec("pip") is None:
        pip = f"uv pip install --python {shlex.quote(sys.executable)}"
    else:
        found = shutil.which("python")
        ours = found is not None and Path(found).parent == Path(sys.executable).parent
        pip = f"{'python' if ours else shlex.quote(sys.executable)} -m pip install"
    return f"{pip} {_requirement(extra)}"


def installed_from() -> dict[str, Any]:
    """What the installer noted of where the kit came from (PEP 610): empty where that was an index."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return dict(json.loads(distribution("gradatim").read_text("direct_url.json") or "{}"))
    except (PackageNotFoundError, ValueError):
        return {}


def _requirement(extra: str) -> str:
    from importlib.metadata import version
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    sources = Path(__file__).resolve().parents[2]
    if (sources / "pyproject.toml").is_file() and (sources / "scripts" / "gradatim").is_dir():
        return f'-e "{sources}[{extra}]"'
    came = installed_from()
    address = came.get("url", "")
    if not address:
        return f'"gradatim[{extra}]"'
    if "vcs_info" in came:
        address = f"git+{address}@{came['vcs_info']['commit_id']}"
    elif address.startswith("file:"):
        path = Path(url2pathname(urlsplit(address).path))
        if path.exists():
            return f'"{path}[{extra}]"'
        address = (
            f"git+https://github.com/gradatim/gradatim@v{version('gradatim')}"  # a clone that is gone since
        )
    return f'"gradatim[{extra}] @ {address}"'


@contextlib.contextmanager
def needs(package: str, extra: str, purpose: str) -> Iterator[None]:
    """What is imported inside comes with an extra.

    Raises:
        EnvironmentLacks: the package is not installed; names the ``pip install``.
    """
    try:
        yield
    except ImportError as error:
        raise missing_package(package, extra, purpose) from error


def did_you_mean(wanted: str, known: Iterable[str]) -> str:
    """`` Did you mean `accuracy`?``, for the end of a message; empty where nothing is near."""
    import difflib

    close = difflib.get_close_matches(wanted, list(known), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""
