"""A model as its contract says that it is opened and called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.contract.reading import ReadContract
from gradatim.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.predictor import Predictor
    from gradatim.timing.contestant import Contestant


@dataclass(frozen=True)
class Model:
    """What a contract says about its model, for any form of it.

    Attributes:
        contract: the candidate's, or that of the release that it would replace.
        machine: whose device and threads count: the candidate's contract, so that both are asked alike.
    """

    contract: ReadContract
    machine: ReadContract

    @property
    def path(self) -> Path:
        """Where the contract says that the model lies; for a model made by a function alone, ``module:function``."""
        model = self.contract.parts.model
        return self.contract.root / model.path if model.path else Path(str(model.factory))

    def open(self, path: Path, *, watch: Callable[[Predictor], Predictor] | None = None) -> Predictor:
        """A form of the model, ready to be called with what the data feeds, any number of items at a time.

        Args:
            path: the form's file or folder.
            watch: wraps the model itself, under its tokenizer and all that is filled in.
        """
        from gradatim.models import batched, open_model, ready

        predictor = open_model(path, **self._settings(path), threads=self.machine.parts.model.threads)
        return batched(ready(watch(predictor) if watch else predictor, path, **self._around()))

    def contestant(self, name: str, path: Path, threads: int | None = None) -> Contestant:
        """A form of the model for a process of its own, which opens it as ``open`` does."""
        from gradatim.timing.contestant import Contestant

        threads = threads or self.machine.parts.model.threads
        return Contestant(name, path, **self._settings(path), threads=threads, **self._around())

    @property
    def signature(self) -> Signature | None:
        """What the contract says about inputs and outputs; None when it says nothing."""
        model = self.contract.parts.model

        def specs(tensors: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(name, t.dtype or "unknown", t.shape) for name, t in tensors.items())

        if not (model.inputs or model.outputs):
            return None
        return Signature(specs(model.inputs), specs(model.outputs))

    def _settings(self, path: Path) -> dict[str, Any]:
        model = self.contract.parts.model
        return {
            "root": path if model.path is None and path.is_dir() else self.contract.root,
            "format": model.format if path == self.path else None,
            "factory": model.factory,
            "signature": self.signature,
            "device": self.machine.parts.model.device,
            "allow_pickle": model.allow_pickle,
        }

    def _around(self) -> dict[str, Any]:
        """What the data does not feed, as ``models.ready`` takes it: constants, states, and how texts become tokens."""
        model = self.contract.parts.model
        given = model.inputs.items()
        return {
            "constants": {name: tensor.value for name, tensor in given if tensor.value is not None},
            "carries": {name: tensor.carry for name, tensor in given if tensor.carry is not None},
            "tokenizer": model.tokenizer.model_dump(exclude_none=True) if model.tokenizer else None,
        }
