"""A PyTorch model written as LiteRT (.tflite): in floats, or in int8 of its weights or, by the ranges of calibration data, of all."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from gradatim.errors import InvalidInput, needs
from gradatim.models.predictor import Arrays
from gradatim.models.torch_program import TorchModel, quiet

if TYPE_CHECKING:
    from gradatim.models.predictor import Predictor

Numbers: TypeAlias = Literal["float", "dynamic", "int8"]
"""Floats; weights in int8, which are unpacked or met by activations quantised call by call; weights and activations in int8."""


def export_litert(model: Predictor, batches: Iterable[Arrays], out: Path, numbers: Numbers) -> None:
    """Convert a model for one item at a time: LiteRT's converter fixes sizes.

    Args:
        model: as ``open_torch`` gives it.
        batches: its inputs; for int8, each row of them is a row to calibrate by.
        out: the file to write.
        numbers: what it computes with; what goes in and comes out stays in floats.

    Raises:
        InvalidInput: it is no PyTorch model, or cannot be converted.
        EnvironmentLacks: litert-torch is missing.
    """
    if not isinstance(model, TorchModel):
        raise InvalidInput("only a model of PyTorch's formats can be written as LiteRT")
    import torch

    if isinstance(model.module, torch.jit.ScriptModule):
        raise InvalidInput(
            "LiteRT's converter takes no TorchScript; save the model with torch.export, as .pt2"
        )
    with needs("litert-torch", "litert-convert", "Writing a PyTorch model as LiteRT"):
        import litert_torch

    rows = rows_of(batches)
    given = {name: torch.as_tensor(array) for name, array in rows[0].items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        plain = out if numbers == "float" else Path(folder) / out.name
        litert_torch.convert(_named(model), sample_kwargs=given).export(str(plain))
        if numbers == "dynamic":
            from ai_edge_quantizer import quantizer, recipe

            quantizer.Quantizer(str(plain), recipe.dynamic_wi8_afp32()).quantize().export_model(
                str(out), overwrite=True
            )
        elif numbers == "int8":
            _quantise(plain, rows, out)


def rows_of(batches: Iterable[Arrays]) -> list[dict[str, Any]]:
    """Each row of each batch by itself, as a batch of one."""
    return [_row(batch, at) for batch in batches for at in range(min(map(len, batch.values())))]


def _row(batch: Arrays, at: int) -> dict[str, Any]:
    return {name: np.asarray(array)[at : at + 1] for name, array in batch.items()}


def _named(model: TorchModel) -> Any:
    """A module of named tensors that gives named outputs, as the model's signature has them."""
    import torch

    class Named(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model.module

        def forward(self, **tensors: Any) -> Any:
            found = model.forward(tensors)
            return {"output_0": found} if isinstance(found, torch.Tensor) else found

    named = Named()
    return (
        named if isinstance(model.module, torch.fx.GraphModule) else named.eval()
    )  # the first has no eval()


def _quantise(plain: Path, rows: list[dict[str, Any]], out: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    outer: list[dict[str, Any]] = [
        {"regex": ".*", "operation": place, "algorithm_key": "no_quantize", "op_config": {}}
        for place in ("INPUT", "OUTPUT")
    ]
    work = quantizer.Quantizer(str(plain), [*recipe.static_wi8_ai8(), *outer])
    (signature,) = Interpreter(str(plain)).get_signature_list()
    ranges: dict[str, dict[str, Any]] = {}
    for row in rows:  # one by one: the quantiser itself would take a moving mean, which cuts off what is rare
        for name, seen in work.calibrate({signature: [row]}).items():
            known = ranges.setdefault(name, dict(seen))
            known |= {
                "min": np.minimum(known["min"], seen["min"]),
                "max": np.maximum(known["max"], seen["max"]),
            }
    work.quantize(ranges).export_model(str(out), overwrite=True)
