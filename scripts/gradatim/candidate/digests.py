"""What a step's evidence rests on, as digests: parts of the contract, data, the user's code."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from gradatim import __version__
from gradatim.contract.reading import ReadContract
from gradatim.errors import GradatimError, UsageError
from gradatim.files import digest_of, sha256_bytes, tree_digest


@dataclass(frozen=True)
class Digests:
    """Digests of what a contract names; no file is read twice for one question.

    Attributes:
        contract: the candidate's.
    """

    contract: ReadContract

    @property
    def kit(self) -> str:
        """Digest of this kit, by its version."""
        return sha256_bytes(__version__.encode())

    def part(self, *parts: str) -> str:
        """Digest of some parts of the contract."""
        return digest_of(self.contract.parts.model_dump(mode="json", include=set(parts)))

    def device(self, device: str) -> str | None:
        """Digest of the device that a step runs the model on; None for the processor."""
        return None if device == "cpu" else digest_of(device)

    def data(self, which: str) -> str:
        """Digest of a data set's bytes and of how it is read."""
        chosen = self.contract.data_set(which)
        if chosen is None:
            return digest_of(None)
        root, data = self.contract.root, self.contract.parts.data
        unlabelled = data.covariate.unlabelled if data.covariate else None
        named = (*data.training, *filter(None, [unlabelled])) if which == "evaluation" else ()
        beside = [tree_digest(root / path) for path in named if (root / path).exists()]
        return digest_of([chosen.model_dump(mode="json"), self.bytes(which), *beside])

    def bytes(self, which: str) -> str:
        """Digest of a data set's bytes alone: of a file, what ``sha256sum`` prints.

        Raises:
            UsageError: the contract has no such data.
            InvalidInput: it is not there.
        """
        if which not in self._bytes:
            from gradatim.data import data_digest

            chosen = self.contract.data_set(which)
            if chosen is None:
                raise UsageError(f"The contract names no `data.{which}`. Add it under `data:`.")
            with self.contract.blamed("data", which):
                self._bytes[which] = data_digest(chosen.path, root=self.contract.root, format=chosen.format)
        return self._bytes[which]

    def of_file(self, which: str) -> str | None:
        """``bytes``, where a file or a folder holds the data; None where a function makes them, or they are not here."""
        from gradatim.code import is_reference

        chosen = self.contract.data_set(which)
        if chosen is None or is_reference(chosen.path):
            return None
        try:
            return self.bytes(which)
        except GradatimError:
            return None

    @functools.cached_property
    def _bytes(self) -> dict[str, str]:
        return {}

    def code(self, which: Iterable[str] = ("evaluation",)) -> str:
        """Digest of the user's code that measuring runs: model factory, preprocessing, own metrics."""
        key = tuple(which)
        if key not in self._code:
            self._code[key] = self._code_of(key)
        return self._code[key]

    @functools.cached_property
    def _code(self) -> dict[tuple[str, ...], str]:
        return {}

    def _code_of(self, which: Iterable[str]) -> str:
        from gradatim.code import closure_digest, is_reference

        parts, root = self.contract.parts, self.contract.root
        named: dict[str, tuple[str, ...]] = {}
        if parts.task:
            named |= {own.function: ("task", "metrics", name) for name, own in parts.task.metrics.items()}
            scorers = parts.task.scorers.items()
            named |= {own.function: ("task", "scorers", name) for name, own in scorers if own.function}
            if parts.task.judge and parts.task.judge.function:
                named[parts.task.judge.function] = ("task", "judge")
        if parts.model.factory:
            named[parts.model.factory] = ("model", "factory")
        if parts.compress:
            named |= {name: ("compress", key) for name, key in parts.compress.functions.items()}
        for name in which:
            if chosen := self.contract.data_set(name):
                own = ("data", name) if self.contract.says("data", name, "preprocess") else ("data",)
                named |= {chosen.preprocess: (*own, "preprocess")} if chosen.preprocess else {}
                named |= {chosen.path: ("data", name)} if is_reference(chosen.path) else {}
        found = {}
        for reference, place in named.items():
            with self.contract.blamed(*place):
                found[reference] = closure_digest(root, reference)
        return digest_of(found)
