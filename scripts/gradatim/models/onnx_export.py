"""A PyTorch model written as ONNX, with the names and the free sizes that its signature has."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import InvalidInput, needs
from gradatim.models.predictor import Arrays
from gradatim.models.torch_program import TorchModel, quiet
from gradatim.signature import TensorSpec

if TYPE_CHECKING:
    from gradatim.models.predictor import Predictor

_OPSET = 17


def export_torch(model: Predictor, batch: Arrays, out: Path) -> None:
    """Trace a model on a batch and write what it computes; what depends on the values of that batch is fixed then.

    Args:
        model: as ``open_torch`` gives it.
        batch: its inputs, at least two rows where their number shall stay free.
        out: the file to write.

    Raises:
        InvalidInput: the model cannot be traced, or takes plain numbers, which a trace would fix.
        EnvironmentLacks: onnx is missing.
    """
    import torch

    if not isinstance(model, TorchModel):
        raise InvalidInput(f"what {out.stem} computes besides its network cannot be written as ONNX")
    with needs("onnx", "onnx", "Writing a PyTorch model as ONNX"):
        import onnx
    specs = [spec for spec in model.signature.inputs if spec.name in batch]
    if plain := [spec.name for spec in specs if spec.shape == ()]:
        raise InvalidInput(f"its input {plain[0]} is a plain number, which the export would fix")
    given = tuple(torch.as_tensor(batch[spec.name]) for spec in specs)
    names = list(model(batch))
    written = io.BytesIO()
    with quiet(), torch.no_grad(), _plain_layers(), contextlib.redirect_stdout(io.StringIO()):
        computed = _positional(model, [spec.name for spec in specs])
        if isinstance(model.module, torch.jit.ScriptModule):  # others lose the ranks of tensors by it
            computed = torch.jit.trace(computed, given, check_trace=False, strict=False)
        torch.onnx.export(
            computed,
            given,
            written,
            input_names=[spec.name for spec in specs],
            output_names=names,
            dynamic_axes={spec.name: free_axes(spec, batch[spec.name].ndim) for spec in specs},
            opset_version=_OPSET,
            dynamo=False,
        )
    exported = onnx.load_from_string(written.getvalue())
    for value in exported.graph.output:
        value.type.tensor_type.ClearField("shape")  # those of this batch; where the runtime can tell, it does
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(exported), str(out))


@contextlib.contextmanager
def _plain_layers() -> Iterator[None]:
    """Have transformers' layers computed by operators that ONNX knows, in place of one for all."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def free_axes(spec: TensorSpec, rank: int) -> dict[int, str]:
    """The axes whose size is not fixed, by name; the first and, where no shape is known, all."""
    shape = spec.shape if spec.shape is not None and len(spec.shape) == rank else (None,) * rank
    return {
        axis: size if isinstance(size, str) else "batch" if axis == 0 else f"{spec.name}_{axis}"
        for axis, size in enumerate(shape)
        if not isinstance(size, int)
    }


def _positional(model: TorchModel, names: list[str]) -> Any:
    """A module of tensors in this order that gives the leaves of what the model gives."""
    import torch

    class Positional(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            if not isinstance(
                model.module, torch.fx.GraphModule
            ):  # which has no eval(), and need not be named
                self.inner = model.module

        def forward(self, *tensors: Any) -> Any:
            return tuple(model.answers(dict(zip(names, tensors, strict=True))).values())

    for parameter in model.module.parameters():
        parameter.requires_grad_(requires_grad=False)
    positional = Positional()
    return positional if isinstance(model.module, torch.fx.GraphModule) else positional.eval()
