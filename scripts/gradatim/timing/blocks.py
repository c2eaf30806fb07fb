"""Blocks of calls: what one contestant does when it is its turn."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.errors import GradatimError

Call = Callable[[], object]
Clock = Callable[[Call, int], list[float]]
"""Runs a call so many times and gives the seconds of each."""

BLOCKS = 24
_TARGET = 8e-3
_MOST_CALLS = 1000
_SHORT = 5e-4
_WARM_CALLS = 4
"""The first call of a round and those of the shortest warm-up."""


@dataclass(frozen=True)
class BlockPlan:
    """Calls of a block: ``untimed`` to refill the caches, then ``timed``; ``blocks`` of them a round."""

    untimed: int
    timed: int
    blocks: int = BLOCKS


def plan_blocks(seconds: float) -> BlockPlan:
    """Scale a block to 6-10 ms, given the seconds of one call.

    A call of about 1 ms gives the standard block of 2 untimed and 6 timed calls. A faster one gets more timed
    calls. A call that is longer than a block gets one timed call, and, from 50 ms on, fewer blocks a round
    (never fewer than 8) and no untimed call, so that a slow model does not take the whole afternoon.
    """
    if seconds >= 0.05:
        return BlockPlan(0, 1, max(8, round(BLOCKS * 0.05 / seconds)))
    calls = min(_MOST_CALLS, max(2, round(_TARGET / max(seconds, 1e-9))))
    untimed = 2 if calls >= 6 else 1
    return BlockPlan(untimed, calls - untimed)


def wall_clock(call: Call, times: int) -> list[float]:
    """Seconds of each of ``times`` calls by the monotonic clock; a call returns when its work is done."""
    return _clocked(time.perf_counter_ns, call, times)


def processor_clock(call: Call, times: int) -> list[float]:
    """Seconds of a processor that this process spends on each of ``times`` calls; for a call in one thread that waits for nothing."""
    return _clocked(time.process_time_ns, call, times)


def _clocked(clock: Callable[[], int], call: Call, times: int) -> list[float]:
    stamps = []
    for _ in range(times):
        start = clock()
        call()
        stamps.append(clock() - start)
    return [stamp * 1e-9 for stamp in stamps]


def run_block(call: Call, plan: BlockPlan, clock: Clock = wall_clock) -> list[float]:
    """One block: the untimed calls, then the seconds of each timed one, the garbage collector at rest."""
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(plan.untimed):
            call()
        return clock(call, plan.timed)
    finally:
        if collects:
            gc.enable()


def warm_up(call: Call, seconds: float = 0.1, least: int = 3) -> float:
    """Call for ``seconds`` and at least ``least`` times; gives the typical seconds of a call once warm."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[len(times) // 2 :])


def interleaved(
    calls: Mapping[str, Call], seed: int, warm: float = 0.05, *, one_thread: bool = False
) -> dict[str, list[float]]:
    """Block minima of several calls that take turns in this process, in an order drawn anew for each tuple.

    A call of milliseconds is never left alone on a busy machine. Where ``one_thread`` of this process does all of its work, what
    it took of the processor is counted instead; reading that clock would disturb shorter calls, which find quiet moments.

    Quick and good enough to rank candidates in a search; a release is judged by `gradatim.timing.paired`,
    since 0.4-0.7 % of the spread lies between processes and no length of run in one process shows it.
    """
    typical = {name: warm_up(call, warm) for name, call in calls.items()}
    pace = shared_pace(list(typical.values()))
    plan, clock = plan_blocks(pace), processor_clock if one_thread and pace > _SHORT else wall_clock
    order = random.Random(seed)  # noqa: S311 (an order of turns, not a secret)
    minima: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(plan.blocks):
        for name in order.sample(sorted(calls), len(calls)):
            minima[name].append(min(run_block(calls[name], plan, clock)))
    return minima


def round_seconds(call: Call) -> float:
    """About how long a round's calls take, by the second of two; nothing where the call fails, which the round will tell."""
    try:
        call()
        seconds = wall_clock(call, 1)[0]
    except GradatimError:
        return 0.0
    plan = plan_blocks(seconds)
    return max(0.1, _WARM_CALLS * seconds) + plan.blocks * (plan.untimed + plan.timed) * seconds


def shared_pace(seconds: Sequence[float]) -> float:
    """The seconds of a call by which the blocks of all contestants are scaled.

    All make equally many calls, because a minimum over more calls is lower. The first contestant sets the
    pace, unless another is more than four times slower: then a quarter of its time does.
    """
    return max(seconds[0], max(seconds) / 4)


def lower_quartile(minima: Sequence[float]) -> float:
    """Q25 of block minima: the level that disturbances, which only ever add time, touch least."""
    return float(np.quantile(np.asarray(minima), 0.25))
