"""What a profiler saw of a form of the model, as the workspace keeps it for the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DearOperator:
    """One operator of a model.

    Attributes:
        calls: how often a call of the model calls it.
        seconds: that it takes itself in a call of the model, on the GPU where the model runs there.
        share: of what all operators take.
    """

    name: str
    calls: float
    seconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """What the profiler saw of a form.

    Attributes:
        name, digest: of the form.
        device: whose time is told.
        trace: the file with the whole trace, which chrome://tracing and Perfetto show.
        operators: the dearest ones, the dearest first.
        by: whose profiler it was.
        beside: the file of another profiler that was installed; None where none was.
    """

    name: str
    digest: str
    device: str
    trace: str
    operators: tuple[DearOperator, ...]
    by: str = "PyTorch"
    beside: str | None = None
