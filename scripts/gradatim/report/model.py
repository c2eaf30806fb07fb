"""What a report says, as data. Every renderer reads one ``Report`` and nothing else.

Only the name and the verdict must be there; a section that is absent vanishes from every rendering.
Times are seconds, sizes bytes, proportions fractions of 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.evidence.codec import decode, encode
from gradatim.evidence.found import Check
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.profile import Profile
from gradatim.evidence.trend import Trend
from gradatim.evidence.trial import Sensitivity
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.lineage.record import Lineage as Training
from gradatim.measurement import Measurement
from gradatim.metrics.diagnostics import CalibrationBin, FlippedAnswer, Overlap
from gradatim.report.explanation import Explanation


@dataclass(frozen=True)
class Estimate:
    """A number with its two-sided interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class StepSummary:
    """One step of the run.

    Attributes:
        status: ``done``, ``unchanged`` (skipped, already proven), ``failed``, ``not run``.
        summary: what it found, in one line.
    """

    name: str
    status: str = "done"
    seconds: float | None = None
    verdict: Verdict | None = None
    summary: str = ""


@dataclass(frozen=True)
class VariantRow:
    """The candidate in one form, or the baseline beside it.

    Attributes:
        size: bytes of all its files.
        quality: metric name to value; the first one is shown in pictures.
        latency: time per call relative to the baseline's: 0.42 is 58 % faster.
        p50: median time per call, seconds.
        accepted: whether it stayed within the compression budget; None where nobody asked.
        reason: why it was accepted or not, in one line.
        chosen: whether this is the variant that is judged and released.
        baseline: whether this is the release that would be replaced.
    """

    name: str
    size: int | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    latency: Estimate | None = None
    p50: float | None = None
    parameters: int | None = None
    accepted: bool | None = None
    reason: str | None = None
    chosen: bool = False
    baseline: bool = False


@dataclass(frozen=True)
class Slice:
    """One metric of the chosen variant on one part of the data.

    Attributes:
        column: what the data was sliced by: ``class``, ``region``.
        part: which part: ``8``, ``north``.
        baseline: the baseline's value on the same part.
        threshold: the bound of the gate on this slice, where there is one; ``verdict`` is that gate's.
    """

    metric: str
    column: str
    part: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = "1"
    baseline: float | None = None
    threshold: float | None = None
    verdict: Verdict | None = None
    higher_is_better: bool = True


@dataclass(frozen=True)
class Severity:
    """One point of a robustness curve; severity 0 is the clean data."""

    severity: int
    candidate: float
    baseline: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Curve:
    """A metric under one corruption, severity by severity.

    Attributes:
        threshold: the bound of the robustness gate, where there is one.
    """

    corruption: str
    points: tuple[Severity, ...]
    metric: str = "accuracy"
    unit: str = "1"
    threshold: float | None = None


@dataclass(frozen=True)
class TimedModel:
    """The latencies of one model in the benchmark.

    Attributes:
        quantiles: ``p50``, ``p90``, ``p99``, ... to seconds.
        ecdf: points (seconds, share of calls at most that long), both ascending.
        calls: timed calls behind them.
    """

    name: str
    quantiles: Mapping[str, float] = field(default_factory=dict)
    ecdf: tuple[tuple[float, float], ...] = ()
    calls: int = 0


@dataclass(frozen=True)
class SizeRow:
    """Calls of one of several sizes: medians in seconds, and the floor as a ratio to the baseline's."""

    size: str
    baseline: float | None
    candidate: float | None
    ratio: Estimate | None
    rounds: int


@dataclass(frozen=True)
class Latency:
    """The paired benchmark of the chosen variant against the baseline.

    Attributes:
        rounds: one ln(candidate / baseline) per round, in the order they were run.
        ratio: their mean as a ratio, with its interval.
        margin: slowdown that the gate tolerates (0.03: 3 %).
        decision: what was asked about and found: ``latency_floor: faster``, ``not slower``, ``slower``, ``undecided``.
        setting: one line on the machine: processor, threads, batch size.
        sizes: of call, where several are timed.
    """

    contestants: tuple[TimedModel, ...] = ()
    rounds: tuple[float, ...] = ()
    ratio: Estimate | None = None
    margin: float | None = None
    decision: str | None = None
    setting: str | None = None
    sizes: tuple[SizeRow, ...] = ()

    @property
    def timed(self) -> str:
        """What the ratio is of: ``time per call``, ``TPOT mean``."""
        what, _, figure = (self.decision or "").partition(":")[0].partition("_")
        return f"{what.upper()} {figure}" if what in ("ttft", "tpot", "itl") else "time per call"


@dataclass(frozen=True)
class LoadRow:
    """One run of LoadGen or of locust.

    Attributes:
        said: ``VALID``, ``INVALID``; of locust's users, ``held`` or ``broke``.
        came: queries a second, or users at a time; empty where the answers set the pace.
        completed: samples a second.
        p50, p90, p99: seconds.
    """

    scenario: str
    said: str
    came: str
    completed: float
    p50: float
    p90: float
    p99: float
    queries: int
    failed: int = 0


@dataclass(frozen=True)
class LoadedModel:
    """What load a form bears.

    Attributes:
        where: the form's own process, or the server that answers for it.
        told: what was found, in sentences.
    """

    name: str
    where: str
    told: str
    runs: tuple[LoadRow, ...] = ()


@dataclass(frozen=True)
class Confusion:
    """How often each true label (row) was taken for each label (column).

    Raises:
        InvalidInput: a matrix is not as wide and high as there are labels.
    """

    labels: tuple[str, ...]
    candidate: tuple[tuple[int, ...], ...]
    baseline: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        size = len(self.labels)
        for matrix in (self.candidate, self.baseline):
            if matrix and (len(matrix) != size or any(len(row) != size for row in matrix)):
                raise InvalidInput(f"A confusion matrix of {size} labels needs {size} rows of {size} counts.")


@dataclass(frozen=True)
class Calibration:
    """Whether confidence means what it says.

    Attributes:
        ece: expected calibration error of the candidate.
    """

    candidate: tuple[CalibrationBin, ...]
    baseline: tuple[CalibrationBin, ...] = ()
    ece: float | None = None


@dataclass(frozen=True)
class ModelSummary:
    """What the model is, seen without running it.

    Attributes:
        opset: ``17``, or several with their domains.
        inputs, outputs: one line per tensor: ``image: float32[batch, 1, 8, 8]``.
        operators: operator to how often it occurs.
        files: those of the released variant.
    """

    format: str
    opset: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: int | None = None
    operators: Mapping[str, int] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Where the candidate comes from.

    Attributes:
        previous: the version that it would replace, with its manifest digest where known.
        manifest: digest that identifies the release.
        seed: of corruptions, samples and resampling in the tests; training has its own.
        contract: digest of the contract.
        data: data set to digest.
        environment: ``python``, ``onnxruntime``, ``machine``, ... to what was found.
        evidence: step to digest of its statement.
        training: what training recorded of the weights, where it left a record.
        training_before: the same of the release that it would replace, as its evidence holds it.
    """

    commit: str | None = None
    branch: str | None = None
    previous: str | None = None
    manifest: str | None = None
    contract: str | None = None
    seed: int | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)
    training: Training | None = None
    training_before: Training | None = None


@dataclass(frozen=True)
class DataSet:
    """Data that the model was judged on or compressed with.

    Attributes:
        role: ``evaluation`` or ``calibration``.
        path: where the contract says that it is.
        sha256: of the file; of a folder, of the list of its files' digests; None for data that a function makes.
        rows: items, where they were counted.
    """

    role: str
    path: str
    sha256: str | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the Hugging Face Hub that the evaluation data is of: data set, task, scored metric, revision."""

    dataset: str
    task: str
    metric: str
    revision: str | None = None


@dataclass(frozen=True)
class Card:
    """What the contract says for the model card.

    Attributes:
        license: SPDX identifier.
        dataset: id of the evaluation data on the Hugging Face Hub.
    """

    license: str | None = None
    description: str | None = None
    intended_use: str | None = None
    limitations: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    dataset: str | None = None
    benchmark: Benchmark | None = None


@dataclass(frozen=True)
class Report:
    """Everything that a reviewer is told about one candidate.

    Attributes:
        name: the model's.
        verdict: the worst of all blocking verdicts of the run.
        version: the version that the candidate has or would get.
        stage: the stage that it knocks at.
        baseline: version of the release that it would replace.
        chosen: name of the variant that is judged.
        overlap: on what it is compared, where the baseline does not know the same labels.
        outcome: what was done about it: ``nothing was tagged``, ``tagged v1.1.0 and published to releases/``.
        sensitivities: what each node loses in each form that it could take, in the order of the graph.
        contract: path of the contract, for the lines of the gates.
        modality: what the items are, ``image``, ``text``, where the contract says so.
        samples: size of the evaluation data.
        history: metrics over the versions before it, and its own.
        explanation: what answers that flipped hang on, where `gradatim explain` was asked for this very candidate.
        flipped: prompts that candidate and baseline do not both answer rightly, where the contract shows them.
        hints: what stands out but is never gated, such as weak slices.
        budget: a sentence on how often this test set may still be used.
        warnings: what a reader must know to trust the numbers.

    Raises:
        InvalidInput: a number is NaN or infinite.
    """

    name: str
    verdict: Verdict
    version: str | None = None
    stage: str | None = None
    baseline: str | None = None
    commit: str | None = None
    chosen: str | None = None
    outcome: str | None = None
    task: str | None = None
    modality: str | None = None
    samples: int | None = None
    contract: str = "gradatim.yml"
    gates: tuple[GateResult, ...] = ()
    steps: tuple[StepSummary, ...] = ()
    variants: tuple[VariantRow, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    slices: tuple[Slice, ...] = ()
    robustness: tuple[Curve, ...] = ()
    worse: tuple[str, ...] = ()
    latency: Latency | None = None
    loads: tuple[LoadedModel, ...] = ()
    profile: Profile | None = None
    history: tuple[Trend, ...] = ()
    overlap: Overlap | None = None
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    checks: tuple[Check, ...] = ()
    inspection: ModelSummary | None = None
    lineage: Provenance | None = None
    data: tuple[DataSet, ...] = ()
    card: Card | None = None
    flipped: tuple[FlippedAnswer, ...] = ()
    explanation: Explanation | None = None
    hints: tuple[str, ...] = ()
    budget: str | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _refuse_nonfinite(self, "report")

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, as JSON values."""
        return encode(self)

    @classmethod
    def from_json(cls, record: Any) -> Report:
        """Read back what ``to_json`` wrote.

        Raises:
            BrokenEvidence: a field is unknown, missing or of another type.
        """
        return decode(cls, record, "report")


def _refuse_nonfinite(value: Any, place: str) -> None:
    """Walk through a record and refuse NaN and infinity, naming the place of the first."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"{place} is {value}, not a finite number: it cannot stand in a report.")
    if is_dataclass(value) and not isinstance(value, type):
        for field_ in fields(value):
            _refuse_nonfinite(getattr(value, field_.name), f"{place}.{field_.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_nonfinite(item, f"{place}.{key}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            _refuse_nonfinite(item, f"{place}[{index}]")
