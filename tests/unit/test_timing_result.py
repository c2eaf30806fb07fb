"""What a benchmark found, on its way from one step to the next: read back whole, or refused by the key that is wrong."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.timing.blocks import BlockPlan
from gradatim.timing.decision import Decision, Look
from gradatim.timing.machine import Machine
from gradatim.timing.nvml import GpuFacts
from gradatim.timing.result import (
    TIMED,
    Answer,
    ContestantTiming,
    Discarded,
    PairedComparison,
    PairedResult,
)

MACHINE = Machine("A CPU", "x86_64", "Linux", 2, (0.5, 0.25, 0.0), None, ("avx2",))
GPU = GpuFacts(
    "A GPU", 1e9, 2e9, None, (), False, 0, True, None, {"energy": "not_supported", "mig": "no_permission"}
)


def timing(name: str, calls: int = 100, seconds: float = 0.001) -> ContestantTiming:
    rounds = dict.fromkeys(TIMED, (seconds, seconds * 0.9, seconds * 1.1))
    return ContestantTiming(
        name, "cpu", 1, "perf_counter", calls, 8, rounds, 4096, 0.1, (seconds, seconds * 1.5), "not_supported"
    )


def comparison(candidate: str, baseline: str = "baseline") -> PairedComparison:
    looks = (Look(6, 1.2, 1.1, 1.3, Decision.UNDECIDED), Look(10, 1.2, 1.15, 1.25, Decision.SLOWER))
    answer = Answer("latency_floor", 0.03, 0.01, looks, 0.02)
    return PairedComparison(candidate, baseline, (answer,), {"latency_floor": (0.18, 0.19), "energy": (0.1,)})


def result(*candidates: str, calls: int = 100) -> PairedResult:
    names = ("baseline", *candidates)
    return PairedResult(
        tuple(timing(name, calls) for name in names),
        tuple(comparison(name) for name in candidates),
        BlockPlan(2, 6),
        MACHINE,
        0,
        0.5,
        2.0,
        (GPU,),
        (Discarded(3, "thermal slowdown"),),
    )


def kept(found: PairedResult) -> Any:
    return json.loads(json.dumps(found.to_json(), allow_nan=False))


@pytest.mark.parametrize("seconds", [0.0, -1e-9, float("nan")])
def test_a_call_that_took_no_time_was_not_measured(seconds: float) -> None:
    assert timing("m", seconds=1e-12).by_round
    with pytest.raises(InvalidInput, match=r"a round's latency_\w+ of m is .*, which cannot be"):
        timing("m", seconds=seconds)


def test_what_a_benchmark_found_is_read_back_whole() -> None:
    found = result("int8", "original")
    assert PairedResult.from_json(kept(found), "benchmark.json") == found
    alone = replace(found, comparisons=(), gpu=(), discarded=(), load=None)
    assert PairedResult.from_json(kept(alone), "benchmark.json") == alone


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (
            ("contestants", 0, "by_round", "latency_p50", 1),
            "fast",
            r"contestants\[0\].by_round.latency_p50\[1\] is str",
        ),
        (
            ("contestants", 0, "by_round", "latency_p50", 1),
            -1.0,
            "latency_p50 of baseline is -1.0, which cannot be",
        ),
        (("contestants", 0, "by_round"), {}, "of baseline there is no latency_floor"),
        (("comparisons", 0, "answers"), [], "answers nothing about int8"),
        (("contestants", 0, "samples"), None, r"contestants\[0\].samples is NoneType"),
        (("contestants",), {}, "contestants is dict"),
        (
            ("comparisons", 0, "answers", 0, "looks", 1, "decision"),
            "perhaps",
            r"looks\[1\].decision is 'perhaps', not one of",
        ),
        (("comparisons", 0, "candidate"), "int4", "compares int4, which was not timed"),
        (("gpu", 0, "reasons", "mig"), "a whim", "reasons.mig is 'a whim', not one of"),
        (("machine",), "here", "machine is str"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_benchmark_that_was_altered_is_refused_by_the_key(
    keys: tuple[str | int, ...], value: object, told: str
) -> None:
    record = copy.deepcopy(kept(result("int8")))
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(BrokenEvidence, match=told) as refused:
        PairedResult.from_json(record, ".gradatim/benchmark.json")
    assert str(refused.value).startswith(".gradatim/benchmark.json is not what the benchmark left: ")
    assert str(refused.value).endswith("Run: gradatim benchmark --force")


@pytest.mark.parametrize("record", [[], None, {}, {"contestants": []}])
def test_a_file_that_is_no_benchmark_is_refused(record: object) -> None:
    with pytest.raises(BrokenEvidence, match="is not what the benchmark left"):
        PairedResult.from_json(record, "benchmark.json")
