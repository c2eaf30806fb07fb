"""How time is measured: the paired benchmark, tokens, and load by MLPerf LoadGen's patterns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from gradatim.contract.values import RUNNER, Seconds, Section, Text, as_list


class GoodputSection(Section):
    """Bounds that an answer must keep to, all of them, to be a good one."""

    ttft: Seconds | None = Field(None, description="Time to its first token.", examples=["500 ms"])
    tpot: Seconds | None = Field(None, description="Time of each further token.", examples=["50 ms"])
    latency: Seconds | None = Field(None, description="Time of the whole answer.", examples=["5 s"])

    @model_validator(mode="after")
    def _bounds_something(self) -> GoodputSection:
        if not self.model_fields_set:
            raise ValueError("say what a good answer keeps to, for example `ttft: 500 ms`")
        return self

    def implies(self, other: GoodputSection) -> bool:
        """Whether an answer that keeps to these bounds keeps to the other ones."""
        pairs = ((self.ttft, other.ttft), (self.tpot, other.tpot), (self.latency, other.latency))
        return all(theirs is None or (mine is not None and mine <= theirs) for mine, theirs in pairs)


class StreamingSection(Section):
    """How a language model is timed, token by token."""

    tokens: int = Field(32, ge=2, description="Tokens of each answer.")
    prompts: int = Field(8, ge=2, description="Requests to each model in a round.")
    goodput: GoodputSection | None = Field(
        None, description="What a good answer keeps to; `goodput` is good answers a second."
    )


Scenario = Literal["single-stream", "multi-stream", "server", "offline", "stress"]


class LoadSection(Section):
    """Load by MLPerf LoadGen's patterns and rules, on every form of the candidate, or on a server that already answers for it."""

    scenarios: Annotated[
        tuple[Scenario, ...],
        BeforeValidator(as_list, json_schema_input_type=Scenario | list[Scenario]),
    ] = Field(
        ("server",),
        min_length=1,
        description="LoadGen's patterns: `single-stream` one query after another, `multi-stream` eight at once, `server` the highest "
        "rate of Poisson arrivals within `p99`, `offline` all at once; and `stress`, a ramp until it breaks.",
        examples=[["single-stream", "server"]],
    )
    p99: Seconds | None = Field(
        None, description="What 99 % of the queries of `server` and `stress` stay below.", examples=["50 ms"]
    )
    seconds: Seconds = Field(10, description="How long a run of LoadGen lasts at least.")
    budget: Seconds = Field(
        600, description="No run begins that would not end within so long, for each form of the model."
    )
    parallel: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Queries under way at a time; what comes meanwhile waits, and its wait counts. One in this process, and "
        "as many as 64 at a server, when left out.",
    )
    url: Text | None = Field(
        None,
        description="A server that already answers for the model, by the Open Inference Protocol; its answers must be the model's.",
        examples=["http://127.0.0.1:8080/v2/models/digits"],
    )

    locustfile: Text | None = Field(
        None,
        description="`stress` is in this file's users, by locust: twice as many in each run. They ask the server at `url`, or where "
        "the file says.",
        examples=["load/locustfile.py"],
    )

    @field_validator("url")
    @classmethod
    def _speaks_v2(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^@?#\s/]+(/[^@?#\s]*)?/v2/models/[^@?#\s]+", url):
            raise ValueError(
                "an address such as http://127.0.0.1:8080/v2/models/NAME is wanted, without a user or a password"
            )
        return url.removesuffix("/infer").rstrip("/") if url else url

    @model_validator(mode="after")
    def _bounded(self) -> LoadSection:
        if self.p99 is None and {"server", "stress"} & {*self.scenarios}:
            raise ValueError(
                "`server` and `stress` ask up to which rate a bound is kept: say it, for example `p99: 50 ms`"
            )
        if self.locustfile and "stress" not in self.scenarios:
            raise ValueError(
                "a `locustfile` is for stress: say `scenarios: [stress]`, others beside it as you like"
            )
        return self

    @property
    def by_loadgen(self) -> tuple[str, ...]:
        """The scenarios that LoadGen is asked for."""
        return tuple(one for one in self.scenarios if not (self.locustfile and one == "stress"))

    def implies(self, other: LoadSection) -> bool:
        """Whether a rate that is found so is one that the other would find, or a lower one."""
        alike = (self.url, self.parallel) == (other.url, other.parallel) and "server" in self.scenarios
        return alike and self.p99 is not None and (other.p99 is None or self.p99 <= other.p99)


@dataclass(frozen=True)
class CallSize:
    """A size of call that is timed.

    Attributes:
        name: what gates call it: ``batch=8``, ``batch=8,length=128``; empty where the contract declares one alone.
        batch: rows.
        length: of each row, as for ``BenchmarkSection.lengths``; None for that of the data.
    """

    name: str
    batch: int
    length: int | None


def _rising(sizes: int | Sequence[int]) -> int | tuple[int, ...]:
    several = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    if min(several, default=0) < 1 or len(set(several)) < len(several):
        raise ValueError("sizes of call are wanted, each once and at least 1: `8` or `[1, 8, 32]`")
    return several[0] if len(several) == 1 else several


Sizes = Annotated[int | tuple[int, ...], AfterValidator(_rising)]

_MOST_SIZES = 12


class BenchmarkSection(Section):
    """The paired benchmark."""

    runner: Text | None = Field(
        None, description=f"{RUNNER} It alone is done on the model's `device`.", examples=["gpu"]
    )
    batch: Sizes = Field(
        1,
        description="Rows per timed call. Of several each is timed in every round; a gate names the one that it judges, "
        "`latency_p50[batch=8]`, and judges the first where it names none. Where it is said, `compress` times by such calls alone, too.",
        examples=[[1, 8, 32]],
    )
    lengths: Sizes | None = Field(
        None,
        description="Length of each row, where it is free: tokens of a text, else the free axis of the inputs; the data's when left "
        "out. Of several each is timed with each `batch`: `latency_p50[length=128]`, `latency_p50[batch=8,length=128]`.",
        examples=[[16, 128]],
    )
    rounds: int = Field(
        36, ge=3, le=36, description="At most so many rounds; fewer when the answer is clear."
    )
    threads: int | None = Field(None, ge=1, description="Threads per call; those of `model` when left out.")
    cuda_graphs: bool = Field(
        False,
        description="Record a call's kernels once and replay them, where production does so; for networks that PyTorch runs on `cuda`.",
    )
    load: LoadSection | None = Field(
        None, description="What load the model bears, by MLPerf LoadGen; without it, none is tried."
    )
    streaming: StreamingSection = Field(
        default_factory=lambda: StreamingSection(),
        description="For `task: generation`: the requests whose tokens are timed.",
    )

    @model_validator(mode="after")
    def _bearable(self) -> BenchmarkSection:
        if len(self.sizes) > _MOST_SIZES:
            raise ValueError(
                f"{len(self.sizes)} sizes of call, each `batch` with each of `lengths`, are more than a round bears: "
                f"declare at most {_MOST_SIZES}"
            )
        return self

    @property
    def sizes(self) -> tuple[CallSize, ...]:
        """The sizes of call that are timed, the first of which stands where none is named."""
        batches = self.batch if isinstance(self.batch, tuple) else (self.batch,)
        lengths = self.lengths if isinstance(self.lengths, tuple) else (self.lengths,)
        return tuple(
            CallSize(
                ",".join(
                    f"{axis}={size}"
                    for axis, size, of in (("batch", batch, batches), ("length", length, lengths))
                    if len(of) > 1
                ),
                batch,
                length,
            )
            for batch in batches
            for length in lengths
        )
