"""The GitLab include on a runner: a consumer's pipelines check, refuse, tag, publish and promote."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gitlab_runner import Consumer, include_for_a_shell, lay_down

from gradatim.rendering.gitlab import CHECKS

pytestmark = pytest.mark.xdist_group("gitlab")

_MAKE = """
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

with np.load("weights.npz") as weights:
    constants = [numpy_helper.from_array(weights[name], name) for name in ("w", "b")]
image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 64])
scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])
node = helper.make_node("Gemm", ["image", "w", "b"], ["scores"])
graph = helper.make_graph([node], "digits", [image], [scores], constants)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "model/digits.onnx")
"""

_CONTRACT = """
model:
  name: digits
  path: model/digits.onnx
  build: {run: python make.py, inputs: [make.py, weights.npz]}
data: {evaluation: test.npz}
task: classification
test: {pytest: tests}
gates:
  accuracy: {at_least: 85%}
benchmark: {rounds: 3}
stages:
  alpha: {branch: develop}
  production: {branch: main}
publish:
  - folder: ../published
"""

_TEST = """
def test_most_digits_are_read(model, dataset):
    batch = dataset.head(200)
    assert (model(batch.inputs)["scores"].argmax(1) == batch.labels).mean() > 0.85
"""

_PIPELINE = """
include:
  - local: gradatim.gitlab.yml
    inputs:
      kit: ""
      branches: /^(develop|main)$/
      built: model/digits.onnx
"""


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Consumer:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    made = lay_down(tmp_path_factory.mktemp("gitlab"))
    found = load_digits()
    rows = (found.data / 16).astype(np.float32)
    fitted = LogisticRegression(max_iter=200).fit(rows[:900], found.target[:900])
    project = made.project
    (project / "model").mkdir()
    (project / "model/.gitkeep").touch()
    (project / "tests").mkdir()
    np.savez(
        project / "weights.npz", w=fitted.coef_.T.astype(np.float32), b=fitted.intercept_.astype(np.float32)
    )
    np.savez(project / "test.npz", image=rows[900:1300], label=found.target[900:1300])
    for name, text in {
        "make.py": _MAKE,
        "tests/test_digits.py": _TEST,
        "gradatim.yml": _CONTRACT.replace("../published", str(made.home / "published")),
        "gradatim.gitlab.yml": include_for_a_shell(),
        ".gitlab-ci.yml": _PIPELINE,
        ".gitignore": ".gradatim/\n.gitlab-ci-local/\nmodel/*.onnx\n",
    }.items():
        (project / name).write_text(text, encoding="utf-8")
    made.commit("Read digits")
    return made


def test_each_occasion_starts_the_jobs_that_are_due(consumer: Consumer) -> None:
    def due(**variables: str) -> list[str]:
        return [job["name"].removeprefix("gradatim-") for job in consumer.jobs(**variables)]

    checks = [step.name for step in CHECKS]
    assert due() == [*checks, "tag", "publish"]
    assert due(CI_PIPELINE_SOURCE="merge_request_event", CI_COMMIT_BRANCH="") == checks
    assert due(CI_COMMIT_BRANCH="feature/develop") == []
    assert due(CI_PIPELINE_SOURCE="schedule") == ["iterate"], (
        "the report that the contract asks for, and no step"
    )
    assert due(CI_COMMIT_TAG="v1.0.0", CI_COMMIT_BRANCH="") == ["publish"]
    assert due(CI_COMMIT_TAG="nightly", CI_COMMIT_BRANCH="") == []
    assert due(GRADATIM_DO="promote") == ["promote"]
    assert due(GRADATIM_DO="promote", CI_COMMIT_BRANCH="feature/develop") == []


def test_the_resolved_pipeline_satisfies_gitlabs_own_schema(consumer: Consumer) -> None:
    pytest.importorskip("check_jsonschema")
    path = consumer.home / "preview.yml"
    path.write_text(consumer.preview(), encoding="utf-8")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(path)]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_push_is_released_and_promoted_and_a_refused_candidate_leaves_no_tag(
    consumer: Consumer,
) -> None:
    released = consumer.run()
    assert released.code == 0, released.said
    assert consumer.tags() == ["digits#alpha#1", "v1.0.0-alpha.1"]
    assert list((consumer.home / "published").rglob("digits.onnx"))

    assert "could not be found" not in released.said  # the dotenv reports of tag and publish are there

    promoted = consumer.run(GRADATIM_DO="promote", GRADATIM_STAGE="production")
    assert promoted.code == 0, promoted.said
    assert consumer.tags() == ["digits#alpha#1", "digits#production#2", "v1.0.0", "v1.0.0-alpha.1"]

    _mislabel(consumer.project / "weights.npz")
    consumer.commit("Worse")
    refused = consumer.run()
    assert refused.code != 0
    assert (
        "test_most_digits_are_read" in refused.said
    )  # refused by `test`, and yet the walk went on to `gate`
    assert "wanted at least 85 %" in refused.said
    assert len(consumer.tags()) == 4
    _verifies_in_another_clone(consumer)
    _the_pipeline_of_a_tag_finds_the_release_public(consumer)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_shared_rows_are_merged_to_what_one_job_finds(consumer: Consumer) -> None:
    contract = (consumer.project / "gradatim.yml").read_text(encoding="utf-8")
    contract = contract.replace("test: {", "test: {robustness: [gaussian_noise], items: 100, ")
    (consumer.project / "gradatim.yml").write_text(contract, encoding="utf-8")
    pipeline = (consumer.project / ".gitlab-ci.yml").read_text(encoding="utf-8")
    consumer.commit("More to test")
    whole = consumer.run()
    assert "shard 1/3" not in whole.said
    before = {job: _predicted(consumer, job) for job in ("evaluate", "test")}
    assert all(before.values())
    (consumer.project / ".gitlab-ci.yml").write_text(f"{pipeline}      shards: 3\n", encoding="utf-8")
    consumer.commit("Three jobs share the rows")
    shared = consumer.run()
    assert shared.code == whole.code, shared.said
    for number, rows in enumerate(("1 to 128", "129 to 256", "257 to 400"), 1):
        assert f"shard {number}/3: rows {rows} of 400" in shared.said
    found = re.compile(r"(\d+ samples, accuracy [^\n]*%|\d+ checks[^\n]*severities)")
    assert len(found.findall(whole.said)) == 2
    assert sorted(found.findall(shared.said)) == sorted(found.findall(whole.said))
    assert {job: _predicted(consumer, job) for job in before} == before, "bit for bit"


def _predicted(consumer: Consumer, job: str) -> dict[str, bytes]:
    """Every file of predictions that a job left."""
    folder = consumer.left(job, ".gradatim/predictions")
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _verifies_in_another_clone(consumer: Consumer) -> None:
    clone = consumer.home / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(consumer.remote), str(clone)], check=True)
    verify = [sys.executable, "-m", "gradatim", "verify", "v1.0.0"]
    done = subprocess.run(verify, cwd=clone, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _the_pipeline_of_a_tag_finds_the_release_public(consumer: Consumer) -> None:
    again = consumer.run(CI_COMMIT_TAG="v1.0.0", CI_COMMIT_BRANCH="")
    assert again.code == 0, again.said
    assert "v1.0.0 in" in again.said


def _mislabel(path: Path) -> None:
    with np.load(path) as weights:
        order = np.array([1, 0, *range(2, 10)])
        swapped = {"w": weights["w"][:, order], "b": weights["b"][order]}
    np.savez(path, **swapped)
