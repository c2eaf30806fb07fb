"""Do two commits of this repository behave alike? ``python tests/bench/frozen_bytes.py BEFORE AFTER [--keep DIR]``

Each commit walks the demo: its releases, its three bad candidates, promotions, rollbacks, mistakes. What a user, a pipeline
or another program reads of that must be the same before and after: exit codes and all that is said, tags, branches and the
ledger in git, the workspace with its evidence, published folders, what ``init`` writes, and the files that are rendered
into this repository. Whatever differs is named by file and line; the exit code is 1 then. Costs five minutes of CPU time.

Only the command line is called and only files are read: modules may move in between. Both commits run one after the other
at one path, with the packages of this interpreter, while the clocks of git and of evidence stand still. Let the machine do
nothing else: whether a gate on latency passes is compared, too.

Timings and the kit's version may differ, and nothing else: ``RULES`` says what that is. A digest, a commit's id or the size
of a file that was kept stands for the file, so that a timing in it changes nothing and a digest of other bytes is found.
The search for a compressed form chooses by measured time: the demo's contract is held to the one form that is far ahead.

Signatures, Subversion and publishers other than a folder have no part in the demo and are not compared.
"""

from __future__ import annotations

import argparse
import bisect
import difflib
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NUMBER = r"[-+\u2212]?(?<![\w.])\d(?:[\d.]|[\u00a0\u202f](?=\d))*(?:e-?\d+)?"
VALUE = r"(?:\[\d+\])* = [-\d.e]+$"
TIMED = r"(?:latency|throughput|memory|energy)\w*"
FIGURES = "value|low|high|n|baseline|candidate|detectable|before|after|lowerBound|upperBound"
PLANNED = "alarm|margin|items|threads|cores|seed"
DRAWN = rf"^\[(?:Latency /|Variants / Size and time per call|[^]]*/ {TIMED})"

RULES = (
    # in such files, on such lines, this, becomes this
    # Timings in words: with their unit, as a change, as what they round to.
    (r"", r"", rf" *{NUMBER}\s?(?:ns|us|µs|ms|s)\b", " # s"),
    (r"", r"", rf"[-+\u2212]{NUMBER}\s%(?: \([^()]* \.\. [^()]*\))?", "±# %"),
    (r"", r"", r"[\d.]+ % (faster|slower) \([^()]*\) in \d+ paired", r"# % \1 (#) in # paired"),
    (r"", r"", r"paired, \d+ rounds", "paired, # rounds"),
    (r"", r"", r" of the size in [\d.]+ of the time", " of the size in # of the time"),
    # Timings as values, under names that hold nothing else.
    (r"", r"(?:^|\.)(?:\w*seconds|latency_ratio|p50|p90|p99) = ", VALUE, " = #"),
    (r"", r"trials\[[^]]*\]\.score = ", VALUE, " = #"),
    (r"", rf"\[{TIMED}[^]]*\]\S*\.(?:{FIGURES}) = ", r' = "?[-\d.e]+"?$', " = #"),
    (r"/report\.json", r"(?:^|\.)latency\.", VALUE, " = #"),
    (r"/benchmark\.json", rf"(?:^|\.)(?!{PLANNED})\w+(?:\[\d+\])* = ", VALUE, " = #"),
    # Tables and pictures drawn from timings: what is there is compared, not where it stands and how often.
    (r": stdout", rf"^{TIMED} ", r" +\S.* -> .*", " # -> #"),
    (r"\.md", rf"`{TIMED}`", NUMBER, "#"),
    (r"\.md", r"kB \| \S+ \|", r"(kB \| \S+ \| [^|]*\|) [█-▏]+", r"\1 #"),
    (r"\.md", r"^rounds |^[^|]*┆", r"[▁-█●┆─├┤ ]{2,}", " # "),
    (r"\.html", DRAWN, r' (?:points|text-anchor)="[^"]*"', ""),
    (r"\.html", DRAWN, rf"{NUMBER}|$", "#"),
    (r"\.xml", r"", r'time="[\d.]+"', 'time="#"'),
    # What follows from a timing: the largest batch that a time limit allows, and digests whose bytes were not kept.
    (r"", r"", r"batch of \d{3,}", "batch of #"),
    (r"\.jsonl|evidence/", r"outputs\.(?:benchmark\.json|junit/test\.xml) = ", r'"[0-9a-f]{64}"', "#"),
    (r"ml-bom", r"^serialNumber = ", r"uuid:.*", "#"),
    (r"refs/gradatim/.*: commit", r"^tree ", r"[0-9a-f]{40}", "#"),
)  # fmt: skip

HERE = Path(__file__).resolve().parents[2]
CLOCK = "1767225600"
FORM = ("\ncompress:\n", "\ncompress:\n  methods: [int8-static]\n")
RENDERED = (
    r"actions/.*|\.github/workflows/.*|action\.yml|docs/reference/.*\.md|templates/(?!projects/).*\.ya?ml"
)
READING = ("run", "status", "history", "diff v1.0.0 v1.1.0", "verify v1.1.0", "verify releases/v1.0.0")
MISTAKES = ("verify v9.9.9", "run --contract none.yml", "promote production", "rollback beta --reason none")
BACK = ("rollback production --reason trying --dry-run", "rollback production --reason trying")
CLIMBING = ("gate --plan", "run", "promote beta --dry-run", "promote beta", "promote production")
CLIMBED = ("verify beta", "verify production", "status", "history")
SCHEMAS = ("", " --corruptions", " --metrics classification", " --markdown", " --lineage")

VERSION = "commands/01 gradatim --version: stdout"
NAMES = ("name", "gate", "type", "variant", "slice")
TITLES = (r"<code>(.*?)<", r"<title[^>]*>(.*?)<", r"<t[dh][^>]*>(?:<[^>]*>)*([^<]+)")
MOST = 12  # lines told of one change
ALIKE = 0.9  # lines that a moved file has in common with itself


class Walk:
    """One commit's walk of the demo below ``place``. What is to be compared is left in ``kept``."""

    def __init__(self, commit: str, place: Path) -> None:
        self.place, self.kept, self.tree = place, place / "kept", place / "tree"
        self.numbers = itertools.count(1)
        self.environment = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "HOME": str(place / "home"),
            "PYTHONPATH": str(self.tree / "scripts"),
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "110",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_DATE": f"{CLOCK} +0000",
            "GIT_COMMITTER_DATE": f"{CLOCK} +0000",
            "SOURCE_DATE_EPOCH": CLOCK,
        }
        (place / "home").mkdir(parents=True)
        self.unpack(commit, HERE, self.tree)
        self._install()
        for path in filter(Path.is_file, self.tree.rglob("*")):
            name = path.relative_to(self.tree).as_posix()
            if re.fullmatch(RENDERED, name):
                self.keep(f"rendered/{name}", path.read_bytes())
        self.say("--version", at=place)

    def _install(self) -> None:
        """Hold the demo to one form, and say where the plug-in is: pytest looks for it in installed packages only."""
        for contract in self.tree.rglob("digits/gradatim.yml"):
            write(contract, contract.read_text(encoding="utf-8").replace(*FORM))
        settings = (self.tree / "pyproject.toml").read_text(encoding="utf-8")
        (plugin,) = re.findall(r'\.pytest11\]\n(\w+ = )"(.*)"', settings)
        package = self.tree / "scripts/gradatim-0.dist-info"
        write(package / "METADATA", "Metadata-Version: 2.1\nName: gradatim\nVersion: 0\n")
        write(package / "entry_points.txt", "[pytest11]\n" + "".join(plugin) + "\n")

    def unpack(self, commit: str, repository: Path, folder: Path) -> None:
        """Lay the files of a commit into a folder."""
        folder.mkdir(parents=True)
        archive = self.git("archive", commit, at=repository)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)

    def keep(self, name: str, data: bytes) -> None:
        path = self.kept / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def copy(self, name: str, folder: Path) -> None:
        if not folder.is_dir():
            said = max((self.kept / "commands").glob("*stderr")).read_text(encoding="utf-8")
            sys.exit(f"{folder} was not made, so that the walk cannot go on. The kit said:\n{said}")
        shutil.copytree(folder, self.kept / name, ignore=shutil.ignore_patterns(".git", "__pycache__"))

    def say(self, *commands: str, at: Path, options: str = "") -> None:
        """Run the kit; keep each command's exit code and what it said."""
        for command in commands:
            arguments = [*command.split(), *options.split()]
            done = subprocess.run(
                [sys.executable, "-m", "gradatim", *arguments],
                cwd=at, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=3600,
            )  # fmt: skip
            told = " ".join((*at.relative_to(self.place).parts[:1], "gradatim", *arguments)).replace("/", ":")
            name = f"commands/{next(self.numbers):02} {told}"
            self.keep(f"{name}: exit", str(done.returncode).encode())
            self.keep(f"{name}: stdout", done.stdout)
            self.keep(f"{name}: stderr", done.stderr)

    def git(self, *arguments: str, at: Path) -> bytes:
        command = ["git", "-C", str(at), *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True).stdout

    def keep_references(self, name: str, at: Path) -> None:
        """Keep each tag, and of each branch and of the ledger all commits with the files of the newest."""
        listed = self.git("for-each-ref", "--format=%(objecttype) %(refname)", at=at).decode()
        for kind, reference in map(str.split, listed.splitlines()):
            place = f"git/{name}/{reference}"
            if kind == "tag":
                self.keep(f"{place}: tag", self.git("cat-file", "tag", reference, at=at))
                continue
            for age, commit in enumerate(self.git("rev-list", reference, at=at).decode().split()):
                self.keep(f"{place}~{age}: commit", self.git("cat-file", "commit", commit, at=at))
            self.unpack(reference, at, self.kept / place)

    def walk(self) -> None:
        good, bad, new = (self.place / name / "digits" for name in ("good", "bad", "new"))
        self._release(good)
        self._refuse(bad, good)
        self._begin(new, good)
        self.say(*(f"schema{option}" for option in SCHEMAS), at=self.place)

    def _release(self, at: Path) -> None:
        """Two releases, a rollback, and the same model again from the lowest stage."""
        self.say("demo good", at=self.place)
        self.copy("workspaces/good, v1.1.0", at / ".gradatim")
        self.say(*READING, at=at)
        self.say(*READING, *MISTAKES, *BACK, at=at, options="--json")
        self._climb(at, "main")
        self.copy("workspaces/good, alpha", at / ".gradatim")
        self.copy("published/good", at / "releases")
        self.keep_references("good", at.parent / "remote.git")
        write(at / "releases/v1.1.0/model-card.md", "touched")
        self.say("verify v1.1.0", "verify releases/v1.1.0", at=at)

    def _refuse(self, at: Path, good: Path) -> None:
        """Each bad candidate, in words and as JSON; then the better one climbs the ladder."""
        self.say("demo --bad bad", at=self.place)
        candidates = self.git("rev-list", "--max-count=3", "--reverse", "main", at=at).decode().split()
        for name, commit in zip(("mislabelled", "slow", "pickle"), candidates, strict=True):
            self.git("reset", "--quiet", "--hard", commit, at=at)
            self.say("run --json", at=at)
            self.copy(f"workspaces/bad, {name}", at / ".gradatim")
        self.git("fetch", "--quiet", "--no-tags", str(good), "main", at=at)
        self._climb(at, "FETCH_HEAD")
        self.copy("workspaces/bad, production", at / ".gradatim")
        self.copy("published/bad", at / "releases")
        self.keep_references("bad", at.parent / "remote.git")

    def _climb(self, at: Path, start: str) -> None:
        self.git("checkout", "--quiet", "-b", "develop", start, at=at)
        self.git("push", "--quiet", "--set-upstream", "origin", "develop", at=at)
        self.say(*CLIMBING, *CLIMBED, at=at, options="--json")
        self.say(*CLIMBED, at=at)

    def _begin(self, at: Path, good: Path) -> None:
        """A contract proposed for a repository that has none, then misspelled."""
        for name in ("data", "model"):
            shutil.copytree(good / name, at / name)
        self.git("init", "--quiet", "--initial-branch=main", str(at), at=self.place)
        self.say("init --print", "init --ci github", "gate --plan", at=at)
        self.copy("init", at)
        contract = at / "gradatim.yml"
        write(contract, contract.read_text(encoding="utf-8").replace("  accuracy:", "  acuracy:"))
        self.say("run", "run --json", at=at)


class Kept:
    """What a walk left, as lines in which timings, the version and digests of what was kept have been replaced."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self.version = self.files[VERSION].split()[-1].decode()
        self.sizes = {hashlib.sha256(raw).hexdigest(): len(raw) for raw in self.files.values()}
        self.stands_for = {hashlib.sha256(self.version.encode()).hexdigest(): ["version"]}
        for place, raw in self.files.items():
            rows = raw.splitlines() if place.endswith(".jsonl") else []
            for part, content in ((place, raw), *((f"{place}, line {n}", row) for n, row in enumerate(rows))):
                self.stands_for.setdefault(hashlib.sha256(content).hexdigest(), []).append(part)
            for kind in (b"blob", b"commit", b"tag"):  # as git names them
                named = hashlib.sha1(b"%b %d\0" % (kind, len(raw)) + raw, usedforsecurity=False)
                self.stands_for.setdefault(named.hexdigest(), []).append(place)
        self.digests = sorted(self.stands_for)

    def comparable(self, place: str) -> list[str]:
        """The lines of a file; those that hold timings come last, each once and sorted."""
        exact, timed = [], set()
        free = not re.match("rendered/|init/", place)
        rules = [rule for rule in RULES if free and re.search(rule[0], place)]
        for line in self._lines(place):
            named = re.sub(r"\b[0-9a-f]{7,64}\b", lambda found: self._name(place, found[0]), line)
            said = named = named.replace(self.version, "VERSION")
            for _, on, what, instead in rules:
                if re.search(on, said):
                    said = re.sub(what, instead, said)
            if said == named:
                exact.append(said)
            else:
                timed.add(said)
        return [*exact, *sorted(timed)]

    def _name(self, place: str, digest: str) -> str:
        """What a digest stands for; of several copies the one that is nearest to where the digest is said."""
        at = bisect.bisect_left(self.digests, digest)
        if at == len(self.digests) or not self.digests[at].startswith(digest):
            return digest
        copies = self.stands_for[self.digests[at]]
        nearest = max(copies, key=lambda other: len(os.path.commonpath((place, other))))
        return f"<{nearest}>" if self.digests[at] == digest else f"<{nearest}, cut to {len(digest)}>"

    def _lines(self, place: str) -> Iterator[str]:
        raw = self.files[place]
        if b"\0" in raw:
            yield f"bytes with the sha512 {hashlib.sha512(raw).hexdigest()}"  # its own sha256 would be named
            return
        text = raw.decode()
        if text.startswith("{"):
            marks = re.findall(r"[,:]\s*", re.sub(r'"(?:\\.|[^"\\])*"', "", text))
            yield f"written with {sorted(set(marks))}"
            for number, row in enumerate(text.splitlines() if place.endswith(".jsonl") else [text]):
                yield from self._leaves(json.loads(row), f"[{number}]" if place.endswith(".jsonl") else "")
        elif "</html>" in text or text.startswith("<?xml"):
            yield from tags(text)
        else:
            yield from text.split("\n")

    def _leaves(self, value: Any, at: str) -> Iterator[str]:
        """One line a leaf of JSON: ``gates[latency_p50 int8-static].verdict = "PASS"``."""
        if isinstance(value, dict) and value:
            if "size" in value and self.sizes.get(value.get("sha256")) == value["size"]:
                value = {**value, "size": "of these bytes"}
            for key, inner in value.items():
                yield from self._leaves(inner, f"{at}.{key}" if at else key)
        elif isinstance(value, list) and value:
            for number, inner in enumerate(value):
                names = [str(inner[key]) for key in NAMES if key in inner] if isinstance(inner, dict) else []
                yield from self._leaves(inner, f"{at}[{' '.join(names) or number}]")
        else:
            yield f"{at} = {json.dumps(value, ensure_ascii=False)}"


def tags(text: str) -> Iterator[str]:
    """One line a tag, after the section and the row or picture that it stands in: ``[Gates / size] <td>44.8 kB``."""
    section = ""
    for block in re.split(r"(<h2.*?</h2>|<tr\b.*?</tr>|<svg\b.*?</svg>)", text, flags=re.DOTALL):
        section = re.sub(r"<[^>]*>", "", block) if block.startswith("<h2") else section
        titles = [found for pattern in TITLES for found in re.findall(pattern, block)]
        title = titles[0] if titles and block.startswith(("<tr", "<svg")) else ""
        for tag in filter(str.strip, re.split(r"(?=<)", block)):
            yield f"[{section} / {title}] {tag}".replace("\n", " ").rstrip()


def differences(before: Kept, after: Kept) -> Iterator[str]:
    """A paragraph for each change, after the files that it was made to."""
    new = {place: after.comparable(place) for place in after.files if place not in before.files}
    changed: dict[tuple[str, ...], list[str]] = {}
    for place in before.files:
        lines, other = before.comparable(place), place
        if place not in after.files:
            likeness = {other: difflib.SequenceMatcher(None, lines, new[other]).ratio() for other in new}
            other = max(likeness, key=lambda other: likeness[other], default="")
            if likeness.get(other, 0) < ALIKE:
                changed.setdefault(("is missing after",), []).append(place)
                continue
            changed.setdefault((f"moved to {other}",), []).append(place)
            del new[other]
        found = difflib.unified_diff(lines, after.comparable(other), lineterm="", n=0)
        shown = tuple(line for line in itertools.islice(found, 2, None) if not line.startswith("@@"))
        if shown:
            changed.setdefault(shown, []).append(other)
    if new:
        changed[("is new",)] = list(new)
    for shown, places in changed.items():
        more = (f"… and {len(shown) - MOST} lines more",) if len(shown) > MOST else ()
        yield "\n  ".join(("\n".join(places), *shown[:MOST], *more))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Do two commits of this repository behave alike?")
    parser.add_argument("commits", nargs=2, metavar="COMMIT", help="the one before, then the one after")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="a new folder: leave all that was compared there"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gradatim-frozen-") as scratch:
        folder = (asked.keep or Path(scratch)).absolute()
        for name, commit in zip(("before", "after"), asked.commits, strict=True):
            walk = Walk(commit, folder / "now")
            walk.walk()
            walk.place.rename(folder / name)
        before, after = (Kept(folder / name / "kept") for name in ("before", "after"))
    told = [*differences(before, after)]
    print("\n\n".join((*told, f"{len(told)} differences, {len(before.files)} files compared")))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
