"""What `inspect` counts as parameters is the numbers that a model holds, however many of them a stored word has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradatim.errors import InvalidInput
from gradatim.models import inspect_model

onnx = pytest.importorskip("onnx")
numpy = pytest.importorskip("safetensors.numpy")

ROWS, COLUMNS = 96, 64
"""Of a matrix, outputs by inputs; beside it each model has a norm of 64 numbers."""
NUMBERS = ROWS * COLUMNS + COLUMNS
WORDS, BYTES, HALVES = np.int32, np.uint8, np.float16


def zeros(kind: type, *shape: int) -> np.ndarray:
    return np.zeros(shape, kind)


def gptq(bits: int, *, order: bool = True, points: bool = True) -> dict[str, np.ndarray]:
    found = {
        "a.qweight": zeros(WORDS, COLUMNS * bits // 32, ROWS),
        "a.scales": zeros(HALVES, 2, ROWS),
    }
    found |= {"a.qzeros": zeros(WORDS, 2, ROWS * bits // 32)} if points else {}
    return found | ({"a.g_idx": zeros(WORDS, COLUMNS)} if order else {})


AWQ = {
    "a.qweight": zeros(WORDS, COLUMNS, ROWS // 8),
    "a.qzeros": zeros(WORDS, 2, ROWS // 8),
    "a.scales": zeros(HALVES, 2, ROWS),
}
COMPRESSED = {
    "a.weight_packed": zeros(WORDS, ROWS, COLUMNS // 8),
    "a.weight_scale": zeros(HALVES, ROWS, 2),
    "a.weight_shape": np.array([ROWS, COLUMNS]),
}
NV = {
    "a.weight_packed": zeros(BYTES, ROWS, COLUMNS // 2),
    "a.weight_scale": zeros(BYTES, ROWS, COLUMNS // 16),
    "a.weight_global_scale": zeros(HALVES, 1),
}
BITS_AND_BYTES = {
    "a.weight": zeros(BYTES, ROWS * COLUMNS // 2, 1),
    "a.weight.absmax": zeros(BYTES, ROWS),
    "a.weight.quant_map": zeros(np.float32, 16),
    "a.weight.quant_state.bitsandbytes__nf4": zeros(BYTES, 82),
}
MX = {"a_blocks": zeros(BYTES, ROWS, 2, 16), "a_scales": zeros(BYTES, ROWS, 2)}
PLAIN = {"a.weight": zeros(HALVES, ROWS, COLUMNS)}


@pytest.mark.parametrize(
    "held",
    [
        PLAIN, gptq(4), gptq(8), gptq(2), gptq(3), gptq(4, order=False), gptq(4, points=False), AWQ, COMPRESSED, NV, BITS_AND_BYTES, MX,
    ],
    ids=["plain", "gptq4", "gptq8", "gptq2", "gptq3", "gptq-no-order", "gptq-no-points", "awq", "compressed", "nvfp4", "nf4", "mxfp4"],
)  # fmt: skip
def test_words_of_safetensors_count_as_the_numbers_packed_into_them(
    tmp_path: Path, held: dict[str, np.ndarray]
) -> None:
    numpy.save_file({**held, "norm.weight": np.ones(COLUMNS, np.float16)}, tmp_path / "m.safetensors")
    assert inspect_model(tmp_path / "m.safetensors", root=tmp_path).parameters == NUMBERS


def test_a_shape_that_cannot_be_is_an_error_and_no_count(tmp_path: Path) -> None:
    held = {**COMPRESSED, "a.weight_shape": np.array([-3, 64])}
    numpy.save_file(held, tmp_path / "m.safetensors")
    with pytest.raises(InvalidInput, match=r"a\.weight_shape"):
        inspect_model(tmp_path / "m.safetensors", root=tmp_path)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_blocks_of_onnx_count_as_the_numbers_packed_into_them(tmp_path: Path, bits: int) -> None:
    helper, numbers = onnx.helper, onnx.numpy_helper
    blocks, table = COLUMNS // 32, np.zeros((10, COLUMNS * bits // 8), np.uint8)
    nodes = [
        helper.make_node("GatherBlockQuantized", ["t", "rows", "ts"], ["x"], domain="com.microsoft", bits=bits, block_size=32),
        helper.make_node("MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", K=COLUMNS, N=ROWS, bits=bits, block_size=32),
        helper.make_node("Add", ["y", "bias"], ["z"]),
    ]  # fmt: skip
    held = {
        "t": table, "ts": np.ones((10, blocks), np.float32), "b": np.zeros((ROWS, blocks, 4 * bits), np.uint8),
        "s": np.ones((ROWS, blocks), np.float32), "bias": np.zeros(ROWS, np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("rows", onnx.TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n", ROWS])],
        [numbers.from_array(array, name) for name, array in held.items()],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains), tmp_path / "m.onnx")
    found = inspect_model(tmp_path / "m.onnx", root=tmp_path)
    assert found.parameters == 10 * COLUMNS + ROWS * COLUMNS + ROWS
