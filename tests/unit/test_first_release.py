"""A first release has no baseline; a compressed form of it still has the original to be compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import Runner
from registry_examples import commit_file, new_repository
from small_models import write_mlp

from gradatim.candidate.candidate import Candidate
from gradatim.contract.reading import read_contract
from gradatim.evidence.found import Evaluated, Judged
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.pipeline.step import run_step
from gradatim.steps import gate

pytest.importorskip("onnxruntime")

CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz, calibration: calibration.npz, label: null}
task: embedding
gates:
%s
compress: {methods: [int8-dynamic], keep: {fidelity: 50%%}}
stages: {production: {branch: main}}
"""


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which nothing was released, its model compressed and both forms evaluated."""
    root = new_repository(tmp_path_factory.mktemp("first") / "repo")
    draw = np.random.default_rng(0)
    write_mlp(root / "model.onnx", 512)  # large enough for int8 to be no slower
    np.savez(root / "test.npz", x=draw.normal(size=(60, 64)).astype(np.float32))
    np.savez(root / "calibration.npz", x=draw.normal(size=(30, 64)).astype(np.float32))
    commit_file(root, ".gitignore", b".gradatim/\n")
    for step in ("inspect", "compress", "evaluate"):
        run_step(step, candidate(root, "size: {at_most: 5 MB}"))
    return root


def candidate(root: Path, *gates: str) -> Candidate:
    lines = "\n".join(f"  {line}" for line in gates)
    (root / "gradatim.yml").write_text(CONTRACT % lines, encoding="utf-8")
    contract = read_contract(root / "gradatim.yml")
    return Candidate(contract, Runner(), "production")


def judged(root: Path, *gates: str) -> dict[str, GateResult]:
    return {result.gate: result for result in gate.run(candidate(root, *gates)).gates}


def test_a_compressed_form_of_a_first_release_is_held_against_the_original(compressed: Path) -> None:
    assert [variant.name for variant in candidate(compressed, "size: {at_most: 1 MB}").forms.all] == [
        "int8-dynamic",
        "original",
    ]
    found = judged(compressed, "cosine: {at_least: 50%}", "agreement: {at_least: 10%}")
    for name in ("cosine", "agreement"):
        assert found[name].variant == "int8-dynamic"
        assert found[name].value is not None
        assert "against the original" in found[name].text
    assert found["cosine"].verdict is Verdict.PASS


def test_a_compressed_form_that_is_too_unlike_the_original_is_not_released(compressed: Path) -> None:
    found = judged(compressed, "cosine: {at_least: 99.9999%}")
    assert found["cosine"].variant == "original"
    assert (found["cosine"].verdict, found["cosine"].value) == (Verdict.PASS, None)
    judgement = gate.run(candidate(compressed, "cosine: {at_least: 99.9999%}")).found
    assert isinstance(judgement, Judged)
    assert "cosine" in judgement.refused_variants["int8-dynamic"][0]


def test_evaluating_measures_how_like_the_original_a_compressed_form_is(compressed: Path) -> None:
    statement = candidate(compressed, "size: {at_most: 1 MB}").workspace.statement("evaluate")
    assert statement is not None
    measured = {(m.name, m.variant): m for m in statement.measurements}
    assert 0.5 < measured["cosine", "int8-dynamic"].value < 1
    assert ("cosine", "original") not in measured
    assert Evaluated.of(statement).variants["int8-dynamic"].changed is None


def test_nothing_but_likeness_is_held_against_the_original(compressed: Path) -> None:
    found = judged(compressed, "size: {not_worse_than: baseline, by: 10%}")
    assert "nothing to compare with" in found["size"].text
