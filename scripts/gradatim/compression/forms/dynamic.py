"""Weights in int8 with a scale a channel; activations are quantised call by call."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated

if TYPE_CHECKING:
    from onnx import ModelProto


def quantise(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph.gemm_to_matmul(model, nodes)
    with tempfile.TemporaryDirectory(prefix="gradatim-dynamic-") as folder:
        out = Path(folder) / "out.onnx"
        quantize_dynamic(
            model,
            out,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=sorted(nodes),
            per_channel=True,
            reduce_range=calibration.weight_bits < 8,
            weight_type=QuantType.QInt8,
            use_external_data_format=model.ByteSize() > graph.EXTERNAL_ABOVE,
        )
        return onnx.load(str(out))
