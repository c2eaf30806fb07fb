"""A model that was found, before it is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from gradatim.signature import Signature


class Means(TypedDict, total=False):
    """How a model is to be opened, as far as the contract says.

    Attributes:
        project: the project whose code and files a factory may not open, unless they lie in ``root`` too; None lets it
            open everything.
        files: every file that is released with a factory's model, below ``root``.
        format: one of ``model_formats.FORMATS``; None looks at the content.
        adapter: folder of a LoRA adapter that is put on a Hugging Face folder.
        factory: ``module:function``: gives the ``nn.Module`` that safetensors or a state dict are loaded into, or, for
            ``python`` and any file of no known format, the callable itself. It is called with the path if it takes an
            argument.
        command: a program and its arguments that answer for the model; ``{path}`` in them stands for its path.
        endpoint: how a server that answers for the model is asked: ``url``, ``model``, ``key``, ``parallel``, ``timeout`` in
            seconds and ``loopback``, whether it is on this machine; empty where the model is opened here.
        signature: what the contract declares; completes what the format does not say, never contradicts it.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads that one call may use.
        allow_pickle: the contract trusts this model's pickles; ``weights_only=True`` is used where it can be.
        autocast: ``bf16`` or ``fp16``: what PyTorch may compute with where that is as good as float32; None leaves it be.
    """

    project: Path | None
    files: Sequence[Path]
    format: str | None
    adapter: Path | None
    factory: str | None
    command: Sequence[str]
    endpoint: Mapping[str, Any]
    signature: Signature | None
    device: str
    threads: int
    allow_pickle: bool
    autocast: str | None


@dataclass(frozen=True)
class ModelSource:
    """A model that was found and passed: where it is and how it is to be opened.

    Attributes:
        path: the model's file or folder; for ``python`` it need not exist.
        format: one of ``model_formats.FORMATS``.
        factory: ``module:function`` of the user's code below ``root``, or None.
        project, files, command, endpoint, adapter, autocast: as ``Means`` has them.
    """

    path: Path
    root: Path
    format: str
    factory: str | None
    signature: Signature | None
    device: str
    threads: int
    allow_pickle: bool
    project: Path | None = None
    files: tuple[Path, ...] = ()
    command: tuple[str, ...] = ()
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    adapter: Path | None = None
    autocast: str | None = None

    @property
    def folder(self) -> Path:
        """The folder that its files are named from."""
        if self.adapter is not None and not self.adapter.is_relative_to(self.root):
            return Path(os.path.commonpath([self.path, self.adapter]))
        if self.files or self.adapter is not None:
            return self.root
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def name(self) -> str:
        """The model's name in messages."""
        return self.factory or self.path.name if self.format == "python" else self.path.name
