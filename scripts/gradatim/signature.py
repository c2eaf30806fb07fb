"""The shape of a model seen from outside: its named inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Size = int | str | None
"""One axis: a fixed size, a named dynamic size (``batch``), or None when unknown."""


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor: dtype as numpy spells it (``float32``, ``int64``, ``str``) and its axes."""

    name: str
    dtype: str
    shape: tuple[Size, ...] | None

    def __str__(self) -> str:
        axes = (
            "?"
            if self.shape is None
            else ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        )
        return f"{self.name}: {self.dtype}[{axes}]"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": None if self.shape is None else list(self.shape),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TensorSpec:
        shape = record["shape"]
        return cls(record["name"], record["dtype"], None if shape is None else tuple(shape))


@dataclass(frozen=True)
class Signature:
    """Named inputs and outputs, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.outputs if spec.name == name), None)

    def to_json(self) -> dict[str, Any]:
        return {"inputs": [s.to_json() for s in self.inputs], "outputs": [s.to_json() for s in self.outputs]}

    @classmethod
    def from_json(cls, record: Mapping[str, Sequence[Mapping[str, Any]]]) -> Signature:
        return cls(
            tuple(TensorSpec.from_json(spec) for spec in record["inputs"]),
            tuple(TensorSpec.from_json(spec) for spec in record["outputs"]),
        )
