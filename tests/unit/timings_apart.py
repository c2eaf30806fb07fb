"""Evidence as a digest a step, without what no two runs have in common: clocks, the CI system's name, and what hangs on either."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from gradatim.files import digest_of
from gradatim.pipeline.graph import STEPS

_TIMED = ("junit/test.xml", "benchmark.json", "ml-bom.cdx.json")
"""Files that a step leaves with seconds in them."""


def timings_apart(evidence: bytes) -> dict[str, str]:
    """By step, the digest of its statement: verdict, gates, measurements, inputs and outputs; of the benchmark what it measured."""
    return {step: digest_of(told) for step, told in statements(evidence).items()}


def statements(evidence: bytes) -> dict[str, Any]:
    """The same as it stands, to see what differs."""
    lines = [json.loads(line) for line in evidence.splitlines()]
    found = [json.loads(base64.b64decode(one["payload"])) if "payload" in one else one for one in lines]
    return {one["predicate"]["step"]: _untimed(one) for one in found}


def _untimed(statement: dict[str, Any]) -> dict[str, Any]:
    predicate = statement["predicate"]
    details, ran = predicate["details"], predicate["environment"]
    for timed in ("made", "seconds"):
        details.pop(timed, None)
    for where in ("ci", "run"):
        ran.pop(where, None)
    for check in details.get("checks", ()):
        check.pop("seconds", None)
    details.get("grounds", {}).pop("timed", None)
    details["outputs"] = _without(details.get("outputs", {}), _TIMED)
    predicate["inputs"] = _without(predicate["inputs"], STEPS)  # digests of statements with their clocks
    if predicate["step"] == "benchmark":
        details.pop("summary")
        predicate["measurements"] = [
            {key: value for key, value in one.items() if isinstance(value, str)}
            for one in predicate["measurements"]
        ]
    return statement


def _without(given: Mapping[str, Any], names: Any) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in names}
