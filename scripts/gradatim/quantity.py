"""Numbers as people write them in a contract: ``1%``, ``5 MB``, ``10 ms``, ``3 days``."""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s].*?)?\s*\Z")

FRACTION = {"%": 0.01, "percent": 0.01, "points": 0.01, "point": 0.01}
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
JOULES = {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3}
COUNT = {"k": 1e3, "M": 1e6, "G": 1e9}
DAYS = {
    "second": 1 / 86_400,
    "seconds": 1 / 86_400,
    "minute": 1 / 1440,
    "minutes": 1 / 1440,
    "h": 1 / 24,
    "hour": 1 / 24,
    "hours": 1 / 24,
    "d": 1.0,
    "day": 1.0,
    "days": 1.0,
    "week": 7.0,
    "weeks": 7.0,
}

UNITS = {"1": FRACTION, "s": SECONDS, "B": BYTES, "J": JOULES, "count": COUNT, "days": DAYS}
"""The units that may be written for a quantity whose own unit is the key."""


def parse_quantity(written: object, unit: str) -> float:
    """A number with an optional unit, in SI units.

    Args:
        written: a number, or text such as ``1%``, ``0.01``, ``5 MB`` or ``10 ms``.
        unit: what kind of quantity is meant, a key of ``UNITS``; another unit than those admits ``%`` only.

    Raises:
        ValueError: not a finite number, or a unit that does not fit; the text says which would.
    """
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        raise ValueError(f"expected a number, got {written!r}")
    known = UNITS.get(unit, FRACTION)
    match = _NUMBER.match(str(written))
    if not match:
        raise ValueError(f"expected a number such as {_example(unit)}, got {written!r}")
    symbol = (match[2] or "").strip()
    if symbol and symbol not in known:
        raise ValueError(f"unknown unit {symbol!r} in {written!r}; use one of {', '.join(known)}")
    value = float(match[1].replace("_", "")) * known.get(symbol, 1.0)
    if not math.isfinite(value):
        raise ValueError(f"{written!r} is not a finite number")
    return value


def _example(unit: str) -> str:
    return {"1": "1% or 0.01", "s": "10 ms", "B": "5 MB", "J": "20 mJ", "days": "3 days"}.get(unit, "100")
