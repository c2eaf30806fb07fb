"""NNCF's quantisation after training, as one recipe among ours.

Plain at first. Where that keeps too little of the likeness, with accuracy control: NNCF ranks the quantised operations by what each
loses, and gives back the worst until enough is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.compression.fidelity import Fidelity
from gradatim.errors import needs
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from onnx import ModelProto

    from gradatim.compression.batches import Batch

_OF_TRANSFORMERS = {"LayerNormalization", "Softmax", "Erf", "Gelu"}


def quantise_by_nncf(model: ModelProto, batches: Sequence[Path], likeness: str, least: float) -> ModelProto:
    """Quantise a model to int8.

    Args:
        model: as ``graph.prepare`` reads it.
        batches: .npz files with its inputs.
        likeness: what must be kept of it: ``fidelity``, ``cosine`` or ``agreement``.
        least: how much of that, of 1.

    Raises:
        EnvironmentLacks: nncf is missing.
    """
    os.environ.setdefault("NNCF_CI", "1")  # or it tells its makers of each run
    with needs("nncf", "nncf", "Quantising by NNCF"):
        import nncf

    data = nncf.Dataset([load_inputs(path) for path in batches])
    kind = nncf.ModelType.TRANSFORMER if _OF_TRANSFORMERS & {n.op_type for n in model.graph.node} else None

    def alike(graph: ModelProto, items: Iterable[Batch]) -> tuple[float, None]:
        return _likeness(model, graph, items)[likeness], None

    found = nncf.quantize(model, data, subset_size=len(batches), model_type=kind)
    if alike(found, data.get_inference_data())[0] < least:
        found = nncf.quantize_with_accuracy_control(
            model, data, data, alike, max_drop=1 - least, drop_type=nncf.DropType.ABSOLUTE, subset_size=len(batches), model_type=kind
        )  # fmt: skip
    return found


def _likeness(model: ModelProto, other: ModelProto, items: Iterable[Batch]) -> dict[str, float]:
    before, after = _session(model), _session(other)
    names, found = [output.name for output in before.get_outputs()], Fidelity()
    for batch in items:
        each = [dict(zip(names, session.run(names, batch), strict=True)) for session in (before, after)]
        found.add(*each)
    return found.result()


def _session(model: ModelProto) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
