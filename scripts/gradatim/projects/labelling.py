"""Lists of label names that lie beside a model: ``labels.txt``, ``classes.json``, the ``config.json`` of a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

WORDS = ("label", "class", "categor", "names", "tags", "synset", "id2label")
"""Words that the name of such a file holds."""

SUFFIXES = (".txt", ".json", ".names", ".labels")
_MOST_BYTES = 1 << 20
_MOST_LABELS = 10_000


def is_label_list(name: str) -> bool:
    """Whether a file may hold label names, by its own name."""
    path = PurePosixPath(name.lower())
    return path.suffix in SUFFIXES and any(word in path.stem for word in WORDS)


def read_label_lists(root: Path, paths: Iterable[str], model: str | None) -> list[tuple[str, ...]]:
    """The lists of names that there are, the one nearest to the model first; what is no such list is left out.

    Args:
        paths: relative to ``root``.
        model: the model's path, whose folder may be a Hugging Face one.
    """
    home = PurePosixPath(model or "").parent
    near = sorted(
        paths, key=lambda path: (PurePosixPath(path).parent != home, len(PurePosixPath(path).parts), path)
    )
    config = [f"{model}/config.json"] if model and (root / model / "config.json").is_file() else []
    found = [_read(root / path) for path in (*config, *near)]
    return [names for names in found if names]


def _read(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return ()
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ()
    names = _of_json(text) if path.suffix == ".json" else _of_lines(text)
    whole = [" ".join(name.split()) for name in names]
    # a list with a name twice cannot tell the two apart, and the contract refuses it
    distinct = len(set(whole)) == len(whole) and all(whole)
    if all(
        re.fullmatch(r"LABEL_\d+", name) for name in whole
    ):  # what transformers writes where nobody named them
        return ()
    return tuple(whole) if distinct and 2 <= len(whole) <= _MOST_LABELS else ()


def _of_lines(text: str) -> list[str]:
    """A name a line, perhaps behind its place: `0 cat`, `0: cat`."""
    lines = [line for line in text.splitlines() if line.strip()]
    numbered = [re.fullmatch(r"\s*(\d+)[\s:,;]+(\S.*)", line) for line in lines]
    if all(numbered) and [int(m[1]) for m in numbered if m] == list(range(len(lines))):
        return [match[2] for match in numbered if match]
    return lines


def _of_json(text: str) -> list[str]:
    """A list of names; a mapping from place to name or from name to place; or one of these under ``id2label``."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if isinstance(value, dict):
        value = value.get("id2label") or value.get("label2id") or value.get("labels") or value
    if isinstance(value, list):
        return (
            [name for name in value if isinstance(name, str)]
            if all(isinstance(n, str) for n in value)
            else []
        )
    return _by_place(value) if isinstance(value, dict) else []


def _by_place(value: dict[Any, Any]) -> list[str]:
    try:
        if all(isinstance(place, int) for place in value.values()):
            pairs = sorted((int(place), str(name)) for name, place in value.items())
        else:
            pairs = sorted((int(place), str(name)) for place, name in value.items() if isinstance(name, str))
    except ValueError:
        return []
    return [name for _, name in pairs] if [place for place, _ in pairs] == list(range(len(pairs))) else []
