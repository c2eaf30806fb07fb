"""Would a unit test notice? Mutants of what decides: one small change each, run against the tests that import the module.

``python tests/bench/mutation.py [MUTANTS] [SEED] [PART ...]``: 300 by default, of gates, registry, timing, evidence, compression and
ci. A mutant that a test fails on, or that makes it take five times the processor, is killed; one that nothing fails on survives, and is
listed with what was changed and which tests looked at it. Reasons for survivors that mean the same, or that only say
something else, are in ``EQUIVALENT`` below; the rate is of the others. Exit code 1 below 92 %.

Most are judged quickly: one process imports the tests, forks for each mutant, and runs the tests that reach its line
(``judging.py``). What survives that, or runs only while a module is imported or in a process of its own, is judged once more on a
copy of the package, by whole test files. The libraries that do the like (mutmut, cosmic-ray) mutate all of a module and run one
command for each; a sample of mutants by seed, each against the tests that are near it, is neither's.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[2]
PACKAGE = HERE / "scripts" / "gradatim"
UNIT = HERE / "tests" / "unit"
PARTS = ("gates", "registry", "timing", "evidence", "compression", "ci")
MUTANTS = 300
WANTED = 0.92
MOST_TESTS = 8
MOST_SECONDS = 60
LONGEST = 600
SLOW = ("test_contract_keys.py", "test_house.py", "test_readme.py", "test_demo.py")
"""Test files that import nearly everything and say little of any one module, or that look at the text of the sources."""

_COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
Place = tuple[ast.AST, str, int | None, ast.expr | ast.stmt]
"""What a node hangs from, in which field, as which of several, and the node."""
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Attributes:
        module: its file, relative to the package.
        line: where.
        was, now: the expression or statement, before and after.
        number: which of the module's.
    """

    module: str
    line: int
    was: str
    now: str
    number: int

    @property
    def source(self) -> str:
        """The whole module with it."""
        tree = ast.parse((PACKAGE / self.module).read_text(encoding="utf-8"))
        place, new = list(_changes(tree))[self.number]
        ast.copy_location(new, place[-1])
        _put(*place[:3], new)
        return ast.unparse(ast.fix_missing_locations(tree))

    @property
    def change(self) -> str:
        """It wherever it stands: ``gates/exact.py: a < b -> a <= b``."""
        return f"{self.module}: {self.was} -> {self.now}"

    @property
    def name(self) -> str:
        """What to call it: ``gates/exact.py:31: a < b -> a <= b``."""
        return f"{self.module}:{self.line}: {self.was} -> {self.now}"


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Each small change of one node that could be a slip of whoever wrote it."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARED:
            new.ops = [_COMPARED[type(operator)]()]
            yield new
        case ast.BinOp(op=operator) if type(operator) in _COMPUTED:
            new.op = _COMPUTED[type(operator)]()
            yield new
        case ast.BoolOp(op=operator):
            new.op = ast.And() if isinstance(operator, ast.Or) else ast.Or()
            yield new
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Call(func=ast.Name(id=name)) if name in _CALLED:
            new.func = ast.Name(_CALLED[name], ast.Load())
            yield new
        case ast.IfExp(test=test):
            new.test = ast.UnaryOp(ast.Not(), test)
            yield new
        case ast.If(test=test) if not _for_types(test):
            new.test = ast.UnaryOp(ast.Not(), test)
            yield new
        case ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign():
            yield ast.Pass()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()


def _for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def mutants(module: Path) -> list[Mutant]:
    """Every mutant of a module."""
    path = str(module.relative_to(PACKAGE))
    return [
        Mutant(path, place[-1].lineno, _first(place[-1]), _first(new), number)
        for number, (place, new) in enumerate(_changes(ast.parse(module.read_text(encoding="utf-8"))))
    ]


def _first(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]


def _changes(tree: ast.AST) -> Iterator[tuple[Place, ast.AST]]:
    return ((place, new) for place in list(_nodes(tree)) for new in changed(place[-1]))


def _nodes(tree: ast.AST) -> Iterator[Place]:
    """Every expression and statement that runs, and where it hangs; no annotation and no default of a type."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list"):
                continue
            for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, (ast.expr, ast.stmt)):
                    yield parent, field, index, node


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


@functools.cache
def imported(file: Path) -> frozenset[str]:
    """The modules of the package that a file imports, relative to the package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gradatim"):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = (name.removeprefix("gradatim").lstrip(".").replace(".", "/") for name in names)
    known = (path for name in paths for path in (f"{name}.py", f"{name}/__init__.py"))
    return frozenset(path for path in known if (PACKAGE / path).is_file())


def tests_of(module: str) -> list[Path]:
    """Test files that import a module, then those that import what imports it, nearest and smallest first."""
    files = [file for file in sorted(UNIT.glob("test_*.py")) if file.name not in SLOW]
    near, ordered = {module}, []
    for _ in range(6):
        found = [file for file in files if imported(file) & near and file not in ordered]
        ordered += sorted(
            found, key=lambda file: (not file.stem[5:].startswith(module.split("/")[0]), file.stat().st_size)
        )
        if len(ordered) >= MOST_TESTS:
            break
        near |= {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if imported(path) & near}
    return ordered[:MOST_TESTS]


class Bench:
    """A copy of the package in which one module at a time is another."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.seconds: dict[Path, float] = {}
        self.written = int(time.time())
        shutil.copytree(HERE / "scripts", place / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for beside in HERE.iterdir():
            if beside.name not in (".git", "scripts"):
                (place / beside.name).symlink_to(beside)

    def write(self, module: str, source: str) -> None:
        """Make a module another; Python knows what it compiled by a file's second, so each writing has its own."""
        target = self.place / "scripts" / "gradatim" / module
        target.write_text(source, encoding="utf-8")
        self.written += 1
        os.utime(target, (self.written, self.written))

    def passes(self, test: Path, most: float) -> tuple[bool, float]:
        """Whether a test file passes within so many seconds of the processor, and how many it took.

        Not by the clock, for then a busy machine would kill mutants; who sleeps for ever is stopped after ten minutes.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.place / "scripts"), "PYTHONDONTWRITEBYTECODE": ""}
        options = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
        where = ("--rootdir", str(HERE), "-c", str(HERE / "pyproject.toml"))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *where, str(test)], cwd=HERE, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(most) + 1, int(most) + 1)),
        ) as running:  # fmt: skip
            try:
                code = running.wait(LONGEST)
            except subprocess.TimeoutExpired:
                os.killpg(running.pid, signal.SIGKILL)
                code = running.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return code in (0, 5), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def killer(self, mutant: Mutant) -> tuple[str | None, list[str]]:
        """The test file that notices a mutant, None for none; and those that looked."""
        looked: list[str] = []
        for test in tests_of(mutant.module):
            if test not in self.seconds:
                passed, self.seconds[test] = self.passes(test, MOST_SECONDS)
                if not passed:
                    self.seconds[test] = 0.0
                    print(f"{test.name} fails as it is or takes too long, and is passed over", flush=True)
            if not self.seconds[test]:
                continue
            self.write(mutant.module, mutant.source)
            looked.append(test.name)
            passed, _ = self.passes(test, 5 * self.seconds[test] + 20)
            self.write(mutant.module, (PACKAGE / mutant.module).read_text(encoding="utf-8"))
            if not passed:
                return test.name, looked
        return None, looked


def judged_by_forks(drawn: list[Mutant], place: Path) -> Iterator[tuple[Mutant, str]]:
    """Each mutant, module by module, and what the quick judge says of it."""
    ordered = sorted(drawn, key=lambda mutant: (mutant.module, mutant.number))
    digest = hashlib.sha256(" ".join(sorted({mutant.module.partition("/")[0] for mutant in drawn})).encode())
    for file in sorted([*PACKAGE.rglob("*.py"), *UNIT.rglob("*.py")]):
        digest.update(file.read_bytes())
    asked = [[one.module, one.number, [file.name for file in tests_of(one.module)]] for one in ordered]
    maps = Path(tempfile.gettempdir()) / f"gradatim-mutation-{digest.hexdigest()[:16]}.json"
    (place / "asked.json").write_text(json.dumps({"mutants": asked, "maps": str(maps)}))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(UNIT)])}
    command = [sys.executable, str(HERE / "tests/bench/judging.py"), str(place / "asked.json")]
    judged = 0
    with subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True) as judge:
        for line in judge.stdout or ():
            if line.startswith("@ "):
                number, _, said = line[2:].strip().partition(" ")
                judged += 1
                yield ordered[int(number)], said
            elif "rror" in line:
                print(line, end="", flush=True)
    yield from ((mutant, "not judged") for mutant in ordered[judged:])


def main(number: int, seed: int, parts: tuple[str, ...]) -> int:
    """Draw mutants, run them, print what survived and the rate."""
    every = [
        mutant
        for part in parts
        for file in sorted((PACKAGE / part).rglob("*.py"))
        for mutant in mutants(file)
    ]
    drawn = random.Random(seed).sample(every, min(number, len(every)))
    print(f"{len(drawn)} of {len(every)} mutants of {', '.join(parts)}, seed {seed}", flush=True)
    survived: list[Mutant] = []
    doubted: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for count, (mutant, said) in enumerate(judged_by_forks(drawn, Path(folder)), 1):
            print(f"{count:4} {said}: {mutant.name}", flush=True)
            if not said.startswith("killed") and mutant.change not in EQUIVALENT:
                doubted.append(mutant)
            elif not said.startswith("killed"):
                survived.append(mutant)
        print(f"{len(doubted)} that no test in the judge's own process kills, each in a process of its own:")
        bench = Bench(Path(folder))
        for count, mutant in enumerate(doubted, 1):
            killer, looked = bench.killer(mutant)
            if killer is None:
                survived.append(mutant)
            by = f"killed by {killer}" if killer else f"SURVIVES {', '.join(looked) or 'no test imports it'}"
            print(f"{count:4} {by}: {mutant.name}", flush=True)
    alike = [mutant for mutant in survived if mutant.change in EQUIVALENT]
    for mutant in survived:
        print(f"  {mutant.name}: {EQUIVALENT.get(mutant.change, 'NO TEST NOTICES IT')}")
    counted = len(drawn) - len(alike)
    rate = (len(drawn) - len(survived)) / counted if counted else 1.0
    print(f"{len(drawn) - len(survived)} of {counted} killed ({rate:.1%}), {len(alike)} mean the same")
    return 0 if rate >= WANTED else 1


_WAITS = "how long it waits before it tries again, of which no promise speaks"
EQUIVALENT: dict[str, str] = {
    "registry/git.py: random.uniform(0.02, 0.1) * attempt -> random.uniform(0.02, 0.1) / attempt": _WAITS,
    "registry/git.py: 0.02 -> 1.02": _WAITS,
}
"""Mutants that no test can or should notice, by module and change, and why."""


if __name__ == "__main__":
    given = sys.argv[1:]
    numbers = [int(word) for word in given if word.isdigit()]
    named = tuple(word for word in given if not word.isdigit())
    sys.exit(main(*[*numbers, MUTANTS, 1][:1], numbers[1] if len(numbers) > 1 else 1, named or PARTS))
