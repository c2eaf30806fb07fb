"""A PyTorch model as a program that computes in bfloat16, which takes and gives what it did."""

from __future__ import annotations

from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.compression.batches import Batch
from gradatim.errors import InvalidInput
from gradatim.models.onnx_export import free_axes
from gradatim.models.torch_program import TorchModel, quiet

if TYPE_CHECKING:
    from gradatim.models import Predictor


def halve(model: Predictor, batch: Batch, out: Path) -> None:
    """Write ``.pt2`` whose weights and products are bfloat16; the network of ``model`` is changed.

    Args:
        batch: its inputs, at least two rows where their number shall stay free.

    Raises:
        InvalidInput: it is no PyTorch model, or TorchScript, whose types are fixed.
    """
    import torch

    if not isinstance(model, TorchModel) or isinstance(model.module, torch.jit.ScriptModule):
        raise InvalidInput(
            "only .pt2, and weights with their network, can compute in bf16: ONNX Runtime has no products of it on a processor"
        )
    low, network, answers = torch.bfloat16, model.module, model.answers

    specs = [spec for spec in model.signature.inputs if spec.name in batch]
    names = [spec.name for spec in specs]

    class Halved(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = network.to(low)

        def forward(self, *tensors: Any) -> Any:
            given = (each.to(low) if each.is_floating_point() else each for each in tensors)
            found = answers(dict(zip(names, given, strict=True)))
            return {name: each.float() if each.dtype == low else each for name, each in found.items()}

    named = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    Halved.forward.__signature__ = Signature(named)  # type: ignore[attr-defined]  # by which inputs are called
    free = [dict.fromkeys(free_axes(spec, batch[spec.name].ndim), torch.export.Dim.AUTO) for spec in specs]
    given = tuple(torch.as_tensor(batch[name]) for name in names)
    with quiet(), torch.no_grad():
        program = torch.export.export(Halved(), given, dynamic_shapes=tuple(free))
        program.example_inputs = None  # rows of the calibration data
        out.parent.mkdir(parents=True, exist_ok=True)
        torch.export.save(program, out)
