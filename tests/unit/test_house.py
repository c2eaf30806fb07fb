"""The house: its floors hold, no module runs in a circle with another, and nothing grows past a reader's patience."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOP = Path(__file__).parents[2]
SOURCES = TOP / "scripts"
MOST_LINES = 450
MOST_LINES_OF_A_FUNCTION = 80
MOST_ROOMS = 34
MOST_ARROWS = 199


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(SOURCES.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports, in functions too; what only the type checker sees is left out."""
    for node in ast.iter_child_nodes(tree):
        yield from _imports(node)


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in modules() else node.module
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


@cache
def arrows() -> dict[str, frozenset[str]]:
    """Which modules of the package each one imports."""
    return {
        name: frozenset(found for found in imports(tree) if found in modules() and found != name)
        for name, tree in modules().items()
    }


def reached(start: str) -> set[str]:
    """Every module that one leads to."""
    found: set[str] = set()
    waiting = list(arrows()[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += arrows()[name]
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def test_no_two_modules_lead_to_one_another() -> None:
    assert [name for name in modules() if name in reached(name)] == []


def test_the_rooms_and_the_arrows_between_them_stay_few() -> None:
    between = {(room(name), room(other)) for name, others in arrows().items() for other in others}
    assert len({room(name) for name in modules()}) <= MOST_ROOMS
    assert len({(a, b) for a, b in between if a != b}) <= MOST_ARROWS


def test_no_module_and_no_function_grows_past_a_few_screens() -> None:
    long = [
        f"{name}: {len(path.read_text(encoding='utf-8').splitlines())}"
        for path in SOURCES.rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES
        for name in [path.relative_to(SOURCES).as_posix()]
    ]
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{name}.{node.name}: {lines}"] if lines > MOST_LINES_OF_A_FUNCTION else []
    assert long == []


def test_one_name_means_one_class() -> None:
    where = defaultdict(list)
    for name, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(name)
    assert {name: found for name, found in where.items() if len(found) > 1} == {}


def test_contributing_shows_the_floors_that_are_checked() -> None:
    settings = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    section = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The house")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [layer.split(" : ") for layer in layers]


def test_the_walls_hold_and_every_room_has_its_floor() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_checkout_is_opened_through_the_one_door_that_knows_every_kind() -> None:
    """Opened as git's own, a working copy of Subversion is no repository at all."""
    opening = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "Repository.find"
    }
    assert opening == {"gradatim.subversion.checkout"}
