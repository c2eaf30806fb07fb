"""Structured pruning: whole channels are taken out of a network, with everything that depends on them.

Which parts depend on one another is found by torch-pruning's dependency graph (Fang et al. 2023, "DepGraph"). A layer whose
channels show outside, or whose size is written into the network's code, is found by trying and keeps them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.errors import InvalidInput, needs
from gradatim.models.torch_program import TorchModel, quiet
from gradatim.models.torch_signature import named_leaves

if TYPE_CHECKING:
    from gradatim.compression.batches import Batch


def prune(model: TorchModel, share: float, batch: Batch) -> None:
    """Take the channels with the smallest weights out of every layer that can lose some, in place.

    Args:
        model: as ``layers.trainable`` gives it.
        share: of each layer's channels, above 0 and below 1.
        batch: inputs to trace the network with.

    Raises:
        InvalidInput: no layer can lose channels.
        EnvironmentLacks: torch-pruning is missing.
    """
    import torch

    with needs("torch-pruning", "torch", "Pruning a PyTorch model"):
        import torch_pruning

    for parameter in model.module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    given = {name: torch.as_tensor(np.asarray(array)) for name, array in batch.items()}
    work = _Pruning(torch_pruning, model, given)
    layers, weights = work.prunable(work.layers), work.weights()
    if work.holds(layers, share):
        work.prune(layers, share)
    if work.weights() == weights:
        raise InvalidInput(
            "no layer of it can lose channels: it has no convolution and no dense layer inside, their sizes are written into its "
            "code, or torch-pruning cannot tell what depends on them"
        )


class _Pruning:
    def __init__(self, torch_pruning: Any, model: TorchModel, given: Mapping[str, Any]) -> None:
        import torch

        self.tool, self.model, self.given = torch_pruning, model, given
        kinds = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)
        self.layers = [each for each in model.module.modules() if isinstance(each, kinds)]
        self.shapes = self._shapes()

    def prunable(self, layers: Sequence[Any], others: Sequence[Any] = ()) -> list[Any]:
        """Those of the layers that can lose channels together with the others while the outputs keep their shapes."""
        if not layers or self.holds([*others, *layers], 0.5):
            return list(layers)
        if len(layers) == 1:
            return []
        middle = len(layers) // 2
        first = self.prunable(layers[:middle], others)
        return [*first, *self.prunable(layers[middle:], [*others, *first])]

    def prune(self, layers: Sequence[Any], share: float) -> None:
        """Take so much out of these layers, and out of what depends on them."""
        chosen = set(layers)
        with quiet():
            self.tool.pruner.BasePruner(
                self.model.module,
                self.given,
                importance=self.tool.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=share,
                ignored_layers=[each for each in self.layers if each not in chosen],
                in_channel_groups={},
                out_channel_groups={},
                num_heads={},
                forward_fn=lambda _, given: self._outputs(given),
            ).step()

    def holds(self, layers: Sequence[Any], share: float) -> bool:
        """Whether the outputs keep their shapes."""
        with _restored(self.model.module):
            try:
                self.prune(layers, share)
                return self._shapes() == self.shapes
            except Exception:  # whatever the tool or the network raises: these cannot be pruned together
                return False

    def weights(self) -> int:
        """How many numbers the network holds."""
        return sum(parameter.numel() for parameter in self.model.module.parameters())

    def _outputs(self, given: Mapping[str, Any]) -> list[Any]:
        leaves = named_leaves(self.model.forward(dict(given)), "")
        return [leaf for _, leaf in leaves if getattr(leaf, "grad_fn", None) is not None]

    def _shapes(self) -> list[Any]:
        return [leaf.shape for leaf in self._outputs(self.given)]


@contextlib.contextmanager
def _restored(network: Any) -> Iterator[None]:
    """Undo whatever is done to the layers of a network inside."""
    kept = [
        (layer, dict(vars(layer)), dict(layer._parameters), dict(layer._buffers))
        for layer in network.modules()
    ]
    try:
        yield
    finally:
        for layer, values, parameters, buffers in kept:
            vars(layer).clear()
            vars(layer).update({**values, "_parameters": parameters, "_buffers": buffers})
