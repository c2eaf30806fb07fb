"""A model that was found, before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradatim.signature import Signature


@dataclass(frozen=True)
class Source:
    """A model that was found and passed: where it is and how it is to be opened.

    Attributes:
        path: the model's file or folder; for ``python`` it need not exist.
        format: one of ``formats.FORMATS``.
        factory: ``module:function`` of the user's code below ``root``, or None.
    """

    path: Path
    root: Path
    format: str
    factory: str | None
    signature: Signature | None
    device: str
    threads: int
    allow_pickle: bool

    @property
    def name(self) -> str:
        """The model's name in messages."""
        return self.factory or self.path.name if self.format == "python" else self.path.name
