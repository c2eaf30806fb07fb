"""What 10 000 models and 10^9 requests a day cost: refs of git, evidence, queries of canaries, and how long proof takes.

    python tests/bench/scale.py                 # 100 and 1 000 models in one repository
    python tests/bench/scale.py 10000           # all in one

Git and the commands run for real; traffic is simulated from the bounds that a live canary uses.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import numpy as np
from gate_project import write_model
from prometheus_stand_in import Fleet, Version, serving

from gradatim.checks.live import STEPS, Progression, alpha_to_refuse, look_at
from gradatim.checks.prometheus import Prometheus, Series
from gradatim.gates.rule import Rule
from gradatim.gates.sequential import difference_bounds, requests_that_tell

CONTRACT = """
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [bad, fair, good]}
test: {abnormal: skip}
gates: {accuracy: {at_least: 80%}, latency_p50: {not_slower_than: baseline, by: 3%}}
stages: {production: {branch: main}}
"""
MODELS, REQUESTS_A_DAY = 10_000, 10**9
RELEASES_A_YEAR = 12
ERRORS, MARGIN = 0.005, 0.01
"""Share of requests that fail with a good model, and how many more are tolerated."""


def main(arguments: Sequence[str]) -> None:
    for count in [int(word) for word in arguments] or [100, 1000]:
        with tempfile.TemporaryDirectory() as folder:
            show_git(Path(folder) / "models", count)
    with tempfile.TemporaryDirectory() as folder:
        show_evidence(Path(folder))
    show_queries()
    show_traffic()


def show_git(place: Path, models: int) -> None:
    """A year of releases of so many models in one repository: a tag a release, a tag a move, a ref of evidence each."""
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    lines = ["commit refs/heads/main\nmark :1\ncommitter A <a@b.c> 1700000000 +0000\ndata 2\nx\n\n"]
    moves = 0
    for release in range(RELEASES_A_YEAR):
        for model in range(models):
            name, digest = f"model{model:05}", f"{model * 1000 + release:064x}"
            version = f"v1.{release}.0"
            moves += 1
            for tag, first in (
                (f"{name}@{version}", "released"),
                (f"{name}#production#{release + 1}", "assigned"),
            ):
                told = f"{name} {version} {first}\n\nmodel: {name}\nstage: production\nversion: {version}\nmanifest: sha256:{digest}\n"
                told += f"release: sha256:{digest}\n" if first == "released" else ""
                lines.append(
                    f"tag {tag}\nfrom :1\ntagger A <a@b.c> {1700000000 + moves} +0000\ndata {len(told)}\n{told}\n"
                )
            lines.append(f"reset refs/gradatim/releases/{digest}\nfrom :1\n\n")
    subprocess.run(
        ["git", "-C", str(place), "fast-import", "--quiet"], input="".join(lines).encode(), check=True
    )
    git(place, "pack-refs", "--all")
    git(place, "repack", "-adq")
    refs = (place / ".git/packed-refs").stat().st_size
    packs = sum(path.stat().st_size for path in (place / ".git/objects/pack").iterdir())
    listed = len(subprocess.run(["git", "ls-remote", str(place)], check=True, capture_output=True).stdout)
    status = cpu_seconds([sys.executable, "-m", "gradatim", "status", "--json"], place)
    print(f"git, {models} models, {RELEASES_A_YEAR} releases each: {3 * models * RELEASES_A_YEAR} refs, "
          f"packed-refs {refs / 1e6:.1f} MB, tag objects {packs / 1e6:.1f} MB, a fetch lists {listed / 1e6:.1f} MB, "
          f"`gradatim status` of all {status:.1f} s of CPU")  # fmt: skip


def show_evidence(place: Path) -> None:
    """What git keeps of one real release: evidence, manifest, record, report; compressed, the model's bytes left out."""
    write_model(place / "model.onnx", "new")
    answers = np.arange(300) % 3
    np.savez(place / "test.npz", x=np.tile(np.eye(3, dtype=np.float32)[answers], 2), label=answers)
    (place / "gradatim.yml").write_text(CONTRACT)
    (place / ".gitignore").write_text(".gradatim/\n")
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "-c", "user.name=Ada", "-c", "user.email=a@b.c", "commit", "-qm", "first")
    subprocess.run([sys.executable, "-m", "gradatim", "run"], cwd=place, check=True, capture_output=True)
    every = [
        "git",
        "-C",
        str(place),
        "rev-list",
        "--objects",
        "--glob=refs/gradatim/releases/*",
        "--not",
        "--branches",
    ]
    objects = subprocess.run(every, check=True, capture_output=True, text=True).stdout
    names = "\n".join(line.split()[0] for line in objects.splitlines())
    sizes = subprocess.run(
        ["git", "-C", str(place), "cat-file", "--batch-check=%(objectsize:disk)"],
        input=names, check=True, capture_output=True, text=True,
    )  # fmt: skip
    total = sum(map(int, sizes.stdout.split()))
    a_year = total * MODELS * RELEASES_A_YEAR
    print(
        f"evidence: {total / 1000:.0f} kB a release in git; {MODELS} models with {RELEASES_A_YEAR} releases each: {a_year / 1e9:.1f} GB a year"
    )


def show_queries() -> None:
    """What one look of a live canary asks of Prometheus."""
    fleet = Fleet({"v1.0.0": Version(), "v1.1.0": Version()}, "v1.1.0", percent=5)
    fleet.run(300)
    rules = (
        Rule("errors", "errors", "not_worse", MARGIN),
        Rule("latency_p95", "latency_p95", "at_most", 0.5),
    )
    seen: list[int] = []
    opened = urllib.request.urlopen

    def counted(*words: Any, **more: Any) -> Any:
        answer = opened(*words, **more)
        read = answer.read
        answer.read = lambda *a: (body := read(*a), seen.append(len(body)))[0]
        return answer

    urllib.request.urlopen = counted  # type: ignore[assignment]
    try:
        with serving(fleet) as address:
            server = Prometheus(address)
            look_at(server, Series(), rules, Progression("v1.0.0", "v1.1.0", since=server.now() - 240))
    finally:
        urllib.request.urlopen = opened
    looks = 86_400 / 30
    at_once = MODELS * RELEASES_A_YEAR / 365
    print(f"canary, one look: {len(seen)} queries, {sum(seen) / 1000:.1f} kB; at a look every 30 s "
          f"{looks * len(seen):.0f} queries a day each; {at_once:.0f} canaries that take a day each ask "
          f"{at_once * len(seen) / 30:.0f} queries a second")  # fmt: skip


def show_traffic() -> None:
    """How long a canary takes, where requests are spread over models as Zipf's law has it, or evenly."""
    wanted = requests_for(0.05)
    caught = requests_that_tell(ERRORS, ERRORS + 2 * MARGIN, MARGIN, alpha_to_refuse(1, 0))
    even = REQUESTS_A_DAY / MODELS
    print(f"proof: {wanted} requests of the candidate pass a step; an error rate {200 * MARGIN:.0f} points higher is told "
          f"within {caught}")  # fmt: skip
    ranks = np.arange(1, MODELS + 1)
    zipf = REQUESTS_A_DAY / ranks / (1 / ranks).sum()
    days = sum(wanted / (zipf * step / 100) for step in STEPS[:-1])
    print(f"evenly spread, {even:.0f} requests a day a model: {sum(wanted / (even * s / 100) for s in STEPS[:-1]):.2f} days; "
          f"by Zipf's law the busiest {MODELS} take "
          f"{', '.join(f'{np.quantile(days, q):.3g} days (quantile {q:g})' for q in (0.01, 0.5, 0.99))}")  # fmt: skip
    print(
        f"within a day: {100 * (days <= 1).mean():.0f} % of models; within a week: {100 * (days <= 7).mean():.0f} %"
    )


def requests_for(share: float) -> int:
    """Requests of a candidate with ``share`` of the traffic until "at most a point worse" is proven of an equal one."""
    low, high = 10, 10**7
    while high - low > 1:
        n = (low + high) // 2
        mine, base = (
            (round(n * ERRORS), n),
            (round(n * ERRORS / share * (1 - share)), round(n / share * (1 - share))),
        )
        proven = float(difference_bounds(mine, base, 0.05)[1]) < MARGIN
        low, high = (low, n) if proven else (n, high)
    return high


def cpu_seconds(command: Sequence[str], place: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=place, check=True, capture_output=True)
    json.loads(done.stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def git(place: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(place), *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    main(sys.argv[1:])
