"""Would a unit test notice? Mutants of what decides: one small change each, run against the tests that reach it.

``python tests/bench/mutation.py [MUTANTS] [SEED ...] [PART ...]``: 300 by default, of gates, registry, timing, evidence, compression
and ci. A mutant that a test fails on, or that makes it take five times the processor, is killed; one that nothing fails on survives,
and is listed with what was changed. Reasons for survivors that mean the same, or that only say something else, are in ``EQUIVALENT``
below; the rate is of the others. Exit code 1 below 92 %.

How each is judged is told in ``judging.py``. What is judged is kept (in ``~/.cache/gradatim-tests/mutation``) until the module or a
test that looked at it changes: run again after a kill, it goes on. Of the libraries that do the like, mutmut leaves out every
function with a decorator and all that runs at import, and wants the whole suite to pass in one process first; cosmic-ray runs one
command for each mutant, all tests or a choice by hand. Neither draws by a seed.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[2]
PACKAGE = HERE / "scripts" / "gradatim"
UNIT = HERE / "tests" / "unit"
PARTS = ("gates", "registry", "timing", "evidence", "compression", "ci")
MUTANTS = 300
WANTED = 0.92
MOST_TESTS = 12
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradatim-tests" / "mutation"
SLOW = ("test_contract_keys.py", "test_house.py", "test_readme.py", "test_demo.py")
"""Test files that import nearly everything and say little of any one module, or that look at the text of the sources."""

REACHING = {"test_model_process.py": ("timing/held.py", "timing/model_worker.py", "timing/arrays.py")}
"""Test files about modules that they reach through a step or a process alone."""

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
        text: the line.
    """

    module: str
    line: int
    was: str
    now: str
    number: int
    text: str

    @property
    def change(self) -> str:
        """It wherever its line stands: ``gates/exact.py: if a < b: a < b -> a <= b``."""
        return f"{self.module}: {self.text}: {self.was} -> {self.now}"

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
    source = module.read_text(encoding="utf-8")
    lines = source.splitlines()
    return [
        Mutant(path, line, _first(place[-1]), _first(new), number, lines[line - 1].strip())
        for number, (place, new) in enumerate(_changes(ast.parse(source)))
        for line in [place[-1].lineno]
    ]


def _first(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]


def _changes(tree: ast.AST) -> Iterator[tuple[Place, ast.AST]]:
    return ((place, new) for place in list(_nodes(tree)) for new in changed(place[-1]))


def _nodes(parent: ast.AST) -> Iterator[Place]:
    """Every expression and statement that runs, and where it hangs; nothing in an annotation or in a decorator."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, (ast.expr, ast.stmt)):
                yield parent, field, index, node
            if isinstance(node, ast.AST):
                yield from _nodes(node)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


@functools.cache
def imported(file: Path) -> Counter[str]:
    """The modules of the package that a file imports, starts or looks up by a text, and how often it names what it takes from each.

    A test has those of the helpers beside it, too, and the commands and steps whose names stand in it.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    used = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    ours = ".".join(("gradatim", *file.relative_to(PACKAGE).parent.parts)) if PACKAGE in file.parents else ""
    named: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if not ours and (UNIT / f"{node.module}.py").exists():
                found |= Counter(dict.fromkeys(imported(UNIT / f"{node.module}.py"), 1))
            for alias in node.names:
                for name in (node.module or "", f"{node.module}.{alias.name}"):
                    named[name] += 1 + used[alias.asname or alias.name]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"[a-z_.]+(:\w+)?", str(node.value)):
            name = str(node.value).partition(":")[0]  # "module:function", of the package or beside the file
            for before in ("", f"{ours}.") if ours else ("gradatim.commands.", "gradatim.steps."):
                named[before + name] += 1
    for name, count in named.items():
        path = name.removeprefix("gradatim").lstrip(".").replace(".", "/")
        for end in (".py", "/__init__.py"):
            if name.startswith("gradatim") and (PACKAGE / f"{path}{end}").is_file():
                found[f"{path}{end}"] += count
    return found


def tests_of(module: str) -> list[Path]:
    """Test files that are named after a module's part and those that import it, then those that import what imports it; of each
    kind first those that name most of it."""
    files = [file for file in sorted(UNIT.glob("test_*.py")) if file.name not in SLOW]
    near, ordered = {module}, [UNIT / name for name in REACHING if module in REACHING[name]]
    for _ in range(6):
        found = [file for file in files if near & imported(file).keys() and file not in ordered]
        ordered += sorted(found, key=lambda file: _far(file, module, frozenset(near)))
        if len(ordered) >= MOST_TESTS:
            break
        near |= {
            str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if near & imported(path).keys()
        }
    return ordered[:MOST_TESTS]


def _far(file: Path, module: str, near: frozenset[str]) -> tuple[bool, int, int]:
    apart = not file.stem.startswith(f"test_{module.partition('/')[0]}")
    return apart, -sum(imported(file)[one] for one in near), file.stat().st_size


def mutated(module: str, number: int) -> tuple[ast.Module, ast.expr | ast.stmt]:
    """A module with one of its mutants, and what stood there before."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    place, new = next(itertools.islice(_changes(tree), number, None))
    ast.copy_location(new, place[-1])
    _put(*place[:3], new)
    return ast.fix_missing_locations(tree), place[-1]


def lines_about(module: str, node: ast.AST) -> dict[str, set[int]]:
    """Lines, by module, that use what a statement defines while its module is imported; all of its functions where nothing does."""
    found: ast.AST = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    while not isinstance(found, ast.FunctionDef):
        inner = [one for one in getattr(found, "body", ()) if _within(node, one)]
        if not inner or isinstance(inner[0], ast.expr):
            break
        found = inner[0]
    if isinstance(found, ast.FunctionDef):
        return {module: set(range(found.body[0].lineno, (found.end_lineno or 0) + 1))}
    targets = found.targets if isinstance(found, ast.Assign) else [getattr(found, "target", None)]
    names = {inner.id for one in targets if one for inner in ast.walk(one) if isinstance(inner, ast.Name)}
    files = [path for part in PARTS for path in sorted((PACKAGE / part).rglob("*.py"))]
    users = {
        str(path.relative_to(PACKAGE)): set().union(*map(_used(path).get, names & _used(path).keys()))
        for path in files
        if names & _used(path).keys()
    }
    return users or {module: set().union(*_used(PACKAGE / module).values())}


def _within(node: ast.AST, outer: ast.AST) -> bool:
    return outer.lineno <= node.lineno <= (outer.end_lineno or 0)  # type: ignore[attr-defined]


@functools.cache
def _used(file: Path) -> dict[str, set[int]]:
    """The names and attributes that functions of a file use, and the lines that do."""
    names: dict[str, set[int]] = {}
    for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
            for at in ("id", "attr", "arg"):
                if isinstance(name := getattr(node, at, None), str) and hasattr(node, "lineno"):
                    names.setdefault(name, set()).add(node.lineno)
    return names


class Journal:
    """What was judged before, for as long as the module and the tests that looked at it are as they were."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
        whole = [line for line in lines if line.endswith("}]")]  # the last may have been cut by a kill
        self.known = {tuple(mutant): said for mutant, said in map(json.loads, whole)}

    def killer(self, mutant: Mutant) -> str | None:
        """What killed a mutant, "" where nothing did, None where that is not known."""
        said = self.known.get(self._key(mutant))
        if said is None or any(_digest(UNIT / name) != digest for name, digest in said["asked"].items()):
            return None
        near = [file.name for file in tests_of(mutant.module)]
        if not said["killer"] and list(said["asked"])[: len(near)] != near:
            return None
        return str(said["killer"])

    def write(self, mutant: Mutant, killer: str, asked: list[str]) -> None:
        """Keep what was said, and by which test files."""
        one = [name for name in asked if f"/{name}::" in killer]
        said = {"killer": killer, "asked": {name: _digest(UNIT / name) for name in one or asked}}
        self.known[self._key(mutant)] = said
        with self.kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps([self._key(mutant), said]) + "\n")

    def _key(self, mutant: Mutant) -> tuple[str, str, int, str]:
        return mutant.module, _digest(PACKAGE / mutant.module), mutant.number, f"{mutant.was} -> {mutant.now}"


@functools.cache
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.exists() else ""


def judge(asked: list[Mutant], journal: Journal) -> None:
    """Ask a process of its own about each mutant, and keep what it says."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        shutil.copytree(PACKAGE.parent, f"{place}/scripts")  # with what Python compiled of it
        for beside in HERE.iterdir():
            if beside.name not in (".git", "scripts"):
                Path(place, beside.name).symlink_to(beside)
        near = [[one.module, one.number, [file.name for file in tests_of(one.module)]] for one in asked]
        told = Path(place, "asked.json")
        told.write_text(json.dumps({"mutants": near, "kept": str(KEPT)}))
        path = os.pathsep.join([f"{place}/scripts", str(UNIT)])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, str(HERE / "tests/bench/judging.py"), str(told)]
        with subprocess.Popen(
            command, cwd=HERE, env=environment, stdout=subprocess.PIPE, text=True
        ) as judging:
            for line in judging.stdout or ():
                if not line.startswith("@ "):
                    print(line, end="", flush=True)
                    continue
                number, killer, files = json.loads(line[2:])
                journal.write(asked[number], killer, files)
                said = f"killed by {killer}" if killer else "SURVIVES"
                print(f"{number + 1:4} of {len(asked)} {said}: {asked[number].name}", flush=True)


def main(number: int, seeds: list[int], parts: tuple[str, ...]) -> int:
    """Draw mutants by each seed, have them judged, print what survived and the rate."""
    every = [
        mutant
        for part in parts
        for file in sorted((PACKAGE / part).rglob("*.py"))
        for mutant in mutants(file)
    ]
    drawn = {seed: random.Random(seed).sample(every, min(number, len(every))) for seed in seeds}
    KEPT.mkdir(parents=True, exist_ok=True)
    journal = Journal(KEPT / "judged.jsonl")
    asked = [one for one in dict.fromkeys(itertools.chain(*drawn.values())) if journal.killer(one) is None]
    if asked:
        judge(asked, journal)
    return max([_told(seed, one, len(every), journal) for seed, one in drawn.items()])


def _told(seed: int, drawn: list[Mutant], every: int, journal: Journal) -> int:
    """Print how the mutants of a seed ended; 1 where too few were killed, or too few judged."""
    ends = {mutant: journal.killer(mutant) for mutant in drawn}
    killed = [mutant for mutant, killer in ends.items() if killer]
    alike = [mutant for mutant, killer in ends.items() if killer == "" and mutant.change in EQUIVALENT]
    unknown = [mutant for mutant, killer in ends.items() if killer is None]
    print(f"seed {seed}: {len(drawn)} of {every} mutants, {len(unknown)} not judged")
    for mutant in drawn:
        if ends[mutant] == "":
            print(f"  {mutant.name}: {EQUIVALENT.get(mutant.change, 'NO TEST NOTICES IT')}")
    counted = len(drawn) - len(alike) - len(unknown)
    rate = len(killed) / counted if counted else 1.0
    print(f"{len(killed)} of {counted} killed ({rate:.1%}), {len(alike)} mean the same")
    return 0 if rate >= WANTED and not unknown else 1


_WAITS = "registry/git.py: time.sleep(random.uniform(0.02, 0.1) * attempt)  # noqa: S311 (no secret): "
_LOSSES = "gates/robustness.py: bounds = tails.bounds(column, alpha / asked) if value < 0 else None: "
_ONE_LENGTH = (
    ("gates/drift.py", "for one, few, p in zip(*zip(*found, strict=True), holm([one.p for one, _ in found]), strict=True):"),
    ("gates/judge.py", "for (gate, _), p in zip(vetoes, adjusted, strict=True):"),
    ("gates/looks.py", 'else dict(zip(("candidate", "baseline"), values, strict=True))'),
    ("gates/recording.py", "for count, row in zip(times, rows, strict=True)"),
    ("gates/robustness.py", "for low, severity in zip(lows, severities, strict=True):"),
    ("timing/energy.py", "for zone, start, end in zip(self._zones, before, after, strict=True):"),
    ("timing/result.py", 'for entry, pair in zip(record["comparisons"], self.comparisons, strict=True):'),
    ("evidence/codec.py", "pairs = zip(kinds, value, strict=True)"),
    ("evidence/manifest.py", "found = dict(zip(ordered, pool.map(_hash, ordered), strict=True))"),
)  # fmt: skip
_NONE_AT_ALL = (
    ("gates/compare.py", "if not spread > 1e-9 * max(1.0, abs(value)):", "spread > 1e-09 * max(1.0, abs(value)) -> spread >= 1e-09 * max(1.0, abs(value))"),
    ("gates/noninferiority.py", "return unseen, realistic(found.n * unseen / room, found.n) if room > 1e-9 else None", "room > 1e-09 -> room >= 1e-09"),
    ("gates/noninferiority.py", "if not room > 1e-9 or not spread:", "room > 1e-09 -> room >= 1e-09"),
    ("gates/noninferiority.py", "if found.low is None or found.high is None or not room > 1e-9:", "room > 1e-09 -> room >= 1e-09"),
    ("gates/paired.py", "if not variance > 1e-12:", "variance > 1e-12 -> variance >= 1e-12"),
    ("gates/paired.py", "return 0.0 if abs(distance) < 1e-9 else math.copysign(math.inf, distance)", "abs(distance) < 1e-09 -> abs(distance) <= 1e-09"),
    ("gates/robustness.py", "about = (factor * spread / room) ** 2 if abs(room) > 1e-9 else math.inf", "abs(room) > 1e-09 -> abs(room) >= 1e-09"),
    ("gates/threshold.py", "needed = realistic(seen.n * (width / room) ** 2, seen.n) if room > 1e-9 else None", "room > 1e-09 -> room >= 1e-09"),
)  # fmt: skip
_AHEAD = "slower + ahead.cdf(math.log1p(margin) - half)"
_ENDS = ("found.low is None or found.high is None -> found.low is None and found.high is None",)
_WINDOW = "gates/paired.py: top = min(n, int(n * most + 8 * math.sqrt(n * most) + 10)): "
_AT_ONCE = "evidence/manifest.py: if len(ordered) < 2:: "
_REASONS = {
    "both are of one length by how they are made": tuple(
        f"{module}: {text}: True -> False" for module, text in _ONE_LENGTH
    ),
    "a number that stands for none at all is never just that": tuple(
        f"{module}: {text}: {change}" for module, text, change in _NONE_AT_ALL
    ),
    "a wider window holds no chance that a double shows": (_WINDOW + "8 -> 9", _WINDOW + "10 -> 11"),
    "no two widths of real numbers are alike, nor is a chance just one in ten": (
        "gates/latency.py: if most - least >= high - low:: most - least >= high - low -> most - least > high - low",
        f"timing/decision.py: if {_AHEAD} >= _WORTH_GOING_ON:: {_AHEAD} >= _WORTH_GOING_ON -> {_AHEAD} > _WORTH_GOING_ON",
    ),
    "both ends of an interval are known, or neither": (
        *(
            f"gates/noninferiority.py: if found.low is None or found.high is None:: {change}"
            for change in _ENDS
        ),
        *(
            f"gates/looks.py: bounds = None if found.low is None or found.high is None else (found.low, found.high): {change}"
            for change in _ENDS
        ),
    ),
    "without a margin both rules say the same": (
        "gates/runtime.py: verdict = not_slower(worse[0], worse[1], by) if by > 0 else _no_margin(worse, by): by > 0 -> by >= 0",
    ),
    "how much is read at a time, of which no promise speaks": (
        *(
            f"timing/child.py: chunk = os.read(self._descriptor, 1 << 16): {change}"
            for change in ("1 -> 2", "16 -> 17")
        ),
        *(
            f"timing/model_worker.py: return io.BufferedReader(io.FileIO(requests), 1 << 16): {change}"
            for change in ("1 -> 2", "16 -> 17")
        ),
    ),
    "in which order files are hashed and in how many threads, of which no promise speaks": (
        "evidence/manifest.py: ordered = sorted(sizes, key=lambda path: -sizes[path]): -sizes[path] -> sizes[path]",
        _AT_ONCE + "if len(ordered) < 2: -> if not len(ordered) < 2:",
        _AT_ONCE + "len(ordered) < 2 -> len(ordered) <= 2",
        _AT_ONCE + "2 -> 3",
    ),
    "how long it waits before it tries again, of which no promise speaks": (
        _WAITS + "random.uniform(0.02, 0.1) * attempt -> random.uniform(0.02, 0.1) / attempt",
        _WAITS + "0.02 -> 1.02",
        _WAITS + "0.1 -> 1.1",
    ),
    "a sign is one or minus one": (
        "gates/looks.py: low, high = (max(low, bound), high) if sign > 0 else (low, min(high, bound)): sign > 0 -> sign >= 0",
        "gates/looks.py: upward, wanted = (scores if sign > 0 else scores.mirrored), -math.log(gate.alpha): sign > 0 -> sign >= 0",
    ),
    "without evidence there is a finding, which decides before the count of gates is looked at": (
        "evidence/verify.py: gates=evidence.gates(record.variant) if evidence is not None else 0,: 0 -> 1",
    ),
    "only whether a baseline's value is below zero is asked of it": (
        "gates/recording.py: ratio, margin = terms(gate, old.value or 0.0): 0.0 -> 1.0",
        "gates/looks.py: ratio, margin = noninferiority.terms(gate, old.value or 0.0): 0.0 -> 1.0",
    ),
    "its threads are joined before anything ends": (
        "timing/loadgen.py: self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(size)]: True -> False",
    ),
    "bounds that are reckoned and not looked at: what is no loss refuses nothing": (
        _LOSSES + "0 -> 1",
        _LOSSES + "value < 0 -> value <= 0",
    ),
    "the first sign of an object's header, which is not looked at": (
        "registry/object_database.py: place = end + size + 2: 2 -> 3",
        "registry/object_database.py: place = end + 1: 1 -> 2",
    ),
    "both ends and the bound are taken twice": (
        'gates/runtime.py: sign = 1 if rule.bound == "at_least" else -1: 1 -> 2',
    ),
    "how long a name is that is drawn by chance, of which no promise speaks": (
        'ci/gitlab.py: now, name = int(time.time()), f"gradatim_{secrets.token_hex(8)}": 8 -> 9',
    ),
    "an assertion: what is zipped has one length by how it was made": tuple(
        f"{line}: True -> False"
        for line in (
            "registry/ledger.py: for path, data in zip(paths, found, strict=True):",
            "registry/versions.py: for axis, (before, after) in enumerate(zip(old.shape, new.shape, strict=True)):",
            "compression/centring.py: for name, high, low in zip(now, before, after, strict=True):",
            "compression/forms/rows.py: names, _packed(numpy_helper.to_array(constants[table]), _BLOCK), strict=True",
            "compression/halving.py: found = answers(dict(zip(names, given, strict=True)))",
            "compression/nncf_quantising.py: each = [dict(zip(names, session.run(names, batch), strict=True)) for session in (before, after)]",
            'compression/observing.py: rows = zip(found["names"], found["bounds"], found["sizes"], means, peaks, strict=True)',
            "compression/observing.py: for name, value in zip(outputs, session.run(outputs, load_inputs(path)), strict=True):",
            'compression/ranges.py: counted = dict(zip(map(str, found["names"]), found["counts"], strict=True))',
            'compression/ranges.py: for name, value in zip(names, session.run([f"{n}/whole" for n in names], inputs), strict=True):',
            "compression/result.py: return all(a <= b for a, b in zip(theirs, ours, strict=True)) and theirs != ours",
            "compression/sensitivity.py: for batch, wanted in zip(self._given, self._wanted, strict=True):",
            "compression/sensitivity.py: return dict(zip(self._outputs, found, strict=True))",
            "compression/sensitivity.py: values = zip(_SHAPES, (step * gain, first, first + _LEVELS), strict=True)",
            "compression/sensitivity.py: for near, far in zip(names, reversed(names), strict=True):",
            "compression/splitting.py: for name, value in zip(names, session.run(list(names), dict(batch)) if names else [], strict=True):",
        )
    ),
    "numpy takes any negative size for the one that is left": tuple(
        f"{line}: 1 -> 2"
        for line in (
            "compression/distilling.py: each = part.reshape(-1, *(1,) * (tensor.ndim - 1)).to(tensor.dtype)",
            "compression/equalising.py: turned = whole * factor.reshape(-1, *[1] * (whole.ndim - 1)).astype(np.float32)",
            "compression/forms/blocks.py: columns = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)",
            "compression/forms/blocks.py: blocks = np.pad(columns, ((0, 0), (0, short))).reshape(len(columns), -1, block)",
            "compression/forms/blocks.py: flat = near.reshape(len(columns), -1)[:, : columns.shape[1]]",
            "compression/forms/rows.py: blocks = table.reshape(len(table), -1, block)",
            "compression/forms/rows.py: low, high = whole.reshape(len(table), -1, 2).astype(np.uint8).transpose(2, 0, 1)",
            "compression/forms/stored.py: summed = error.reshape(groups, len(weight) // groups, weight.shape[1], -1).sum(axis=3)",
            'compression/forms/stored.py: added = np.einsum("gmc,gc->gm", summed, seen.means.reshape(groups, -1)).reshape(-1)',
            "compression/packing.py: groups = values.reshape(rows, -1, _GROUP[bits] or columns)",
            "compression/packing.py: moved = np.pad(moved, ((0, 0), (0, -moved.shape[1] % each))).reshape(len(moved), -1, each)",
            "compression/streaming.py: padded = np.pad(stretch, ((0, 0), (0, -stretch.shape[1] % block))).reshape(len(stretch), -1, block)",
        )
    ),
    "one process writes the same bytes either way": tuple(
        f"{line}: True -> False"
        for line in (
            "compression/graph.py: path.write_bytes(model.SerializeToString(deterministic=True))",
            "compression/graph.py: content = tensor.SerializeToString(deterministic=True)",
            "compression/streaming.py: out.write_bytes(model.SerializeToString(deterministic=True))",
        )
    ),
    "how much is in memory at once, on which no result depends": (
        "registry/object_database.py: _CHUNK = 1 << 20: 1 -> 2",
        "registry/object_database.py: _CHUNK = 1 << 20: 20 -> 21",
        "compression/gguf_quantising.py: _STRETCH = 1 << 22: 1 -> 2",
        "compression/gguf_quantising.py: _STRETCH = 1 << 22: 22 -> 23",
        "compression/packing.py: _STRETCH = 1 << 22: 1 -> 2",
        "compression/packing.py: _STRETCH = 1 << 22: 22 -> 23",
        "compression/ranges.py: _TOGETHER = 1 << 25  # numbers that are held at once: 128 MB: 1 -> 2",
        "compression/ranges.py: _TOGETHER = 1 << 25  # numbers that are held at once: 128 MB: 25 -> 26",
        "compression/streaming.py: _STRETCH = 1 << 22  # numbers worked on at a time: 1 -> 2",
        "compression/streaming.py: _STRETCH = 1 << 22  # numbers worked on at a time: 22 -> 23",
    ),
    "the last step is not taken": ("compression/thinning.py: _SHARES = (0.25, 0.125, 0.0): 0.0 -> 1.0",),
    "the same version is refused before": (
        "registry/versions.py: if newest is not None and version < newest.version and version.core == newest.version.core: version < newest.version -> version <= newest.version",
    ),
    "how many threads and words the runtime has where nothing is timed": (
        "compression/graph.py: options.intra_op_num_threads = options.inter_op_num_threads = 1: 1 -> 2",
        "compression/graph.py: options.log_severity_level = 4: 4 -> 5",
    ),
    "what is divided is nought beside it, whichever it is": (
        "compression/packing.py: tried = np.where(tried > 0, tried, 1)  # too small a number for the dtype: 1 -> 2",
    ),
    "how many rows are worked on at once": (
        "compression/gguf_quantising.py: step = max(1, _STRETCH // tensor.shape[-1]): max(1, _STRETCH // tensor.shape[-1]) -> min(1, _STRETCH // tensor.shape[-1])",
        "compression/gguf_quantising.py: step = max(1, _STRETCH // tensor.shape[-1]): _STRETCH // tensor.shape[-1] -> _STRETCH * tensor.shape[-1]",
        "compression/streaming.py: step = max(1, _STRETCH // whole.shape[1]): max(1, _STRETCH // whole.shape[1]) -> min(1, _STRETCH // whole.shape[1])",
        "compression/streaming.py: step = max(1, _STRETCH // whole.shape[1]): 1 -> 2",
        "compression/streaming.py: step = max(1, _STRETCH // whole.shape[1]): _STRETCH // whole.shape[1] -> _STRETCH * whole.shape[1]",
    ),
}
EQUIVALENT = {change: reason for reason, changes in _REASONS.items() for change in changes}
"""Mutants that no test can or should notice, by module, line and change, and why."""


if __name__ == "__main__":
    given = sys.argv[1:]
    numbers = [int(word) for word in given if word.isdigit()]
    named = tuple(word for word in given if not word.isdigit())
    sys.exit(main(numbers[0] if numbers else MUTANTS, numbers[1:] or [1], named or PARTS))
