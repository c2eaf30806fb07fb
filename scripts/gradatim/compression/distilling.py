"""Distillation: a smaller network learns to answer as the original does.

The targets are the original's answers, so no labels are needed, and any input is one to learn from: rows of the calibration
data, and mixtures of two of them where all inputs are floats (Beyer et al. 2022, "Knowledge distillation: a good teacher is
patient and consistent").
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import InvalidInput
from gradatim.models.torch_program import TorchModel
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from gradatim.models import Predictor

_STEPS = 2000
_RISING = 100
_RATE = 3e-3


def distil(
    original: Predictor, student: TorchModel, learned: Sequence[Path], seed: int, seconds: float
) -> None:
    """Train the student, in place, on the squared distance of its float outputs from the original's.

    AdamW with a rate that rises for a hundred steps and falls by a cosine: a few steps at a high rate would leave it worse. Normalisation by batch goes on
    learning its means where a batch has more than one row; all else is in evaluation mode, without dropout.

    Args:
        original: in whatever format.
        student: as ``layers.trainable`` gives it, or ``schooling.student_of``.
        learned: files of batches.
        seconds: training ends by then, with fewer steps.

    Raises:
        InvalidInput: no output is a float.
    """
    import torch

    dice = torch.Generator().manual_seed(seed)

    def loss() -> Any:
        which = int(torch.randint(len(learned), (1,), generator=dice))
        inputs = _tensors(learned[which])
        _set_mode(student.module, training=_rows(inputs) > 1)
        return _distance(original, student, _mixed(inputs, dice))

    descend(student.module, loss, seconds=seconds, rate=_RATE)
    _set_mode(student.module, training=False)


def descend(
    network: Any, loss: Callable[[], Any], *, seconds: float, rate: float, enough: float = 0.0
) -> None:
    """Change all weights of a network, in place, so that a loss falls.

    Args:
        loss: of a batch that it draws itself.
        seconds: it ends by then, with fewer steps.
        rate: the highest.
        enough: it ends once the loss has been below that on average of the last 32 steps.
    """
    import torch

    weights = [each for each in network.parameters() if each.is_floating_point()]
    for each in weights:
        each.requires_grad_(requires_grad=True)
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=1e-4)
    started, last = time.monotonic(), deque[float](maxlen=32)
    for step in range(_STEPS):
        done = max(step / _STEPS, (time.monotonic() - started) / seconds)
        if done >= 1 or (len(last) == last.maxlen and sum(last) < enough * len(last)):
            break
        _set_rate(optimiser, rate, step, done)
        found = loss()
        optimiser.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        last.append(float(found.detach()))


def _set_rate(optimiser: Any, rate: float, step: int, done: float) -> None:
    """Rising for so many steps, however few there is time for, and falling by a cosine."""
    for group in optimiser.param_groups:
        group["lr"] = rate * min(step / _RISING, 0.5 * (1 + math.cos(math.pi * done)))


def _set_mode(network: Any, *, training: bool) -> None:
    import torch

    network.eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.train(training)


def _tensors(path: Path) -> dict[str, Any]:
    import torch

    return {name: torch.as_tensor(array) for name, array in load_inputs(path).items()}


def _rows(inputs: Mapping[str, Any]) -> int:
    """How many rows all inputs have; 0 where they differ, or one has none."""
    rows = {len(tensor) if tensor.ndim else 0 for tensor in inputs.values()}
    return rows.pop() if len(rows) == 1 else 0


def _mixed(inputs: dict[str, Any], dice: Any) -> dict[str, Any]:
    """Each row with a part of another, the same part in every input; rows as they are where an input is no float."""
    import torch

    n = _rows(inputs)
    if n < 2 or not all(tensor.is_floating_point() for tensor in inputs.values()):
        return inputs
    others = torch.randperm(n, generator=dice)
    part = torch.rand(n, generator=dice)

    def mixed(tensor: Any) -> Any:
        each = part.reshape(-1, *(1,) * (tensor.ndim - 1)).to(tensor.dtype)
        return each * tensor + (1 - each) * tensor[others]

    return {name: mixed(tensor) for name, tensor in inputs.items()}


def _distance(original: Predictor, student: TorchModel, inputs: dict[str, Any]) -> Any:
    """The squared error of the student's outputs, as a part of the variance of the original's; the mean over the outputs."""
    import torch

    given = original({name: tensor.numpy() for name, tensor in inputs.items()})
    wanted = {name: torch.as_tensor(array) for name, array in given.items() if array.dtype.kind == "f"}
    if not wanted:
        raise InvalidInput("it gives no floats, from which nothing could be learnt")
    found, parts = student.answers(dict(inputs)), []
    for name, before in wanted.items():
        finite = torch.isfinite(before)
        spread = before[finite].var() if finite.sum() > 1 else torch.ones(())
        parts.append(((found[name] - before)[finite] ** 2).mean() / (spread + 1e-12))
    return torch.stack(parts).mean()
