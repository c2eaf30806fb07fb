"""The search for smaller variants, on a small trained network and in real processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_models import batches, digits, write_cnn, write_mlp

from gradatim.compression.search import compress
from gradatim.errors import InvalidInput, UsageError
from gradatim.files import sha256_file
from gradatim.models import open_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

_, TEST_IMAGES, _, TEST_LABELS = digits()


def accuracy(path: Path) -> dict[str, float]:
    with open_model(path, root=path.parent) as model:
        scores = model({"image": TEST_IMAGES})["scores"]
    return {"accuracy": float((scores.argmax(axis=1) == TEST_LABELS).mean())}


def calibration():
    return batches(digits()[0])


@pytest.fixture(scope="module")
def cnn(tmp_path_factory) -> Path:
    return write_cnn(tmp_path_factory.mktemp("models with ünïcode") / "digits.onnx")


@pytest.fixture(scope="module")
def searched(cnn, tmp_path_factory):
    out = tmp_path_factory.mktemp("searched")
    result = compress(cnn, out, calibration=calibration, quality=accuracy, keep={"accuracy": 0.99}, slowest=3)
    return out, result


def test_the_best_variant_is_small_as_good_and_on_disk(cnn, searched):
    out, result = searched
    best = result.best
    assert best.accepted
    assert best.size_ratio < 0.5
    assert best.path == out / best.name / cnn.name
    assert best.digest == sha256_file(best.path)
    assert best.size == best.path.stat().st_size
    assert accuracy(best.path)["accuracy"] >= 0.99 * result.original.quality["accuracy"]
    assert best.quality["accuracy"] == accuracy(best.path)["accuracy"]
    assert json.loads((out / "search.json").read_text())["best"] == best.name


def test_every_method_leaves_a_trial_with_a_reason(searched):
    _, result = searched
    assert {"int8-dynamic", "int8-static", "int8-weights"} <= {trial.name for trial in result.trials}
    assert all(trial.reason for trial in result.trials)
    assert all(trial.latency_ratio > 0 for trial in result.trials)


def test_convolutions_are_never_quantised_dynamically(searched):
    import onnx

    out, _ = searched
    kinds = {node.op_type for node in onnx.load(str(out / "int8-dynamic" / "digits.onnx")).graph.node}
    assert "Conv" in kinds
    assert "ConvInteger" not in kinds
    assert "MatMulInteger" in kinds


def test_the_signature_is_kept(cnn, searched):
    _, result = searched
    with open_model(cnn, root=cnn.parent) as before, open_model(result.best.path, root=cnn.parent) as after:
        assert [s.name for s in after.signature.inputs] == [s.name for s in before.signature.inputs]
        assert [s.name for s in after.signature.outputs] == [s.name for s in before.signature.outputs]


def test_no_chosen_variant_is_beaten_in_both_size_and_time_by_another(searched):
    _, result = searched
    for one in result.chosen:
        assert not any(
            o.size < one.size and o.latency_ratio < one.latency_ratio for o in result.trials if o.accepted
        )
    assert [t.score for t in result.chosen] == sorted(t.score for t in result.chosen)


def test_a_second_run_does_no_work_and_a_third_elsewhere_gives_the_same_bytes(cnn, searched, tmp_path):
    out, result = searched

    def never(path: Path) -> dict[str, float]:
        raise AssertionError("measured again")

    again = compress(cnn, out, calibration=calibration, quality=never, keep={"accuracy": 0.99}, slowest=3)
    assert all(trial.reused for trial in again.trials)
    assert [t.digest for t in again.trials] == [t.digest for t in result.trials]
    elsewhere = compress(
        cnn, tmp_path, calibration=calibration, methods=["int8-static", "int8-weights"], slowest=9, seed=7
    )
    first = {t.name: t.digest for t in result.trials}
    assert {t.name: t.digest for t in elsewhere.trials if t.name in first}.items() <= first.items()


def test_a_search_that_was_cut_off_goes_on_where_it_stood(cnn, searched, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(searched[0], out)
    journal = out / "trials.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    shutil.rmtree(out / "int8-dynamic")
    result = compress(cnn, out, calibration=calibration, quality=accuracy, keep={"accuracy": 0.99}, slowest=3)
    reused = {trial.name: trial.reused for trial in result.trials}
    assert not reused["int8-dynamic"]  # its file is gone
    assert reused["int8-static"]
    assert not reused[result.trials[-1].name]  # its line was torn
    assert (out / "int8-dynamic" / "digits.onnx").is_file()


def test_a_file_that_was_tampered_with_is_made_again(cnn, searched, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(searched[0], out)
    (out / "int8-static" / "digits.onnx").write_bytes(b"tampered")
    result = compress(cnn, out, calibration=calibration, quality=accuracy, keep={"accuracy": 0.99}, slowest=3)
    static = next(trial for trial in result.trials if trial.name == "int8-static")
    assert not static.reused
    assert static.accepted
    assert sha256_file(static.path) == static.digest


def test_where_static_quantisation_loses_too_much_the_sensitive_nodes_are_left_out(tmp_path):
    model = write_cnn(tmp_path / "wide.onnx", outlier=500.0)
    result = compress(
        model,
        tmp_path / "out",
        calibration=calibration,
        quality=accuracy,
        keep={"agreement": 0.99, "accuracy": 0.99},
        methods=["int8-static"],
        slowest=5,
    )
    plain, *mixed = result.trials
    assert not plain.accepted
    assert "is wanted" in plain.reason
    assert result.best.name.startswith("int8-static-mixed-")
    assert mixed[-1].recipe["fallback"]
    assert result.best.size_ratio < 0.5


def test_when_nothing_passes_the_original_is_kept_with_the_reasons(cnn, tmp_path):
    out = tmp_path / "out"
    result = compress(cnn, out, calibration=calibration, keep={"fidelity": 1.0}, methods=["int8-weights"])
    assert result.best is result.original
    assert result.best.name == "fp32"
    assert "int8-weights" in result.reason
    assert sorted(path.name for path in out.iterdir()) == ["search.json", "trials.jsonl"]


def test_a_recipe_that_takes_too_much_memory_or_time_is_a_trial_not_a_crash(cnn, tmp_path):
    for limits in ({"memory_limit": 1 << 20}, {"seconds_per_trial": 0.01}):
        with pytest.raises(InvalidInput, match=r"memory|longer"):  # not even the original can be run
            compress(cnn, tmp_path / "out", calibration=calibration, methods=["int8-static"], **limits)
    compress(cnn, tmp_path / "out", calibration=calibration, methods=[])
    result = compress(
        cnn, tmp_path / "out", calibration=calibration, methods=["int8-static"], memory_limit=1 << 20
    )
    assert "MiB of memory" in result.trials[0].reason
    retried = compress(cnn, tmp_path / "out", calibration=calibration, methods=["int8-static"], slowest=3)
    assert retried.trials[0].accepted


def test_a_quality_that_refuses_a_candidate_is_its_reason(cnn, tmp_path):
    def picky(path: Path) -> dict[str, float]:
        if path != cnn.absolute():
            raise InvalidInput("the labels do not fit")
        return {"accuracy": 1.0}

    result = compress(
        cnn,
        tmp_path,
        calibration=calibration,
        quality=picky,
        keep={"accuracy": 0.9},
        methods=["int8-dynamic"],
        slowest=3,
    )
    assert {trial.reason for trial in result.trials} == {"the labels do not fit"}
    assert result.best is result.original


def test_an_error_may_grow_only_within_its_bound(cnn, tmp_path):
    def error(path: Path) -> dict[str, float]:
        return {"error": 0.10 if path == cnn.absolute() else 0.12}

    for share, accepted in ((1.1, False), (1.3, True)):
        result = compress(
            cnn,
            tmp_path,
            calibration=calibration,
            quality=error,
            keep={"error": share},
            lower_is_better=["error"],
            methods=["int8-static"],
            slowest=3,
        )
        assert result.trials[0].accepted is accepted


def test_a_model_with_gemms_from_scikit_learn_is_compressed(tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPClassifier

    images, _, labels, _ = digits()
    flat = images.reshape(len(images), -1)
    network = MLPClassifier((128, 128), max_iter=30, tol=1e-2, n_iter_no_change=2, random_state=0).fit(
        flat, labels
    )
    path = tmp_path / "mlp.onnx"
    path.write_bytes(skl2onnx.to_onnx(network, flat[:1], options={"zipmap": False}).SerializeToString())
    result = compress(
        path,
        tmp_path / "out",
        calibration=lambda: iter([{"X": flat[:64]}]),
        methods=["int8-dynamic"],
        slowest=3,
    )
    assert result.best.size_ratio < 0.5
    assert result.best.quality["agreement"] > 0.95


def test_an_embedding_table_is_stored_in_int8(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["y"], axes=[1], keepdims=0),
    ]
    given = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "s"])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])
    graph = helper.make_graph(nodes, "g", [given], [found], [numpy_helper.from_array(table, "table")])
    path = tmp_path / "embed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    ragged = [{"ids": np.arange(8 * s, dtype=np.int64).reshape(8, s)} for s in (5, 9)]
    result = compress(
        path, tmp_path / "out", calibration=lambda: iter(ragged), methods=["int8-weights"], slowest=20
    )
    assert result.best.size_ratio < 0.3
    assert result.best.quality["cosine"] > 0.9999


def test_a_model_that_is_not_onnx_is_kept_as_it_is(tmp_path):
    (tmp_path / "code.py").write_text("def model():\n    return lambda inputs: inputs\n")
    result = compress(Path("code:model"), tmp_path / "out", calibration=lambda: iter(()))
    assert result.trials == ()
    assert result.best is result.original
    assert "ONNX" in result.reason


def test_what_cannot_be_is_refused_in_a_sentence(cnn, tmp_path):
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(cnn.read_bytes()[:5000])
    with pytest.raises(InvalidInput):
        compress(truncated, tmp_path / "out", calibration=calibration)
    with pytest.raises(InvalidInput, match="empty"):
        compress(cnn, tmp_path / "out", calibration=lambda: iter(()))
    with pytest.raises(InvalidInput, match="calibration data"):
        compress(cnn, tmp_path / "out", calibration=lambda: iter([{"wrong": np.zeros(3, np.float32)}]))
    with pytest.raises(UsageError, match="int3"):
        compress(cnn, tmp_path / "out", calibration=calibration, methods=["int3"])
    with pytest.raises(UsageError, match="accuracy"):
        compress(cnn, tmp_path / "out", calibration=calibration, keep={"accuracy": 0.99})
    with pytest.raises(InvalidInput, match="nan"):
        compress(
            cnn, tmp_path / "out", calibration=calibration, quality=lambda path: {"accuracy": float("nan")}
        )


def test_a_model_with_nothing_to_quantise_is_kept(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [given], [found])
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    result = compress(
        path,
        tmp_path / "out",
        calibration=lambda: iter([{"x": np.arange(8, dtype=np.float32).reshape(2, 4)}]),
    )
    assert result.best is result.original
    assert all("no constant weight" in t.reason or "there is no" in t.reason for t in result.trials)


def test_fp16_halves_a_model(tmp_path):
    path = write_mlp(tmp_path / "mlp.onnx", 128)
    inputs = {"x": np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)}
    result = compress(
        path, tmp_path / "out", calibration=lambda: iter([inputs]), methods=["fp16"], slowest=20
    )
    assert result.best.size_ratio == pytest.approx(0.5, abs=0.05)


def test_the_contract_takes_the_methods_that_there_are() -> None:
    """Two rooms spell them, since neither may look into the other."""
    from typing import get_args

    from gradatim.compression.recipe import METHODS
    from gradatim.contract.compress import Method

    assert get_args(Method) == METHODS
