"""Let the channels between two convolutions have ranges alike, where that changes nothing but the ranges [1]_.

.. [1] Nagel et al. (2019), Data-free quantization through weight equalization and bias correction, section 4.1; here by the
   peaks of activations on calibration data, since weights have a scale for each channel anyway.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.compression.observing import Observed

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_MOST = 8
"""The binary logarithm of the largest gain: a channel that hardly ever speaks stays quiet."""


def equalised(model: ModelProto, seen: Mapping[str, Observed]) -> tuple[ModelProto, Mapping[str, Observed]]:
    """The model with quiet channels turned up between a convolution and a depthwise one, and what its tensors hold then.

    A ReLU passes a gain on, and a depthwise convolution takes it back in weights that have a scale for each channel: eight
    bits for the whole tensor hold every channel then. Gains are powers of two, so that floats stay the same bit by bit.
    """
    from onnx import numpy_helper

    changed, found = copy.deepcopy(model), dict(seen)
    constants = graph.weights(changed.graph)
    for first, second in list(_pairs(changed)):
        between = second.input[0]
        gains = _gains(seen[between].peaks) if between in seen else np.ones(0, np.float32)
        weight = constants[second.input[1]]
        if len(gains) == 0 or weight.dims[0] % len(gains):
            continue
        factors: dict[str, NDArray[Any]] = {
            first.input[1]: gains,
            second.input[1]: 1 / np.repeat(gains, weight.dims[0] // len(gains)),
        }
        if len(first.input) > 2:
            factors[first.input[2]] = gains
        for name, factor in factors.items():
            whole = numpy_helper.to_array(constants[name])
            turned = whole * factor.reshape(-1, *[1] * (whole.ndim - 1)).astype(np.float32)
            constants[name].CopyFrom(numpy_helper.from_array(turned, name))
        one = seen[between]
        found[between] = replace(one, means=one.means * gains, peaks=one.peaks * gains)
    return changed, found


def equalisable(model: ModelProto) -> bool:
    """Whether there are such convolutions at all."""
    return next(_pairs(model), None) is not None


def _gains(peaks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Powers of two that bring each peak close below the highest."""
    highest = peaks.max(initial=0)
    if highest <= 0:
        return np.ones(0, np.float32)
    room = np.log2(highest / np.where(peaks > 0, peaks, highest))
    gains: NDArray[np.float32] = np.exp2(np.clip(np.floor(room), 0, _MOST)).astype(np.float32)
    return gains


def _pairs(model: ModelProto) -> Iterator[tuple[NodeProto, NodeProto]]:
    """A convolution and the depthwise one behind its ReLU, where nothing else uses what is between, or their weights."""
    used, constants = graph.users(model), graph.weights(model.graph)
    made = {output: node for node in model.graph.node for output in node.output}

    def alone(name: str, kind: str) -> NodeProto | None:
        node = made.get(name)
        return node if node is not None and node.op_type == kind and used[name] == 1 else None

    def own(node: NodeProto) -> bool:
        return all(used[name] == 1 and name in constants for name in node.input[1:] if name)

    for second in model.graph.node:
        if second.op_type != "Conv" or not own(second) or constants[second.input[1]].dims[1] != 1:
            continue
        cut = alone(second.input[0], "Relu")
        first = alone(cut.input[0], "Conv") if cut is not None else None
        if first is not None and own(first):
            yield first, second
