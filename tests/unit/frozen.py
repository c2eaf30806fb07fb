"""Golden files of what numbers and words come to: a line each, to six digits."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.errors import GradatimError

_NOTHING = 1e-12
"""Nearer to 0 than this stands what one processor rounds otherwise than another."""

Scenarios = Mapping[str, Callable[[], Iterable[str]]]


def told(value: Any) -> str:
    """A number to six digits, a record by its fields that say something, whatever else as it is."""
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    if isinstance(value, float | np.floating):
        return f"{0.0 if abs(value) < _NOTHING else float(value):.6g}"
    if isinstance(value, tuple | list | np.ndarray):
        return f"({', '.join(map(told, value))})"
    if isinstance(value, Mapping):
        return told([f"{name}: {told(one)}" for name, one in value.items()])
    return f"<{line(value)}>" if is_dataclass(value) else str(value)


def line(found: Any) -> str:
    """A record: the fields that say something, then its text."""
    known = {one.name: told(getattr(found, one.name)) for one in fields(found)}
    text = known.pop("text", None)
    said = " ".join(f"{name}={value}" for name, value in known.items() if value not in ("None", "", "()"))
    return said if text is None else f"{said} | {text}"


def attempted(work: Callable[[], object]) -> str:
    """What comes of it, or why nothing does: a refusal by its kind and words."""
    try:
        return told(work())
    except GradatimError as error:
        return f"{type(error).__name__}: {error}"


def changed(golden: Path, name: str, scenarios: Scenarios) -> str:
    """Where a scenario comes to something else than its golden file says; empty where it does not."""
    wanted = (golden / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:-1]
    found = [_one_line(one) for one in scenarios[name]()]
    return "\n".join(list(difflib.unified_diff(wanted, found, "was", "is", n=0, lineterm=""))[:12])


def write(golden: Path, scenarios: Scenarios) -> None:
    """Write the golden files anew."""
    golden.mkdir(parents=True, exist_ok=True)
    for name, made in scenarios.items():
        (golden / f"{name}.txt").write_text(
            "".join(f"{_one_line(one)}\n" for one in made()), encoding="utf-8"
        )


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
