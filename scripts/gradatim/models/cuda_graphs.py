"""A network's call as a graph of CUDA: recorded once for inputs of a shape, then replayed without starting each kernel."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.models.predictor import Arrays, Predictor
from gradatim.models.torch_program import TorchModel, to_array, to_tensor

_WARM = 3
"""Calls beside the graph first, as PyTorch asks: what is made at a first call must not be recorded."""


def replay_calls(model: Predictor) -> None:
    """Let every further call of a model replay its graph.

    Raises:
        InvalidInput: PyTorch does not run it, or not on a GPU; a call whose kernels cannot be recorded is refused when it comes.
    """
    if not isinstance(model, TorchModel) or not model.device.startswith("cuda"):
        raise InvalidInput(
            "`benchmark.cuda_graphs` is for a network that PyTorch runs on `model.device: cuda`, and this model is none. Take it out of "
            "the contract."
        )
    model.run_by(_Replayed(model))


class _Replayed:
    """Calls by graphs, one for each shape of the inputs."""

    def __init__(self, model: TorchModel) -> None:
        self._model = model
        self._recorded: dict[tuple[Any, ...], tuple[Any, dict[str, Any], dict[str, Any]]] = {}

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        import torch

        given = {name: to_tensor(torch, name, values, "cpu") for name, values in inputs.items()}
        shape = tuple((name, tensor.shape, tensor.dtype) for name, tensor in given.items())
        if shape not in self._recorded:
            self._recorded[shape] = self._record(torch, given)
        graph, taken, made = self._recorded[shape]
        with torch.inference_mode():
            for name, tensor in given.items():
                taken[name].copy_(tensor)
            graph.replay()
            return {name: to_array(torch, value) for name, value in made.items()}

    def _record(self, torch: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        with torch.inference_mode():
            taken = {name: tensor.to(self._model.device) for name, tensor in given.items()}
        beside = torch.cuda.Stream(self._model.device)
        beside.wait_stream(torch.cuda.current_stream(self._model.device))
        with torch.cuda.stream(beside):
            for _ in range(_WARM):
                self._model.runs(taken)
        torch.cuda.current_stream(self._model.device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made = self._model.runs(taken)
        return graph, taken, made
