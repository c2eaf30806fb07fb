"""One process that judges many mutants: it imports the tests once and forks for each, and only the tests that reach the line run.

    python tests/bench/judging.py FILE     # of JSON: {"mutants": [[module, number, [test file, ...]], ...], "maps": path}

A line is told for each mutant: ``@``, its number in the list, then ``killed TEST``, ``survives`` or ``elsewhere``, which means that
no test reaches the line in the tests' own process, or that it runs while the module is imported: such a mutant needs a process
of its own. Which test reaches which lines is found out by running each test once under a tracer, and kept in the file ``maps``.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import mutation
import pytest
from _pytest.runner import runtestprotocol

LONGEST_TEST = 4.0
"""Seconds of the processor that a test may take to be asked at all."""
MOST_SECONDS = 30.0
"""Of all tests that are asked about one mutant, as they take unchanged."""
Lines = dict[str, set[int]]


class Reached:
    """The lines of some files that run while it is set."""

    def __init__(self, files: set[str]) -> None:
        self.files = files
        self.lines: Lines = {}

    def __call__(self, frame: FrameType, _event: str, _given: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if name not in self.files:
            return None
        seen = self.lines.setdefault(name, set())

        def local(inner: FrameType, _event: str, _given: Any) -> Callable[..., Any]:
            seen.add(inner.f_lineno)
            return local

        return local(frame, "", None)


class Judge:
    """A plugin of pytest's whose run of the tests is the judging."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.mutants = asked["mutants"]
        self.kept = Path(asked["maps"])
        self.maps: dict[str, Any] = json.loads(self.kept.read_text()) if self.kept.exists() else {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for place, (module, number, files) in enumerate(self.mutants):
            items = [item for item in session.items if item.path.name in files]
            self.map(items)
            print("@", place, self.judged(module, number, items), flush=True)
        return True

    def map(self, items: list[pytest.Item]) -> None:
        """Find out what each test reaches that was not yet asked: its seconds, and its lines where it passes in little time."""
        for item in items:
            if item.nodeid not in self.maps:
                self.maps[item.nodeid] = _in_a_fork(lambda item=item: _traced(item), 3 * LONGEST_TEST, 8) or [
                    0.0,
                    {},
                ]
        self.kept.write_text(json.dumps(self.maps))

    def judged(self, module: str, number: int, items: list[pytest.Item]) -> str:
        tree = ast.parse((mutation.PACKAGE / module).read_text(encoding="utf-8"))
        place, new = list(mutation._changes(tree))[number]
        node = place[-1]
        lines = set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        ast.copy_location(new, node)
        mutation._put(*place[:3], new)  # type: ignore[arg-type]
        change = _change(module, ast.fix_missing_locations(tree), node)
        near = [
            (self.maps[item.nodeid][0], item)
            for item in items
            if lines & set(self.maps[item.nodeid][1].get(module, ()))
        ]
        asked, total = [], 0.0
        for seconds, item in sorted(near, key=lambda one: one[0]):
            total += seconds
            if total < MOST_SECONDS:
                asked.append(item)
        if change is None or not asked:
            return "elsewhere"
        said = _in_a_fork(lambda: _first_failure(change, asked), 5 * total + 20)
        return {"": "survives", "elsewhere": "elsewhere", None: "killed by its time"}.get(
            said, f"killed {said}"
        )


def _in_a_fork(work: Callable[[], Any], seconds: float, patience: int = 20) -> Any:
    """What work says in a process of its own; None where it dies, takes too many seconds of the processor or never ends.

    It may wait for others, such as for processes of its own, for so many times as long.
    """
    ours, theirs = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
            quiet = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(quiet, stream)
            os.write(theirs, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    said = b""
    while select.select([ours], [], [], patience * seconds)[0] and (piece := os.read(ours, 1 << 16)):
        said += piece
    os.close(ours)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(said) if said else None


def _passes(item: pytest.Item) -> bool:
    return all(report.outcome != "failed" for report in runtestprotocol(item, log=False, nextitem=None))


class _TooLong(BaseException):
    pass


def _traced(item: pytest.Item) -> tuple[float, dict[str, list[int]]]:
    def stop(*_: object) -> None:
        raise _TooLong

    files = {
        str(file): str(file.relative_to(mutation.PACKAGE))
        for part in mutation.PARTS
        for file in (mutation.PACKAGE / part).rglob("*.py")
    }
    reached = Reached(set(files))
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, 3 * LONGEST_TEST)
    began = time.process_time()
    sys.settrace(reached)
    try:
        passed = _passes(item)
    except _TooLong:
        passed = False
    finally:
        sys.settrace(None)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.process_time() - began + used.ru_utime + used.ru_stime
    if not passed or seconds > LONGEST_TEST:
        return seconds, {}
    return seconds, {files[name]: sorted(lines) for name, lines in reached.lines.items()}


def _first_failure(change: Callable[[], None], items: list[pytest.Item]) -> str:
    try:
        change()
    except LookupError:
        return "elsewhere"
    return next((item.nodeid for item in items if not _passes(item)), "")


def _change(module: str, tree: ast.Module, node: ast.AST) -> Callable[[], None] | None:
    """What makes a module that is imported the mutant: another code for one function, or another value for one name."""
    name = "gradatim." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for statement in tree.body:
        if not statement.lineno <= node.lineno <= (statement.end_lineno or 0):  # type: ignore[attr-defined]
            continue
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            return lambda: _assigned(name, statement)
        for function, path in _functions(statement, ""):
            if function.body[0].lineno <= node.lineno <= (function.end_lineno or 0):  # type: ignore[attr-defined]
                code = compile(tree, str(mutation.PACKAGE / module), "exec")
                return lambda path=path, code=code: _recoded(name, path, code)
    return None


def _functions(statement: ast.stmt, before: str) -> Iterator[tuple[ast.FunctionDef, str]]:
    if isinstance(statement, ast.FunctionDef):
        yield statement, f"{before}{statement.name}"
    if isinstance(statement, ast.ClassDef):
        for inner in statement.body:
            yield from _functions(inner, f"{before}{statement.name}.")


def _recoded(name: str, path: str, code: CodeType) -> None:
    found: Any = importlib.import_module(name)
    *owners, last = path.split(".")
    for owner in owners:
        found = getattr(found, owner)
    found = found.__dict__[last] if owners else getattr(found, last)
    while not hasattr(found, "__code__") or hasattr(found, "__wrapped__"):
        found = next(
            getattr(found, at)
            for at in ("fget", "func", "__func__", "__wrapped__")
            if getattr(found, at, None)
        )
    waiting = [code]
    while waiting:
        one = waiting.pop()
        if one.co_qualname == path and one.co_firstlineno == found.__code__.co_firstlineno:
            found.__code__ = one
            return
        waiting += [const for const in one.co_consts if isinstance(const, CodeType)]
    raise LookupError(path)


def _assigned(name: str, statement: ast.Assign | ast.AnnAssign) -> None:
    module = importlib.import_module(name)
    before = dict(vars(module))
    exec(compile(ast.Module([statement], []), name, "exec"), vars(module))  # noqa: S102 (a mutant of our own)
    changed = {
        key: (before[key], value)
        for key, value in vars(module).items()
        if before.get(key) is not value and key in before
    }
    for other in list(sys.modules.values()):
        for key, (old, new) in changed.items():
            if getattr(other, "__name__", "").startswith("gradatim") and vars(other).get(key) is old:
                setattr(other, key, new)


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    files = sorted({str(mutation.UNIT / name) for *_, names in told["mutants"] for name in names})
    options = [
        "-p",
        "no:cacheprovider",
        "-n0",
        "-s",
        "--timeout=0",  # a busy machine kills no mutant: the processor's time counts
        "--rootdir",
        str(mutation.HERE),
        "-c",
        str(mutation.HERE / "pyproject.toml"),
    ]
    sys.exit(pytest.main([*options, *files], plugins=[Judge(told)]))
