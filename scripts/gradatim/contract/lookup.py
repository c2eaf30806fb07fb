"""Where the contract lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gradatim.errors import UsageError

DEFAULT_PATH = "gradatim.yml"
_VERSION_CONTROL = (".git", ".svn")  # what stands at the top of a checkout

_NAMED = 5
_DEEPEST = 4
"""Levels below a folder at which contracts are looked for, to name them."""

_FOREIGN = ("venv", "env", "node_modules", "site-packages")
"""Folders that hold what was installed, besides those whose names begin with a dot."""


def find_contract(given: str | None, start: Path | None = None) -> Path:
    """The contract's path: the one given, ``[tool.gradatim] contract`` of pyproject.toml, or ``gradatim.yml`` here or above.

    Raises:
        UsageError: there is none.
    """
    here = (start or Path.cwd()).absolute()
    if given:
        path = here / given
        if not path.is_file():
            raise UsageError(
                f"There is no contract at {given}. Name an existing file, or write one with: gradatim init"
            )
        return path
    for folder in upwards(here):
        if (folder / DEFAULT_PATH).is_file():
            return folder / DEFAULT_PATH
        named = _named_in_pyproject(folder / "pyproject.toml")
        if named:
            return find_contract(named, folder)
    below = list(islice(_below(here), _NAMED + 1))
    if not below:
        raise UsageError(f"There is no {DEFAULT_PATH} in {here} or above it. Write one with: gradatim init")
    listed = ", ".join(below[:_NAMED]) + (", ..." if len(below) > _NAMED else "")
    raise UsageError(
        f"There is no {DEFAULT_PATH} in {here} or above it. Below it there is {listed}. Change into the folder of the "
        f"model that is meant, or name its contract: --contract {below[0]}"
    )


def _below(here: Path) -> Iterator[str]:
    """Contracts in the folders below, as paths from here, in the order of their names."""
    for folder, folders, names in os.walk(here):
        place = Path(folder).relative_to(here)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in _FOREIGN and len(place.parts) < _DEEPEST
        )
        if DEFAULT_PATH in names:
            yield (place / DEFAULT_PATH).as_posix()


def upwards(here: Path) -> Iterator[Path]:
    """A folder and those above it, up to the top of the checkout that it lies in."""
    for folder in (here, *here.parents):
        yield folder
        if any((folder / name).exists() for name in _VERSION_CONTROL):
            return


def _named_in_pyproject(path: Path) -> str | None:
    if not path.is_file():
        return None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
        return None
    named = tables.get("tool", {}).get("gradatim", {}).get("contract")
    return named if isinstance(named, str) else None
