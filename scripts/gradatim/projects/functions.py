"""The user's own functions that a contract could name, read off their source; nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradatim.projects.finding import IGNORED

_MOST_FILES = 100
_MOST_BYTES = 300_000
_NOT_FOR_USE = ("setup.py", "conftest.py", "noxfile.py", "__main__.py")
_PATHS = ("path", "file", "filename", "weights", "checkpoint", "model_path", "folder")

_MAKES = ("make", "build", "create", "load", "factory")
_THINGS = ("model", "net", "predictor", "classifier", "detector", "pipeline")
_ANSWERS = (
    "predict",
    "classify",
    "infer",
    "detect",
    "forward",
    "score",
    "embed",
    "transcribe",
    "translate",
    "call",
)
_OTHER_WORK = ("data", "train", "fit", "plot", "test", "main", "export", "save", "download", "metric", "loss")
_PREPROCESSING = ("preprocess", "prepare", "transform", "featurize", "features", "tokenize", "encode")
_METRICS = ("metric", "score", "accuracy", "error", "f1", "evaluate")


@dataclass(frozen=True)
class FoundFunction:
    """A function, or a class that can be made without arguments, at the top of a module.

    Attributes:
        reference: ``module:name``.
        required: names of the arguments that must be given.
        tame: whether importing the module only defines things; a script that trains on import is left alone.
        network: whether it is a class of networks.
    """

    reference: str
    required: tuple[str, ...]
    tame: bool
    network: bool = False

    @property
    def name(self) -> str:
        return self.reference.partition(":")[2]

    @property
    def reads_a_file(self) -> bool:
        """Whether it must be given one thing, a path by its name."""
        return len(self.required) == 1 and self.required[0].lower() in _PATHS


def look_for_functions(root: Path) -> tuple[FoundFunction, ...]:
    """The public functions and classes of the modules in a project, its ``src`` and their packages."""
    found: list[FoundFunction] = []
    for module, path in _modules(root):
        try:
            if path.stat().st_size > _MOST_BYTES:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        tame = all(map(_defines, tree.body))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                required = _required(node)
                if required is not None:
                    network = isinstance(node, ast.ClassDef) and any(
                        "Module" in ast.dump(b) for b in node.bases
                    )
                    found.append(FoundFunction(f"{module}:{node.name}", required, tame, network))
    return tuple(found)


def models_among(functions: tuple[FoundFunction, ...]) -> list[FoundFunction]:
    """What makes a model or is one by its name, what answers arrays first: all that is ever called to find out."""
    makers = [f for f in functions if f.tame and (not f.required or f.reads_a_file) and _makes(f)]
    answering = [
        f
        for f in functions
        if f.tame
        and len(f.required) == 1
        and not f.reads_a_file
        and _called(f, _ANSWERS)
        and not _called(f, _OTHER_WORK)
    ]
    return [*answering, *makers]


def makers_among(functions: tuple[FoundFunction, ...]) -> list[FoundFunction]:
    """What makes a network without being given anything."""
    return [f for f in functions if f.tame and not f.required and (f.network or _makes(f))]


def preprocessing_among(functions: tuple[FoundFunction, ...]) -> list[FoundFunction]:
    """What may turn raw columns into a model's inputs."""
    return [f for f in functions if f.tame and len(f.required) == 1 and _called(f, _PREPROCESSING)]


def metrics_among(functions: tuple[FoundFunction, ...]) -> list[FoundFunction]:
    """What may hold labels against answers."""
    return [f for f in functions if f.tame and len(f.required) == 2 and _called(f, _METRICS)]


def _makes(function: FoundFunction) -> bool:
    name = function.name.lower()
    return (name in _MAKES or _called(function, _THINGS)) and not _called(function, _OTHER_WORK)


def _called(function: FoundFunction, words: tuple[str, ...]) -> bool:
    return any(word in function.name.lower() for word in words)


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    seen = 0
    for top in (root, root / "src"):
        for path in sorted((*top.glob("*.py"), *top.glob("*/*.py"))):
            parts = path.relative_to(top).parts
            foreign = any(
                part in IGNORED or part.startswith((".", "test")) or part == "src" for part in parts
            )
            if foreign or path.name in _NOT_FOR_USE or path.is_symlink():
                continue
            if len(parts) > 1 and (path.parent / "pyvenv.cfg").exists():
                continue
            seen += 1
            if seen > _MOST_FILES:
                return
            names = [*parts[:-1], path.stem] if path.stem != "__init__" else list(parts[:-1])
            if names and all(name.isidentifier() for name in names):
                yield ".".join(names), path


def _defines(node: ast.stmt) -> bool:
    """Whether a statement at the top of a module does no work: it defines, imports, or sets a name."""
    if isinstance(node, ast.If):
        return "__name__" in ast.dump(node.test) or all(map(_defines, (*node.body, *node.orelse)))
    if isinstance(node, ast.Try):
        return all(map(_defines, (*node.body, *node.orelse, *node.finalbody)))
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(
        node,
        ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign
        | ast.Pass,
    )  # fmt: skip


def _required(node: ast.FunctionDef | ast.ClassDef) -> tuple[str, ...] | None:
    """Arguments without a default, None for what takes some by name alone; of a class, those that make it."""
    if isinstance(node, ast.ClassDef):
        made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        names = () if made is None else _required(made)
        return None if names is None or len(names) > 1 else ()
    arguments = node.args
    if any(default is None for default in arguments.kw_defaults):
        return None
    names = tuple(argument.arg for argument in (*arguments.posonlyargs, *arguments.args))
    return names[: len(names) - len(arguments.defaults)]
