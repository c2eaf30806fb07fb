"""What a contract is about: the model, its data, its task, where its training is told, and what its card says."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast

from pydantic import (
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from gradatim.contract.endpoint import EndpointSection
from gradatim.contract.generation import GenerationSection, JudgeSection, Scorers
from gradatim.contract.values import (
    HUB_ID,
    HUB_ID_OF_OWNER,
    LICENSE,
    Device,
    Format,
    Label,
    Name,
    Reference,
    Seconds,
    Section,
    TaskType,
    Text,
    Texts,
    shorthand,
)
from gradatim.metrics.catalogue import ASKED, Metric, own_metrics
from gradatim.metrics.scorers.table import Scoring
from gradatim.metrics.task import Form


class Build(Section):
    """How the model is made when it is not committed."""

    run: Text = Field(
        description="Command that writes the model; split like a shell does, run without a shell."
    )
    inputs: Texts | None = Field(
        None,
        description="Files and globs the command reads; when one changes, the model is built again. "
        "Default: the scripts named in the command and the local modules that they import.",
    )


class Tensor(Section):
    """A named input or output, where it cannot be read off the model."""

    dtype: Text | None = Field(None, description="As numpy spells it: float32, int64, ...")
    shape: tuple[int | str | None, ...] | None = Field(
        None, description="One entry an axis: a number, or a name for a dynamic size: [batch, 3, 224, 224]."
    )


class InputSection(Tensor):
    """An input of the model, with what feeds it when the data does not."""

    value: Any = Field(None, description="A constant fed at every call, for example a sampling rate.")
    carry: Text | None = Field(
        None, description="The output that is fed back here at the next step; zeros at the start of an item."
    )


class TokenizerSection(Section):
    """How the tokenizer of a Hugging Face folder, or of one around ONNX, makes tokens of text; what is left out is its own."""

    max_length: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Tokens that a text, or a pair of texts, may have; what is longer is cut.",
    )
    truncation: Literal["right", "left"] | None = Field(None, description="The side at which it is cut.")
    padding: Literal["right", "left"] | None = Field(
        None, description="The side at which shorter texts of a batch are filled up, and masked."
    )


class LimitsSection(Section):
    """How long a model may take before its process is ended and the step is refused."""

    call: Seconds = Field(600, description="For opening it, and for one call of it: `30 s`, `10 min`.")
    all: Seconds = Field(6 * 3600, description="For all calls of one form of it: `6 h`.")


class ModelSection(Section):
    """What is released."""

    name: Name = Field(description="The model's name in tags, releases and reports.")
    path: Text | None = Field(None, description="The model's file or folder, relative to this file.")
    candidates: Texts = Field(
        (),
        description="Further models of the same recipe, trained with other seeds. Gates on rows judge the mean of `path` and these, "
        "and their intervals cover what training varies; `path` is what is released, whatever the others show.",
        examples=[["model/seed-2.onnx", "model/seed-3.onnx"]],
    )
    adapter: Text | None = Field(
        None,
        description="Folder of a LoRA adapter as PEFT saves it, put on the Hugging Face folder in `path`; both are released.",
        examples=["model/lora"],
    )
    format: Format | None = Field(None, description="Read off the file when left out.")
    build: Annotated[Build, shorthand("run", Build)] | None = Field(
        None, description="How to make `path` when it is not committed."
    )
    factory: Reference | None = Field(
        None,
        description="`module:function` that returns the model: the network for safetensors, a callable for anything else. Its "
        "module and the local modules that it imports are released with the model.",
    )
    command: Texts | None = Field(
        None,
        description="Program, with its arguments, that answers for the model, in any language: it reads and writes .npz over its "
        "standard streams. `{path}` stands for the file or folder of `path`, which is released.",
    )
    endpoint: Annotated[EndpointSection, shorthand("url", EndpointSection)] | None = Field(
        None,
        description="A server that answers for a language model, by OpenAI's API. `path` names the weights that it serves, which "
        "are released; without it the model can be judged and never released.",
    )
    files: Texts = Field(
        (),
        description="Files, folders and globs below the contract's folder that the factory opens besides `path`; they are "
        "released with the model.",
    )
    allow_pickle: bool = Field(
        False,
        description="Load weights stored as a pickle, which can run any code. Convert to ONNX or safetensors instead.",
    )
    device: Device = Field("cpu", description="`cpu`, `cuda` or `cuda:0`.")
    threads: int = Field(1, ge=1, le=1024, description="Threads one call of the model may use.")
    autocast: Literal["bf16", "fp16"] | None = Field(
        None,
        description="What PyTorch may compute with where that is as good as float32, in every step; for networks that PyTorch runs.",
    )
    limits: LimitsSection = Field(
        default_factory=LimitsSection,
        description="How long the model may take; one that hangs is ended then.",
    )
    tokenizer: TokenizerSection | None = Field(
        None, description="How a Hugging Face folder's own tokenizer makes tokens of a column of text."
    )
    differs: tuple[
        Literal[
            "same_tokenizer",
            "same_special_tokens",
            "same_chat_template",
            "same_bos",
            "same_config",
            "same_layers",
            "same_dtype",
            "same_generation_settings",
            "adapter_base",
            "adapter_tokenizer",
        ],
        ...,
    ] = Field(
        (),
        description="What of a language model may differ from the release, or of an adapter from its base, by the name of the check "
        "that `inspect` makes.",
    )
    inputs: dict[str, InputSection] = Field(
        default_factory=dict,
        description="Inputs that the data does not feed, or that cannot be read off the model.",
    )
    outputs: dict[str, Tensor] = Field(
        default_factory=dict, description="Outputs, where they cannot be read off the model."
    )

    @property
    def opened_as(self) -> str | None:
        """The format that it is opened as; None where its file must tell."""
        return "endpoint" if self.endpoint else self.format

    @property
    def in_places(self) -> bool:
        """Whether its files lie in several places, and are released by their names from the contract's folder."""
        return self.factory is not None or self.adapter is not None

    @property
    def read_by_others(self) -> bool:
        """Whether something else than a runtime of ours reads its file, whatever that is."""
        return any(one is not None for one in (self.factory, self.command, self.endpoint))

    @model_validator(mode="after")
    def _has_a_source(self) -> ModelSection:
        if self.adapter is not None and (self.path is None or self.factory or self.command):
            raise ValueError(
                "an `adapter` is put on the base in `path`, a Hugging Face folder, without `factory` or `command`"
            )
        if self.path is None and self.factory is None and self.endpoint is None:
            raise ValueError(
                "a model needs `path` (its file), or `factory` (a `module:function` that makes it), or `endpoint` (a server)"
            )
        if self.endpoint is not None and (self.factory is not None or self.command is not None):
            raise ValueError("an `endpoint` answers for the model: leave out `factory` and `command`")
        if self.command is not None and (self.path is None or self.factory is not None):
            raise ValueError(
                "a `command` needs a `path`, which is what is released, and no `factory` beside it"
            )
        if self.files and self.factory is None:
            raise ValueError("`files` are what a `factory` opens: name the factory, or leave them out")
        return self


class MetricSection(Section):
    """A metric of the user's own."""

    function: Reference = Field(description="`module:function(labels, predictions)`: gives one number.")
    outputs: Texts = Field(
        (),
        description="Outputs of the model that it is given in place of the answer: `predictions` is then a mapping of arrays by "
        "name, [rows, ...], as the model gave them.",
    )


class BoxesSection(Section):
    """How a detection model says its boxes, and the data theirs."""

    scores: Text | None = Field(None, description="Output of the boxes' scores; by its name when left out.")
    labels: Text | None = Field(None, description="Output of their classes; by its name when left out.")
    form: Form = Field(
        "xyxy",
        description="What four numbers of the model's boxes are: two corners, a corner and the size (`xywh`), or the centre and "
        "the size.",
    )
    label_form: Form = Field("xyxy", description="The same of the boxes in the data; COCO's are `xywh`.")


class TaskSection(Section):
    """What the model does, and so which metrics there are."""

    type: TaskType = Field(description="The kind of task.")
    labels: tuple[Label, ...] = Field((), description="Every class, in the order of the model's scores.")
    renamed: dict[str, Label] = Field(
        default_factory=dict,
        description="Labels that the release to be replaced calls otherwise, `NEW: OLD`: both are compared on their rows.",
    )
    output: Text | None = Field(None, description="The output to judge, when the model has several.")
    scores: Literal["logits", "probabilities"] | None = Field(
        None, description="What the class scores are; looked at when left out."
    )
    positive: Label | None = Field(None, description="The class that is found or missed, for a binary task.")
    metrics: dict[Name, Annotated[MetricSection, shorthand("function", MetricSection)]] = Field(
        default_factory=dict, description="Own metrics: `module:function(labels, predictions)`."
    )
    lower_is_better: Texts = Field((), description="Own metrics and scorers where less is better.")
    boxes: BoxesSection = Field(
        default_factory=BoxesSection,
        description="`detection`: which outputs go with the boxes, and in what form these are.",
    )
    history: Text | None = Field(
        None,
        description="`forecasting`: the input of the model that holds the values before the forecast, in the unit of the "
        "labels. MASE measures errors by how these change.",
    )
    season: int = Field(
        1, ge=1, description="`forecasting`: after how many steps values come again: 12 for months of a year."
    )
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (),
        description="`forecasting`: the levels of the model's quantiles, in the order of its output's last axis.",
        examples=[[0.1, 0.5, 0.9]],
    )
    scorers: Scorers = Field(
        default_factory=dict,
        description="Tasks that ask for text: how answers are scored, by names of the table of scorers (a list will do) or by functions "
        "of your own. The first one says which answers are right. `translation` has `[bleu, chrf]` and `speech_recognition` "
        "`[wer, cer]` where it is left out.",
        examples=[{"exact_match": {}, "polite": {"function": "scoring:polite"}}],
    )
    generation: GenerationSection = Field(
        default_factory=GenerationSection, description="Tasks that ask for text: how the model is asked."
    )
    judge: Annotated[JudgeSection, shorthand("function", JudgeSection)] | None = Field(
        None, description="Tasks that ask for text: who compares answers with the release's, for `win_rate`."
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_scorers(cls, written: Any) -> Any:
        """Those of the task where the contract names none."""
        usual = ASKED.get(str(written.get("type"))) if isinstance(written, dict) else None
        return {**written, "scorers": list(usual)} if usual and not written.get("scorers") else written

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str | int, ...]) -> tuple[str | int, ...]:
        twice = sorted({str(label) for label in labels if [str(x) for x in labels].count(str(label)) > 1})
        if twice:
            raise ValueError(f"labels stand twice: {', '.join(twice)}")
        return labels

    @property
    def own(self) -> tuple[Metric, ...]:
        """What its own metrics and its scorers mean."""
        return (
            *own_metrics(self.metrics, self.lower_is_better),
            *(scoring.metric for scoring in self.scorings),
        )

    @property
    def one_against_rest(self) -> bool:
        """Whether precision, recall and F1 are those of one class where a gate names none."""
        return self.positive is not None or len(self.labels) == 2

    @property
    def scorings(self) -> tuple[Scoring, ...]:
        """How answers are scored; functions of the user's are still to be loaded."""
        less = self.lower_is_better
        return tuple(
            one.scoring(name, higher_is_better=name not in less) for name, one in self.scorers.items()
        )

    @model_validator(mode="after")
    def _scored(self) -> TaskSection:
        if (self.type in ASKED) != bool(self.scorers):
            other = " and ".join(f"`{name}`" for name, usual in ASKED.items() if usual)
            raise ValueError(
                f"`generation` needs `scorers`, for example `[exact_match]`, and no other task than {other} has them"
            )
        for scoring in self.scorings:
            if scoring.k is not None and scoring.k > self.generation.samples:
                raise ValueError(
                    f"`{scoring.name}` needs `generation: {{samples: {scoring.k}}}` or more, and a `temperature`"
                )
        return self

    @field_validator("quantiles")
    @classmethod
    def _rising(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if list(quantiles) != sorted(set(quantiles)):
            raise ValueError("quantiles rise from the lowest to the highest, each once")
        return quantiles

    @model_validator(mode="after")
    def _renamed_labels(self) -> TaskSection:
        names = {str(label) for label in self.labels}
        if strange := [name for name in self.renamed if name not in names]:
            raise ValueError(f"`renamed` is about labels of `labels`, and {strange[0]} is none of them")
        old = [str(label) for label in self.renamed.values()]
        if twice := sorted({name for name in old if old.count(name) > 1}):
            raise ValueError(f"`renamed` takes {', '.join(twice)} for two labels")
        return self


class MlflowRun(Section):
    """A run of MLflow."""

    store: Text = Field(
        description="A folder `mlruns`, a database `sqlite:///mlflow.db`, or the address of a tracking server."
    )
    run: Text | None = Field(
        None, description="The run's id; the newest finished run when left out. A server needs it."
    )
    experiment: Text | None = Field(None, description="Take the newest run of this experiment only.")

    @field_validator("store")
    @classmethod
    def _no_login(cls, store: str) -> str:
        if re.search(r"://[^/]*@", store):
            raise ValueError(
                "no user and password here: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return store


class LineageSource(Section):
    """Where training left its record: exactly one of these keys. Read by `inspect`, shown in the report, kept in evidence."""

    file: Text | None = Field(
        None, description="A `lineage.json` that training writes; docs/how-to/lineage.md has its fields."
    )
    mlflow: Annotated[MlflowRun, shorthand("store", MlflowRun)] | None = Field(
        None, description="A run of MLflow. Needs the extra `mlflow`."
    )
    wandb: Text | None = Field(
        None,
        description="A run that Weights & Biases logged offline: the folder `wandb` (its newest run), or the run's own. Needs the "
        "extra `wandb`.",
    )
    tensorboard: Text | None = Field(
        None,
        description="A folder of TensorBoard event files of one training. Needs the extra `tensorboard`.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> LineageSource:
        if len(self.model_fields_set) != 1 or self.place is None:
            raise ValueError(f"one source is wanted, by one of: {', '.join(type(self).model_fields)}")
        return self

    @property
    def kind(self) -> Literal["file", "mlflow", "wandb", "tensorboard"]:
        """The key that is given."""
        return cast('Literal["file", "mlflow", "wandb", "tensorboard"]', next(iter(self.model_fields_set)))

    @property
    def place(self) -> str | None:
        """The path or address that it names."""
        return self.mlflow.store if self.mlflow else self.file or self.wandb or self.tensorboard


class HubBenchmark(Section):
    """The evaluation data as a benchmark of the Hugging Face Hub, for a score on its leaderboard."""

    dataset: Annotated[str, StringConstraints(pattern=HUB_ID_OF_OWNER)] = Field(
        description="Id of the benchmark's data set: `OWNER/NAME`."
    )
    task: Text = Field(description="Id of the task within the benchmark.")
    metric: Name = Field(description="The metric that is its score; a fraction is written as percent.")
    revision: Text | None = Field(None, description="Commit of the data set on the Hub.")


class CardSection(Section):
    """What only people know of a model; it stands in the model card and the ML-BOM of a release."""

    license: Annotated[str, StringConstraints(pattern=LICENSE)] | None = Field(
        None, description="SPDX identifier of the model's licence: `Apache-2.0`."
    )  # fmt: skip
    description: Text | None = Field(None, description="What it is, in a paragraph.")
    intended_use: Text | None = Field(None, description="What it is for, and what it is not for.")
    limitations: Texts = Field((), description="What it is known to do badly.")
    tags: Texts = Field((), description="Further tags on the Hugging Face Hub.")
    dataset: Annotated[str, StringConstraints(pattern=HUB_ID)] | None = Field(
        None, description="Id of the evaluation data on the Hugging Face Hub, where it lies there."
    )
    benchmark: HubBenchmark | None = Field(
        None,
        description="Publish the score as `.eval_results/gradatim.yaml`, which the Hub's leaderboards read.",
    )
