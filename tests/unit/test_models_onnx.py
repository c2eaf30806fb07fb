"""ONNX models: called strictly, inspected without being run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.errors import EnvironmentLacks, InvalidInput, UsageError
from gradatim.models import detect_format, inspect_model, model_files, open_model
from gradatim.signature import Signature, TensorSpec

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def save(path: Path, nodes: Any, inputs: Any, outputs: Any, weights: dict[str, Any] | None = None) -> Path:
    def info(name: str, kind: int, shape: Any) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    stored = [
        value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value, name)
        for name, value in (weights or {}).items()
    ]
    graph = helper.make_graph(
        nodes, "g", [info(*each) for each in inputs], [info(*each) for each in outputs], stored
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def linear(path: Path, weight: Any = None) -> Path:
    weight = np.ones((4, 3), np.float32) if weight is None else weight
    return save(
        path,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 4])],
        [("y", TensorProto.FLOAT, ["batch", 3])],
        {"w": weight},
    )


def external(path: Path, location: str = "w.bin") -> Path:
    linear(path)
    model = onnx.load(str(path))
    onnx.external_data_helper.convert_model_to_external_data(model, location=location, size_threshold=0)
    onnx.save(model, str(path))
    return path


X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_a_model_says_its_names_dtypes_and_sizes_and_answers_by_name(tmp_path: Path) -> None:
    with open_model(linear(tmp_path / "mein modell é.onnx"), root=tmp_path) as predictor:
        assert predictor.signature == Signature(
            (TensorSpec("x", "float32", ("batch", 4)),), (TensorSpec("y", "float32", ("batch", 3)),)
        )
        np.testing.assert_allclose(predictor({"x": X})["y"], X @ np.ones((4, 3)))
    with pytest.raises(InvalidInput, match="closed"):
        predictor({"x": X})


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, ["`x` is missing", "float32[batch, 4]"]),
        ({"X": X}, ["`x` is missing", "'X'"]),
        ({"x": X, "z": X}, ["no input `z`", "x: float32[batch, 4]"]),
        ({"x": X.astype(np.float64)}, ["`x`", "expected float32[batch, 4]", "got float64[2, 4]"]),
        ({"x": X.astype(">f4")}, ["`x`", "foreign byte order"]),
        ({"x": X[0]}, ["`x`", "got float32[4]"]),
        ({"x": X[:, :3]}, ["`x`", "got float32[2, 3]"]),
        ({"x": X.tolist()}, ["`x` must be an array", "got list"]),
        ({"x": np.array([[1.0, None, 2.0, 3.0]])}, ["`x`", "object of NoneType and float"]),
    ],
)
def test_nothing_is_coerced_and_the_error_names_input_expected_and_got(
    tmp_path: Path, inputs: dict[str, Any], told: list[str]
) -> None:
    with (
        open_model(linear(tmp_path / "m.onnx"), root=tmp_path) as predictor,
        pytest.raises(InvalidInput) as error,
    ):
        predictor(inputs)
    for part in told:
        assert part in str(error.value)


def test_int32_inputs_three_outputs_dynamic_images_and_a_scalar(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Cast", ["ids"], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["as_float", "scale"], ["scaled"]),
            helper.make_node("Shape", ["image"], ["sizes"]),
        ],
        [
            ("image", TensorProto.FLOAT, ["b", 3, "h", "w"]),
            ("ids", TensorProto.INT32, ["b", "s"]),
            ("scale", TensorProto.FLOAT, []),
        ],
        [
            ("pooled", TensorProto.FLOAT, ["b", 3, 1, 1]),
            ("scaled", TensorProto.FLOAT, ["b", "s"]),
            ("sizes", TensorProto.INT64, [4]),
        ],
    )
    with open_model(path, root=tmp_path) as predictor:
        for height, width in ((8, 8), (5, 9)):
            outputs = predictor(
                {
                    "image": np.ones((2, 3, height, width), np.float32),
                    "ids": np.ones((2, 6), np.int32),
                    "scale": np.array(3, np.float32),
                }
            )
            assert outputs["sizes"].tolist() == [2, 3, height, width]
            assert outputs["scaled"].max() == 3
        assert predictor.signature.inputs[0].shape == ("b", 3, "h", "w")
        assert predictor.signature.inputs[2].shape == ()


def test_text_goes_in_and_out_but_only_text(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("StringNormalizer", ["text"], ["low"], case_change_action="LOWER", locale="C")],
        [("text", TensorProto.STRING, ["n"])],
        [("low", TensorProto.STRING, ["n"])],
    )
    with open_model(path, root=tmp_path) as predictor:
        assert predictor({"text": np.array(["Ab", "C"], object)})["low"].tolist() == ["ab", "c"]
        assert predictor({"text": np.array(["Ab", "C"])})["low"].tolist() == ["ab", "c"]
        with pytest.raises(InvalidInput, match="object of float and str"):
            predictor({"text": np.array(["a", 1.5], object)})


def test_a_failure_inside_the_model_is_one_line(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["a", "b"], ["c"])],
        [("a", TensorProto.FLOAT, ["n"]), ("b", TensorProto.FLOAT, ["m"])],
        [("c", TensorProto.FLOAT, ["k"])],
    )
    with (
        open_model(path, root=tmp_path) as predictor,
        pytest.raises(InvalidInput, match="failed on its inputs") as error,
    ):
        predictor({"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)})
    assert "\n" not in str(error.value)
    assert "[ONNXRuntimeError]" not in str(error.value)


def test_scikit_learns_maps_of_probabilities_become_a_table(tmp_path: Path) -> None:
    pytest.importorskip("skl2onnx")
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data, labels = load_iris(return_X_y=True)
    data = data.astype(np.float32)
    fitted = LogisticRegression(max_iter=500).fit(data, labels)
    path = tmp_path / "m.onnx"
    path.write_bytes(to_onnx(fitted, data[:1]).SerializeToString())
    with open_model(path, root=tmp_path) as predictor:
        outputs = predictor({"X": data})
    np.testing.assert_allclose(outputs["output_probability"], fitted.predict_proba(data), atol=1e-5)
    found = inspect_model(path, root=tmp_path)
    assert found.parameters is not None
    assert found.parameters >= 15
    assert found.signature is not None
    assert found.signature.outputs[1].dtype == "float32"


def test_external_data_belongs_to_the_model_and_is_looked_at(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    assert model_files(path) == [path, tmp_path / "w.bin"]
    found = inspect_model(path, root=tmp_path)
    assert found.external_data == ("w.bin",)
    assert list(found.files) == ["m.onnx", "w.bin"]
    assert found.size == path.stat().st_size + 48
    assert found.nonfinite == ()
    with open_model(path, root=tmp_path) as predictor:
        assert predictor({"x": X})["y"].shape == (2, 3)

    weights = np.ones(12, np.float32)
    weights[7] = np.nan
    (tmp_path / "w.bin").write_bytes(weights.tobytes())
    assert inspect_model(path, root=tmp_path).nonfinite == ("w",)

    (tmp_path / "w.bin").write_bytes(b"\0" * 20)
    with pytest.raises(InvalidInput, match="truncated"):
        inspect_model(path, root=tmp_path)
    (tmp_path / "w.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 48\n")
    with pytest.raises(InvalidInput, match="git lfs pull"):
        inspect_model(path, root=tmp_path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(InvalidInput, match="Put that file beside it"):
        model_files(path)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "link/w.bin"])
def test_external_data_outside_of_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    path = external(tmp_path / "in" / "m.onnx")
    (tmp_path / "in" / "w.bin").rename(tmp_path / "w.bin")
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    model = onnx.load(str(path), load_external_data=False)
    next(e for e in model.graph.initializer[0].external_data if e.key == "location").value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidInput, match="outside of its own folder"):
        inspect_model(path, root=tmp_path)
    with pytest.raises(InvalidInput):
        open_model(path, root=tmp_path)


def test_inspection_tells_what_the_file_is_made_of(tmp_path: Path) -> None:
    found = inspect_model(linear(tmp_path / "m.onnx"), root=tmp_path)
    assert (found.format, found.opset, found.ir_version) == ("onnx", {"ai.onnx": 17}, 9)
    assert (found.parameters, found.operators, found.pickles) == (12, {"MatMul": 1}, ())
    assert found.signature == open_model(tmp_path / "m.onnx", root=tmp_path).signature
    assert found.size == (tmp_path / "m.onnx").stat().st_size
    assert len(found.files["m.onnx"]) == 64


def float16_bits(bits: int, kind: int) -> Any:
    tensor = onnx.TensorProto(name="w", data_type=kind, dims=[2])
    tensor.int32_data.extend([0, bits])
    return tensor


@pytest.mark.parametrize(
    ("weight", "bad"),
    [
        (np.array([1, np.nan], np.float32), True),
        (np.array([1, np.inf], np.float32), True),
        (np.array([np.inf], np.float32), True),
        (np.array([1, -np.nan], np.float64), True),
        (np.array([1, np.nan], np.float16), True),
        (np.array([1, 65504], np.float16), False),
        (np.array([127, -128], np.int8), False),
        (np.array([0, -np.inf], np.float32), False),  # an attention mask
        (np.array(np.inf, np.float32), False),  # the bound of a Clip
        (float16_bits(0x7FC0, TensorProto.BFLOAT16), True),
        (float16_bits(0x3F80, TensorProto.BFLOAT16), False),
        (float16_bits(0x7E00, TensorProto.FLOAT16), True),
        (float16_bits(0x7F, TensorProto.FLOAT8E4M3FN), True),
        (float16_bits(0x7E, TensorProto.FLOAT8E4M3FN), False),
    ],
)
def test_nan_and_infinite_weights_are_seen_in_every_dtype(tmp_path: Path, weight: Any, bad: bool) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["w"], ["y"])],
        [],
        [("y", TensorProto.FLOAT, None)],
        {"w": weight},
    )
    assert inspect_model(path, root=tmp_path).nonfinite == (("w",) if bad else ())


def test_an_infinity_that_fills_a_mask_is_on_purpose(tmp_path: Path) -> None:
    filling = numpy_helper.from_array(np.array([-np.inf], np.float32), "")
    nodes = [
        helper.make_node("Constant", [], ["low"], value=filling),
        helper.make_node("Where", ["seen", "x", "low"], ["y"]),
        helper.make_node("ConstantOfShape", ["shape"], ["causal"], value=filling),
        helper.make_node("Add", ["y", "causal"], ["z"]),
    ]
    inputs = [("seen", TensorProto.BOOL, [2]), ("x", TensorProto.FLOAT, [2])]
    path = save(
        tmp_path / "m.onnx", nodes, inputs, [("z", TensorProto.FLOAT, None)], {"shape": np.array([2])}
    )
    assert inspect_model(path, root=tmp_path).nonfinite == ()
    nodes[1] = helper.make_node("Add", ["x", "low"], ["y"])
    path = save(
        tmp_path / "m.onnx", nodes, inputs, [("z", TensorProto.FLOAT, None)], {"shape": np.array([2])}
    )
    assert inspect_model(path, root=tmp_path).nonfinite == ("low",)


def test_nan_in_a_branch_or_a_constant_node_is_seen(tmp_path: Path) -> None:
    def branch(name: str, value: float) -> Any:
        constant = numpy_helper.from_array(np.array([value], np.float32), "")
        node = helper.make_node("Constant", [], [name], value=constant)
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])]
        )

    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("If", ["c"], ["y"], then_branch=branch("a", 1), else_branch=branch("b", np.nan))],
        [("c", TensorProto.BOOL, [])],
        [("y", TensorProto.FLOAT, [1])],
    )
    found = inspect_model(path, root=tmp_path)
    assert (found.nonfinite, found.parameters) == (("b",), 2)


def test_silero_vad_counts_the_weights_of_both_its_branches() -> None:
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        pytest.skip("silero-vad is not installed")
    path = Path(spec.origin).parent / "data" / "silero_vad.onnx"
    found = inspect_model(path, root=path.parent)
    assert found.parameters is not None
    assert found.parameters > 400_000
    assert found.nonfinite == ()
    assert (found.operators["LSTM"], found.operators["Conv"]) == (4, 12)


def test_a_truncated_model_is_invalid_not_a_crash(tmp_path: Path) -> None:
    data = linear(tmp_path / "whole.onnx").read_bytes()
    for length in (1, 2, 10, len(data) // 2, len(data) - 5, len(data) - 1):
        path = tmp_path / "m.onnx"
        path.write_bytes(data[:length])
        for attempt in (open_model, inspect_model):
            with pytest.raises(InvalidInput, match=r"truncated|not an ONNX"):
                attempt(path, root=tmp_path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12345\n", "git lfs pull"),
        (b"\x00\x01\x02\x03" * 50, "not an ONNX model"),
        (b"<!DOCTYPE html><html>Not found</html>", "not an ONNX model"),
    ],
)
def test_what_is_no_model_is_named_for_what_it_is(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    for attempt in (open_model, inspect_model):
        with pytest.raises(InvalidInput, match=told):
            attempt(path, root=tmp_path)


def test_no_model_at_all_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no model at .*model\.build"):
        open_model(Path("model/m.onnx"), root=tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="is empty"):
        open_model(tmp_path / "folder", root=tmp_path)
    linear(tmp_path / "folder" / "m.onnx")
    with pytest.raises(InvalidInput, match=r"Name the file itself"):
        open_model(tmp_path / "folder", root=tmp_path)


def test_content_decides_the_format_and_a_wrong_claim_is_refused(tmp_path: Path) -> None:
    path = linear(tmp_path / "model.bin")
    assert detect_format(path) == "onnx"
    with pytest.raises(InvalidInput, match=r"is onnx, but .* says pt2"):
        open_model(path, root=tmp_path, format="pt2")
    with pytest.raises(UsageError, match="Unknown model format"):
        open_model(path, root=tmp_path, format="caffe")


def test_the_contract_completes_the_signature_but_cannot_contradict_it(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")

    def declare(name: str, dtype: str, shape: Any) -> Signature:
        return Signature((TensorSpec(name, dtype, shape),), ())

    with open_model(path, root=tmp_path, signature=declare("x", "unknown", (1, 4))) as predictor:
        assert predictor.signature.inputs[0].shape == (1, 4)
    for wrong in (
        declare("z", "float32", None),
        declare("x", "int64", None),
        declare("x", "float32", ("b", 5)),
    ):
        with pytest.raises(InvalidInput, match="contract declares"):
            open_model(path, root=tmp_path, signature=wrong)


def test_a_gpu_that_is_not_there_is_the_environments_lack(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this machine has CUDA")
    with pytest.raises(EnvironmentLacks, match="onnxruntime-gpu"):
        open_model(path, root=tmp_path, device="cuda")
    with pytest.raises(UsageError, match="Unknown device"):
        open_model(path, root=tmp_path, device="gpu")


def test_a_call_costs_next_to_nothing_over_a_bare_session(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    with open_model(path, root=tmp_path) as predictor:
        feeds = {"x": X}

        def seconds(call: Any) -> float:
            begin = time.perf_counter()
            for _ in range(200):
                call()
            return (time.perf_counter() - begin) / 200

        bare = min(seconds(lambda: session.run(None, feeds)) for _ in range(15))
        ours = min(seconds(lambda: predictor(feeds)) for _ in range(15))
    assert ours - bare < 5e-6


@pytest.mark.parametrize("who", ["gradatim.models", "gradatim.code.host"])
def test_the_runtime_keeps_no_number_of_this_machine_and_tells_nobody_what_it_runs(
    who: str, tmp_path: Path
) -> None:
    model = linear(tmp_path / "model.onnx")
    run = f"import {who}, onnxruntime; onnxruntime.InferenceSession({str(model)!r})"
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", run], env={**plain, "HOME": str(home)}, check=True, timeout=60)
    assert list(home.rglob("*onnxruntime*")) == []


def test_a_machine_without_the_language_that_a_model_compares_words_in_is_told_so(tmp_path: Path) -> None:
    """As a vectoriser of text exported from scikit-learn: its words are made small as in en_US, which few servers know."""
    nodes = [
        helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="tlh_QO.UTF-8")
    ]
    words = [("x", TensorProto.STRING, ["n"])]
    path = save(tmp_path / "m.onnx", nodes, words, [("y", TensorProto.STRING, ["n"])])
    with pytest.raises(EnvironmentLacks, match=r"locale `tlh_QO\.UTF-8`.*locale-gen tlh_QO\.UTF-8"):
        open_model(path, root=tmp_path)
