"""A corruption in a file of its own: ``perturb/NAME.py`` with a function ``corrupt``, beside its row in the catalogue."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any


@functools.cache
def in_a_file(name: str) -> Callable[..., Any] | None:
    """The ``corrupt`` of the file that bears a corruption's name; None where there is no such file.

    It takes what its kind of data is given, the level of the severity, and what is random: ``Dice``, for a text its own
    generator.
    """
    module = f"gradatim.perturb.{name}"
    if importlib.util.find_spec(module) is None:
        return None
    found: Callable[..., Any] = importlib.import_module(module).corrupt
    return found
