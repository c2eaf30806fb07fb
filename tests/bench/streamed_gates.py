"""How often do gates on time to first token and time per token err on two servers, and do they see a slower decoder?

    python tests/bench/streamed_gates.py 40 20 6     # trials of equal servers, of one slower by 5 %, how many at a time

Two servers on this machine answer token by token, each in a process of its own: 80 ms to the first token and 8 ms a token, more for one
prompt and less for another; 64 tokens an answer. A trial is a benchmark as `gradatim benchmark` does it, with the gates `tpot_mean` (3 %) and `ttft_p50` (10 %).
Exits with 1 where an equal server was refused, or fewer than 19 of 20 slower ones were.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from streaming_server import Pace, streaming

from gradatim.metrics.answers import REQUEST
from gradatim.signature import Signature, TensorSpec
from gradatim.timing.contestant import Contestant
from gradatim.timing.decision import Decision
from gradatim.timing.paired import Question, compare
from gradatim.timing.streams import Streaming

FIRST, TOKEN = 0.08, 0.008
"""Seconds to the first token, and of each further one: long beside what a busy machine adds to either."""

ASKED = (Question("candidate", "baseline", 0.03, metric="tpot_mean"),
         Question("candidate", "baseline", 0.10, metric="ttft_p50"))  # fmt: skip
ROWS = tuple(
    json.dumps({"prompt": f"Tell me about the number {row}.", "temperature": 0}) for row in range(64)
)


@contextmanager
def serving(token: float) -> Iterator[str]:
    """A server in a process of its own."""
    context = multiprocessing.get_context("fork")
    hear, say = context.Pipe(duplex=False)

    def serve() -> None:
        with streaming(Pace(first=FIRST, token=token, spread=0.2)) as pace:
            say.send(pace.url)
            time.sleep(3600)

    process = context.Process(target=serve, daemon=True)
    process.start()
    try:
        yield hear.recv()
    finally:
        process.kill()
        process.join()


def contestant(name: str, url: str) -> Contestant:
    asked = {"url": url, "model": None, "key": None, "timeout": 60.0, "parallel": 1, "loopback": True}
    signature = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
    return Contestant(name, Path("served"), Path(tempfile.gettempdir()), signature=signature, endpoint=asked)


def trial(slowdown: float, seed: int) -> tuple[dict[str, Decision], int, float]:
    """What the gates say of a server that decodes so much slower, after how many rounds and seconds."""
    with serving(TOKEN) as one, serving(TOKEN * (1 + slowdown)) as other:
        found = compare(
            [contestant("baseline", one), contestant("candidate", other)],
            {REQUEST: np.array(ROWS[:1])},
            questions=ASKED,
            seed=seed,
            streaming=Streaming(ROWS, 64, 8),
        )
    answers = {answer.metric: answer.decision for answer in found.comparisons[0].answers}
    return answers, found.contestants[0].rounds, found.seconds


def main(equal: int = 40, slower: int = 20, at_once: int = 6) -> int:
    wrong = False
    print(
        "| servers | gate | refused | passed | undecided | rounds | seconds |\n|---|---|---|---|---|---|---|"
    )
    with ThreadPoolExecutor(at_once) as pool:
        for slowdown, trials in ((0.0, equal), (0.05, slower)):
            if not trials:
                continue
            found = list(pool.map(trial, [slowdown] * trials, range(trials)))
            rounds, seconds = (sum(column) / trials for column in list(zip(*found, strict=True))[1:])
            for question in ASKED:
                seen = Counter(answers[question.metric] for answers, *_ in found)
                refused, undecided = seen[Decision.SLOWER], seen[Decision.UNDECIDED]
                told = "equal" if not slowdown else f"decoding {slowdown:.0%} slower"
                print(f"| {told} | `{question.metric}`, {question.margin:.0%} | {refused} of {trials} | "
                      f"{trials - refused - undecided} | {undecided} | {rounds:.0f} | {seconds:.0f} |", flush=True)  # fmt: skip
                wrong |= bool(refused) if not slowdown else False
                wrong |= slowdown > 0 and question.metric == "tpot_mean" and refused < 0.95 * trials
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
