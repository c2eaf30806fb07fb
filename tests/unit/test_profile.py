"""Which operators are dearest: PyTorch's profiler, kept with its trace, and shown for the model that it saw alone."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_project import CONTRACT, write_model
from registry_examples import commit_file, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.codec import encode
from gradatim.evidence.profile import DearOperator, Profile
from gradatim.files import write_json
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.report.html import render_html
from gradatim.report.markdown import render_markdown
from gradatim.steps.benchmark import profile_forms
from gradatim.timing.profile import DEAREST, profile


def test_the_dearest_operators_come_first_and_the_whole_trace_is_kept(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    found = profile(lambda: net(torch.zeros(4, 8)), "cpu", tmp_path / "trace.json")
    assert 3 < len(found) <= DEAREST
    shares = [one["share"] for one in found]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1
    layers = [one for one in found if one["name"] == "aten::addmm"]
    assert layers[0]["calls"] == 2
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_what_pytorch_does_not_run_is_said_to_be_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(InvalidInput, match="run by something else"):
        profile(lambda: None, "cpu", tmp_path / "trace.json")


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    root = new_repository(tmp_path_factory.mktemp("profiled") / "project")
    write_model(root / "model.onnx", "old")
    x = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    np.savez(root / "test.npz", x=x, label=x[:, :3].argmax(1))
    text = CONTRACT % {"data": "inputs: {x: x}", "test": "", "gates": "  size: {at_most: 1 GB}"}
    (root / "gradatim.yml").write_text(f"{text}\nbenchmark: {{rounds: 3}}\n")
    commit_file(root, ".gitignore", b".gradatim/\n")
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop(), "alpha")
    run_step("benchmark", candidate)
    return candidate


def test_a_model_of_another_runtime_is_told_at_the_line_of_the_contract(timed: Candidate) -> None:
    root = timed.contract.root
    (root / "plain.py").write_text("def model():\n    return lambda inputs: {'scores': inputs['x'][:, :3]}\n")
    text = (root / "gradatim.yml").read_text()
    named = "{name: small, factory: plain:model, inputs: {x: {}}, outputs: {scores: {}}}"
    (root / "plain.yml").write_text(text.replace("{name: small, path: model.onnx}", named))
    with pytest.raises(InvalidInput, match=r"^plain.yml:\d+.*run by something else"):
        profile_forms(Candidate(read_contract(root / "plain.yml"), Laptop(), "alpha"))


def test_operators_of_onnx_are_told_by_its_own_runtime_with_the_whole_trace(timed: Candidate) -> None:
    (seen,) = profile_forms(timed)
    assert seen.by == "ONNX Runtime"
    (dearest,) = seen.operators
    assert (dearest.name, dearest.calls, dearest.share) == ("MatMul", 1, 1)
    assert 0 < dearest.seconds < 0.1
    events = json.loads((timed.contract.root / seen.trace).read_text())
    assert sum(event["name"] == "model_run" for event in events) == 40
    for shown in (render_markdown(collect(timed)), render_html(collect(timed))):
        assert "as ONNX Runtime" in shown
        assert "MatMul" in shown


_WATCHER = """#!{python}
import json, subprocess, sys
[out] = [given.partition("=")[2] for given in sys.argv if given.startswith(("--output=", "--export="))]
print("Collecting data...", flush=True)
done = subprocess.run(sys.argv[sys.argv.index({python!r}):])
open(out + ".{kind}-rep", "w").write(json.dumps(sys.argv[1:]))
print("Generated a report", flush=True)
sys.exit(done.returncode)
"""


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nsys", ["profile", "--trace=cuda,nvtx,osrt", "--force-overwrite=true", "--output={out}"]),
        ("ncu", ["--force-overwrite", "--export={out}"]),
    ],
)
def test_a_profiler_of_nvidias_that_is_installed_starts_the_model_and_its_report_is_kept(
    timed: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, told: list[str]
) -> None:
    """A program of that name stands in for it: the command line is the one that NVIDIA documents, and no GPU has seen it."""
    (tmp_path / kind).write_text(_WATCHER.format(python=sys.executable, kind=kind))
    (tmp_path / kind).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (seen,) = profile_forms(timed)
    assert seen.beside == f".gradatim/profile/original.{kind}.{kind}-rep"
    line = json.loads((timed.contract.root / seen.beside).read_text())
    out = next(given.partition("=")[2] for given in line if given.endswith(f"original.{kind}"))
    assert line == [
        *(given.format(out=out) for given in told),
        sys.executable,
        "-m",
        "gradatim.timing.worker",
    ]
    assert seen.beside in render_markdown(collect(timed))


def test_a_profiler_that_leaves_nothing_is_told_at_the_line_of_the_contract(
    timed: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nsys").write_text('#!/bin/sh\nshift 4\nexec "$@"\n')
    (tmp_path / "nsys").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(InvalidInput, match=r"^gradatim.yml:\d+.*nsys left no report of the model `original`"):
        profile_forms(timed)


def test_every_report_shows_the_profile_of_the_model_that_is_there_and_of_no_other(timed: Candidate) -> None:
    form = timed.forms.original
    dear = (DearOperator("aten::addmm|<b>", 2, 3e-6, 0.5),)
    seen = Profile(form.name, form.manifest.digest, "cpu", ".gradatim/profile/original.trace.json", dear)
    path = timed.workspace.profile(form.name)
    write_json(path, encode(seen))
    report = collect(timed)
    for shown in (render_markdown(report), render_html(report)):
        assert "Dearest operators" in shown
        assert "addmm" in shown
        assert "|<b>" not in shown
    write_json(path, encode(replace(seen, digest="0" * 64)))
    assert "Dearest operators" not in render_markdown(collect(timed))
    path.write_text("{}")
    with pytest.raises(BrokenEvidence, match="gradatim benchmark --profile"):
        collect(timed)
