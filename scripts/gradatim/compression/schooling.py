"""The user's own part in a form that learns: the network that does, and how it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.code import explaining, load_function
from gradatim.compression.batches import Batch
from gradatim.errors import InvalidInput
from gradatim.models.source import ModelSource
from gradatim.models.torch_program import TorchModel, import_torch, module_predictor
from gradatim.signature import Signature, TensorSpec
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from gradatim.models import Predictor


def student_of(reference: str, root: Path, original: Predictor, batch: Batch, seed: int) -> TorchModel:
    """The network that a function of the user's makes, as a model with the original's inputs and outputs.

    Args:
        reference: ``module:function`` below ``root``: gives a ``torch.nn.Module`` that takes the inputs by name.
        original: whose answers it is to learn, in whatever format.
        batch: inputs to see by that its outputs are those of the original, in name or in order, and in shape.
        seed: of its weights, where it draws them.

    Raises:
        InvalidInput: it gives something else.
        EnvironmentLacks: torch is missing.
    """
    source = ModelSource(root, root, "python", reference, None, "cpu", original.threads, allow_pickle=False)
    torch = import_torch(source)
    torch.manual_seed(seed)
    make = load_function(reference, root)
    with explaining(reference, root, "It is called with nothing and gives a torch.nn.Module."):
        network = make()
    if not isinstance(network, torch.nn.Module):
        raise InvalidInput(f"`{reference}` must give a torch.nn.Module; it gave {type(network).__name__}.")
    wanted = original(batch)
    inputs = tuple(spec for spec in original.signature.inputs if spec.name in batch)
    outputs = tuple(TensorSpec(name, array.dtype.name, None) for name, array in wanted.items())
    student = module_predictor(source, network, Signature(inputs, outputs))
    for name, array in student(batch).items():
        if array.shape != wanted[name].shape:
            raise InvalidInput(
                f"The network of `{reference}` gives {name} of shape {array.shape}; the model's is {wanted[name].shape}."
            )
    return student


def train_by(
    reference: str, root: Path, student: TorchModel, original: Predictor, learned: Sequence[Path]
) -> None:
    """Let a function of the user's train a network, in place.

    Args:
        reference: ``module:function`` below ``root``, of the ``torch.nn.Module``, of the original as something to call with named
            arrays, and of the calibration batches, each named arrays.

    Raises:
        InvalidInput: it fails.
    """
    train = load_function(reference, root)
    for weight in student.module.parameters():
        weight.requires_grad_(weight.is_floating_point())
    with explaining(
        reference,
        root,
        "It is called with the network to train, with the model to learn from, and with the calibration batches.",
    ):
        train(student.module, original, [load_inputs(path) for path in learned])
    student.module.eval()
