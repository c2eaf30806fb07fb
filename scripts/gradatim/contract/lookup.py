"""Where the contract lies, and where it says that the model does: without checking the rest of it, which takes longer."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

from gradatim.contract.source import Source, parse
from gradatim.errors import UsageError

DEFAULT_PATH = "gradatim.yml"


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
    for folder in (here, *here.parents):
        if (folder / DEFAULT_PATH).is_file():
            return folder / DEFAULT_PATH
        named = _named_in_pyproject(folder / "pyproject.toml")
        if named:
            return find_contract(named, folder)
        if (folder / ".git").exists() or (folder / ".svn").is_dir():
            break
    raise UsageError(f"There is no {DEFAULT_PATH} in {here} or above it. Write one with: gradatim init")


def written_model_path(contract: Path) -> PurePosixPath | None:
    """The model's path as the contract writes it, relative to the contract's folder; None without one.

    Raises:
        ContractError: the contract cannot be used at all.
        InvalidInput: it cannot be read.
    """
    try:
        source = parse(contract.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        source = None
    if (
        isinstance(source, Source)
        and isinstance(source.data, dict)
        and isinstance(source.data.get("model"), dict)
    ):
        written = source.data["model"].get("path")
        if written is None:
            return None
        if (
            isinstance(written, str)
            and written
            and not written.startswith("/")
            and ".." not in Path(written).parts
        ):
            return PurePosixPath(written)
    from gradatim.contract.reading import read_contract  # says what is wrong with it

    checked = read_contract(contract).parts.model.path
    return PurePosixPath(checked) if checked else None


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
