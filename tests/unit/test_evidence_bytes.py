"""Evidence is read by other versions of the kit, and compared with older releases: what every step writes stays as it is.

``python tests/unit/test_evidence_bytes.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_project import write_model
from registry_examples import act_as_ada, commit_file, git, new_repository, registry_of

from gradatim import __version__
from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.compression.result import Result
from gradatim.contract.reading import read_contract
from gradatim.evidence.found import (
    Built,
    Compressed,
    Evaluated,
    Found,
    Inspected,
    Judged,
    Promoted,
    Published,
    Shared,
    Tagged,
)
from gradatim.evidence.found import Tested as Behaviour
from gradatim.evidence.statement import Bundle, Statement
from gradatim.evidence.trial import Trial
from gradatim.files import canonical_json
from gradatim.pipeline.step import run_shard, run_step
from gradatim.registry.ledger import open_ledger
from gradatim.shard import Shard
from gradatim.steps import compress, promote

pytest.importorskip("onnxruntime")

GOLDEN = Path(__file__).parent / "golden" / "evidence"
STEPS = (
    *(
        "build",
        "inspect",
        "compress",
        "test-shard",
        "test",
        "evaluate-shard",
        "evaluate",
        "benchmark",
        "gate",
    ),
    *("tag", "publish", "promote", "compress-chosen", "evaluate-nothing", "compress-nothing", "tag-refused"),
)
TOLD = ("summary", "outputs", "seconds", "made")
KINDS: dict[str, type[Found]] = {
    "build": Built,
    "inspect": Inspected,
    "compress": Compressed,
    "test": Behaviour,
    "evaluate": Evaluated,
    "gate": Judged,
    "tag": Tagged,
    "publish": Published,
    "promote": Promoted,
}
CONTRACT = """\
model: {name: small, path: new/model.onnx, build: python build.py}
data: {evaluation: test.npz, calibration: test.npz, slices: site, uses: 9}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip, pytest: checks, robustness: [feature_noise], items: 30, examples: 2}
compress: {keep: {log_loss: 50%}, methods: [int8-weights]}
benchmark: {rounds: 3}
gates:
  accuracy: {at_least: 60%}
  recall: {at_least: 60%, slices: every class, required: false}
  negative_flips: {at_most: 30%}
stages:
  beta: {branch: main, on_inconclusive: warn}
  production: {branch: release}
publish:
  - folder: releases
"""
BUILD = """\
import json, pathlib, shutil
pathlib.Path("new").mkdir(exist_ok=True)
shutil.copyfile("made.onnx", "new/model.onnx")
pathlib.Path("lineage.json").write_text(json.dumps({"seed": 3, "parameters": {"lr": 0.1, "layers": [2, 3]}}))
"""
LABELS = np.arange(240) % 3


class Project:
    """A released model and a candidate that a build makes, with everything that a contract can ask for."""

    def __init__(self, folder: Path) -> None:
        self.root = new_repository(folder / "repo", remote=folder / "remote.git")
        old, new = (np.where(np.arange(240) < misses, (LABELS + 1) % 3, LABELS) for misses in (20, 12))
        rows = np.concatenate([np.eye(3)[old], np.eye(3)[new]], axis=1).astype(np.float32)
        site = np.where(np.arange(240) < 40, "south", "north")
        np.savez(self.root / "test.npz", x=rows, label=LABELS, site=site)
        (self.root / "new").mkdir()
        write_model(self.root / "new/model.onnx", "old")
        commit_file(self.root, ".gitignore", b".gradatim/\nreleases/\n__pycache__/\nlineage.json\n")
        git(self.root, "tag", "-a", "v1.0.0", "-m", "The first")
        git(self.root, "push", "-q", "origin", "v1.0.0")
        git(self.root, "rm", "-q", "new/model.onnx")
        write_model(self.root / "made.onnx", "new")
        (self.root / "build.py").write_text(BUILD, encoding="utf-8")
        (self.root / "checks").mkdir()
        (self.root / "checks/test_it.py").write_text(
            "def test_it(model):\n    assert model\n", encoding="utf-8"
        )
        self.write_contract(CONTRACT)
        commit_file(self.root, ".gitignore", b".gradatim/\nreleases/\n__pycache__/\nlineage.json\nnew/\n")

    def write_contract(self, text: str) -> None:
        (self.root / "gradatim.yml").write_text(text, encoding="utf-8")

    def candidate(self, stage: str = "beta") -> Candidate:
        return Candidate(read_contract(self.root / "gradatim.yml"), Laptop(), stage)

    def evidence(self) -> Iterator[tuple[str, Statement]]:
        """The evidence of every step by the name of its golden file."""
        for step in ("build", "inspect", "compress"):
            yield step, run_step(step, self.candidate()).statement
        for step in ("test", "evaluate"):
            for number in (1, 2):
                shard = run_shard(step, self.candidate(), Shard(number, 2)).statement
            yield f"{step}-shard", shard
            yield step, run_step(step, self.candidate()).statement
        for step in ("benchmark", "gate", "tag", "publish"):
            yield step, run_step(step, self.candidate()).statement
        yield "promote", self._promoted()
        yield "compress-chosen", self._chosen()
        yield from self._of_little()

    def _promoted(self) -> Statement:
        candidate = self.candidate("production")
        promote.run(candidate, promote.plan(candidate, "production"))
        release = registry_of(self.root).model("small").release("v1.1.0")
        ledger = open_ledger(candidate.repository, str(release.manifest))
        (found,) = Bundle.from_bytes(ledger.read("v1.1.0/evidence.intoto.jsonl")).of("promote")
        return found

    def _chosen(self) -> Statement:
        """What a search leaves whose outcome hangs on no timing: one form accepted, one that came to nothing."""
        candidate = self.candidate()
        path = candidate.workspace.model_folder("int8-dynamic") / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.root / "made.onnx", path)
        original = Trial("original", {}, True, "the original", {}, 400, 1.0, 1.0, digest="0" * 64)
        recipe = {"method": "int8-dynamic", "fallback": ["one"], "unpacked": False}
        small = Trial(
            "int8-dynamic", recipe, True, "0.50 of the size in 0.80 of the time", {"accuracy": 0.95, "fidelity": 0.999},
            200, 0.5, 0.8, path, "1" * 64, 1.5,
        )  # fmt: skip
        lost = Trial("int8-static", {"method": "int8-static"}, False, "it took longer than 1 s", {})
        result = Result(original, (small, lost), (small,), "int8-dynamic is the best of 2 tried.")
        outcome = compress._outcome(candidate, result)
        return outcome.statement(candidate, "compress", compress.depends_on(candidate), 1.0)

    def _of_little(self) -> Iterator[tuple[str, Statement]]:
        """The evidence of a candidate that is refused, and of a contract that asks for nothing."""
        self.write_contract(CONTRACT.replace("at_least: 60%}", "at_least: 99%}"))
        for step in ("build", "gate", "tag"):
            statement = run_step(step, self.candidate()).statement
        yield "tag-refused", statement
        self.write_contract("model: {name: small, path: new/model.onnx}\nstages:\n  beta: {branch: main}\n")
        for step in ("build", "inspect", "compress", "evaluate"):
            statement = run_step(step, self.candidate()).statement
            if step in ("compress", "evaluate"):
                yield f"{step}-nothing", statement


def comparable(statement: Statement) -> dict[str, Any]:
    """A statement as JSON without what a machine, a clock or a version decides; of measurements and gates the fields."""
    record: dict[str, Any] = _plain(json.loads(statement.to_bytes()), "")
    predicate = record["predicate"]
    predicate["environment"] = sorted(predicate["environment"])
    for several in ("measurements", "gates"):
        predicate[several] = sorted({key for one in predicate[several] for key in one})
    return record


def _plain(value: Any, key: str) -> Any:
    if key in ("seconds", "made", "latency_ratio", "score", "timed"):
        return "#"
    if isinstance(value, dict):
        named = {_plain(name, ""): _plain(inner, name) for name, inner in sorted(value.items())}
        return {**named, "summary": "#"} if "paired" in str(value.get("summary")) else named
    if isinstance(value, list):
        return [_plain(inner, "") for inner in value]
    if isinstance(value, str):
        value = re.sub(r"(\S+/)?\breleases/", "<releases>/", value.replace(__version__, "<version>"))
        return re.sub(r"\b[0-9a-f]{64}\b", "<sha256>", re.sub(r"\b[0-9a-f]{40}\b", "<commit>", value))
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _golden(statement: Statement) -> str:
    return json.dumps(comparable(statement), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Statement]:
    with pytest.MonkeyPatch.context() as patch:
        act_as_ada(patch)
        for name in ("GITHUB_ACTIONS", "GITLAB_CI", "SOURCE_DATE_EPOCH"):
            patch.delenv(name, raising=False)
        patch.setattr("gradatim.timing.energy.POWERCAP", Path("no counters of energy, whatever the machine"))
        project = Project(tmp_path_factory.mktemp("evidence"))
        return dict(project.evidence())


@pytest.mark.xdist_group("evidence")
@pytest.mark.parametrize("step", STEPS)
def test_the_evidence_of_a_step_is_what_it_always_was(written: dict[str, Statement], step: str) -> None:
    assert _golden(written[step]) == (GOLDEN / f"{step}.json").read_text(encoding="utf-8")


@pytest.mark.xdist_group("evidence")
def test_every_evidence_has_a_golden_file(written: dict[str, Statement]) -> None:
    assert set(written) == set(STEPS)


@pytest.mark.xdist_group("evidence")
@pytest.mark.parametrize("step", STEPS)
def test_what_a_step_found_is_read_back_whole(written: dict[str, Statement], step: str) -> None:
    again = Statement.from_bytes(written[step].to_bytes(), step)
    own = {key: value for key, value in again.details.items() if key not in TOLD}
    kind = Shared if step.endswith("-shard") else KINDS.get(step.partition("-")[0])
    found = kind.if_any(again) if kind else None
    assert canonical_json(found.to_json() if found else {}) == canonical_json(own)
    assert (found is None) == (step in ("benchmark", "evaluate-nothing", "tag-refused"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        act_as_ada(patch)
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for step, found in Project(Path(scratch)).evidence():
            (GOLDEN / f"{step}.json").write_text(_golden(found), encoding="utf-8")
