"""Models with inputs that no data set holds: constants, and state that one step hands to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.models.predictor import Arrays, Predictor, RuntimeModel, describe, names_of
from gradatim.signature import Signature, TensorSpec


class BoundModel(RuntimeModel):
    """A Predictor with constants and carried state filled in; see ``bind``.

    Attributes:
        takes_sequences: whether a data input may have a time axis behind its batch axis.
    """

    takes_sequences: bool


def bind(predictor: Predictor, *, constants: Mapping[str, Any], carries: Mapping[str, str]) -> BoundModel:
    """Fill in a model's constants and carry its state, and hide both from the signature.

    Carried inputs start as zeros. A data input with one axis more than the model declares is a sequence:
    axis 1 is time, the model runs once a step, each carried output becomes the next step's input, and the
    other outputs come back stacked on axis 1. Without that axis the model runs one step from zeros.

    Args:
        constants: input name -> a number or nested list; cast to the declared dtype and spread over its
            shape.
        carries: input name -> the output that feeds it.

    Returns:
        A Predictor that closes the given one with itself. Where the model does not say what it takes, nor does this.

    Raises:
        InvalidInput: a name that the model does not have, or a constant that does not fit its dtype or shape.
    """
    signature = predictor.signature
    _refuse_unknown(signature, constants, carries)
    data = tuple(spec for spec in signature.inputs if spec.name not in constants and spec.name not in carries)
    steps = _Steps(
        predictor,
        data,
        {name: _Constant(_declared(signature, name), value) for name, value in constants.items()},
        {name: _state(_declared(signature, name)) for name in carries},
        carries,
    )
    model = BoundModel(
        getattr(predictor, "name", "The model"),
        Signature(data, tuple(spec for spec in signature.outputs if spec.name not in carries.values())),
        steps.run,
        device=predictor.device,
        threads=predictor.threads,
        extra_axes=1 if carries else 0,
        release=predictor.close,
    )
    model.takes_sequences = bool(carries)
    if not signature.inputs:
        model.accept_anything()
    return model


def _refuse_unknown(signature: Signature, constants: Mapping[str, Any], carries: Mapping[str, str]) -> None:
    for name in (*constants, *carries):
        _declared(signature, name)
    for name, output in carries.items():
        if signature.outputs and signature.output(output) is None:
            raise InvalidInput(
                f"The input `{name}` is to be carried from the output `{output}`, which the model does not have: it gives {names_of(signature.outputs)}."
            )
    if both := sorted(set(constants) & set(carries)):
        raise InvalidInput(
            f"The input `{both[0]}` cannot be both a constant and carried: keep one of the two."
        )


@dataclass(frozen=True)
class _Steps:
    """A model that is run step by step along the time axis of its data, or just once.

    Attributes:
        data: the inputs that the caller gives.
        constants, states: the others, by name.
        carries: input name -> the output that feeds it.
    """

    model: Predictor
    data: tuple[TensorSpec, ...]
    constants: Mapping[str, _Constant]
    states: Mapping[str, TensorSpec]
    carries: Mapping[str, str]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        sequences = self._sequences(inputs) if self.carries else []
        now = {name: array[:, 0] if name in sequences else array for name, array in inputs.items()}
        feeds = {
            **now,
            **{name: constant.for_inputs(self.data, now) for name, constant in self.constants.items()},
            **{
                name: np.zeros(_shape(spec, self.data, now), spec.dtype) for name, spec in self.states.items()
            },
        }
        if not sequences:
            return self._given(self._step(feeds))
        steps = {inputs[name].shape[1] for name in sequences}
        if len(steps) > 1:
            raise InvalidInput(
                f"The sequences {', '.join(sequences)} differ in length along axis 1: {sorted(steps)}."
            )
        collected: dict[str, list[NDArray[Any]]] = {}
        for time in range(steps.pop()):
            for name in sequences:
                feeds[name] = inputs[name][:, time]
            outputs = self._step(feeds)
            for name, output in self.carries.items():
                feeds[name] = outputs[output]
            for name, array in self._given(outputs).items():
                collected.setdefault(name, []).append(array)
        return {name: np.stack(arrays, axis=min(1, arrays[0].ndim)) for name, arrays in collected.items()}

    def _sequences(self, inputs: Arrays) -> list[str]:
        """The inputs with a time axis behind the batch axis."""
        found = [
            s.name
            for s in self.data
            if s.name in inputs and s.shape is not None and inputs[s.name].ndim == len(s.shape) + 1
        ]
        for name in found:
            if inputs[name].shape[1] == 0:
                raise InvalidInput(f"The sequence `{name}` has no step: its axis 1, time, has the size 0.")
        return found

    def _step(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        outputs = self.model(feeds)
        if missing := self._carried - set(outputs):
            raise InvalidInput(
                f"The model gave no output `{min(missing)}` to carry: it gave {', '.join(outputs) or 'nothing'}."
            )
        return outputs

    def _given(self, outputs: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs that are not carried."""
        return {name: array for name, array in outputs.items() if name not in self._carried}

    @cached_property
    def _carried(self) -> frozenset[str]:
        return frozenset(self.carries.values())


def _state(spec: TensorSpec) -> TensorSpec:
    """The input of a state, which must be known to begin as zeros."""
    if spec.shape is None or spec.dtype in ("unknown", "str"):
        raise InvalidInput(
            f"The state `{spec.name}` starts as zeros, but its dtype or shape is not known ({describe(spec)}): declare `dtype` and `shape` of `{spec.name}` under `model.inputs`."
        )
    return spec


def _declared(signature: Signature, name: str) -> TensorSpec:
    spec = signature.input(name)
    if spec is None and signature.inputs:
        raise InvalidInput(f"The model has no input `{name}`: it takes {names_of(signature.inputs)}.")
    return spec or TensorSpec(name, "unknown", None)


class _Constant:
    """A constant in the dtype and shape that the model declares."""

    def __init__(self, spec: TensorSpec, value: Any) -> None:
        self._spec = spec
        self._value = _cast(spec, value)
        sizes = spec.shape
        self._free = (
            sizes is not None and self._value.ndim == 0 and any(not isinstance(size, int) for size in sizes)
        )
        if sizes is None or self._free:
            return
        fixed = tuple(size if isinstance(size, int) else None for size in sizes)
        if self._value.ndim == 0:
            self._value = np.full(tuple(size or 1 for size in fixed), self._value)
        elif len(fixed) != self._value.ndim or any(
            size is not None and size != got for size, got in zip(fixed, self._value.shape, strict=True)
        ):
            raise InvalidInput(
                f"The constant `{spec.name}` has the shape {list(self._value.shape)}; expected {describe(spec)}."
            )

    def for_inputs(self, data: tuple[TensorSpec, ...], inputs: Arrays) -> NDArray[Any]:
        if not self._free:
            return self._value
        return np.full(_shape(self._spec, data, inputs), self._value)


def _cast(spec: TensorSpec, value: Any) -> NDArray[Any]:
    """The value in the declared dtype; one that would change (0.5 to an integer, 300 to uint8) is refused."""
    wrong = InvalidInput(f"The constant `{spec.name}: {value!r}` does not fit {describe(spec)}.")
    try:
        raw = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise wrong from error
    if spec.dtype == "unknown":
        return raw
    if spec.dtype == "str":
        if raw.dtype.kind != "U":
            raise wrong
        return raw.astype(object)
    if raw.dtype.kind not in "bifu" or (spec.dtype == "bool") != (raw.dtype.kind == "b"):
        raise wrong
    with np.errstate(all="ignore"):
        cast: NDArray[Any] = raw.astype(spec.dtype)
    if cast.dtype.kind in "iu" and not np.array_equal(cast, raw):
        raise wrong
    if cast.dtype.kind == "f" and not np.array_equal(np.isfinite(cast), np.isfinite(raw)):
        raise wrong
    return cast


def _shape(spec: TensorSpec, data: tuple[TensorSpec, ...], inputs: Arrays) -> tuple[int, ...]:
    """Sizes for a hidden input from the data beside it.

    An axis named as one of the data's has its size. Else the first free axis is the batch, unless one was
    found by name already, and any other begins empty (a cache of keys and values that grows).
    """
    sizes: dict[str, int] = {}
    batch: int | None = None
    for other in (spec for spec in data if spec.name in inputs):
        for axis, size in enumerate(other.shape or ()):
            if isinstance(size, str):
                sizes.setdefault(size, inputs[other.name].shape[axis])
        if batch is None and inputs[other.name].ndim:
            batch = inputs[other.name].shape[0]
    first = next((other.shape[0] for other in data if other.shape), None)
    has_batch = isinstance(first, str) and first in (spec.shape or ())
    found = []
    for size in spec.shape or ():
        if isinstance(size, int):
            found.append(size)
        elif size in sizes:
            found.append(sizes[str(size)])
        elif has_batch:
            found.append(0)
        else:
            found.append(1 if batch is None else batch)
            has_batch = True
    return tuple(found)
