"""Inputs that a text model can do without: left out of the data, left out of the call, or filled with what changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.data import open_data
from gradatim.errors import InvalidInput
from gradatim.models import open_model, ready
from gradatim.models.predictor import RuntimeModel
from gradatim.registry.versions import Level, compare
from gradatim.signature import Signature, TensorSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, INT64 = onnx.helper, onnx.TensorProto.INT64

AXES = ["batch", "sequence"]
IDS = np.array([[5, 6, 7], [8, 9, 4]])


def save(path: Path, nodes: list[Any], inputs: list[Any], constants: list[Any] = []) -> Path:  # noqa: B006
    found = helper.make_tensor_value_info("y", INT64, AXES)
    graph = helper.make_graph(nodes, "g", inputs, [found], constants)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def tensor(name: str) -> Any:
    return helper.make_tensor_value_info(name, INT64, AXES)


def opened(path: Path, **constants: Any) -> Any:
    return ready(open_model(path, root=path.parent), path, constants=constants, carries={}, tokenizer=None)


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """ids x mask + 100 x type + 1000 x position."""
    weights = [onnx.numpy_helper.from_array(np.array(n), name) for name, n in (("c", 100), ("m", 1000))]
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["a"]),
        helper.make_node("Mul", ["token_type_ids", "c"], ["b"]),
        helper.make_node("Mul", ["position_ids", "m"], ["d"]),
        helper.make_node("Add", ["a", "b"], ["e"]),
        helper.make_node("Add", ["e", "d"], ["y"]),
    ]
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    return save(tmp_path / "m.onnx", nodes, [tensor(name) for name in names], weights)


def test_masks_types_and_positions_are_filled_where_the_data_have_none(masked: Path) -> None:
    with opened(masked) as model:
        assert [spec.name for spec in model.signature.inputs if not spec.optional] == ["input_ids"]
        assert model({"input_ids": IDS})["y"].tolist() == (IDS + np.array([0, 1000, 2000])).tolist()
        mask = np.array([[1, 1, 0], [1, 1, 1]])
        assert model({"input_ids": IDS, "attention_mask": mask})["y"][0, 2] == 2000


def test_what_the_data_do_have_is_fed_and_what_they_lack_is_told(masked: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", input_ids=IDS, attention_mask=np.ones_like(IDS), label=[0, 1])
    with opened(masked) as model:
        data = open_data("d.npz", root=tmp_path, signature=model.signature)
        assert list(data.head(2).inputs) == ["input_ids", "attention_mask"]
        assert data.left_out == ("token_type_ids", "position_ids")


def test_a_constant_of_the_contract_comes_before_what_would_be_filled(masked: Path) -> None:
    with opened(masked, token_type_ids=1) as model:
        assert model.signature.input("token_type_ids") is None
        assert model({"input_ids": IDS})["y"][0, 0] == 5 + 100


def test_an_export_that_declares_its_mask_optional_is_called_without_it(tmp_path: Path) -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(INT64, AXES))
    given = [tensor("input_ids"), helper.make_value_info("attention_mask", kind)]
    inner = helper.make_tensor_value_info
    then = [
        helper.make_node("OptionalGetElement", ["attention_mask"], ["m"]),
        helper.make_node("Mul", ["input_ids", "m"], ["t"]),
    ]
    with_mask = helper.make_graph(then, "t", [], [inner("t", INT64, None)])
    alone = helper.make_graph(
        [helper.make_node("Neg", ["input_ids"], ["n"])], "e", [], [inner("n", INT64, None)]
    )
    nodes = [
        helper.make_node("OptionalHasElement", ["attention_mask"], ["has"]),
        helper.make_node("If", ["has"], ["y"], then_branch=with_mask, else_branch=alone),
    ]
    with opened(save(tmp_path / "m.onnx", nodes, given)) as model:
        assert model.signature.inputs[1].optional
        assert model({"input_ids": IDS})["y"].tolist() == (-IDS).tolist()
        assert model({"input_ids": IDS, "attention_mask": 0 * IDS})["y"].tolist() == (0 * IDS).tolist()


def test_an_export_with_a_default_of_its_own_keeps_it_until_the_data_say_otherwise(tmp_path: Path) -> None:
    default = onnx.numpy_helper.from_array(np.full((1, 1), 3), "token_type_ids")
    given = [tensor("input_ids"), helper.make_tensor_value_info("token_type_ids", INT64, [1, 1])]
    nodes = [helper.make_node("Add", ["input_ids", "token_type_ids"], ["y"])]
    with opened(save(tmp_path / "m.onnx", nodes, given, [default])) as model:
        assert model({"input_ids": IDS})["y"].tolist() == (IDS + 3).tolist()


def test_other_inputs_and_other_models_are_asked_for_as_ever(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "attention_mask"], ["y"])]
    given = [tensor("x"), tensor("attention_mask")]
    path = save(tmp_path / "m.onnx", nodes, given)
    with opened(path) as model, pytest.raises(InvalidInput, match="`attention_mask` is missing"):
        model({"x": IDS})


def test_an_input_that_callers_may_leave_out_is_a_minor_change_and_one_that_they_may_no_longer_a_major_one() -> (
    None
):
    axes = ("batch", "sequence")
    ids = TensorSpec("input_ids", "int64", axes)
    needed, optional = (TensorSpec("attention_mask", "int64", axes, each) for each in (None, "default"))
    text = TensorSpec("text", "str", ("batch",))
    plain = Signature((ids,), ())
    for old, new, level in (
        (plain, Signature((ids, optional), ()), Level.MINOR),
        (plain, Signature((ids, needed), ()), Level.MAJOR),
        (Signature((ids, optional), ()), Signature((ids, needed), ()), Level.MAJOR),
        (Signature((ids, needed), ()), Signature((ids, optional), ()), Level.MINOR),
        (plain, Signature((ids,), (), text), Level.MINOR),
        (Signature((ids,), (), text), plain, Level.MAJOR),
    ):
        assert compare(old, new, changed=0, of=5).level is level, (old, new)


def test_a_call_without_an_optional_input_is_checked_in_all_else() -> None:
    axes = ("batch", "sequence")
    signature = Signature(
        (TensorSpec("input_ids", "int64", axes), TensorSpec("mask", "int64", axes, "default")), ()
    )
    model = RuntimeModel("m", signature, lambda inputs: dict(inputs), device="cpu", threads=1)
    assert list(model({"input_ids": IDS})) == ["input_ids"]
    with pytest.raises(InvalidInput, match="`mask` does not fit"):
        model({"input_ids": IDS, "mask": IDS.astype(np.int32)})
    with pytest.raises(InvalidInput, match="no input `other`"):
        model({"input_ids": IDS, "other": IDS})
