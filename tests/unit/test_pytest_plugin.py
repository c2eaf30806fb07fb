"""``pytest --gradatim`` on its own and inside the test step, and the whole step on a small repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.workspace import Workspace
from gradatim.checks.user_tests import digest_of_tests, run_user_tests
from gradatim.contract.reading import read_contract
from gradatim.evidence.assembly import assemble
from gradatim.evidence.found import Check
from gradatim.evidence.found import Tested as Behaviour
from gradatim.evidence.statement import Bundle
from gradatim.gates.verdict import Verdict
from gradatim.registry.tagging import announce
from gradatim.steps.test import depends_on, run

MODEL = """
import numpy as np
def make():
    def model(inputs):
        x = inputs["image"]
        return {"scores": np.stack([x[:, :32].sum(axis=1), x[:, 32:].sum(axis=1)], axis=1)}
    return model
"""

CONTRACT = """
model:
  name: halves
  factory: halves:make
  inputs: {image: {dtype: float32, shape: [batch, 64]}}
  outputs: {scores: {dtype: float32, shape: [batch, 2]}}
data: {evaluation: data.npz}
task: classification
test: %s
"""


@pytest.fixture(autouse=True)
def _few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other plugins of this environment only cost time; gradatim's must come even so."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository in a folder with a space: which half of the image is brighter?"""
    root = tmp_path / "a repository é"
    root.mkdir()
    (root / "halves.py").write_text(MODEL)
    x = np.random.default_rng(0).integers(0, 17, size=(120, 64)).astype(np.float32)
    np.savez(root / "data.npz", image=x, label=(x[:, 32:].sum(axis=1) > x[:, :32].sum(axis=1)).astype(int))
    contract(root, "{robustness: [impulse_noise], pytest: checks}")
    (root / "checks").mkdir()
    (root / "checks" / "test_own.py").write_text(
        "def test_bright(model, dataset):\n"
        "    batch = dataset.head(10)\n"
        "    assert (model(batch.inputs)['scores'].argmax(axis=1) == batch.labels).all()\n"
        "def test_change(model, baseline):\n"
        "    assert baseline\n"
    )
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *who, *command], cwd=root, check=True)
    return root


def contract(root: Path, test: str) -> None:
    (root / "gradatim.yml").write_text(CONTRACT % test)


def release(root: Path) -> Candidate:
    workspace = Workspace(root)
    workspace.prepare()
    return Candidate(read_contract(root / "gradatim.yml"), ci.detect())


def outcome_of(root: Path) -> Outcome:
    return run(release(root))


def checks_of(outcome: Outcome) -> tuple[Check, ...]:
    assert isinstance(outcome.found, Behaviour)
    return outcome.found.checks


def run_pytest(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-W", "error::DeprecationWarning", "-m", "pytest"),
        *("-q", "-p", "gradatim", "-p", "no:cacheprovider", *arguments),
    ]
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def user_tests(
    root: Path, *paths: str, timeout: float = 60, top: Path | None = None
) -> list[tuple[str, str, str]]:
    checks = run_user_tests(
        paths,
        contract=root / "gradatim.yml",
        top=top or root,
        model="halves:make",
        baseline=None,
        timeout=timeout,
    )
    return [(check.name, check.verdict.value, check.detail) for check in checks]


def test_the_users_tests_take_no_settings_from_outside_of_their_repository(
    tmp_path: Path, repository: Path
) -> None:
    """A repository inside another project, as the demo is inside the kit's clone."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\naddopts = '--strict-config'\nno_such_option = 1\n"
    )
    (tmp_path / "conftest.py").write_text("raise RuntimeError('the conftest of a stranger')\n")
    (repository / "checks" / "test_own.py").write_text("def test_bright(model):\n    assert model\n")
    assert [(name, verdict) for name, verdict, _ in user_tests(repository, "checks")] == [
        ("checks.test_own::test_bright", "PASS")
    ]


def test_the_users_tests_take_the_settings_of_their_own_repository(repository: Path) -> None:
    inner = repository / "models" / "halves"
    inner.mkdir(parents=True)
    for name in ("halves.py", "data.npz", "gradatim.yml"):
        (repository / name).rename(inner / name)
    (repository / "checks").rename(inner / "checks")
    (repository / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\npython_functions = ['promise_*']\n"
    )
    (inner / "checks" / "test_own.py").write_text("def promise_kept(model):\n    assert model\n")
    assert [name for name, _, _ in user_tests(inner, "checks", top=repository)] == [
        "models.halves.checks.test_own::promise_kept"
    ]
    (inner / "pytest.ini").write_text("[pytest]\npython_functions = other_*\n")
    assert [name for name, _, _ in user_tests(inner, "checks", top=repository)] == ["pytest"]


def test_a_pytest_that_cannot_start_says_why_in_the_refusal(repository: Path) -> None:
    (repository / "pytest.ini").write_text("[pytest]\naddopts = --no-such-switch\n")
    outcome = outcome_of(repository)
    [text] = [gate.text for gate in outcome.gates if gate.gate == "test[pytest]"]
    assert "unrecognized arguments: --no-such-switch" in text


def test_the_step_checks_the_model_corrupts_the_data_and_runs_the_users_tests(repository: Path) -> None:
    outcome = outcome_of(repository)
    assert outcome.verdict is Verdict.PASS, checks_of(outcome)
    assert outcome.summary.endswith("checks, 1 corruption x 5 severities")
    groups = {check.group for check in checks_of(outcome)}
    assert groups == {"unit", "integration", "abnormal", "pytest"}
    where = {m.where for m in outcome.measurements if m.name == "robustness"}
    assert where == {"impulse_noise", *(f"impulse_noise:{severity}" for severity in range(6))}
    assert {path.name for path in outcome.outputs} == {"original.npz", "test.xml"}
    assert all(path.is_file() for path in outcome.outputs)
    assert "1 passed" in (repository / ".gradatim/test-original.log").read_text(encoding="utf-8")
    json.dumps(outcome.found.to_json(), allow_nan=False)


def test_rows_of_the_data_are_published_only_when_the_contract_says_so(repository: Path) -> None:
    contract(repository, "{abnormal: skip}")
    assert "golden.npz" not in {path.name for path in outcome_of(repository).outputs}
    contract(repository, "{abnormal: skip, examples: 3}")
    assert "golden.npz" in {path.name for path in outcome_of(repository).outputs}


def test_failed_checks_refuse_by_group_with_the_line_of_the_contract(repository: Path) -> None:
    (repository / "checks" / "test_own.py").write_text("def test_wrong(model):\n    assert 1 + 1 == 3\n")
    contract(repository, "{pytest: checks, golden: golden.npz, abnormal: skip}")
    outcome = outcome_of(repository)
    assert outcome.verdict is Verdict.INVALID  # the golden file does not exist
    gates = {gate.gate: gate for gate in outcome.gates}
    assert set(gates) == {"test[unit]", "test[pytest]"}
    assert "assert (1 + 1) == 3" in gates["test[pytest]"].text
    assert gates["test[pytest]"].line == 9
    assert gates["test[unit]"].refuses
    assert "golden.npz does not exist" in gates["test[unit]"].text


def test_golden_rows_of_this_release_hold_the_next_one_to_account(repository: Path) -> None:
    contract(repository, "{abnormal: skip, examples: 8}")
    outcome_of(repository)
    publish_with_golden_rows(repository)
    (repository / "halves.py").write_text(MODEL + "# another file, the same answers\n")
    assert "golden:v1.0.0" in depends_on(release(repository))
    same = [c for c in checks_of(outcome_of(repository)) if c.group == "regression"]
    assert [(c.name, c.detail) for c in same] == [("v1.0.0", "8 golden answers as they were")]
    (repository / "halves.py").write_text(
        MODEL.replace("x[:, :32].sum(axis=1)", "1000 + x[:, :32].sum(axis=1)")
    )
    contract(repository, "{abnormal: skip, regression: strict}")
    (gate,) = outcome_of(repository).gates
    assert gate.gate == "test[regression]"
    assert "golden answers changed" in gate.text


def publish_with_golden_rows(root: Path) -> None:
    found = release(root)
    files = assemble(
        found.forms.original.manifest,
        root,
        Bundle(()),
        tag="v1.0.0",
        version="v1.0.0",
        stage="production",
        variant="original",
        commit=found.repository.head(),
        previous=None,
        committed={"halves.py": "halves.py"},
        others={"golden.npz": root / ".gradatim" / "golden.npz"},
    )
    announce(found.repository, files.record, files.manifest, files.kept, named=False)


def test_without_evaluation_data_the_golden_file_feeds_the_checks(repository: Path) -> None:
    x = np.ones((3, 64), np.float32)
    np.savez(repository / "golden.npz", image=x, expected_scores=np.full((3, 2), 32, np.float32))
    text = (CONTRACT % "{golden: golden.npz, abnormal: skip}").replace("data: {evaluation: data.npz}\n", "")
    (repository / "gradatim.yml").write_text(text)
    names = [c.name for c in checks_of(outcome_of(repository))]
    assert names == [
        "golden outputs",
        "signature",
        "finite outputs",
        "determinism",
        "one by one",
        "permutation",
    ]


def test_what_the_step_rests_on_changes_with_the_users_tests_and_not_with_caches(repository: Path) -> None:
    before = digest_of_tests(repository, repository, ("checks",))
    (repository / "checks" / "__pycache__").mkdir()
    (repository / "checks" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert digest_of_tests(repository, repository, ("checks",)) == before
    (repository / "conftest.py").write_text("import halves\n")
    with_conftest = digest_of_tests(repository, repository, ("checks",))
    assert with_conftest != before
    (repository / "checks" / "test_own.py").write_text("import helping\n")
    (repository / "helping.py").write_text("A = 1\n")
    first = digest_of_tests(repository, repository, ("checks",))
    (repository / "helping.py").write_text("A = 2\n")
    assert digest_of_tests(repository, repository, ("checks/test_own.py::test_a",)) != first


def test_a_broken_file_no_tests_and_a_missing_path_fail_with_the_reason(repository: Path) -> None:
    folder = repository / "checks"
    (folder / "test_own.py").write_text("import nothing_of_this_name\n")
    ((_, verdict, detail),) = user_tests(repository, "checks")
    assert verdict == "FAIL"
    assert "nothing_of_this_name" in detail
    (folder / "test_own.py").write_text("x = 1\n")
    ((name, verdict, detail),) = user_tests(repository, "checks")
    assert (name, verdict) == ("pytest", "FAIL")
    assert detail.startswith("No tests were found.")
    ((_, verdict, detail),) = user_tests(repository, "elsewhere")
    assert verdict == "FAIL"
    assert "elsewhere" in detail


def test_tests_that_hang_crash_or_ask_for_input_fail_and_do_not_stop_the_step(repository: Path) -> None:
    own = repository / "checks" / "test_own.py"
    own.write_text("import time\ndef test_long():\n    time.sleep(60)\n")
    ((name, verdict, detail),) = user_tests(repository, "checks", timeout=3)
    assert (name, verdict) == ("pytest", "FAIL")
    assert "not done after 3 s" in detail
    own.write_text("import ctypes\ndef test_native():\n    ctypes.string_at(0)\n")
    (*_, (name, verdict, detail)) = user_tests(repository, "checks")
    assert (name, verdict) == ("pytest", "FAIL")
    assert "SIGSEGV" in detail
    own.write_text("import sys\ndef test_asks():\n    assert sys.__stdin__.read() == ''\n")
    assert [verdict for _, verdict, _ in user_tests(repository, "checks")] == ["PASS"]


def test_the_plugin_works_on_its_own_and_skips_the_baseline_of_a_first_release(repository: Path) -> None:
    done = run_pytest(repository, "--gradatim", PYTEST_DISABLE_PLUGIN_AUTOLOAD="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    named = run_pytest(repository, "--gradatim-contract", "gradatim.yml", GRADATIM_BASELINE="halves:make")
    assert "2 passed" in named.stdout, named.stdout


def test_a_broken_contract_fails_the_test_in_words(repository: Path) -> None:
    (repository / "gradatim.yml").write_text("model: {nam: x}\n")
    done = run_pytest(repository, "--gradatim")
    assert done.returncode == 1
    assert "gradatim.yml:1:9" in done.stdout
    assert "Traceback" not in done.stdout


def test_other_peoples_tests_are_not_disturbed(repository: Path) -> None:
    (repository / "checks" / "test_own.py").write_text(
        "import sys, pytest\n"
        "@pytest.fixture\n"
        "def model():\n    return 'mine'\n"
        "def test_mine(model):\n"
        "    assert model == 'mine'\n"
        "    heavy = {'numpy', 'pydantic', 'yaml', 'onnxruntime', 'gradatim.candidate.candidate', 'gradatim.commands.pytest_fixtures'}\n"
        "    assert not heavy & set(sys.modules)\n"
        "def test_none(request):\n"
        "    with pytest.raises(pytest.FixtureLookupError):\n"
        "        request.getfixturevalue('baseline')\n"
    )
    done = run_pytest(repository)
    assert "2 passed" in done.stdout, done.stdout


def test_a_model_that_refuses_the_real_rows_is_refused_in_words_and_the_rest_is_not_tried(
    repository: Path,
) -> None:
    contract(repository, "{robustness: [impulse_noise]}")
    (repository / "halves.py").write_text(MODEL.replace('inputs["image"]', 'inputs["image"].no_such_thing'))
    outcome = outcome_of(repository)
    (gate,) = outcome.gates
    assert gate.gate == "test[unit]"
    assert "no_such_thing" in gate.text
    assert [path.name for path in outcome.outputs] == ["test.xml"]
    assert "no_such_thing" in outcome.outputs[0].read_text()
