"""The user's own code, ``module:function``: loaded, followed to its files, explained when it fails."""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError, did_you_mean
from gradatim.files import digest_of, sha256_file

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(rf"({_NAME}):({_NAME})")

_loading = threading.RLock()
_roots: list[Path] = []


def is_reference(text: str) -> bool:
    """Whether a text is spelled like ``module:function``."""
    return _REFERENCE.fullmatch(text) is not None


def load_function(reference: str, root: Path) -> Callable[..., Any]:
    """Import ``module:function`` from a project (its root and ``root/src`` come first on ``sys.path``).

    Two projects with modules of the same name may be loaded one after the other, as a candidate and
    its baseline are: modules of the earlier project are forgotten, functions already loaded go on working.

    Args:
        reference: ``module:function``, both may be dotted (``package.module:Class.method``).
        root: the project's folder.

    Raises:
        UsageError: the reference is malformed.
        InvalidInput: there is no such module or function, it is not callable, or its module fails on import.
        EnvironmentLacks: the module imports a package that is not installed.
    """
    module_name, function_name = _parse(reference)
    root = root.resolve()
    with _loading:
        _enter(root)
        found: Any = _import(module_name, reference, root)
    for attribute in function_name.split("."):
        if not hasattr(found, attribute):
            raise InvalidInput(
                f"`{reference}`: {_place(found)} has no `{attribute}`."
                + _nearest(attribute, [name for name in vars(found) if not name.startswith("_")])
            )
        found = getattr(found, attribute)
    if not callable(found):
        raise InvalidInput(
            f"`{reference}` is a {type(found).__name__}, not a function. Name something that can be called."
        )
    function: Callable[..., Any] = found
    return function


@contextlib.contextmanager
def explaining(reference: str, root: Path, called_with: str = "") -> Iterator[None]:
    """Turn any exception of the user's code inside the block into one paragraph with its file and line.

    Args:
        called_with: a sentence on what the code is given and must give, where it may not know.

    Raises:
        InvalidInput: the user's code raised, or called ``sys.exit``. Errors of gradatim itself pass.
    """
    try:
        yield
    except GradatimError:
        raise
    except (Exception, SystemExit) as error:
        said = f"`{reference}` failed at {_where(error, root)}: {_what(error)}. {called_with}"
        raise InvalidInput(said.rstrip()) from error


def local_closure(root: Path, entry: Path | str) -> list[Path]:
    """The files that a piece of the user's code rests on, without running any of it.

    Follows ``import``, ``from`` and literal ``import_module("...")`` anywhere in a file, through packages
    and relative imports, as long as they lead to files below ``root``. A file that cannot be parsed is
    listed and not followed. Data files that the code opens are not seen.

    Args:
        root: the project's folder; modules are looked up in it, in ``root/src`` and beside the entry file.
        entry: a Python file, or ``module:function``.

    Returns:
        Sorted absolute paths, the entry's own file and its packages' ``__init__.py`` among them.

    Raises:
        UsageError: the reference is malformed.
        InvalidInput: the entry does not exist.
    """
    root = root.resolve()
    if isinstance(entry, Path):
        first = (entry if entry.is_absolute() else root / entry).resolve()
        if not first.is_file():
            raise InvalidInput(f"{entry} does not exist.")
        search = [root, root / "src", first.parent]
        waiting = [first, *_packages_of(first, root)]
    else:
        module_name, _ = _parse(entry)
        search = [root, root / "src"]
        waiting = _find(module_name, search)
        if not waiting:
            raise _no_module(module_name, entry, root)
    found: set[Path] = set()
    while waiting:
        path = waiting.pop().resolve()
        if path in found or not path.is_relative_to(root):
            continue
        found.add(path)
        waiting.extend(_imports_of(path, search))
    return sorted(found)


def closure_digest(root: Path, entry: Path | str) -> str:
    """Hex SHA-256 over the names and bytes of :func:`local_closure`."""
    root = root.resolve()
    return digest_of(
        {path.relative_to(root).as_posix(): sha256_file(path) for path in local_closure(root, entry)}
    )


def _parse(reference: str) -> tuple[str, str]:
    match = _REFERENCE.fullmatch(reference)
    if match:
        return match[1], match[2]
    hint = ""
    file, colon, function = reference.partition(":")
    if file.endswith(".py"):
        module = file[:-3].strip("/").removeprefix("./").replace("/", ".")
        hint = f" Did you mean `{module}:{function if colon and function else 'function'}`?"
    raise UsageError(f"`{reference}` does not name a function: write it as `module:function`.{hint}")


def _enter(root: Path) -> None:
    """Put a project first on ``sys.path`` and forget the modules of the projects that were there before."""
    if root not in _roots:
        _roots.append(root)
    ours = [str(place) for known in _roots for place in (known, known / "src")]
    here = [str(root), str(root / "src")]
    sys.path[:] = [*here, *(place for place in sys.path if place not in here and (place not in ours))]
    for name, module in list(sys.modules.items()):
        owner = _owner(module)
        if owner is not None and owner != root:
            del sys.modules[name]
    importlib.invalidate_caches()


def _owner(module: ModuleType) -> Path | None:
    """The innermost known project that a loaded module belongs to; installed packages belong to none."""
    places = [getattr(module, "__file__", None)] if getattr(module, "__file__", None) else _paths_of(module)
    if not places or not isinstance(places[0], str) or module.__name__ == "__main__":
        return None
    path = Path(places[0])
    if "site-packages" in path.parts or module.__name__.partition(".")[0] == "gradatim":
        return None
    owners = [root for root in _roots if path.is_relative_to(root)]
    return max(owners, key=lambda root: len(root.parts), default=None)


def _paths_of(module: ModuleType) -> list[str]:
    try:
        return list(getattr(module, "__path__", []))
    except (KeyError, TypeError):  # a namespace package whose parent was just forgotten
        return []


def _import(module_name: str, reference: str, root: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise _no_module(missing or module_name, reference, root) from error
        if _find(missing.partition(".")[0], [root, root / "src"]):
            raise InvalidInput(
                f"`{reference}` fails on import at {_where(error, root)}: {_what(error)}."
            ) from error
        package = missing.partition(".")[0]
        raise EnvironmentLacks(
            f"`{reference}` imports `{missing}` at {_where(error, root)}, which is not installed. "
            f"Install the package that brings it, for example: python -m pip install {package}"
        ) from error
    except (Exception, SystemExit) as error:
        raise InvalidInput(
            f"`{reference}` fails on import at {_where(error, root)}: {_what(error)}."
        ) from error


def _no_module(module_name: str, reference: str, root: Path) -> InvalidInput:
    parent, _, last = module_name.rpartition(".")
    folders = [place.joinpath(*parent.split(".")) if parent else place for place in (root, root / "src")]
    names = sorted(
        path.stem
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    )
    return InvalidInput(
        f"`{reference}`: no module `{module_name}` in {root} or its folder `src`, nor is one installed."
        + _nearest(last, names)
    )


def _nearest(wanted: str, names: list[str]) -> str:
    if hint := did_you_mean(wanted, names):
        return hint
    listed = ", ".join(f"`{name}`" for name in sorted(names)[:8])
    return f" There are: {listed}." if listed else ""


def _place(found: Any) -> str:
    if isinstance(found, ModuleType):
        return getattr(found, "__file__", None) or f"the module `{found.__name__}`"
    return f"`{getattr(found, '__qualname__', type(found).__name__)}`"


def _what(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "it calls sys.exit() instead of returning"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _where(error: BaseException, root: Path) -> str:
    """File and line in the user's code: the innermost frame below ``root``, else the innermost of all."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(error.filename, root)}:{error.lineno or 1}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")
    ]
    local = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(root.resolve()) and "site-packages" not in frame.filename
    ]
    # The kit may itself live below the root (an editable checkout); its frames explain nothing to the user.
    theirs = [frame for frame in local if not Path(frame.filename).is_relative_to(Path(__file__).parent)]
    chosen = theirs or frames
    return f"{_shown(chosen[-1].filename, root)}:{chosen[-1].lineno}" if chosen else "an unknown line"


def _shown(filename: str, root: Path) -> str:
    path = Path(filename)
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else filename


def _find(module_name: str, search: list[Path]) -> list[Path]:
    """The files that importing a dotted module runs: each package's ``__init__.py`` and the module itself."""
    if not module_name:
        return []
    parts = module_name.split(".")
    for place in search:
        files: list[Path] = []
        folder = place
        for part in parts:
            package, module = folder / part / "__init__.py", folder / f"{part}.py"
            if package.is_file():
                files.append(package)
            elif module.is_file():
                return [*files, module]
            elif not (folder / part).is_dir():
                break
            folder = folder / part
        else:
            if files:
                return files
    return []


def _packages_of(path: Path, root: Path) -> list[Path]:
    packages = []
    folder = path.parent
    while folder.is_relative_to(root) and (folder / "__init__.py").is_file():
        packages.append(folder / "__init__.py")
        folder = folder.parent
    return packages


def _imports_of(path: Path, search: list[Path]) -> list[Path]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
        return []
    files: list[Path] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                files += _find(alias.name, search)
        elif isinstance(node, ast.ImportFrom):
            module, places = node.module or "", search
            if node.level:
                folder = path.parent
                for _ in range(node.level - 1):
                    folder = folder.parent
                places = [folder]
                files += [folder / "__init__.py"] if (folder / "__init__.py").is_file() else []
            files += _find(module, places)
            for alias in node.names:
                files += _find(f"{module}.{alias.name}" if module else alias.name, places)
        elif isinstance(node, ast.Call):
            files += _find(_imported_by_name(node), search)
    return files


def _imported_by_name(call: ast.Call) -> str:
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    argument = call.args[0] if call.args else None
    if name in ("import_module", "__import__") and isinstance(argument, ast.Constant):
        return argument.value if isinstance(argument.value, str) else ""
    return ""
