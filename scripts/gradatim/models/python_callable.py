"""Any other model: the user's own ``module:function``."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.code import explaining, load_function
from gradatim.errors import InvalidInput
from gradatim.models.predictor import Arrays, RuntimeModel, refine
from gradatim.models.released_only import ReleasedOnly
from gradatim.signature import Signature

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource


def open_python(source: ModelSource) -> RuntimeModel:
    """Call ``module:function`` of the user's code: it gives a callable from named arrays to named arrays.

    Without a file to read, a function that takes an argument is that callable itself. The callable may carry a ``signature`` (gradatim's, or its JSON form); without one, and without one in the
    contract, every call passes as it is. If it has ``close()``, that is called in the end.

    Raises:
        InvalidInput: there is no such function, it fails, or it gives nothing that can be called.
    """
    reference = source.factory or source.path.name
    predict = _callable_of(reference, source)
    if not callable(predict):
        raise InvalidInput(
            f"`{reference}` must give a function from named arrays to named arrays; it gave {type(predict).__name__}."
        )
    own = _own_signature(reference, predict)
    signature = refine(source.name, own or Signature((), ()), source.signature)
    if own is None and all(spec.dtype == "unknown" and spec.shape is None for spec in signature.inputs):
        signature = Signature(
            (), signature.outputs
        )  # names of constants alone do not tell what else it takes
    names = {spec.name for spec in signature.outputs}

    released = _released_only(source)

    def call(inputs: Arrays) -> dict[str, NDArray[Any]]:
        told = f"It is called with a dict of named arrays ({', '.join(inputs)}), and must give one."
        with released(), explaining(reference, source.root, told):
            outputs = predict(dict(inputs))
        if not isinstance(outputs, Mapping):
            raise InvalidInput(
                f"`{reference}` must give named arrays, a dict; it gave {type(outputs).__name__}."
            )
        if names and set(outputs) != names:
            raise InvalidInput(
                f"`{reference}` gave the outputs {', '.join(map(str, outputs)) or 'none'}; "
                f"expected {', '.join(sorted(names))}."
            )
        return {str(name): np.asarray(value) for name, value in outputs.items()}

    model = RuntimeModel(
        source.name,
        signature,
        call,
        device=source.device,
        threads=source.threads,
        release=getattr(predict, "close", None),
    )
    if not signature.inputs:
        model.accept_anything()
    return model


def _callable_of(reference: str, source: ModelSource) -> Any:
    reads_a_file = source.path.exists() and source.path.resolve() != source.root.resolve()
    with _released_only(source)():
        function = load_function(reference, source.root)
    if not reads_a_file and _takes_a_path(function):
        return function
    return call_factory(reference, source)


def call_factory(reference: str, source: ModelSource) -> Any:
    """Call the user's factory: with the model's path if it takes an argument, else with nothing.

    Raises:
        InvalidInput: it does not exist or fails; the message names the file and line of the user's code. Or it opens
            what the release does not hold.
    """
    with _released_only(source)():
        factory = load_function(reference, source.root)
        with explaining(reference, source.root):
            return factory(source.path) if _takes_a_path(factory) else factory()


def _released_only(source: ModelSource) -> Callable[[], AbstractContextManager[None]]:
    if source.project is None:
        return contextlib.nullcontext
    return ReleasedOnly(source.factory or source.path.name, source.root, source.project).watching


def _takes_a_path(factory: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) and each.default is each.empty
        for each in parameters
    )


def _own_signature(reference: str, predict: Any) -> Signature | None:
    told = getattr(predict, "signature", None)
    if told is None or isinstance(told, Signature):
        return told
    try:
        return Signature.from_json(told)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"The `signature` of what `{reference}` gave is not one: expected gradatim's Signature or "
            '{"inputs": [{"name", "dtype", "shape"}], "outputs": [...]}.'
        ) from error
