"""What may stand in ``gradatim.yml``: the one schema that errors, editors, documentation and ``init`` share."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    create_model,
    field_validator,
    model_validator,
)

from gradatim.contract.stores import STORES, Store
from gradatim.metrics.catalogue import Metric, own_metrics
from gradatim.quantity import parse_quantity
from gradatim.shard import MOST

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
Text = Annotated[str, StringConstraints(min_length=1)]


def _quantity(unit: str) -> BeforeValidator:
    return BeforeValidator(lambda written: parse_quantity(written, unit), json_schema_input_type=float | str)


Fraction = Annotated[float, Field(ge=0, le=1), _quantity("1")]
Share = Annotated[float, Field(gt=0, le=10), _quantity("1")]
Bytes = Annotated[float, Field(gt=0), _quantity("B")]
Seconds = Annotated[float, Field(gt=0), _quantity("s")]
Days = Annotated[float, Field(ge=0), _quantity("days")]
Format = Literal["onnx", "torchscript", "pt2", "safetensors", "huggingface", "litert", "python", "pickle"]
DataFormat = Literal["npz", "parquet", "csv", "jsonl", "folder", "function"]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")]
TaskType = Literal["classification", "token_classification", "regression", "embedding", "language_modelling"]


def _as_list(written: Any) -> Any:
    return [written] if isinstance(written, str) else written


Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]


def _shorthand(key: str, whole: Any, plain: Any = str) -> BeforeValidator:
    """Let one plain value stand for a mapping with that single key."""
    return BeforeValidator(
        lambda written: written if written is None or isinstance(written, dict) else {key: written},
        json_schema_input_type=plain | whole,
    )


class Section(BaseModel):
    """A mapping of the contract: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=False,
        protected_namespaces=(),
        defer_build=True,  # validators are made once, for the whole contract: a sixth of what reading one costs
    )


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


class Input(Tensor):
    """An input of the model, with what feeds it when the data does not."""

    value: Any = Field(None, description="A constant fed at every call, for example a sampling rate.")
    carry: Text | None = Field(
        None, description="The output that is fed back here at the next step; zeros at the start of an item."
    )


class Model(Section):
    """What is released."""

    name: Name = Field(description="The model's name in tags, releases and reports.")
    path: Text | None = Field(None, description="The model's file or folder, relative to this file.")
    format: Format | None = Field(None, description="Read off the file when left out.")
    build: Annotated[Build, _shorthand("run", Build)] | None = Field(
        None, description="How to make `path` when it is not committed."
    )
    factory: Reference | None = Field(
        None,
        description="`module:function` that returns the model: the network for safetensors, a callable for anything else.",
    )
    allow_pickle: bool = Field(
        False,
        description="Load weights stored as a pickle, which can run any code. Convert to ONNX or safetensors instead.",
    )
    device: Device = Field("cpu", description="`cpu`, `cuda` or `cuda:0`.")
    threads: int = Field(1, ge=1, le=1024, description="Threads one call of the model may use.")
    inputs: dict[str, Input] = Field(
        default_factory=dict,
        description="Inputs that the data does not feed, or that cannot be read off the model.",
    )
    outputs: dict[str, Tensor] = Field(
        default_factory=dict, description="Outputs, where they cannot be read off the model."
    )

    @model_validator(mode="after")
    def _has_a_source(self) -> Model:
        if self.path is None and self.factory is None:
            raise ValueError(
                "a model needs `path` (its file), or `factory` (a `module:function` that makes it)"
            )
        return self


class DataSet(Section):
    """A data set and how to read it; what is left out is taken from `data` itself."""

    path: Text = Field(
        description="A .npz, .parquet, .csv or .jsonl file, a folder of class folders, or `module:function`."
    )
    format: DataFormat | None = Field(None, description="Read off the path when left out.")
    label: Text | None = Field(None, description="Column of the labels.")
    inputs: dict[str, Texts] | None = Field(None, description="Columns that feed each input of the model.")
    slices: Texts | None = Field(None, description="Columns to report and gate by.")
    group: Text | None = Field(
        None, description="Column of the independent unit (user, document), resampled as a whole."
    )
    preprocess: Reference | None = Field(
        None, description="`module:function`: a batch of raw columns to the model's inputs."
    )


class Data(Section):
    """The data that the model is judged on, and the data that compression may learn from."""

    evaluation: Annotated[DataSet, _shorthand("path", DataSet)] | None = Field(
        None, description="Held-out data: gates judge on it."
    )
    calibration: Annotated[DataSet, _shorthand("path", DataSet)] | None = Field(
        None, description="Data for compression: calibrates and selects, and is never gated on."
    )
    label: Text | None = Field("label", description="Column of the labels.")
    inputs: dict[str, Texts] = Field(
        default_factory=dict, description="Columns that feed each input of the model."
    )
    slices: Texts = Field((), description="Columns to report and gate by.")
    group: Text | None = Field(
        None, description="Column of the independent unit (user, document), resampled as a whole."
    )
    preprocess: Reference | None = Field(
        None, description="`module:function`: a batch of raw columns to the model's inputs."
    )
    batch: int = Field(32, ge=1, description="Rows per call of the model.")
    uses: int | None = Field(
        None, ge=1, le=60,
        description="For how many candidates the evaluation data must last. Each is counted in git before it is evaluated, and "
        "judged at an error of 5 % / 2^uses; a candidate too many proves nothing. Not counted when left out.",
    )  # fmt: skip


class Task(Section):
    """What the model does, and so which metrics there are."""

    type: TaskType = Field(description="The kind of task.")
    labels: tuple[str | int, ...] = Field((), description="Every class, in the order of the model's scores.")
    output: Text | None = Field(None, description="The output to judge, when the model has several.")
    scores: Literal["logits", "probabilities"] | None = Field(
        None, description="What the class scores are; looked at when left out."
    )
    positive: str | int | None = Field(
        None, description="The class that is found or missed, for a binary task."
    )
    metrics: dict[Name, Reference] = Field(
        default_factory=dict, description="Own metrics: `module:function(labels, predictions)`."
    )
    lower_is_better: Texts = Field((), description="Own metrics where less is better.")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str | int, ...]) -> tuple[str | int, ...]:
        twice = sorted({str(label) for label in labels if [str(x) for x in labels].count(str(label)) > 1})
        if twice:
            raise ValueError(f"labels stand twice: {', '.join(twice)}")
        return labels

    @property
    def own(self) -> tuple[Metric, ...]:
        """What its own metrics mean."""
        return own_metrics(self.metrics, self.lower_is_better)


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
        None, description="A `lineage.json` that training writes; docs/lineage.md has its fields."
    )
    mlflow: Annotated[MlflowRun, _shorthand("store", MlflowRun)] | None = Field(
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

    dataset: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")] = Field(
        description="Id of the benchmark's data set: `OWNER/NAME`."
    )
    task: Text = Field(description="Id of the task within the benchmark.")
    metric: Name = Field(description="The metric that is its score; a fraction is written as percent.")
    revision: Text | None = Field(None, description="Commit of the data set on the Hub.")


class Card(Section):
    """What only people know of a model; it stands in the model card and the ML-BOM of a release."""

    license: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*( (AND|OR|WITH) [A-Za-z0-9.+-]+)*$")] | None = Field(
        None, description="SPDX identifier of the model's licence: `Apache-2.0`."
    )  # fmt: skip
    description: Text | None = Field(None, description="What it is, in a paragraph.")
    intended_use: Text | None = Field(None, description="What it is for, and what it is not for.")
    limitations: Texts = Field((), description="What it is known to do badly.")
    tags: Texts = Field((), description="Further tags on the Hugging Face Hub.")
    dataset: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = Field(
        None, description="Id of the evaluation data on the Hugging Face Hub, where it lies there."
    )
    benchmark: HubBenchmark | None = Field(
        None,
        description="Publish the score as `.eval_results/gradatim.yaml`, which the Hub's leaderboards read.",
    )


class Tolerance(Section):
    """How far two runs of one model may be apart."""

    absolute: float = Field(1e-4, ge=0, description="Absolute difference allowed.")
    relative: float = Field(1e-3, ge=0, description="Difference allowed relative to the expected value.")
    compressed: Fraction = Field(
        0.1,
        description="Further difference allowed to a compressed variant, as a part of the largest value of the output.",
    )


class Test(Section):
    """Stability tests."""

    __test__ = False  # not a pytest class

    pytest: Texts = Field((), description="Your own tests; they get the fixtures `model` and `baseline`.")
    robustness: Texts = Field(
        (), description="Corruptions, each at severity 1 to 5; see `gradatim schema --corruptions`."
    )
    modality: Literal["image", "tabular", "text", "audio", "tokens"] | None = Field(
        None, description="What the items are; guessed from the data when left out."
    )
    range: tuple[float, float] | None = Field(
        None, description="Lowest and highest value of an input; measured when left out."
    )
    golden: Text | None = Field(
        None,
        description="A .npz with inputs by name and expected outputs as `expected_NAME`; these must not change.",
    )
    tolerance: Tolerance = Field(
        default_factory=Tolerance, description="For golden outputs, determinism and batch invariance."
    )
    slowest: Seconds | None = Field(
        None, description="How long one call on a batch may take: `1 s`; no bound when left out."
    )
    abnormal: Literal["lenient", "strict", "skip"] = Field(
        "lenient",
        description="Empty, NaN, huge or misshapen inputs: `lenient` only remarks on NaN that comes out of NaN, infinity or the "
        "largest floats; `strict` wants a finite output or a clear error; `skip` leaves them out.",
    )
    known_failures: Texts = Field(
        (),
        description="Abnormal inputs that the model may fail on, by the name of the check: `batch of 0`. Shown, never refused.",
    )
    regression: Literal["lenient", "strict"] = Field(
        "lenient",
        description="Golden answers of earlier releases: `lenient` counts those that changed, `strict` allows none.",
    )
    examples: int = Field(
        0, ge=0, le=1000,
        description="Rows of the evaluation data that a release publishes with its answers, for later releases to be held "
        "against; none unless you say so, for evaluation data are often private.",
    )  # fmt: skip
    timeout: float = Field(600, gt=0, description="Seconds your own tests may take.")
    items: int = Field(2000, ge=1, description="At most so many items are corrupted and run again.")
    seed: int = Field(0, ge=0, description="Seed of corruptions, samples and resampling.")


Method = Literal["int8-dynamic", "int8-static", "int8-weights", "fp16"]


class Compress(Section):
    """The compression search."""

    keep: dict[Name, Share] = Field(
        default_factory=dict,
        description="What part of each metric of the uncompressed model must be kept, on calibration data; above 100 % where less is better (`mae: 105%`).",
    )
    methods: tuple[Method, ...] | None = Field(
        None, description="Methods to try; all that fit when left out."
    )
    rows: int = Field(512, ge=1, description="At most so many rows of the calibration data are used.")
    memory: Bytes | None = Field(
        None, description="Memory cap of one trial; four fifths of what is free when left out."
    )
    timeout: float = Field(600, gt=0, description="Seconds one trial may take.")


class Benchmark(Section):
    """The paired benchmark."""

    batch: int = Field(1, ge=1, description="Rows per timed call.")
    rounds: int = Field(
        36, ge=3, le=36, description="At most so many rounds; fewer when the answer is clear."
    )
    threads: int | None = Field(None, ge=1, description="Threads per call; those of `model` when left out.")


class Gate(Section):
    """One rule that a release must prove."""

    at_least: Any = Field(None, description="Bound from below: `90%`, `0.9`, or `99% of baseline`.")
    at_most: Any = Field(None, description="Bound from above: `1%`, `5 MB`, `10 ms`, or `110% of baseline`.")
    not_worse_than: Literal["baseline"] | None = Field(
        None, description="Compare with the release that would be replaced."
    )
    not_slower_than: Literal["baseline"] | None = Field(
        None, description="The same, for latency and throughput."
    )
    by: Any = Field(
        None, description="How much worse is tolerated: `1%` is one point of a fraction, 1 % of a latency."
    )
    slices: Text | None = Field(
        None,
        description="`every class`, `every COLUMN`, or `every` for all of them: each slice must prove the rule.",
    )
    veto: bool = Field(False, description="With `slices`: refuse only a proven regression in a slice (Holm).")
    severity: int | None = Field(
        None, ge=1, le=5, description="For `robustness` with `at_least`: hold up to this severity."
    )
    strict: bool = Field(
        False, description="For `robustness`: bounds that hold at any sample size (Maurer-Pontil)."
    )
    confidence: Fraction = Field(0.95, description="One-sided confidence of the verdict.")
    required: bool = Field(
        True, description="Whether a measurement that is missing for lack of a device fails."
    )

    @field_validator("confidence")
    @classmethod
    def _open_interval(cls, confidence: float) -> float:
        if not 0.5 <= confidence < 1:
            raise ValueError("a confidence lies between 50% and 100%, 100% excluded")
        return confidence


class Stage(Section):
    """A rung of the release ladder, lowest first."""

    branch: Text | None = Field(None, description="The protected branch that holds this stage.")
    environment: Text | None = Field(
        None, description="Deployment environment; the stage's name when left out."
    )
    tag: str | None = Field(
        None,
        description="Suffix of its versions (`v1.4.0-SUFFIX.2`); the stage's name when left out, none on the last.",
    )
    gates: dict[str, Gate] = Field(
        default_factory=dict, description="Gates of this stage on top of the common ones."
    )
    runner: Text | None = Field(None, description="Which of `runners` its heavy jobs use.")
    approval: Literal["required", "none"] = Field(
        "none", description="Whether a person must approve in the CI's environment."
    )
    signed: bool = Field(
        False,
        description="Whether its releases must be signed, as `signing` says; an unsigned one is refused.",
    )
    soak: Days = Field(
        0, description="How long a release stays on the stage below before it may be promoted: `3 days`."
    )
    fresh: Days | None = Field(
        None,
        description="How old evidence may be when a release is promoted to this stage: `90 days`. Any age when left out.",
    )
    on_inconclusive: Literal["fail", "warn"] = Field(
        "fail", description="What a gate that cannot decide does."
    )

    @field_validator("tag")
    @classmethod
    def _suffix(cls, tag: str | None) -> str | None:
        if tag and not re.fullmatch(r"[0-9A-Za-z-]+", tag):
            raise ValueError(f"a tag suffix is letters, digits and hyphens, got {tag!r}")
        return tag


class Runner(Section):
    """Where jobs run."""

    labels: Texts = Field(description="The runner's labels on the CI system.")


class Signing(Section):
    """Whose signatures of releases are believed: a key's, or those of CI jobs and people that sigstore knows."""

    key: Texts = Field(
        (),
        description="Public key (PEM; P-256, P-384 or P-521), relative to this file; a list while an old one is replaced. Its "
        "private half is named by GRADATIM_SIGNING_KEY where releases are made. Needs the extra `sign`.",
    )
    identity: Texts = Field(
        (),
        description="Without a key: who signs through sigstore, exactly as its certificates say, for example "
        "`https://github.com/OWNER/NAME/.github/workflows/release.yml@refs/heads/main`; a list for several branches.",
    )
    issuer: Text | None = Field(
        None,
        description="Who vouches for them: `https://token.actions.githubusercontent.com`, `https://gitlab.com`.",
    )

    @field_validator("key")
    @classmethod
    def _inside(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        for path in key:
            if path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise ValueError(
                    f"a path inside the repository is wanted: relative, without `..`, got {path!r}"
                )
        return key

    @model_validator(mode="after")
    def _somebody(self) -> Signing:
        if bool(self.identity) != bool(self.issuer):
            raise ValueError(
                "`identity` and `issuer` belong together: a name means something to its issuer only"
            )
        if not self.key and not self.identity:
            raise ValueError("name a public `key`, or an `identity` with its `issuer`")
        return self


class Iteration(Section):
    """How often the ladder is climbed."""

    cadence: Literal["daily", "weekly", "fortnightly", "monthly"] | None = Field(
        None, description="How often to release."
    )
    cron: Text | None = Field(None, description="The same as a cron expression.")
    report: bool = Field(True, description="Whether a scheduled run writes a report of the iteration.")


class Registry(Section):
    """Where versions are kept: tags in git."""

    remote: Text | None = Field(
        None,
        description="The git remote that holds the tags. When left out, the one of the branch, else `origin`, else the only one. "
        "In a job of a CI system that has none of this name, the one that was checked out.",
    )
    tags: Literal["plain", "named"] = Field(
        "plain", description="`plain` v1.4.0, or `named` digits@v1.4.0 for several models."
    )


class Destination(Section):
    """One place where releases are published: exactly one of these keys."""

    @model_validator(mode="after")
    def _one_place(self) -> Destination:
        if len(self.model_fields_set) != 1:
            known = ", ".join(type(self).model_fields)
            raise ValueError(f"each entry names one place, by one of: {known}")
        if self.address is None and not STORES[self.kind].of_the_remote:
            example = STORES[self.kind].example
            raise ValueError(f"`{self.kind}` needs to know where: `- {self.kind}: {example}`")
        return self

    @property
    def kind(self) -> str:
        """The key that is given: ``folder``, ``s3``, ..."""
        return next(iter(self.model_fields_set))

    @property
    def address(self) -> str | None:
        """Its value; None for the repository that the git remote is of."""
        written: str | None = getattr(self, self.kind)
        return written


def _key(store: Store) -> Any:
    """The key of a kind of place, as a field of ``Destination``."""

    def check(written: str) -> str:
        if not re.fullmatch(store.address, written):
            raise ValueError(f"an address such as `{store.example}` is wanted, got `{written}`")
        return written

    return (
        Annotated[Text, AfterValidator(check)] | None,
        Field(None, description=store.described, examples=[store.example]),
    )


if not TYPE_CHECKING:  # a key for each row of the table; code asks for `kind` and `address` alone
    Destination = create_model(
        "Destination",
        __base__=Destination,
        __doc__=Destination.__doc__,
        **{kind: _key(store) for kind, store in STORES.items()},
    )


def _destination(written: Any) -> Any:
    return {written: None} if isinstance(written, str) else written


class Contract(Section):
    """gradatim.yml: what a model is, what it must prove, and where it goes."""

    model: Model = Field(description="The model that is released.")
    data: Data = Field(default_factory=lambda: Data(), description="What it is judged on.")
    task: Annotated[Task, _shorthand("type", Task)] | None = Field(
        None, description="What it does: `classification`, `regression`, ..."
    )
    lineage: Annotated[LineageSource, _shorthand("file", LineageSource)] | None = Field(
        None,
        description="Where training left its parameters, data digests, metrics and seed. A `lineage.json` beside the model or "
        "beside this file is found by itself; `null` leaves it alone.",
    )
    card: Card = Field(default_factory=lambda: Card(), description="What the model card says besides.")
    test: Test = Field(default_factory=lambda: Test(), description="Stability tests to run.")
    gates: dict[str, Gate] = Field(default_factory=dict, description="What it must prove.")
    benchmark: Benchmark = Field(default_factory=lambda: Benchmark(), description="How latency is measured.")
    compress: Compress | None = Field(None, description="Compression; none when left out.")
    stages: dict[Name, Stage] = Field(
        default_factory=lambda: {"production": Stage(branch="main")},
        description="The release ladder, lowest stage first.",
    )
    signing: Signing | None = Field(
        None, description="Whose signatures of releases are believed; nobody's when left out."
    )
    publish: tuple[
        Annotated[Destination, BeforeValidator(_destination, json_schema_input_type=str | Destination)], ...
    ] = Field((), description="Where releases go.")
    runners: dict[Name, Annotated[Runner, _shorthand("labels", Runner, str | list[str])]] = Field(
        default_factory=dict, description="CI runners by name: `cpu`, `gpu`."
    )
    shards: int = Field(
        1, ge=1, le=MOST,
        description="Jobs that share the rows of `evaluate` and of the robustness in `test` on a CI system; they are merged to "
        "exactly the result of one job. A laptop does all rows at once.",
    )  # fmt: skip
    iteration: Iteration | None = Field(None, description="The cadence of releases.")
    registry: Registry = Field(default_factory=lambda: Registry(), description="Where versions are kept.")

    def can_share(self, step: str) -> bool:
        """Whether a step has rows of the data to go over, which several jobs could share."""
        rows = {"evaluate": True, "test": bool(self.test.robustness)}
        return self.data.evaluation is not None and rows.get(step, False)
