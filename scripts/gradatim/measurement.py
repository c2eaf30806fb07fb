"""What a step found: one number with its unit, sample size and interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradatim.errors import InvalidInput


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
