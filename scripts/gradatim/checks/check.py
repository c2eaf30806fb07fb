"""One test of a model's behaviour, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from gradatim.errors import InvalidInput
from gradatim.evidence.found import Check
from gradatim.gates.verdict import Verdict

GROUPS = ("unit", "integration", "performance", "abnormal", "regression", "robustness", "pytest")
"""The kinds of checks, in the order in which they are shown."""

Finding = tuple[Verdict, str]
"""A verdict, and what was seen."""


def checked(group: str, name: str, work: Callable[[], Finding]) -> Check:
    """Do one test and time it; input that is refused along the way fails it."""
    began = time.perf_counter()
    try:
        verdict, detail = work()
    except InvalidInput as error:
        verdict, detail = Verdict.FAIL, str(error)
    return Check(group, name, verdict, detail, round(time.perf_counter() - began, 4))


def failed(checks: Iterable[Check]) -> list[Check]:
    """Those that did not pass."""
    return [check for check in checks if check.verdict is not Verdict.PASS]
