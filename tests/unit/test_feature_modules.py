"""An example project: one trunk, a head more with each release, and a client of the first release that every later one must serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from gate_project import GateProject
from onnx import TensorProto, helper, numpy_helper
from registry_examples import IDENTITY, commit_file, new_repository

from gradatim.cli import cli
from gradatim.pipeline.step import run_step
from gradatim.steps.tag import upcoming

HEADS = {"topic": 3, "tone": 2, "urgency": 4, "language": 5}
CONTRACT = """\
model: {name: reader, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [sport, art, law], output: topic}
test: {abnormal: skip}
gates: {accuracy: {at_least: 80%%}%s}
canary: {errors: {not_worse_than: baseline, by: 3%%}, agreement: {at_least: 97%%}}
stages: {production: {branch: main}}
"""
DICE = np.random.default_rng(4)
TRUNK = DICE.normal(size=(8, 16)).astype(np.float32)
WEIGHTS = {name: DICE.normal(size=(16, width)).astype(np.float32) for name, width in HEADS.items()}
ROWS = DICE.normal(size=(400, 8)).astype(np.float32)
TOPICS = (np.maximum(ROWS @ TRUNK, 0) @ WEIGHTS["topic"]).argmax(axis=1)


def write_reader(
    path: Path, heads: list[str], *, trunk: Any = TRUNK, renamed: dict[str, str] | None = None
) -> None:
    """Text features through the trunk, and from there through each head."""
    called = {name: (renamed or {}).get(name, name) for name in heads}
    nodes = [helper.make_node("MatMul", ["x", "trunk"], ["m"]), helper.make_node("Relu", ["m"], ["features"])]
    nodes += [helper.make_node("MatMul", ["features", f"to_{name}"], [called[name]]) for name in heads]
    tensors = [numpy_helper.from_array(trunk, "trunk")]
    tensors += [numpy_helper.from_array(WEIGHTS[name], f"to_{name}") for name in heads]
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [
            helper.make_tensor_value_info(called[name], TensorProto.FLOAT, ["n", HEADS[name]])
            for name in heads
        ],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Reader(GateProject):
    """The example project."""

    def offer(self, *heads: str, more: str = "", **changed: Any) -> tuple[str, tuple[str, ...]]:
        """A candidate with these heads, judged; the version that it would get, and why."""
        (self.root / "gradatim.yml").write_text(CONTRACT % more)
        write_reader(self.root / "model.onnx", list(heads), **changed)
        for step in ("inspect", "evaluate"):
            run_step(step, self.release())
        candidate = self.release()
        found = upcoming(candidate, candidate.forms.original, "production")
        return str(found.version), tuple(found.reasons)

    def serves_old_clients(self) -> dict[str, Any]:
        """The requests of the first release's client, through the release in service and the candidate."""
        done = CliRunner().invoke(
            cli, ["canary", "--replay", "client-of-v1.jsonl", "--json"], standalone_mode=False
        )
        assert done.exception is None, done.exception
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """v1.0.0 knows topics; a client of it has sent 120 requests."""
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    root = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    monkeypatch.chdir(root)
    commit_file(root, ".gitignore", b".gradatim/\n")
    np.savez(root / "test.npz", x=ROWS, label=np.array(["sport", "art", "law"])[TOPICS])
    (root / "client-of-v1.jsonl").write_text(
        "".join(json.dumps({"x": row.tolist()}) + "\n" for row in ROWS[:120])
    )
    made = Reader(root, tmp_path / "remote.git")
    made.offer("topic")
    made.announce("v1.0.0", "inspect")
    return made


def test_heads_are_added_by_minor_versions_and_the_first_client_is_served_by_each(reader: Reader) -> None:
    names = list(HEADS)
    for count in (2, 3, 4):
        version, why = reader.offer(*names[:count])
        assert (version, why[0]) == (f"v1.{count - 1}.0", f"output `{names[count - 1]}` added")
        told = reader.serves_old_clients()
        assert (told["verdict"], told["baseline"], told["failed"]) == ("PASS", f"v1.{count - 2}.0", 0)
        reader.announce(version, "inspect")


def test_a_trunk_that_was_trained_anew_for_a_new_head_breaks_the_first_client_and_is_refused(
    reader: Reader,
) -> None:
    drifted = TRUNK + DICE.normal(size=TRUNK.shape).astype(np.float32)
    reader.offer("topic", "tone", trunk=drifted)
    told = reader.serves_old_clients()
    assert {gate["gate"]: gate["verdict"] for gate in told["gates"]} == {
        "errors": "PASS",
        "agreement": "FAIL",
    }


def test_a_head_that_is_taken_away_is_a_major_version(reader: Reader) -> None:
    reader.offer("topic", "tone")
    reader.announce("v1.1.0", "inspect")
    version, why = reader.offer("topic")
    assert (version, why[0]) == ("v2.0.0", "output `tone` removed or renamed")
    assert reader.serves_old_clients()["verdict"] == "PASS"  # who asked for topics alone has lost nothing
