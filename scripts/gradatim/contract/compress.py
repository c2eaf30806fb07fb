"""What a contract says about the compression search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gradatim.contract.values import RUNNER, Bytes, Name, Reference, Section, Share, Text

Method = Literal[
    "int8-dynamic",
    "int8-static",
    "int8-weights",
    "int4-weights",
    "fp16",
    "bf16",
    "nncf",
    "litert",
    "litert-dynamic",
    "litert-int8",
    "q8_0",
    "q5_1",
    "q5_0",
    "q4_1",
    "q4_0",
    "pruned",
]


class Split(Section):
    """The best form cut into stages that run one after another, each of which takes less memory than the whole."""

    parts: int = Field(ge=2, le=64, description="How many stages.", examples=[2])
    by: Literal["size", "time"] = Field(
        "size", description="What they share evenly: the bytes of the weights, or the time of a call."
    )


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
    student: Reference | None = Field(
        None,
        description="Your own, `module:function`: gives a `torch.nn.Module` that takes the model's inputs by name. It learns to answer as the "
        "model does, on the calibration data, and the methods go on from it.",
    )
    train: Reference | None = Field(
        None,
        description="Your own, `module:function`: trains what `pruned` and `student` make, in place of our distillation. Called with the "
        "network, the model to learn from, and the calibration batches.",
    )
    split: Split | None = Field(
        None,
        description="Cut the best form into stages, ONNX files that run one after another: the same answers, less memory each. It is preferred to the others then.",
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

    @model_validator(mode="after")
    def _trains_something(self) -> Compress:
        if self.train and not self.learns:
            raise ValueError(
                "`train` trains what `methods: [pruned]` or a `student` makes, and neither is asked for"
            )
        return self

    @property
    def learns(self) -> bool:
        """Whether a form is trained on the calibration data."""
        return self.student is not None or (self.methods is not None and "pruned" in self.methods)

    @property
    def functions(self) -> dict[str, str]:
        """The user's own functions, and the key of each."""
        named = {self.student: "student", self.train: "train"}
        return dict.fromkeys(self.passes, "passes") | {name: key for name, key in named.items() if name}
