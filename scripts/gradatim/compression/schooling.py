"""The user's own part in a form that learns: the network that does, and how it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.code import explaining, load_function
from gradatim.compression.batches import Batch
from gradatim.errors import InvalidInput, needs
from gradatim.models.torch_program import TorchModel, module_like
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
    with needs("torch", "torch", "Training a student"):
        import torch

    torch.set_num_threads(original.threads)
    torch.manual_seed(seed)
    make = load_function(reference, root)
    with explaining(reference, root, "It is called with nothing and gives a torch.nn.Module."):
        network = make()
    if not isinstance(network, torch.nn.Module):
        raise InvalidInput(f"`{reference}` must give a torch.nn.Module; it gave {type(network).__name__}.")
    return module_like(reference, root, network, original, batch)


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
