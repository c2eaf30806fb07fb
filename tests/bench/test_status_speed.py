"""What `gradatim status` costs: beside `gto show` at 1500 tags, and at a hundred thousand.

    python -m pip install gto==1.10.1
    python -m pytest tests/bench/test_status_speed.py -s

CPU seconds of the process and of the git that it calls.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from registry_examples import git, many_tags
from test_registry_defects import GTO, assert_agreement

STATUS = [sys.executable, "-m", "gradatim", "status", "--json"]


def cpu_seconds(command: Sequence[str], place: Path, times: int = 3) -> float:
    """The least that a command cost in a few runs."""
    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("by", ["gradatim", "gto"])
def test_1500_tags_cost_less_than_a_fifth_of_a_second_and_a_thirtieth_of_gto(
    by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not GTO.exists():
        pytest.skip("gto is not installed")
    place = many_tags(tmp_path / "many", 1500, by=by)
    assert_agreement(place, versions_of="digits")
    theirs, ours = cpu_seconds([str(GTO), "show"], place), cpu_seconds(STATUS, place)
    with capsys.disabled():
        print(f"\n1500 tags by {by}: gto show {theirs:.2f} s, gradatim status {ours:.3f} s")
    assert ours < 0.2
    assert ours < theirs / 30


@pytest.mark.timeout(900)
def test_100_000_tags_cost_less_than_three_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = many_tags(tmp_path / "many", 100_000)
    loose = cpu_seconds(STATUS, place)
    git(place, "pack-refs", "--all")
    packed = cpu_seconds(STATUS, place)
    clone = tmp_path / "clone"
    git(place, "init", "-q", str(clone))
    git(clone, "fetch", "-q", place.as_uri(), "refs/*:refs/*", "--update-head-ok")
    fetched = cpu_seconds(STATUS, clone)
    (model,) = json.loads(subprocess.run(STATUS, cwd=clone, check=True, capture_output=True).stdout)["models"]
    with capsys.disabled():
        print(f"\n100 000 tags: packed {packed:.2f} s, loose {loose:.2f} s, just fetched {fetched:.2f} s")
    assert model["stages"][0]["version"] is not None
    assert max(loose, packed, fetched) < 3
