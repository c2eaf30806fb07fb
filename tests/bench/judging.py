"""One process that judges many mutants: it imports the tests once and forks for each, and only the tests that reach the line run.

    python tests/bench/judging.py FILE     # of JSON: {"mutants": [[module, number, [test file, ...]], ...], "kept": folder}

It runs on a copy of the package, whose ``scripts`` are on PYTHONPATH: a mutant is put into what is imported, and into the copy's
file for the processes that a test starts. One that runs only while its module is imported is judged in a new process, by the
tests that reach what it defines. Test files are asked in their order, each by its cheapest tests first, up to the first failure; then
all others of which it is known that they reach the line.

A line is told for each mutant: ``@`` and JSON: its number in the list, what killed it ("" for nothing), and the test files asked. Which test
reaches which lines is found out by running it once under a tracer, when its file is first asked, and kept in ``maps.json``.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import mutation
import pytest
from _pytest.runner import runtestprotocol
from reached import Reached

LONGEST_TEST = 8.0
"""Seconds of the processor that a test may take to be asked at all."""
MOST_SECONDS = 60.0
"""Of all tests that are asked about one mutant, as they take unchanged."""
MEMORY = 6 << 30
COPY = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0]) / "gradatim"
Lines = dict[str, list[int]]


class Maps:
    """Which lines each test reaches, and in how many seconds; kept between runs for as long as the test and what it reaches are as they were."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self.known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
        self.folder = Path(tempfile.mkdtemp(prefix="reached-"))
        shutil.copy(Path(__file__).with_name("reached.py"), self.folder / "sitecustomize.py")
        places, length = {}, 0
        for part in mutation.PARTS:
            for file in sorted((COPY / part).rglob("*.py")):
                places[str(file)] = length
                length += len(file.read_bytes().splitlines()) + 2
        (self.folder / "files.json").write_text(json.dumps(places))
        (self.folder / "lines").write_bytes(bytes(length))

    def of(self, items: list[pytest.Item]) -> list[tuple[float, pytest.Item, Lines]]:
        """Seconds, test and lines of each that passes in little time, the cheapest first."""
        dear: set[frozenset[str]] = set()
        for item in items:
            if self._stale(item):
                shared = _shared(item)
                seconds, lines = LONGEST_TEST + 1, {}
                if not shared or shared not in dear:
                    said = _in_a_fork(lambda item=item: self._traced(item), 2 * LONGEST_TEST, 8)
                    seconds, lines = said if isinstance(said, list) else (LONGEST_TEST + 1, {})
                    if seconds > LONGEST_TEST and shared:
                        dear.add(shared)  # what they share is made anew in each fork
                digests = {module: _digest(COPY / module) for module in lines}
                self.known[item.nodeid] = [_digest(item.path), seconds, lines, digests]
        self.kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.kept.with_suffix(".new")
        fresh.write_text(json.dumps(self.known))
        fresh.replace(self.kept)
        mapped = [(*self.known[item.nodeid][1:3], item) for item in items]
        return sorted(
            ((seconds, item, lines) for seconds, lines, item in mapped if lines), key=lambda one: one[0]
        )

    def reaching(self, lines: dict[str, set[int]]) -> set[str]:
        """The test files that are known to reach one of these lines, whichever module they were asked for."""
        return {
            nodeid.partition("::")[0].rpartition("/")[2]
            for nodeid, (_, _, reached, _) in self.known.items()
            if any(not here.isdisjoint(reached.get(module, ())) for module, here in lines.items())
        }

    def _stale(self, item: pytest.Item) -> bool:
        test, _, _, digests = self.known.get(item.nodeid, ("", 0, {}, {}))
        return test != _digest(item.path) or any(
            _digest(COPY / module) != digest for module, digest in digests.items()
        )

    def _traced(self, item: pytest.Item) -> tuple[float, Lines]:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(self.folder), os.environ["PYTHONPATH"]])
        reached = Reached(self.folder)
        reached.told()
        began = time.process_time()
        reached.start()
        passed = _passes(item)
        sys.settrace(None)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = time.process_time() - began + used.ru_utime + used.ru_stime
        if not passed or seconds > LONGEST_TEST:
            return seconds, {}
        return seconds, {str(Path(name).relative_to(COPY)): lines for name, lines in reached.told().items()}


class Judge:
    """A plugin of pytest's whose run of the tests is the judging."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.mutants = asked["mutants"]
        self.maps = Maps(Path(asked["kept"]) / "maps.json")
        self.written = int(time.time())

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for place, (module, number, files) in enumerate(self.mutants):
            tree, node = mutation.mutated(module, number)
            change = _change(module, tree, node)
            lines = _lines(module, node) if change else mutation.lines_about(module, node)
            self.write(module, ast.unparse(tree))
            killer, asked, spent = "", [], 0.0
            waiting = list(files)
            while waiting:
                name = waiting.pop(0)
                asked.append(name)
                items = [item for item in session.items if item.path.name == name]
                self.write(module, None)
                near = [
                    (seconds, item)
                    for seconds, item, reached in self.maps.of(items)
                    if any(not here.isdisjoint(reached.get(other, ())) for other, here in lines.items())
                ]
                self.write(module, ast.unparse(tree))
                chosen, cost = [], 0.0
                for seconds, item in near:
                    if spent + cost + seconds < MOST_SECONDS or not chosen:
                        chosen.append(item)
                        cost += seconds
                spent += cost
                if chosen and (killer := self.killer(change, module, chosen, cost)):
                    break
                if len(asked) == len(files):  # none that is about it notices: all others that reach it
                    here = {item.path.name for item in session.items}
                    waiting = sorted(self.maps.reaching(lines) & here - set(asked))
            self.write(module, None)
            print("@", json.dumps([place, killer, asked]), flush=True)
        return True

    def write(self, module: str, source: str | None) -> None:
        """Make a module of the copy another, or as it was.

        Python knows what it compiled by a file's second, so each writing has its own.
        """
        target, self.written = COPY / module, self.written + 1
        was = (mutation.PACKAGE / module).read_text(encoding="utf-8")
        target.write_text(was if source is None else source, encoding="utf-8")
        os.utime(target, (self.written, self.written))

    def killer(
        self, change: Callable[[], None] | None, module: str, items: list[pytest.Item], seconds: float
    ) -> str:
        """What fails for a mutant and for nothing else; "" where everything passes."""
        left = list(items)
        while left:
            if change:
                said = _in_a_fork(functools.partial(_first_failure, change, left), 5 * seconds + 20)
            else:
                said = _in_a_process(left, 5 * seconds + 30)
            failed = next((item for item in left if item.nodeid == said), None)
            if failed is None:
                return str(said)
            mutant = (COPY / module).read_text(encoding="utf-8")
            self.write(module, None)
            if _in_a_fork(lambda failed=failed: _passes(failed), 3 * LONGEST_TEST) is True:
                return failed.nodeid
            self.write(module, mutant)
            left = left[left.index(failed) + 1 :]  # it fails as it is, today: a busy machine, or chance
        return ""


def _lines(module: str, node: ast.AST) -> dict[str, set[int]]:
    return {module: set(range(node.lineno, (node.end_lineno or node.lineno) + 1))}  # type: ignore[attr-defined]


@functools.cache
def _digest_at(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _digest(path: Path) -> str:
    return _digest_at(path, path.stat().st_mtime_ns)


def _shared(item: pytest.Item) -> frozenset[str]:
    """The fixtures of a test that others share with it."""
    found = item._fixtureinfo.name2fixturedefs.items()  # type: ignore[attr-defined]
    return frozenset(
        name for name, made in found if made[-1].scope in ("module", "session") and made[-1].baseid
    )


def _in_a_fork(work: Callable[[], Any], seconds: float, patience: int = 20) -> Any:
    """What work says in a process of its own, in a folder of its own; why not, where it dies, takes too many seconds of the processor or
    never ends.

    It may wait for others, such as for processes of its own, for so many times as long.
    """
    folder = tempfile.mkdtemp(prefix="m-")
    ours, theirs = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            os.setsid()
            _limit(seconds)
            os.environ["TMPDIR"], tempfile.tempdir = folder, folder
            quiet = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(quiet, stream)
            os.write(theirs, json.dumps(work()).encode())
        except BaseException:  # a defect of the judge's, which must not look like a kill
            os.write(theirs, json.dumps({"judge": traceback.format_exc()}).encode())
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
    shutil.rmtree(folder, ignore_errors=True)
    told = json.loads(said) if said else "its time"
    if isinstance(told, dict):
        raise RuntimeError(told["judge"])
    return told


def _limit(seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _in_a_process(items: list[pytest.Item], seconds: float) -> str:
    """The first test that fails in a Python of its own, "its import" where none is even found, "" for none."""
    folder = tempfile.mkdtemp(prefix="m-")
    tests = [f"{mutation.HERE / item.nodeid}" for item in items]
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-rfE", *OPTIONS, *tests], cwd=mutation.HERE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": folder}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=lambda: _limit(seconds),
    ) as running:  # fmt: skip
        try:
            said, _ = running.communicate(timeout=20 * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            return "its time"
    shutil.rmtree(folder, ignore_errors=True)
    if running.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (tests/.*?::.*?)(?: - .*)?$", said, re.MULTILINE)
    return found[1] if found else "its import" if running.returncode > 0 else "its time"


def _passes(item: pytest.Item) -> bool:
    return all(report.outcome != "failed" for report in runtestprotocol(item, log=False, nextitem=None))


def _first_failure(change: Callable[[], None], items: list[pytest.Item]) -> str:
    change()
    return next((item.nodeid for item in items if not _passes(item)), "")


def _change(module: str, tree: ast.Module, node: ast.AST) -> Callable[[], None] | None:
    """What makes a module that is imported the mutant, another code for one function; None where its import is what differs."""
    name = "gradatim." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for statement in tree.body:
        for function, path in _functions(statement, ""):
            if function.body[0].lineno <= node.lineno <= (function.end_lineno or 0):  # type: ignore[attr-defined]
                code = compile(tree, str(COPY / module), "exec")
                with contextlib.suppress(LookupError):
                    found = _function(name, path)
                    new = _code(code, path, found.__code__.co_firstlineno)
                    same = (
                        new.co_freevars == found.__code__.co_freevars
                    )  # `super` that goes takes its class with it
                    if same and found.__code__.co_firstlineno <= node.lineno <= (function.end_lineno or 0):  # type: ignore[attr-defined]
                        return lambda: setattr(found, "__code__", new)
    return None


def _functions(statement: ast.stmt, before: str) -> Iterator[tuple[ast.FunctionDef, str]]:
    if isinstance(statement, ast.FunctionDef):
        yield statement, f"{before}{statement.name}"
    if isinstance(statement, ast.ClassDef):
        for inner in statement.body:
            yield from _functions(inner, f"{before}{statement.name}.")


def _function(name: str, path: str) -> Any:
    found: Any = importlib.import_module(name)
    for last in path.split("."):
        if last not in vars(found):
            raise LookupError(path)
        found = vars(found)[last]
    while not hasattr(found, "__code__") or hasattr(found, "__wrapped__"):
        inner = ("fget", "func", "callback", "wrapped", "__func__", "__wrapped__")
        found = next((getattr(found, at) for at in inner if getattr(found, at, None)), None)
        if found is None:
            raise LookupError(path)
    return found


def _code(code: CodeType, path: str, line: int) -> CodeType:
    waiting = [code]
    while waiting:
        one = waiting.pop()
        if one.co_qualname == path and one.co_firstlineno == line:
            return one
        waiting += [const for const in one.co_consts if isinstance(const, CodeType)]
    raise LookupError(path)


OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "-n0", "-p", "no:randomly"),
    *("--timeout=0", "--rootdir", str(mutation.HERE), "-c", str(mutation.HERE / "pyproject.toml")),
)
"""No limit by the clock: a busy machine kills no mutant, the processor's time counts."""


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    files = sorted({str(mutation.UNIT / name) for *_, names in told["mutants"] for name in names})
    sys.exit(pytest.main(["-s", *OPTIONS, *files], plugins=[Judge(told)]))
