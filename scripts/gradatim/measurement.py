"""What a step found: one number with its unit, sample size and interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradatim.errors import InvalidInput

_MULTIPLES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "B": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "J": ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "count": ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
}


def multiple(value: float, unit: str, digits: int = 15) -> tuple[float, str]:
    """The largest decimal multiple of a unit that a value reaches, rounded to so many digits: its factor and its symbol.

    The unit itself where it has no multiples, and for zero.
    """
    near = 1 - 0.5 * 10.0**-digits
    known = _MULTIPLES.get(unit, ((1.0, unit),))
    return next(
        (found for found in known if abs(value) >= found[0] * near or (not value and found[0] == 1.0)),
        known[-1],
    )


@dataclass(frozen=True)
class Measurement:
    """One measured number about one variant of a model.

    Attributes:
        name: what was measured: ``accuracy``, ``recall``, ``latency_p50``, ``size``.
        variant: whose: ``baseline``, ``fp32``, ``int8-dynamic``, ...
        value: the point estimate; None when it could not be measured, ``reason`` says why.
        unit: ``1`` for a fraction or a plain number, ``s`` seconds, ``B`` bytes, ``s/s`` a ratio of times, ...
        n: independent samples behind the value; 0 when there is no sample (a file's size).
        low: lower end of the two-sided 95 % interval, where there is one.
        high: its upper end.
        where: the slice, class or corruption it was restricted to (``class=8``, ``region=north``,
            ``gaussian_noise:3``), None for all of the data.
        successes: for a proportion, the count behind ``value``, so that exact intervals can be formed.
        reason: why ``value`` is None.
    """

    name: str
    variant: str
    value: float | None = None
    unit: str = "1"
    n: int = 0
    low: float | None = None
    high: float | None = None
    where: str | None = None
    successes: int | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise InvalidInput(
                f"The measurement {self.name} of {self.variant} has neither a value nor a reason."
            )
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise InvalidInput(
                    f"The measurement {self.name} of {self.variant} is {number}, not a finite number."
                )

    @property
    def label(self) -> str:
        """``recall[class=8]``: the name with what it is restricted to."""
        return f"{self.name}[{self.where}]" if self.where else self.name
