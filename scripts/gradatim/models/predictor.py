"""A model as something to call: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import GradatimError, InvalidInput
from gradatim.signature import Signature, TensorSpec

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""Named arrays, as a model takes them."""

Run: TypeAlias = Callable[[Arrays], dict[str, NDArray[Any]]]
"""What a backend does with inputs that were checked."""


class ModelEnded(InvalidInput):
    """The process of a model ended in the middle of a call, or was ended.

    Args:
        said: what happened, without a full stop.
        advice: what to try, in sentences.
        row: the item of the call that does it alone; None where none does.
        rows: how many items the call had.
        of: whose rows they are, for messages.
    """

    def __init__(self, said: str, advice: str, row: int | None = None, rows: int = 0, of: str = "") -> None:
        place = "" if row is None else f", at row {row} of {of or f'the {rows} of that call'}"
        if row is None and rows:
            place = f", on {rows} rows together that it takes one by one"
        super().__init__(f"{said}{place}. {advice}")
        self.said, self.advice, self.row, self.rows = said, advice, row, rows

    def after(self, items: int) -> ModelEnded:
        """The same where the call was a part of a larger one, behind so many items."""
        row = None if self.row is None else self.row + items
        return ModelEnded(self.said, self.advice, row, self.rows)

    def among(self, items: NDArray[np.int64], of: str) -> ModelEnded:
        """The same where the rows of the call are these of something with a name."""
        row = None if self.row is None or self.row >= len(items) else int(items[self.row])
        return ModelEnded(self.said, self.advice, row, self.rows, of) if row is not None else self


@runtime_checkable
class Predictor(Protocol):
    """A model that is loaded and ready.

    Attributes:
        signature: what it takes and gives. An output list that is empty, a dtype ``unknown`` or a shape None
            means that the format does not say; see ``observed_signature``.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        threads: threads that one call may use.
    """

    signature: Signature
    device: str
    threads: int

    def __call__(self, inputs: Arrays, /) -> dict[str, NDArray[Any]]:
        """Run the model once on exactly the inputs of its signature.

        Raises:
            InvalidInput: a name, dtype or shape that the signature does not allow, or the model itself
                failed.
        """

    def close(self) -> None:
        """Free the model; a later call is refused."""

    def __enter__(self) -> Predictor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class RuntimeModel:
    """The Predictor of every format: checks the inputs, runs the backend, names what went wrong.

    Args:
        name: the model's name in messages.
        run: calls the backend; whatever it raises is told as one paragraph.
        extra_axes: how many axes more than declared a data input may have (a bound state model takes
            its time axis so).
    """

    def __init__(
        self,
        name: str,
        signature: Signature,
        run: Run,
        *,
        device: str,
        threads: int,
        extra_axes: int = 0,
        release: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.signature = signature
        self.device = device
        self.threads = threads
        self._check = checker(signature, extra_axes)
        self._run = run
        self._release = release

    def __call__(self, inputs: Arrays, /) -> dict[str, NDArray[Any]]:
        self._check(inputs)
        try:
            return self._run(inputs)
        except GradatimError:
            raise
        except Exception as error:
            raise failed(self.name, "failed on its inputs", error) from error

    def run_by(self, run: Run) -> None:
        """Call this from now on."""
        self._run = run

    def accept_anything(self) -> None:
        """Check no input: for a model whose inputs nobody declared."""
        self._check = lambda inputs: None

    def close(self) -> None:
        self._run = self._closed
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> RuntimeModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _closed(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        raise InvalidInput(f"{self.name} was closed and can no longer be called.")


def checker(signature: Signature, extra_axes: int = 0) -> Callable[[Arrays], None]:
    """Compile a signature into the check that every call passes: names, dtypes, ranks and fixed sizes.

    Nothing is converted: a float64 array for a float32 input is refused, not rounded. All that can be
    worked out beforehand is, so that a check costs well under a microsecond an input.
    """
    plans = [_Plan(spec) for spec in signature.inputs]
    count = len(plans)

    def check(inputs: Arrays) -> None:
        absent = 0
        for plan in plans:
            array = inputs.get(plan.name)
            if not isinstance(array, np.ndarray):
                if plan.optional and plan.name not in inputs:
                    absent += 1
                    continue
                raise _wrong_kind(plan.spec, array, inputs, signature)
            if array.dtype != plan.dtype and not plan.dtype_fits(array):
                raise _wrong(plan.spec, array)
            if plan.rank is None:
                continue
            shape = array.shape
            if len(shape) != plan.rank and not plan.rank <= len(shape) <= plan.rank + extra_axes:
                raise _wrong(plan.spec, array)
            if len(shape) == plan.rank:
                for axis, size in plan.fixed:
                    if shape[axis] != size:
                        raise _wrong(plan.spec, array)
            else:
                _check_longer(plan, array)
        if len(inputs) != count - absent:
            raise _unknown_names(inputs, signature)

    return check


class _Plan:
    """One input's check, worked out beforehand."""

    __slots__ = ("dtype", "fixed", "name", "optional", "rank", "spec")

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.optional = bool(spec.optional)
        # object never equals a numeric dtype; text and the dtypes numpy lacks are decided in dtype_fits
        self.dtype = _numpy_dtype(spec.dtype)
        self.rank = None if spec.shape is None else len(spec.shape)
        self.fixed = [(axis, size) for axis, size in enumerate(spec.shape or ()) if isinstance(size, int)]

    def dtype_fits(self, array: NDArray[Any]) -> bool:
        if self.spec.dtype == "unknown":
            return array.dtype.kind != "O"
        if self.spec.dtype == "str":
            return array.dtype.kind == "U" or (
                array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat)
            )
        return self.dtype is None and array.dtype.name == self.spec.dtype


def _numpy_dtype(name: str) -> np.dtype[Any] | None:
    """numpy's own dtype of that name; None for text, for unknown and for what numpy lacks (bfloat16)."""
    if name in ("str", "unknown", "object"):
        return None
    try:
        return np.dtype(name)
    except TypeError:
        return None


def _check_longer(plan: _Plan, array: NDArray[Any]) -> None:
    """An array with more axes than declared: they stand behind the batch axis."""
    skip = array.ndim - (plan.rank or 0)
    for axis, size in plan.fixed:
        if array.shape[axis if axis == 0 else axis + skip] != size:
            raise _wrong(plan.spec, array)


def _wrong_kind(spec: TensorSpec, value: object, inputs: Arrays, signature: Signature) -> InvalidInput:
    if spec.name not in inputs:
        extra = sorted(set(inputs) - {known.name for known in signature.inputs})
        got = f" It got {', '.join(map(repr, extra))} instead." if extra else ""
        return InvalidInput(
            f"The input `{spec.name}` is missing: expected {describe(spec)}.{got} The model takes {names_of(signature.inputs)}."
        )
    return InvalidInput(
        f"The input `{spec.name}` must be an array: expected {describe(spec)}, got {type(value).__name__}."
    )


def _wrong(spec: TensorSpec, array: NDArray[Any]) -> InvalidInput:
    return InvalidInput(
        f"The input `{spec.name}` does not fit: expected {describe(spec)}, got {describe_array(array)}."
    )


def _unknown_names(inputs: Arrays, signature: Signature) -> InvalidInput:
    extra = sorted(set(inputs) - {spec.name for spec in signature.inputs})
    return InvalidInput(
        f"The model has no input {', '.join(f'`{name}`' for name in extra)}: it takes {names_of(signature.inputs)}."
    )


def names_of(specs: tuple[TensorSpec, ...]) -> str:
    """``x: float32[batch, 4], sr: int64[]``, or ``nothing``."""
    return ", ".join(str(spec) for spec in specs) or "nothing"


def describe(spec: TensorSpec) -> str:
    """``float32[batch, 4]``: a spec without its name."""
    return str(spec).removeprefix(f"{spec.name}: ")


def describe_array(array: NDArray[Any]) -> str:
    """``float64[2, 4]``: an array's dtype (with a foreign byte order spelled out) and sizes."""
    dtype = array.dtype.name if array.dtype.isnative else f"{array.dtype.name} in foreign byte order"
    if array.dtype.kind == "O":
        kinds = sorted({type(item).__name__ for item in array.flat[:100]})
        dtype = f"object of {' and '.join(kinds) or 'nothing'}"
    return f"{dtype}[{', '.join(map(str, array.shape))}]"


def failed(name: str, what: str, error: BaseException) -> InvalidInput:
    """One short paragraph out of whatever a framework raised."""
    return InvalidInput(f"{name} {what}: {short(error)}")


def short(error: BaseException) -> str:
    """The first telling line of a framework's message, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    text = text if len(text) <= 300 else text[:297] + "..."
    return text if text.endswith((".", "!", "?")) else text + "."


def refine(name: str, own: Signature, declared: Signature | None) -> Signature:
    """The model's own signature, completed by what the contract declares.

    What the model says itself cannot be declared away: names, dtypes and fixed sizes must agree. A free axis
    may be fixed, an unknown dtype or shape may be given.

    Raises:
        InvalidInput: the declaration contradicts the model; names the tensor, and both sides.
    """
    if declared is None:
        return own
    return Signature(
        _refine_all(name, "input", own.inputs, declared.inputs),
        _refine_all(name, "output", own.outputs, declared.outputs),
    )


def _refine_all(
    name: str, kind: str, own: tuple[TensorSpec, ...], declared: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    if not own:
        return declared
    told = {spec.name: spec for spec in declared}
    if unknown := sorted(set(told) - {spec.name for spec in own}):
        raise InvalidInput(
            f"{name} has no {kind} {', '.join(f'`{each}`' for each in unknown)}, which the contract declares: "
            f"it has {names_of(own)}."
        )
    return tuple(_refine_one(name, kind, spec, told.get(spec.name, spec)) for spec in own)


def _refine_one(name: str, kind: str, own: TensorSpec, told: TensorSpec) -> TensorSpec:
    conflict = InvalidInput(
        f"The contract declares the {kind} `{own.name}` as {describe(told)}, but {name} says {describe(own)}."
    )
    if own.dtype != "unknown" and told.dtype not in ("unknown", own.dtype):
        raise conflict
    dtype = told.dtype if own.dtype == "unknown" else own.dtype
    if own.shape is None or told.shape is None:
        return TensorSpec(own.name, dtype, told.shape if own.shape is None else own.shape, own.optional)
    if len(own.shape) != len(told.shape):
        raise conflict
    axes = []
    for mine, theirs in zip(own.shape, told.shape, strict=True):
        if isinstance(mine, int) and isinstance(theirs, int) and mine != theirs:
            raise conflict
        axes.append(mine if theirs is None or isinstance(mine, int) else theirs)
    return TensorSpec(own.name, dtype, tuple(axes), own.optional)


def observed_signature(predictor: Predictor, inputs: Arrays) -> Signature:
    """The signature with the gaps that its format leaves filled in from one call.

    Args:
        inputs: a small batch; an axis of the same size as its first input's first axis counts as ``batch``.

    Raises:
        InvalidInput: the call fails.
    """
    outputs = predictor(inputs)
    first = next(iter(inputs.values()), None)
    items = first.shape[0] if first is not None and first.ndim else None

    def observed(name: str, array: NDArray[Any]) -> TensorSpec:
        shape = tuple(
            "batch" if axis == 0 and size == items else size for axis, size in enumerate(array.shape)
        )
        return TensorSpec(name, "str" if array.dtype.kind in "OU" else array.dtype.name, shape)

    def fill(spec: TensorSpec, array: NDArray[Any] | None) -> TensorSpec:
        if array is None:
            return spec
        seen = observed(spec.name, array)
        return TensorSpec(
            spec.name,
            seen.dtype if spec.dtype == "unknown" else spec.dtype,
            seen.shape if spec.shape is None else spec.shape,
            spec.optional,
        )

    own = predictor.signature
    return Signature(
        tuple(fill(spec, inputs.get(spec.name)) for spec in own.inputs),
        tuple(fill(spec, outputs.get(spec.name)) for spec in own.outputs)
        or tuple(observed(name, array) for name, array in outputs.items()),
        own.text,
    )
