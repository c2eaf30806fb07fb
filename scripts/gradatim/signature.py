"""A model seen without running it: the shape of its named inputs and outputs, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Size = int | str | None
"""One axis: a fixed size, a named dynamic size (``batch``), or None when unknown."""


def _shown(axis: Size) -> str:
    """An axis for a person: exporters write whole formulas for the sizes of feature maps."""
    return "?" if axis is None or set("()*/") & set(str(axis)) else str(axis)


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor: dtype as numpy spells it (``float32``, ``int64``, ``str``) and its axes.

    Attributes:
        optional: what an input is where a call leaves it out: ``default``, the model's own, or ``filled``, by gradatim;
            None where it may not be left out.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...] | None
    optional: str | None = None

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join(map(_shown, self.shape))
        return f"{self.name}: {self.dtype}[{axes}]{' (optional)' if self.optional else ''}"

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TensorSpec:
        shape = record["shape"]
        axes = None if shape is None else tuple(shape)
        return cls(record["name"], record["dtype"], axes, record.get("optional"))


@dataclass(frozen=True)
class Signature:
    """Named inputs and outputs, in the model's own order.

    Attributes:
        text: what takes the place of the inputs where the model brings its tokenizer.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    text: TensorSpec | None = None

    def input(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.outputs if spec.name == name), None)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Signature:
        return cls(
            tuple(TensorSpec.from_json(spec) for spec in record["inputs"]),
            tuple(TensorSpec.from_json(spec) for spec in record["outputs"]),
            TensorSpec.from_json(record["text"]) if record.get("text") else None,
        )


@dataclass(frozen=True)
class Inspection:
    """A model's make-up.

    Attributes:
        format: one of ``contract.model_formats.FORMATS``.
        files: name relative to the model's folder -> hex SHA-256, for every file that belongs to the model.
        size: bytes of all those files.
        pickles: the files that might be, or hold, a pickle; when there are any and the contract does not allow
            them, nothing was loaded and what follows is unknown.
        external_data: the files that hold an ONNX model's weights outside of it.
        opset: ONNX operator set versions by domain.
        ir_version: ONNX's, None for other formats.
        producer: what wrote the file, as far as it says.
        signature: inputs and outputs; None when it cannot be known without loading what may not be loaded.
        parameters: stored numbers; None where they cannot be counted.
        nonfinite: names of the tensors that hold NaN or infinity (masks and bounds apart).
        operators: ONNX, LiteRT or TensorFlow operator -> how often it occurs.
        doubts: file -> why it is not proven harmless, for whoever looks at this moment: evidence keeps the names alone.
    """

    format: str
    files: Mapping[str, str]
    size: int
    pickles: tuple[str, ...] = ()
    external_data: tuple[str, ...] = ()
    opset: Mapping[str, int] = field(default_factory=dict)
    ir_version: int | None = None
    producer: str = ""
    signature: Signature | None = None
    parameters: int | None = None
    nonfinite: tuple[str, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """All fields that evidence keeps, also those that are empty."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.compare}
