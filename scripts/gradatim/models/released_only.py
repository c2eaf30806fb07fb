"""What a factory's model opens while it is made and called: of its project, what is released with it and nothing else."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput

_WORDS = re.compile(r"""[^\s'"`<>|,;()\[\]]+""")
_PLACED_ELSEWHERE = ("site-packages", "dist-packages", ".git")

_at_work: list[ReleasedOnly] = []
"""Whose model runs now: Python has one hook for the whole process, and it cannot be taken back."""


class UnreleasedFile(InvalidInput):
    """A model opens a file of its project that is not released with it.

    Args:
        file: its path below the project, with slashes.
    """

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file


class ReleasedOnly:
    """Refuses, by name, what a model opens of its project and the release does not hold.

    ``root`` holds the released files alone, so what lies beside them in the project is not there: a library that reads
    files without Python finds nothing. What Python opens is seen before it is opened, wherever it lies.

    Args:
        reference: the factory, for messages.
        root: the folder that holds what is released.
        project: the folder of the contract.
    """

    def __init__(self, reference: str, root: Path, project: Path) -> None:
        self._reference = reference
        self._root, self._project = root.resolve(), project.resolve()
        inside = [folder for folder in (self._project, *self._project.parents) if (folder / ".git").exists()]
        self._top = inside[0] if inside else self._project
        # an environment or an editable checkout of gradatim may lie inside the project
        self._foreign = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]}
        self._refused: InvalidInput | None = None
        if not _hooked:
            sys.addaudithook(_hook)
            _hooked.append(True)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """The model is made or called inside, with its released files as the working folder.

        Raises:
            InvalidInput: it opened what is not released; names the file, and the key that releases it.
        """
        before = Path.cwd()
        os.chdir(self._root)
        _at_work.append(self)
        try:
            yield
        except Exception as error:
            raise self._refused or self._missed(error) or error from error
        finally:
            _at_work.remove(self)
            os.chdir(before)
        if self._refused is not None:
            raise self._refused

    def refuse(self, opened: object, mode: object, flags: object) -> None:
        """Called before any file is opened.

        Raises:
            InvalidInput: it belongs to the project and not to the release.
        """
        if not isinstance(opened, str | bytes | os.PathLike):
            return  # a descriptor: it was opened before
        written = isinstance(flags, int) and (flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_TRUNC)
        path = Path(os.path.abspath(os.fsdecode(opened)))  # noqa: PTH100 (resolve would follow links, and open files)
        if written or (found := self._unreleased(path)) is None:
            return
        self._refused = self._refused or found
        raise found

    def _unreleased(self, path: Path) -> InvalidInput | None:
        if path.suffix == ".pyc":
            with contextlib.suppress(ValueError):
                path = Path(importlib.util.source_from_cache(str(path)))
        if path.is_relative_to(self._root):
            if path.exists():
                return None
            path = self._project / path.relative_to(self._root)
        if not path.is_relative_to(self._top) or set(path.parts) & set(_PLACED_ELSEWHERE):
            return None
        if any(path.is_relative_to(folder) for folder in self._foreign) or not path.is_file():
            return None
        if path.is_relative_to(self._project):
            return self._error(path.relative_to(self._project).as_posix())
        if path.suffix == ".py":
            return None  # a package of the same repository, installed where it lies
        return InvalidInput(
            f"`{self._reference}` opens {path}, which lies outside of {self._project} and so cannot be released with the "
            "model: whoever gets the release would not have it. Copy it below that folder and name it in `model.files`."
        )

    def _missed(self, error: BaseException) -> InvalidInput | None:
        """What a failure names and the project has: the release lacks it."""
        text = f"{error} {getattr(error, 'filename', '')}"
        for word in _WORDS.findall(text):
            stripped = word.strip(".:!")
            for name in (word, stripped, f"{stripped.replace('.', '/')}.py"):
                with contextlib.suppress(OSError, ValueError):
                    if (self._root / name).exists():
                        continue
                    path = Path(os.path.abspath(self._project / name))  # noqa: PTH100 (as in refuse)
                    if found := self._unreleased(path):
                        return found
        return None

    def _error(self, name: str) -> InvalidInput:
        return UnreleasedFile(
            f"`{self._reference}` opens `{name}`, which is not part of the release: whoever gets it would not have that "
            f"file. Name it in `model.files`, for example `files: [{name}]`.",
            name,
        )


_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _at_work:
        _at_work[-1].refuse(*arguments)
