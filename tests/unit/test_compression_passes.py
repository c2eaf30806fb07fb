"""A pass of the user's own stands beside the kit's methods: measured, judged and released like theirs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from test_calibration import LABELS, lay_down

from gradatim.errors import InvalidInput
from gradatim.evidence.found import Compressed
from gradatim.evidence.trial import Trial
from gradatim.pipeline.step import run_step

pytest.importorskip("onnx")

PASSES = '''
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto


def halved(model, out):
    """Store every float weight in 16 bits, with a Cast back behind it."""
    loaded = onnx.load(str(model))
    nodes = []
    for tensor in loaded.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), name + "_16"))
            nodes.append(helper.make_node("Cast", [name + "_16"], [name], to=TensorProto.FLOAT))
    nodes += list(loaded.graph.node)
    del loaded.graph.node[:]
    loaded.graph.node.extend(nodes)
    onnx.save(loaded, str(out))


def forgetful(model, out):
    pass


def broken(model, out):
    return 1 / 0


def endless(model, out):
    tempfile.mkdtemp(prefix="left-by-a-pass-")
    while True:
        pass


def other(model, out):
    loaded = onnx.load(str(model))
    loaded.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(0 * numpy_helper.to_array(loaded.graph.initializer[0]), loaded.graph.initializer[0].name)
    )
    onnx.save(loaded, str(out))


def for_seven(model, out):
    """Answer alike; slowly, unless a call has seven rows."""
    loaded = onnx.load(str(model))
    graph, cheap, dear = loaded.graph, onnx.GraphProto(name="cheap"), onnx.GraphProto(name="dear")
    graph.initializer.extend(
        [numpy_helper.from_array(np.array(7, np.int64), "seven"), numpy_helper.from_array(np.array([400, 400]), "large")]
    )
    plain, graph.node[0].output[0] = graph.node[0].output[0], "plain"
    given = graph.input[0].name
    cheap.node.append(helper.make_node("Identity", ["plain"], ["quick"]))
    dear.node.extend([
        helper.make_node("ReduceSum", [given], ["sum"]),
        helper.make_node("Expand", ["sum", "large"], ["square"]),
        helper.make_node("MatMul", ["square", "square"], ["product"]),
        helper.make_node("ReduceMin", ["product"], ["least"]),
        helper.make_node("Sub", ["least", "least"], ["nought"]),
        helper.make_node("Add", ["plain", "nought"], ["slow"]),
    ])
    cheap.output.append(helper.make_tensor_value_info("quick", TensorProto.FLOAT, None))
    dear.output.append(helper.make_tensor_value_info("slow", TensorProto.FLOAT, None))
    graph.node.extend([
        helper.make_node("Shape", [given], ["rows"], start=0, end=1),
        helper.make_node("Equal", ["rows", "seven"], ["fits"]),
        helper.make_node("If", ["fits"], [plain], then_branch=cheap, else_branch=dear),
    ])
    onnx.save(loaded, str(out))
'''


def tried(folder: Path, passes: str, more: str = "", timed: str = "") -> dict[str, Trial]:
    import numpy as np

    project = lay_down(folder, LABELS, LABELS, LABELS, {})
    with np.load(project.root / "test.npz") as found:
        np.savez(project.root / "calibration.npz", x=found["x"][:20])
    (project.root / "smaller.py").write_text(PASSES)
    project.contract("size: {at_most: 1 MB}", data="calibration: calibration.npz")
    path = project.root / "gradatim.yml"
    asked = f"compress: {{methods: [], passes: [{passes}], keep: {{fidelity: 99%}}{more}}}\n"
    path.write_text(path.read_text(encoding="utf-8") + asked + timed, encoding="utf-8")
    found = Compressed.of(run_step("compress", project.release()).statement)
    return {trial.name: trial for trial in found.trials or ()}


def test_a_pass_of_the_users_own_is_measured_and_judged_like_ours(tmp_path: Path) -> None:
    trials = tried(tmp_path, "'smaller:halved', 'smaller:other'")
    assert trials["smaller-halved"].quality["fidelity"] > 0.9999
    assert "fidelity" in trials["smaller-other"].reason
    assert not trials["smaller-other"].accepted
    assert trials["smaller-halved"].digest
    assert trials["smaller-halved"].latency_ratio


def test_a_pass_that_fails_hangs_or_writes_nothing_is_a_reason(tmp_path: Path) -> None:
    trials = tried(tmp_path, "'smaller:forgetful', 'smaller:broken', 'smaller:endless'", ", timeout: 5")
    assert "wrote no model" in trials["smaller-forgetful"].reason
    assert "smaller.py" in trials["smaller-broken"].reason
    assert "division by zero" in trials["smaller-broken"].reason
    assert "longer than 5 s" in trials["smaller-endless"].reason
    assert not list(Path(tempfile.gettempdir()).glob("left-by-a-pass-*"))


def test_a_pass_that_is_not_there_is_told_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gradatim.yml:\d+"):
        tried(tmp_path, "'smaler:halved'")


def test_a_form_is_timed_by_the_calls_that_the_contract_declares(tmp_path: Path) -> None:
    declared = tried(tmp_path / "declared", "'smaller:for_seven'", timed="benchmark: {batch: 7}\n")
    unknown = tried(tmp_path / "unknown", "'smaller:for_seven'")
    assert declared["smaller-for_seven"].latency_ratio < 20 < unknown["smaller-for_seven"].latency_ratio


@pytest.mark.parametrize(
    ("passes", "more"),
    [
        ("'smaller:halved', 'smaller:halvd'", ""),
        ("", ", student: 'smaller:network'"),
        ("", ", student: 'smaller:halved', train: 'smaller:teach'"),
    ],
)
def test_a_function_that_is_not_there_is_told_at_its_line_before_the_search(
    tmp_path: Path, passes: str, more: str
) -> None:
    with pytest.raises(InvalidInput, match=r"gradatim.yml:\d+.*smaller.* has no `"):
        tried(tmp_path, passes, more)
    assert not list(tmp_path.rglob("search.json"))
