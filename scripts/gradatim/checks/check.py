"""One test of a model's behaviour, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.gates.verdict import Verdict

GROUPS = ("unit", "integration", "performance", "abnormal", "regression", "robustness", "pytest")
"""The kinds of checks, in the order in which they are shown."""

Finding = tuple[Verdict, str]
"""A verdict, and what was seen."""


@dataclass(frozen=True)
class Check:
    """One test.

    Attributes:
        group: one of ``GROUPS``.
        name: what was tested: ``determinism``, ``all NaN``, ``test_digits.py::test_eight``.
        verdict: FAIL when the model does not behave, INVALID when the test itself is broken.
        detail: what was seen, for a person; also what a PASS left to be said.
        seconds: how long it took, None when nobody looked.
    """

    group: str
    name: str
    verdict: Verdict
    detail: str = ""
    seconds: float | None = None

    def of(self, variant: str) -> Check:
        """The same check with the variant in its name, where several variants are tested."""
        return Check(self.group, f"{self.name} ({variant})", self.verdict, self.detail, self.seconds)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        record = {
            "group": self.group,
            "name": self.name,
            "verdict": self.verdict.value,
            "detail": self.detail,
        }
        return record if self.seconds is None else {**record, "seconds": round(self.seconds, 4)}


def checked(group: str, name: str, work: Callable[[], Finding]) -> Check:
    """Do one test and time it; input that is refused along the way fails it."""
    began = time.perf_counter()
    try:
        verdict, detail = work()
    except InvalidInput as error:
        verdict, detail = Verdict.FAIL, str(error)
    return Check(group, name, verdict, detail, time.perf_counter() - began)


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that did not pass."""
    return [check for check in checks if check.verdict is not Verdict.PASS]
