"""What each step found: its own part of the details of its evidence, written by the step and read by those after it.

A field without a default is always there; one that is None by default is left out when it is None. What a newer kit adds is
passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gradatim.evidence.codec import encode, keys
from gradatim.evidence.statement import Statement
from gradatim.evidence.trial import Sensitivity, Trial
from gradatim.gates.distribution import Distribution, Drift
from gradatim.gates.grounds import Grounds
from gradatim.gates.verdict import Verdict
from gradatim.lineage.record import Lineage
from gradatim.metrics.answers import REQUEST
from gradatim.metrics.diagnostics import CalibrationBin, Covariate, FlippedAnswer, Overlap, WeakSlice
from gradatim.signature import Inspection, Signature

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Found:
    """What one step found."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the details of the evidence."""
        return encode(self)

    @classmethod
    def of(cls, statement: Statement) -> Self:
        """What the evidence of the step says.

        Raises:
            BrokenEvidence: a key is missing or holds another type; names the step and the key.
        """
        return statement.read(cls)

    @classmethod
    def if_any(cls, statement: Statement | None) -> Self | None:
        """The same; None without evidence, and where the step had nothing to look for.

        Raises:
            BrokenEvidence: as ``of``.
        """
        if statement is None or not keys(cls) & statement.details.keys():
            return None
        return cls.of(statement)


@dataclass(frozen=True)
class Built(Found):
    """build: the model is there.

    Attributes:
        size: bytes of all its files.
        lineage: what training recorded, where the build trained.
    """

    size: int
    lineage: Lineage | None = None


@dataclass(frozen=True)
class Inspected(Found):
    """inspect: what the model is made of.

    Attributes:
        signature: that of the inspection, where it is known.
        lineage: what training recorded, wherever it was found.
    """

    inspection: Inspection
    signature: Signature | None = None
    lineage: Lineage | None = None

    @property
    def asked(self) -> bool:
        """Whether the model is asked for text."""
        return self.signature is not None and self.signature.input(REQUEST) is not None


@dataclass(frozen=True)
class FormLeft:
    """A form of the model that is to be judged.

    Attributes:
        file: the model's file in its folder of the workspace; None for the original, which lies where the contract says.
    """

    name: str
    file: str | None = None


@dataclass(frozen=True)
class Compressed(Found):
    """compress: which forms are to be judged, the preferred one first.

    Attributes:
        trials: what was tried, in order; None where nobody asked.
        reason: in a sentence: what was chosen, or why the model is kept as it is.
        sensitivities: of the nodes in the order of the graph, where the search had to know them.
    """

    variants: tuple[FormLeft, ...]
    trials: tuple[Trial, ...] | None = None
    reason: str | None = None
    sensitivities: tuple[Sensitivity, ...] = ()


@dataclass(frozen=True)
class Check:
    """One test of a model's behaviour.

    Attributes:
        group: its kind: ``unit``, ``abnormal``, ``regression``, ``pytest``.
        name: what was tested: ``determinism``, ``all NaN``, ``test_digits.py::test_eight``.
        verdict: FAIL when the model does not behave, INVALID when the test itself is broken.
        detail: what was seen, for a person; also what a PASS left to be said.
        seconds: how long it took, None when nobody looked.
    """

    group: str
    name: str
    verdict: Verdict
    detail: str = ""
    seconds: float | None = None

    def of(self, variant: str) -> Check:
        """The same check with the variant in its name, where several variants are tested."""
        return replace(self, name=f"{self.name} ({variant})")


@dataclass(frozen=True)
class Corrupted:
    """What of the data the robustness was measured on: so many items, under each of these corruptions.

    Attributes:
        worse: where the preferred form is proven worse than the baseline, in words, gated or not.
    """

    corruptions: tuple[str, ...]
    items: int
    worse: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tested(Found):
    """test: how the model behaves."""

    checks: tuple[Check, ...]
    robustness: Corrupted


@dataclass(frozen=True)
class FormEvaluated:
    """What one variant, or the baseline, showed on the evaluation data.

    Attributes:
        signature: as it answered the first row.
        confusion: how often each true label (row) was taken for each label (column), of a classification.
        calibration: its confidence, of a classification; empty where it gives no scores.
        changed: on how many rows it answers otherwise than the baseline.
        compared: how many rows these are, where the baseline does not know the labels of the others.
        labels: those that its answers were read by, as its own contract calls them; None where nothing lists them.
        scores: ``probabilities`` or ``logits``, of a classification that gives scores.
        overlap: on what it is compared with a baseline that does not know the same labels.
    """

    signature: Signature
    confusion: tuple[tuple[int, ...], ...] | None = None
    calibration: tuple[CalibrationBin, ...] | None = None
    changed: int | None = None
    compared: int | None = None
    labels: tuple[str | int, ...] | None = None
    scores: str | None = None
    overlap: Overlap | None = None


@dataclass(frozen=True)
class ImportedRun:
    """Results that another harness measured.

    Attributes:
        variant: whose: of a variant, or the baseline.
        harness: ``lm-eval``, ``inspect`` or ``promptfoo``.
        digest: hex SHA-256 of the file.
        settings: how the model was asked, as JSON.
    """

    variant: str
    harness: str
    digest: str
    settings: str


@dataclass(frozen=True)
class CountedUse:
    """The candidate's use of the evaluation data.

    Attributes:
        data: hex digest of the data.
        candidate: hex digest of all that its answers come from.
        number: which candidate it is on these data; None where it could not be counted.
        reason: why not.
    """

    data: str
    candidate: str
    number: int | None
    reason: str


@dataclass(frozen=True)
class Judging:
    """Who compared the answers.

    Attributes:
        judge: the function, or the model and where it is served.
        rubric: what the model was told to go by.
        human: pairs that people judged, which it was held against.
        failed: verdicts that it owes, and ``reason``: why the first one is lacking.
    """

    judge: str
    rubric: str | None
    human: int = 0
    failed: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Evaluated(Found):
    """evaluate: how every variant and the baseline answered.

    Attributes:
        rows: of the evaluation data that were evaluated.
        labels: in the order of the confusion matrices.
        variants: by name, the baseline among them.
        weak_slices: where the preferred variant does worse than elsewhere.
        uses: None where the contract does not say how long the data must last.
        imported: where the answers came from, if not from the models themselves.
        flipped: prompts that the preferred variant and the baseline do not both answer rightly, as many as the contract shows.
        offered: rows that there are, where sequential gates were decided before the last.
        judging: who compared the answers with the release's; None where nobody did.
        covariate: by which gates on all rows are adjusted.
        distribution: how the evaluation data are spread, for the releases to come; None of few rows, and where nobody looked.
        drift: how they differ from those of the release; None where nobody looked.
    """

    rows: int
    labels: tuple[str | int, ...]
    variants: Mapping[str, FormEvaluated]
    weak_slices: tuple[WeakSlice, ...]
    uses: CountedUse | None = None
    imported: tuple[ImportedRun, ...] = ()
    flipped: tuple[FlippedAnswer, ...] = ()
    offered: int | None = None
    judging: Judging | None = None
    distribution: Distribution | None = None
    drift: Drift | None = None
    covariate: Covariate | None = None


@dataclass(frozen=True)
class Judged(Found):
    """gate: which variant was chosen.

    Attributes:
        refused_variants: why, gate by gate, of each variant that was preferred to it.
        stage: whose rules were asked for; None on a branch without a stage.
        budget: a sentence on how often this test set may still be used.
        grounds: what the verdicts on it rest on; None in evidence of older versions.
    """

    chosen: str
    refused_variants: Mapping[str, tuple[str, ...]]
    stage: str | None
    budget: str
    grounds: Grounds | None = None


@dataclass(frozen=True)
class Tagged(Found):
    """tag: the version that the candidate got.

    Attributes:
        ci: what the CI system is told, by the names of its outputs.
        reasons: why it is this version; empty where the bytes were released before.
    """

    tag: str
    version: str
    ci: Mapping[str, str]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Published(Found):
    """publish: what users can have now.

    Attributes:
        ci: what the CI system is told, by the names of its outputs.
    """

    tag: str
    ci: Mapping[str, str]


@dataclass(frozen=True)
class Promoted(Found):
    """promote: from which stage to which, and who let it.

    Attributes:
        version: what was promoted, as it was called in the stage below.
        notes: what could not be compared.
        by: who started the run.
        run: the run's page; None on a laptop.
        environment: the deployment environment that guards the stage.
        approvers: who approved; None where the platform does not tell.
        approval: the same in words; None when nobody is known to have approved.
    """

    from_: str
    stage: str
    version: str
    notes: tuple[str, ...]
    by: str
    run: str | None
    environment: str
    approvers: tuple[str, ...] | None
    approval: str | None


@dataclass(frozen=True)
class ShardRows:
    """Which rows of a step one of several jobs had: ``rows`` from ``start`` on, of ``total``."""

    number: int
    of: int
    start: int
    rows: int
    total: int


@dataclass(frozen=True)
class Shared(Found):
    """What one of several jobs that share a step's rows found.

    Attributes:
        broken: why no answers were left, by the folder where they would lie; None of a step that has none to miss.
    """

    shard: ShardRows
    broken: Mapping[str, str] | None = None


def outputs_for_ci(statement: Statement) -> Mapping[str, str]:
    """What the CI system is told of a step, by the names of its outputs, besides the verdict.

    Raises:
        BrokenEvidence: as ``Found.of``.
    """
    kinds: dict[str, type[Tagged] | type[Published]] = {"tag": Tagged, "publish": Published}
    kind = kinds.get(statement.step)
    found = kind.if_any(statement) if kind else None
    return found.ci if found else {}
