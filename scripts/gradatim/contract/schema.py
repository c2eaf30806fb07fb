"""What may stand in ``gradatim.yml``: the one schema that errors, editors, documentation and ``init`` share."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    Field,
    create_model,
    field_validator,
    model_validator,
)

from gradatim.contract.benchmark import BenchmarkSection
from gradatim.contract.compress import Compress
from gradatim.contract.data import DataSection
from gradatim.contract.delivery import CanaryGate, Deploy, Destination, Publish
from gradatim.contract.subject import CardSection, LineageSource, ModelSection, TaskSection
from gradatim.contract.values import (
    RUNNER,
    Days,
    Fraction,
    Name,
    Seconds,
    Section,
    Text,
    Texts,
    shorthand,
)
from gradatim.shard import MOST

HEAVY = ("compress", "test", "evaluate", "benchmark")
"""Steps that run the model for long, and so may have a runner of their own. The graph says the same, which is tested."""


class Tolerance(Section):
    """How far two runs of one model may be apart."""

    absolute: float = Field(1e-4, ge=0, description="Absolute difference allowed.")
    relative: float = Field(1e-3, ge=0, description="Difference allowed relative to the expected value.")
    compressed: Fraction = Field(
        0.1,
        description="Further difference allowed to a compressed variant, as a part of the largest value of the output.",
    )


class ImportSection(Section):
    """Results of lm-eval (`--log_samples`), Inspect or promptfoo, on the same rows asked the same way."""

    path: Text = Field(
        description="The candidate's results: a samples .jsonl of lm-eval, an Inspect log, promptfoo's output."
    )
    baseline: Text | None = Field(None, description="Those of the release that would be replaced.")


class EvaluateSection(Section):
    """How the model is asked for its answers on the evaluation data."""

    runner: Text | None = Field(
        None,
        description=f"{RUNNER} With `device: cuda` it is done on the processor unless a runner is named.",
        examples=["gpu"],
    )
    show: int = Field(
        0, ge=0, le=50,
        description="Tasks that ask for text: at most so many prompts whose answer became wrong or right are shown in the report, with both answers. "
        "It rides with the release, so whoever gets that reads them.",
    )  # fmt: skip
    explain: int = Field(
        0, ge=0, le=50,
        description="`classification`: of at most so many rows whose answer flipped the report tells what it hangs on, with names of columns "
        "and words of the rows, as `gradatim explain` does. Needs the extra `explain`.",
    )  # fmt: skip

    @property
    def imported(self) -> ImportSection | None:
        """The key ``import``, a word that Python keeps for itself."""
        found: ImportSection | None = getattr(self, "import")
        return found


if not TYPE_CHECKING:
    EvaluateSection = create_model(
        "EvaluateSection",
        __base__=EvaluateSection,
        __doc__=EvaluateSection.__doc__,
        **{
            "import": (
                Annotated[ImportSection, shorthand("path", ImportSection)] | None,
                Field(
                    None,
                    description="Take the answers from another harness's results: `task.scorers` names their scores, and `by` says "
                    "what each one is.",
                    examples=["results.jsonl"],
                ),
            )
        },
    )


class Test(Section):
    """Stability tests."""

    __test__ = False  # not a pytest class

    runner: Text | None = Field(
        None,
        description=f"{RUNNER} With `device: cuda` it is done on the processor unless a runner is named.",
        examples=["gpu"],
    )

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
    budget: Seconds | None = Field(
        None,
        description="How long the corruptions may take, each job's part of them: `5 min`. What there is no time for is left out and "
        "named; a gate on it is not proven. No bound when left out.",
        examples=["5 min"],
    )
    items: int = Field(2000, ge=1, description="At most so many items are corrupted and run again.")
    seed: int = Field(0, ge=0, description="Seed of corruptions, samples and resampling.")


class GateSection(CanaryGate):
    """One rule that a release must prove."""

    slices: Text | None = Field(
        None,
        description="`every class`, `every COLUMN`, or `every` for all of them: each slice must prove the rule.",
    )
    veto: bool = Field(False, description="With `slices`: refuse only a proven regression in a slice (Holm).")
    severity: int | None = Field(
        None, ge=1, le=5, description="For `robustness` with `at_least`: hold up to this severity."
    )
    strict: bool = Field(
        False,
        description="For `robustness`: bounds that hold at any sample size (Maurer-Pontil). For `mae`, `rmse` and `r2` of a regression: rows "
        "too rare to be seen may be as far off as the farthest target.",
    )
    sequential: bool = Field(
        False,
        description="Bounds that hold at every look, for a mean over rows: evaluation stops as soon as every gate on rows is decided, "
        "where all of them are sequential.",
    )
    required: bool = Field(
        True, description="Whether a measurement that is missing for lack of a device fails."
    )
    because: Text | None = Field(
        None,
        description="Why it asks less than on the branch that a pull request is for; alone, why the gate goes. It travels in the evidence.",
        examples=["replaced by f1_macro"],
    )


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
    gates: dict[str, GateSection] = Field(
        default_factory=dict, description="Gates of this stage on top of the common ones."
    )
    runner: Text | None = Field(
        None, description="Which of `runners` its jobs use that run the model, where their step names none."
    )
    approval: Literal["required", "none"] = Field(
        "none", description="Whether a person must approve in the CI's environment."
    )
    signed: bool = Field(
        False,
        description="Whether its releases must be signed, as `signing` says; an unsigned one is refused.",
    )
    deploy: Deploy | None = Field(
        None, description="Where its release serves; `gradatim deploy STAGE` puts it there."
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
    because: Text | None = Field(
        None, description="Why `on_inconclusive` is laxer than on the branch that a pull request is for."
    )

    @field_validator("tag")
    @classmethod
    def _suffix(cls, tag: str | None) -> str | None:
        if tag and not re.fullmatch(r"[0-9A-Za-z-]+", tag):
            raise ValueError(f"a tag suffix is letters, digits and hyphens, got {tag!r}")
        return tag


class Runner(Section):
    """Where jobs run."""

    labels: Texts = Field(
        (), description="The runner's labels on the CI system.", examples=[["self-hosted", "gpu"]]
    )
    group: Text | None = Field(
        None, description="The runner group on GitHub; GitLab knows labels alone.", examples=["gpus"]
    )
    environment: Text | None = Field(
        None,
        description="A deployment environment with required reviewers: a pull request of the repository itself is timed on this "
        "runner once one of them approves. Left out, no pull request gets it; a fork never does.",
        examples=["gpu"],
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Runner:
        if not self.labels and self.group is None:
            raise ValueError("a runner is named by its `labels`, its `group`, or both")
        return self


class SigningSection(Section):
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
    def _somebody(self) -> SigningSection:
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
    feedback: Text | None = Field(
        None,
        description="Files of feedback that the report counts, as a pattern relative to this file; see `gradatim feedback import`.",
        examples=["feedback/*.jsonl"],
    )
    drift: Text | None = Field(
        None,
        description="What `gradatim monitor drift --json` wrote last, for the report; relative to this file.",
        examples=["monitoring/drift.json"],
    )


class RegistrySection(Section):
    """Where versions are kept: tags in git."""

    remote: Text | None = Field(
        None,
        description="The git remote that holds the tags. When left out, the one of the branch, else `origin`, else the only one. "
        "In a job of a CI system that has none of this name, the one that was checked out.",
    )
    tags: Literal["plain", "named"] = Field(
        "plain", description="`plain` v1.4.0, or `named` digits@v1.4.0 for several models."
    )


class Contract(Section):
    """gradatim.yml: what a model is, what it must prove, and where it goes."""

    model: ModelSection = Field(description="The model that is released.")
    data: DataSection = Field(default_factory=lambda: DataSection(), description="What it is judged on.")
    task: Annotated[TaskSection, shorthand("type", TaskSection)] | None = Field(
        None, description="What it does: `classification`, `regression`, ..."
    )
    lineage: Annotated[LineageSource, shorthand("file", LineageSource)] | None = Field(
        None,
        description="Where training left its parameters, data digests, metrics and seed. A `lineage.json` beside the model or "
        "beside this file is found by itself; `null` leaves it alone.",
    )
    card: CardSection = Field(
        default_factory=lambda: CardSection(), description="What the model card says besides."
    )
    test: Test = Field(default_factory=lambda: Test(), description="Stability tests to run.")
    evaluate: EvaluateSection = Field(
        default_factory=lambda: EvaluateSection(), description="How it is evaluated."
    )
    gates: dict[str, GateSection] = Field(default_factory=dict, description="What it must prove.")
    benchmark: BenchmarkSection = Field(
        default_factory=lambda: BenchmarkSection(), description="How latency is measured."
    )
    compress: Compress | None = Field(None, description="Compression; none when left out.")
    canary: dict[str, CanaryGate] = Field(
        default_factory=dict,
        description="What a candidate must prove on traffic, recorded or live, beside the release that it would replace: gates on "
        "`errors`, `agreement` and latencies. See `gradatim canary`.",
    )
    stages: dict[Name, Stage] = Field(
        default_factory=lambda: {"production": Stage(branch="main")},
        description="The release ladder, lowest stage first.",
    )
    signing: SigningSection | None = Field(
        None, description="Whose signatures of releases are believed; nobody's when left out."
    )
    publish: Annotated[Publish, shorthand("to", Publish, list[str | Destination])] = Field(
        default_factory=lambda: Publish(), description="Where releases go, and what they tell; a list names the places alone."
    )  # fmt: skip
    runners: dict[Name, Annotated[Runner, shorthand("labels", Runner, str | list[str])]] = Field(
        default_factory=dict, description="CI runners by name: `cpu`, `gpu`."
    )
    env: Texts = Field(
        (), description="Variables that your own code may see besides what programs need: names, never a credential.", examples=[["DATA"]]
    )  # fmt: skip
    shards: int = Field(
        1, ge=1, le=MOST,
        description="Jobs that share the rows of `evaluate` and of the robustness in `test` on a CI system; they are merged to "
        "exactly the result of one job. A laptop does all rows at once.",
    )  # fmt: skip
    engine: Literal["local", "ray"] = Field(
        "local", description="`ray`: the rows that `shards` would share among jobs are tasks on the Ray cluster that RAY_ADDRESS names, merged "
        "to exactly the same result; without RAY_ADDRESS on this machine.", examples=["ray"],
    )  # fmt: skip
    iteration: Iteration | None = Field(None, description="The cadence of releases.")
    registry: RegistrySection = Field(
        default_factory=lambda: RegistrySection(), description="Where versions are kept."
    )

    def runner_of(self, step: str, stage: str | None) -> str | None:
        """The runner that the contract names for a step: its own, else that of the stage; None where it names none."""
        own: str | None = getattr(getattr(self, step, None), "runner", None)
        rung = self.stages.get(stage or "")
        return own or (rung.runner if rung else None)

    def device_of(self, step: str, stage: str | None) -> str:
        """Where a step runs the model: on its device where it is timed or a runner is named, else on the processor."""
        told = step == "benchmark" or self.runner_of(step, stage) is not None
        return self.model.device if told else "cpu"

    @property
    def jobs_that_share(self) -> int:
        """Jobs of a CI system that share a step's rows."""
        return 1 if self.engine == "ray" else self.shards

    def can_share(self, step: str) -> bool:
        """Whether a step has rows of the data to go over, which several jobs could share."""
        rows = {"evaluate": True, "test": bool(self.test.robustness)}
        return self.data.evaluation is not None and rows.get(step, False)
