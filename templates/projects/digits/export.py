"""Make model/digits.onnx of weights/digits.npz: `python export.py`.

This is the contract's `build`. It needs numpy and onnx, no PyTorch; the same weights always give the same
bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
OPSET, IR_VERSION = 17, 8  # old enough for every onnxruntime since 1.13


def graph_of(layers: list[str], weights: dict[str, np.ndarray]) -> onnx.GraphProto:
    """The layers as a graph from `image` [batch, 1, 8, 8] to `logits` [batch, 10], both float32.

    The names of the weights are those PyTorch gives them: `3.weight` and `3.bias` belong to the fourth layer.
    """
    nodes, tensors, flowing = [], [], "image"
    for place, layer in enumerate(layers):
        last = place == len(layers) - 1
        result = "logits" if last else f"{place}.{layer.split()[0]}"
        inputs = [flowing]
        for name in (f"{place}.weight", f"{place}.bias"):
            if name in weights:
                tensors.append(numpy_helper.from_array(weights[name].astype(np.float32), name))
                inputs.append(name)
        match layer.split():
            case ["conv", _, *stride]:
                step = 2 if stride == ["/2"] else 1
                node = helper.make_node(
                    "Conv", inputs, [result], pads=[1] * 4, strides=[step, step], kernel_shape=[3, 3]
                )
            case ["threshold", level]:
                node = helper.make_node("ThresholdedRelu", inputs, [result], alpha=float(level))
            case ["relu"]:
                node = helper.make_node("Relu", inputs, [result])
            case ["pool"]:
                node = helper.make_node("MaxPool", inputs, [result], kernel_shape=[2, 2], strides=[2, 2])
            case ["upsample"]:
                scales = np.array([1, 1, 2, 2], np.float32)
                tensors.append(numpy_helper.from_array(scales, f"{place}.scales"))
                node = helper.make_node(
                    "Resize", [flowing, "", f"{place}.scales"], [result],
                    mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
                )  # fmt: skip
            case ["flatten"]:
                node = helper.make_node("Flatten", inputs, [result])
            case ["linear", _]:
                node = helper.make_node("Gemm", inputs, [result], transB=1)
            case _:
                raise SystemExit(f"export.py knows no layer {layer!r}")
        node.name = result
        nodes.append(node)
        flowing = result
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    return helper.make_graph(nodes, "digits", [image], [logits], tensors)


def main() -> None:
    with np.load(HERE / "weights" / "digits.npz", allow_pickle=False) as stored:
        layers = [str(layer) for layer in stored["layers"]]
        weights = {name: stored[name] for name in stored.files if name != "layers"}
    model = helper.make_model(
        graph_of(layers, weights),
        producer_name="digits",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    target = HERE / "model" / "digits.onnx"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(model.SerializeToString(deterministic=True))
    count = sum(array.size for array in weights.values())
    print(f"{target.relative_to(HERE)}: {count} weights, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
