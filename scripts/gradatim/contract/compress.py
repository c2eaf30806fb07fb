"""What a contract says about the compression search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gradatim.contract.values import RUNNER, Bytes, Name, Reference, Section, Share, Text

Method = Literal["int8-dynamic", "int8-static", "int8-weights", "int4-weights", "fp16"]


class Compress(Section):
    """The compression search."""

    runner: Text | None = Field(
        None,
        description=f"{RUNNER} With `device: cuda` it is done on the processor unless a runner is named.",
        examples=["gpu"],
    )
    keep: dict[Name, Share] = Field(
        default_factory=dict,
        description="What part of each metric of the uncompressed model must be kept, on calibration data; above 100 % where less is better (`mae: 105%`).",
    )
    methods: tuple[Method, ...] | None = Field(
        None, description="Methods to try; all that fit when left out."
    )
    passes: tuple[Reference, ...] = Field(
        (),
        description="Your own, `module:function`: called with the path of the model and a path to write another to. What comes out "
        "is measured and judged like the methods' variants.",
    )
    rows: int = Field(512, ge=1, description="At most so many rows of the calibration data are used.")
    memory: Bytes | None = Field(
        None, description="Memory cap of one trial; four fifths of what is free when left out."
    )
    timeout: float = Field(600, gt=0, description="Seconds one trial may take.")
    seconds: float | None = Field(
        None,
        gt=0,
        description="Seconds the whole search may take: it ends with the best found by then. As long as it needs when left out.",
    )
