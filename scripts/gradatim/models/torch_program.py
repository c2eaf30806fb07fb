"""PyTorch models: ``torch.export`` programs, TorchScript, and weights for a module of the user's."""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, missing_package
from gradatim.models.exported_program import check_program
from gradatim.models.operators import check_script
from gradatim.models.predictor import Arrays, RuntimeModel, failed, names_of, refine
from gradatim.models.python_callable import call_factory
from gradatim.models.source import ModelSource
from gradatim.models.torch_signature import SCALARS, named_leaves, program_signature, script_signature
from gradatim.models.variables import variables
from gradatim.signature import Inspection, Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.predictor import Predictor


class TorchModel(RuntimeModel):
    """A network of PyTorch's.

    Attributes:
        module: the network.
        forward: what it gives for named tensors.
        answers: the same as named tensors, those of its signature.
        runs: the same as a call has it: without gradients, and with the contract's ``autocast``.
    """

    module: Any
    forward: Callable[[dict[str, Any]], Any]
    answers: Callable[[dict[str, Any]], dict[str, Any]]
    runs: Callable[[dict[str, Any]], dict[str, Any]]


def open_torch(source: ModelSource) -> RuntimeModel:
    """Load a PyTorch model of any form, in evaluation mode.

    Raises:
        InvalidInput: the file is broken or suspicious, or the weights do not fit the module.
        EnvironmentLacks: torch or the GPU is missing.
    """
    torch = import_torch(source)
    try:
        with quiet():
            if source.format == "pt2":
                return _open_program(torch, source)
            if source.format == "torchscript":
                return _open_script(torch, source)
            return module_predictor(source, _load_module(torch, source))
    except GradatimError:
        raise
    except Exception as error:
        raise failed(str(source.path), "cannot be loaded by PyTorch", error) from error


def import_torch(source: ModelSource) -> Any:
    """PyTorch, with the source's threads, once the source's device is known to be there.

    The number of threads is one setting for the whole process: the model opened last decides.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_package("torch", "torch", f"Running {source.name}") from error
    if source.device != "cpu":
        index = int(source.device.partition(":")[2] or 0)
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise EnvironmentLacks(
                f"The contract asks for the device {source.device}, but PyTorch sees no such GPU here. Run "
                "it on a "
                "machine with an NVIDIA GPU and a CUDA build of torch, or set `model.device: cpu`."
            )
    if torch.get_num_threads() != source.threads:
        torch.set_num_threads(source.threads)
    return torch


def load_program(torch: Any, source: ModelSource) -> Any:
    """Load a ``torch.export`` program without running any Python that it may bring.

    torch makes Python of its tables, so these are read first. It stores example inputs as pickles, and
    ``torch.export.load`` falls back to a full unpickler when the safe one refuses them: that fallback is locked.

    Raises:
        InvalidInput: the tables hold a text that torch would run, and the contract does not trust the model.
    """
    if source.allow_pickle:
        return torch.export.load(source.path)
    check_program(torch, source.path)
    with _tensors_only():
        return torch.export.load(source.path)


def load_script(torch: Any, source: ModelSource) -> Any:
    """Load TorchScript onto the source's device, in evaluation mode.

    Raises:
        InvalidInput: its code calls an operator that does more than compute, and the contract does not trust the model.
    """
    if not source.allow_pickle:
        check_script(torch, source.path)
    with source.path.open(
        "rb"
    ) as file:  # torch opens paths by itself only if they are ASCII on some platforms
        return torch.jit.load(file, map_location=source.device).eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep PyTorch's warnings and log lines (deprecations, fallbacks) away from the user's terminal."""
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _tensors_only() -> AbstractContextManager[None]:
    """Force ``weights_only=True`` on every ``torch.load`` inside, whoever calls it."""
    return variables(TORCH_FORCE_WEIGHTS_ONLY_LOAD="1")


def _load_module(torch: Any, source: ModelSource) -> Any:
    """The user's module with the file's weights in it."""
    if source.format == "pickle":
        return _load_pickle(torch, source)
    try:
        from safetensors.torch import load_model
    except ImportError as error:
        raise missing_package("safetensors", "torch", f"Reading {source.name}") from error
    module = _make_module(torch, source)
    try:
        load_model(module, source.path, strict=True, device="cpu")
    except RuntimeError as error:
        raise _does_not_fit(source, error) from error
    return module


def _load_pickle(torch: Any, source: ModelSource) -> Any:
    """A ``torch.save`` file: a state dict by the safe unpickler; a whole module only without a factory."""
    if source.path.suffix.lower() in (".joblib", ".pkl", ".pickle") and source.factory is None:
        raise InvalidInput(
            f"{source.path} is a pickle of some Python object, which gradatim cannot call by itself. Set "
            "`model.format: python` and `model.factory: module:function`, a function that loads it and "
            "gives a "
            "function from named arrays to named arrays."
        )
    if source.factory is None:
        module = torch.load(source.path, map_location="cpu", weights_only=False)
        if not isinstance(module, torch.nn.Module):
            raise _needs_factory(source)
        return module
    state = torch.load(source.path, map_location="cpu", weights_only=True)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise InvalidInput(f"{source.path} holds {type(state).__name__}, not a state dict.")
    module = _make_module(torch, source)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise _does_not_fit(source, error) from error
    return module


def _make_module(torch: Any, source: ModelSource) -> Any:
    if source.factory is None:
        raise _needs_factory(source)
    module = call_factory(source.factory, source)
    if not isinstance(module, torch.nn.Module):
        raise InvalidInput(
            f"`{source.factory}` must give a torch.nn.Module; it gave {type(module).__name__}."
        )
    return module


def _needs_factory(source: ModelSource) -> InvalidInput:
    return InvalidInput(
        f"{source.path} holds weights only. Say in `model.factory: module:function` which function makes the "
        "torch.nn.Module that they belong to."
    )


def _does_not_fit(source: ModelSource, error: RuntimeError) -> InvalidInput:
    details = " ".join(str(error).split())
    details = details if len(details) <= 300 else f"{details[:297]}..."
    return InvalidInput(
        f"The weights of {source.path} do not fit the module of `{source.factory}`: {details}"
    )


def module_predictor(
    source: ModelSource, module: Any, own: Signature | None = None, **options: Any
) -> TorchModel:
    """A Predictor over an ``nn.Module``, its inputs named as its ``forward`` names them.

    Args:
        own: the signature where it is known otherwise.
        options: further keyword arguments of every call.
    """

    module = module.to(source.device).eval()
    if own is None:
        own = Signature(_forward_inputs(source, module), ())
    signature = refine(source.name, own, source.signature)

    def forward(tensors: dict[str, Any]) -> Any:
        return module(**tensors, **options)

    return torch_model(source, signature, forward, module)


def module_like(reference: str, root: Path, module: Any, original: Predictor, batch: Arrays) -> TorchModel:
    """A module that ``reference`` gave as a model with another's inputs, those in a batch, and its outputs, by name or in order.

    Raises:
        InvalidInput: it gives other outputs, or one of another shape.
    """
    wanted = original(batch)
    inputs = tuple(spec for spec in original.signature.inputs if spec.name in batch)
    outputs = tuple(TensorSpec(name, array.dtype.name, None) for name, array in wanted.items())
    source = ModelSource(root, root, "python", reference, None, "cpu", original.threads, allow_pickle=False)
    model = module_predictor(source, module, Signature(inputs, outputs))
    for name, array in model(batch).items():
        if array.shape != wanted[name].shape:
            raise InvalidInput(
                f"The network of `{reference}` gives {name} of shape {array.shape}; the model's is {wanted[name].shape}."
            )
    return model


def _forward_inputs(source: ModelSource, module: Any) -> tuple[TensorSpec, ...]:
    """The required arguments of ``forward``, and those optional ones that the contract declares."""
    declared = {spec.name for spec in source.signature.inputs} if source.signature else set()
    inputs = []
    for name, parameter in inspect.signature(module.forward).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.default is parameter.empty or name in declared:
            inputs.append(TensorSpec(name, "unknown", None))
    return tuple(inputs)


def _open_script(torch: Any, source: ModelSource) -> RuntimeModel:
    script = load_script(torch, source)
    own = script_signature(script, source.signature)
    signature = refine(source.name, own, source.signature)
    scalars = {argument.name for argument in script.forward.schema.arguments if str(argument.type) in SCALARS}
    required = [
        argument.name for argument in script.forward.schema.arguments[1:] if not argument.has_default_value()
    ]

    def forward(tensors: dict[str, Any]) -> Any:
        values = {name: tensor.item() if name in scalars else tensor for name, tensor in tensors.items()}
        positional = [values.pop(name) for name in required]
        return script(*positional, **values)

    return torch_model(source, signature, forward, script)


def _open_program(torch: Any, source: ModelSource) -> RuntimeModel:
    program = load_program(torch, source)
    own, arrange = program_signature(torch, program)
    signature = refine(source.name, _renamed(own, source), source.signature)
    module = program.module().to(source.device)

    def forward(tensors: dict[str, Any]) -> Any:
        args, kwargs = arrange(tensors)
        return module(*args, **kwargs)

    return torch_model(source, signature, forward, module)


def _renamed(own: Signature, source: ModelSource) -> Signature:
    """An exported program's outputs have no names of their own: the contract may give them."""
    names = [spec.name for spec in source.signature.outputs] if source.signature else []
    if len(names) != len(own.outputs) or all(own.output(name) for name in names):
        return own
    outputs = (
        TensorSpec(name, spec.dtype, spec.shape) for name, spec in zip(names, own.outputs, strict=True)
    )
    return Signature(own.inputs, tuple(outputs))


def torch_model(
    source: ModelSource, signature: Signature, forward: Callable[[dict[str, Any]], Any], module: Any
) -> TorchModel:
    """A Predictor over whatever gives tensors for named tensors."""
    import torch

    order = [spec.name for spec in signature.inputs]
    names = [spec.name for spec in signature.outputs]
    device = source.device

    def answers(tensors: dict[str, Any]) -> dict[str, Any]:
        return _named(source.name, list(named_leaves(forward(tensors), "")), names, signature)

    def runs(tensors: dict[str, Any]) -> dict[str, Any]:
        with torch.inference_mode(), _autocast(torch, source):
            return answers(tensors)

    def call(inputs: Arrays) -> dict[str, NDArray[Any]]:
        given = {name: to_tensor(torch, name, inputs[name], device) for name in order if name in inputs}
        return {name: to_array(torch, value) for name, value in runs(given).items()}

    model = TorchModel(source.name, signature, call, device=device, threads=source.threads)
    model.module, model.forward, model.answers, model.runs = module, forward, answers, runs
    return model


def _autocast(torch: Any, source: ModelSource) -> AbstractContextManager[Any]:
    """What the contract lets PyTorch compute with; nothing is kept between calls, for graphs of CUDA would miss it."""
    if source.autocast is None:
        return contextlib.nullcontext()
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[source.autocast]
    device: AbstractContextManager[Any] = torch.autocast(
        source.device.partition(":")[0], kind, cache_enabled=False
    )
    return device


def to_tensor(torch: Any, name: str, array: NDArray[Any], device: str) -> Any:
    """An array as a tensor on a device; raises InvalidInput for what PyTorch does not take."""
    if array.dtype.kind in "OUS":
        raise InvalidInput(
            f"The input `{name}` is text; PyTorch takes numbers only. Turn it into numbers in `preprocess`."
        )
    try:
        # a copy: a module that works in place must not change the caller's batch
        return torch.tensor(array, device=device)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The input `{name}` of dtype {array.dtype} cannot be given to PyTorch."
        ) from error


def to_array(torch: Any, value: Any) -> NDArray[Any]:
    """A tensor as an array; numpy knows no bfloat16."""
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    array: NDArray[Any] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array


def _named(
    model: str, leaves: list[tuple[str, Any]], names: list[str], signature: Signature
) -> dict[str, Any]:
    """Outputs by the names of the signature: by key where the model has keys, else by position."""
    given = dict(leaves)
    if not names:
        return given
    if all(name in given for name in names):
        return {name: given[name] for name in names}
    if len(names) == len(leaves) and all(re.fullmatch(r"output_\d+", name) for name in given):
        return {name: array for name, (_, array) in zip(names, leaves, strict=True)}
    raise InvalidInput(
        f"{model} gives the outputs {', '.join(given) or 'none'}; expected {names_of(signature.outputs)}."
    )


def finite_problems(named_tensors: Iterator[tuple[str, Any]], torch: Any) -> tuple[int, list[str]]:
    """How many numbers tensors hold (buffers included), and which tensors hold NaN or infinity."""
    from gradatim.models.weights import is_mask

    count = 0
    names = []
    for name, tensor in named_tensors:
        count += int(tensor.numel())
        if not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all()):
            continue
        if bool(torch.isnan(tensor).any()) or not is_mask(tensor.detach().float().cpu().numpy()):
            names.append(name)
    return count, names


def saved_tensors(torch: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """The tensors of a trusted ``torch.save`` file, by the safe unpickler."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    for name, value in state.items() if isinstance(state, Mapping) else ():
        if isinstance(value, torch.Tensor):
            yield str(name), value


def look_at_torch(known: Inspection, source: ModelSource, signature: Callable[[], Signature]) -> Inspection:
    """What the tensors tell, and the program's own signature: for both it is loaded."""
    torch = import_torch(source)
    with quiet():
        if source.format == "pt2":
            program = load_program(torch, source)
            tensors = iter({**program.state_dict, **program.constants}.items())
        elif source.format == "torchscript":
            script = load_script(torch, source)
            tensors = iter([*script.named_parameters(), *script.named_buffers()])
        else:
            tensors = saved_tensors(torch, source.path) if source.factory else iter(())
        parameters, nonfinite = finite_problems(
            ((name, tensor) for name, tensor in tensors if isinstance(tensor, torch.Tensor)), torch
        )
    return replace(
        known,
        parameters=parameters or None,
        nonfinite=tuple(nonfinite),
        signature=signature(),
        producer=f"torch {torch.__version__}" if source.format == "pt2" else "",
    )
