"""Abnormal inputs: a crash, a hang or a silent NaN is one failed case, and the rest goes on."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatim.checks.abnormal import abnormal_checks
from gradatim.checks.behaviour import unit_checks
from gradatim.checks.check import failed
from gradatim.checks.comparison import Allowance
from gradatim.checks.direct import direct_inputs
from gradatim.evidence.found import Check
from gradatim.gates.verdict import Verdict
from gradatim.models import batched, bind
from gradatim.models.predictor import RuntimeModel
from gradatim.signature import Signature, TensorSpec
from gradatim.timing.contestant import Contestant

EXAMPLE = {"x": np.linspace(0.1, 1, 8, dtype=np.float32).reshape(2, 4)}
SIGNATURE = Signature((TensorSpec("x", "float32", ("batch", 4)),), ())


def contestant(folder: Path, body: str) -> Contestant:
    """A model made of the user's own code: ``body`` turns the array x into the array y."""
    lines = "import ctypes, sys, time\nimport numpy as np\ncalls = []\ndef make():\n    def run(inputs):\n        x = inputs['x']\n"
    (folder / "odd_model.py").write_text(
        lines
        + textwrap.indent(textwrap.dedent(body), " " * 8)
        + "\n        return {'y': y}\n    return run\n"
    )
    return Contestant(
        "odd", folder / "odd_model.py", folder, format="python", factory="odd_model:make", signature=SIGNATURE
    )


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_a_plain_model_passes_with_a_remark_on_the_nan_that_it_lets_through(tmp_path: Path) -> None:
    checks = abnormal_checks(contestant(tmp_path, "y = x.sum(axis=1)"), EXAMPLE)
    assert not failed(checks)
    assert len(checks) > 10
    named = by_name(checks)
    assert named["all NaN"].detail == "NaN or infinity came out in `y`, without an error"
    assert named["wrong dtype of x"].detail.startswith("refused: The input `x` does not fit")
    strict = by_name(failed(abnormal_checks(contestant(tmp_path, "y = x.sum(axis=1)"), EXAMPLE, strict=True)))
    assert {"all NaN", "positive infinity", "largest values"} <= set(strict)


def test_a_segfault_is_a_failed_case_and_the_other_cases_are_still_asked(tmp_path: Path) -> None:
    body = "if np.isnan(x).any():\n    ctypes.string_at(0)\ny = x.sum(axis=1)"
    checks = abnormal_checks(contestant(tmp_path, body), EXAMPLE)
    (bad,) = failed(checks)
    assert bad.name == "all NaN"
    assert "SIGSEGV" in bad.detail
    known = by_name(abnormal_checks(contestant(tmp_path, body), EXAMPLE, known=["all NaN"]))
    assert known["all NaN"].verdict is Verdict.PASS
    assert known["all NaN"].detail.startswith("a known failure, says the contract.")
    names = [check.name for check in checks]
    assert names.index("all NaN") < names.index("without x") == len(names) - 1
    assert len(names) == len(set(names))


def test_what_else_runs_on_the_machine_does_not_change_which_batch_is_tried(tmp_path: Path) -> None:
    body = "calls.append(1)\nif len(calls) in (2, 3):\n    time.sleep(0.02)\ny = x.sum(axis=1)"
    assert "batch of 4096" in by_name(abnormal_checks(contestant(tmp_path, body), EXAMPLE))


def test_a_hang_is_ended_and_named(tmp_path: Path) -> None:
    body = "if np.isinf(x).any() and x.max() > 0:\n    time.sleep(60)\ny = x.sum(axis=1)"
    began = time.monotonic()
    (bad,) = failed(abnormal_checks(contestant(tmp_path, body), EXAMPLE, seconds=0.5))
    assert bad.name == "positive infinity"
    assert "no answer for 0.5 s" in bad.detail
    assert time.monotonic() - began < 30


def test_an_input_that_eats_the_memory_is_ended_and_named(tmp_path: Path) -> None:
    body = "if len(x) == 1:\n    big = np.ones((1 << 29,), np.uint8); time.sleep(20)\ny = x.sum(axis=1)"
    (bad,) = failed(abnormal_checks(contestant(tmp_path, body), EXAMPLE, memory=400 << 20))
    assert bad.name == "batch of 1"
    assert "GiB of memory" in bad.detail


def test_an_input_that_spoils_the_model_for_later_calls_is_found(tmp_path: Path) -> None:
    body = "calls.extend([1] if np.isnan(x).any() else [])\ny = x.sum(axis=1) + len(calls)"
    (bad,) = failed(abnormal_checks(contestant(tmp_path, body), EXAMPLE))
    assert bad.name == "all NaN"
    assert "no longer answers ordinary rows" in bad.detail


def test_an_ordinary_input_in_an_unusual_form_must_be_answered(tmp_path: Path) -> None:
    body = "assert len(x) != 1, 'one row is too few'\ny = x / x.sum()"
    bad = by_name(failed(abnormal_checks(contestant(tmp_path, body), EXAMPLE)))
    assert set(bad) == {"batch of 1", "all zero"}
    assert "one row is too few" in bad["batch of 1"].detail
    assert "NaN" in bad["all zero"].detail


def test_a_model_that_does_not_open_alone_says_so_once(tmp_path: Path) -> None:
    odd = contestant(tmp_path, "y = x")
    (tmp_path / "odd_model.py").write_text("def make():\n    raise OSError('the licence server is down')\n")
    (bad,) = abnormal_checks(odd, EXAMPLE)
    assert (bad.name, bad.verdict) == ("opening", Verdict.FAIL)
    assert "licence server" in bad.detail


def test_a_small_onnx_model_is_done_in_a_few_seconds(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, tmp_path / "m.onnx")
    began = time.process_time()
    checks = abnormal_checks(Contestant("m", tmp_path / "m.onnx", tmp_path), EXAMPLE)
    assert not failed(checks)
    assert {"batch of 0", "batch of 4096", "wrong size of x"} <= set(by_name(checks))
    assert time.process_time() - began < 1  # this process only waits


def test_a_state_model_gets_one_step_and_its_state_is_not_an_input() -> None:
    """As silero-vad: data with a time axis, a state that is carried, a constant."""
    signature = Signature(
        (
            TensorSpec("frame", "float32", ("batch", 5)),
            TensorSpec("state", "float32", (2, "batch", 3)),
            TensorSpec("rate", "int64", ()),
        ),
        (TensorSpec("p", "float32", ("batch", 1)), TensorSpec("next", "float32", (2, "batch", 3))),
    )

    def run(inputs: Any) -> dict[str, NDArray[Any]]:
        return {"p": inputs["frame"].sum(axis=1, keepdims=True), "next": inputs["state"] + 1}

    raw = RuntimeModel("a state model", signature, run, device="cpu", threads=1)
    predictor = batched(bind(raw, constants={"rate": 16000}, carries={"state": "next"}))
    frames = np.ones((3, 7, 5), np.float32)  # 3 items of 7 steps
    (name, values), *others = direct_inputs(predictor, {"frame": frames}).items()
    assert (name, values.shape, others) == ("frame", (3, 5), [])
    assert not failed(unit_checks(predictor, {"frame": frames}, Allowance(), None))
