"""Rows shared out among jobs, each in a checkout of its own: what is merged is bit for bit what one job finds, or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects.small import DATA, Copy, columns, lay_down, once, write_columns, write_model

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.sharding import parts
from gradatim.commands.opening import open_candidate
from gradatim.errors import BrokenEvidence
from gradatim.evidence.found import Tested as Behaviour
from gradatim.pipeline.step import run_shard, run_step
from gradatim.shard import Shard
from gradatim.steps.evaluate import depends_on

OWN_METRIC = """\
import numpy as np

def unweighted(labels, predictions):
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    return float(np.mean([np.mean(predictions[labels == label] == label) for label in np.unique(labels)]))
"""
SHARED = """\
model: {name: small, path: model/small.onnx}
data: {evaluation: data/test.npz, slices: site, group: site, preprocess: "prepare:features", batch: 16}
task: {type: classification, labels: [0, 1, 2], metrics: {unweighted: "metric:unweighted"}}
test: {robustness: [feature_noise, missing_values], items: 90, abnormal: skip}
gates:
  accuracy: {at_least: 80%}
  negative_flips: {at_most: 10%}
shards: 3
stages:
  production: {branch: main}
"""
STEPS = ("evaluate", "test")
SHARDS = [f"{number}/3" for number in (3, 1, 2)]


def lay_released(folder: Path) -> None:
    """A released model, and on top of it a candidate that is looked into and of which nothing else is known."""
    lay_down(folder / "first", SHARED)
    project = Copy(folder / "first", folder / "made")
    project.write("metric.py", OWN_METRIC)
    project.commit("An own metric")
    project.git("tag", "-a", "-m", "the first", "v1.0.0")
    project.git("push", "--quiet", "origin", "main", "v1.0.0")
    write_model(project.path("model/small.onnx"), bias=0.3)
    project.commit("A candidate")
    shutil.rmtree(folder / "first")


@pytest.fixture(scope="module")
def laid(prepared: Path) -> Path:
    return once(prepared, "shared", lay_released) / "made"


@pytest.fixture(scope="module")
def left(laid: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The shards of `evaluate`, all in one workspace."""
    project = Copy(laid, tmp_path_factory.mktemp("shards") / "left")
    for shard in SHARDS:
        _share("evaluate", project, shard)
    return project


def test_steps_that_merge_shards_of_other_jobs_leave_what_one_job_leaves(laid: Path, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for number, shard in enumerate(SHARDS):
        job = Copy(laid, tmp_path / f"job-{number}")
        for step in STEPS:
            _share(step, job, shard)
        archive = downloads / f"shard-{number}.tar"
        assert job.call("ci", "pack", "--to", str(archive)).code == 0
    merging, whole = Copy(laid, tmp_path / "merging"), Copy(laid, tmp_path / "whole")
    arrived = merging.call("ci", "unpack", "--all", "--from", str(downloads))
    assert arrived.code == 0, arrived.said
    for step in STEPS:
        for project in (merging, whole):
            assert run_step(step, _release(project)).code == 0
        assert _evidence(merging, step, shards=3) == _evidence(whole, step, shards=0)
    assert _files(merging) == _files(whole)
    assert len(_files(whole)) > 10


def _missing(project: Copy) -> None:
    shutil.rmtree(_shard(project, "2-of-3"))


def _unfinished(project: Copy) -> None:
    (_shard(project, "2-of-3") / "statement.json").unlink()


def _truncated(project: Copy) -> None:
    path = _shard(project, "2-of-3") / "statement.json"
    path.write_bytes(path.read_bytes()[:-40])


def _swapped(project: Copy) -> None:
    folder = _shard(project, "2-of-3")
    shutil.rmtree(folder)
    shutil.copytree(_shard(project, "1-of-3"), folder)


def _altered(project: Copy) -> None:
    path = next(_shard(project, "2-of-3").glob("original/outputs-*.npy"))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _enriched(project: Copy) -> None:
    (_shard(project, "2-of-3") / "more.npy").write_bytes(b"")


def _of_another_count(project: Copy) -> None:
    _share("evaluate", project, "2/4")


def _of_another_model(project: Copy) -> None:
    shutil.rmtree(_shard(project, "2-of-3"))
    write_model(project.path("model/small.onnx"), bias=0.2)
    _share("evaluate", project, "2/3")
    write_model(project.path("model/small.onnx"), bias=0.3)


def _of_other_data(project: Copy) -> None:
    write_columns(project.path(DATA), x=columns(seed=3)["x"])


def _of_another_kit(project: Copy) -> None:
    path = _shard(project, "2-of-3") / "statement.json"
    statement = json.loads(path.read_text(encoding="utf-8"))
    statement["predicate"]["gradatim"] = "0.0.1"
    path.write_text(json.dumps(statement), encoding="utf-8")


def _of_another_runtime(project: Copy) -> None:
    path = _shard(project, "2-of-3") / "statement.json"
    statement = json.loads(path.read_text(encoding="utf-8"))
    statement["predicate"]["environment"]["packages"]["onnxruntime"] = "0.1"
    path.write_text(json.dumps(statement), encoding="utf-8")


def _renumbered(**changed: int) -> Callable[[Copy], None]:
    def spoil(project: Copy) -> None:
        path = _shard(project, "2-of-3") / "statement.json"
        statement = json.loads(path.read_text(encoding="utf-8"))
        statement["predicate"]["details"]["shard"] |= changed
        path.write_text(json.dumps(statement), encoding="utf-8")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_missing, "Shard 2/3 of `evaluate` cannot be used: it is missing"),
        (_unfinished, "Shard 2/3 .* it has no statement"),
        (_truncated, "2-of-3/statement.json"),
        (_swapped, "Shard 2/3 .* it is what `evaluate 1/3` left"),
        (_altered, "Shard 2/3 .* its files are not those that it left"),
        (_enriched, "Shard 2/3 .* its files are not those that it left"),
        (_of_another_count, "not of one run: .* lies among parts of 4"),
        (_of_another_model, "Shard 2/3 .* it rests on another variant:original"),
        (_of_other_data, "Shard 1/3 .* it rests on another evaluation"),
        (_of_another_kit, "Shard 2/3 .* gradatim 0.0.1 made it"),
        (_of_another_runtime, "Shard 2/3 .* ran with another onnxruntime than 1/3"),
        (_renumbered(start=60), "Shard 2/3 .* begins at row 61 and overlaps"),
        (_renumbered(start=70), "Shard 2/3 .* begins at row 71 and leaves a gap"),
        (_renumbered(rows=50), "Shard 3/3 .* leaves a gap"),
        (_renumbered(total=201), "Shard 2/3 .* counts 201 rows"),
        (_renumbered(number=1), "Shard 2/3 .* does not say which rows"),
        (_renumbered(rows=-64), "Shard 2/3 .* does not say which rows"),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_") or None,
)
def test_a_broken_set_of_shards_is_refused_by_name(
    left: Copy, tmp_path: Path, spoil: Callable[[Copy], None], told: str
) -> None:
    project = Copy(left.folder.parent, tmp_path / "spoiled")
    assert len(parts(_release(project), "evaluate", depends_on(_release(project)))) == 3
    spoil(project)
    with pytest.raises(BrokenEvidence, match=told):
        parts(_release(project), "evaluate", depends_on(_release(project)))


def test_a_refused_merge_leaves_no_evidence_and_nothing_is_predicted_in_its_place(
    left: Copy, tmp_path: Path
) -> None:
    project = Copy(left.folder.parent, tmp_path / "refused")
    _missing(project)
    done = project.call("evaluate")
    assert done.code == 3
    assert "gradatim evaluate --shard 2/3" in done.err
    assert not (project.folder / ".gradatim/evidence/evaluate.json").exists()
    assert not (project.folder / ".gradatim/predictions").exists()
    assert project.call("evaluate", "--shard", "2/3").code == 0
    assert run_step("evaluate", _release(project)).code == 0
    assert not (project.folder / ".gradatim/shards/evaluate").exists(), "merged, they would only go stale"


def test_a_shard_that_is_there_is_skipped_and_shards_of_nothing_are_merged_to_nothing(
    left: Copy, tmp_path: Path
) -> None:
    assert run_shard("evaluate", _release(left), Shard(1, 3)).skipped
    project = Copy(left.folder.parent, tmp_path / "plain")
    project.change_contract("robustness: [feature_noise, missing_values], ", "")
    for shard in SHARDS:
        assert run_shard("test", _release(project), Shard.parse(shard)).code == 0
    done = run_step("test", _release(project))
    assert (done.code, Behaviour.of(done.statement).robustness.items) == (0, 0)
    assert project.call("evaluate", "--shard", "4/3").code == 2


def _share(step: str, project: Copy, shard: str) -> None:
    assert run_shard(step, _release(project), Shard.parse(shard)).code == 0


def _release(project: Copy) -> Candidate:
    return open_candidate(str(project.folder / "gradatim.yml"))


def _shard(project: Copy, name: str) -> Path:
    return project.folder / ".gradatim/shards/evaluate" / name


def _evidence(project: Copy, step: str, *, shards: int) -> dict[str, Any]:
    """What a step's evidence says, without when and where it was made, and how long that took."""
    path = project.folder / f".gradatim/evidence/{step}.json"
    statement = json.loads(path.read_text(encoding="utf-8"))
    predicate = statement["predicate"]
    assert len(predicate["environment"].pop("shards", ())) == shards
    for timed in ("seconds", "made"):
        predicate["details"].pop(timed, None)
    predicate["details"]["outputs"].pop("junit/test.xml", None)
    for check in predicate["details"].get("checks", ()):
        check.pop("seconds", None)
    return dict(statement)


def _files(project: Copy) -> dict[str, bytes]:
    folder = project.folder / ".gradatim/predictions"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
