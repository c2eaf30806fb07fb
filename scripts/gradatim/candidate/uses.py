"""The test set's uses: a candidate is counted before it is evaluated, where the contract says how long the data must last."""

from __future__ import annotations

from gradatim.candidate.candidate import Candidate
from gradatim.contract.reading import ReadContract
from gradatim.errors import EnvironmentLacks
from gradatim.evidence.found import CountedUse, Evaluated
from gradatim.evidence.release_record import EVIDENCE_FILE
from gradatim.evidence.statement import Bundle, Statement
from gradatim.files import digest_of
from gradatim.gates.reuse import Charge, Reuse
from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER
from gradatim.registry.uses import charge, count

_FORK = "a pull request from a fork, or of Dependabot, may not write to this repository."


def count_use(candidate: Candidate) -> CountedUse | None:
    """Count the candidate on the evaluation data, before it is evaluated.

    The same candidate asked again, on another machine or against another baseline, is not counted twice.

    Returns:
        What the evidence says about it; None when the contract does not say how long the data must last.

    Raises:
        BrokenEvidence: the ledger lost lines, or was started anew.
    """
    if candidate.contract.parts.data.uses is None or candidate.contract.data_set("evaluation") is None:
        return None
    data, answers = _data(candidate.contract), _answers(candidate)
    found, reason = None, _FORK
    try:
        fork = candidate.place.fork
        found = charge(candidate.repository, data, answers, known=_known(candidate, data), may_write=not fork)
    except EnvironmentLacks as error:
        reason = str(error)
    return CountedUse(data, answers, found.number if found else None, "" if found else reason)


def reuse_of(candidate: Candidate, evaluate: Statement | None) -> Reuse | None:
    """What the count means for the gates; None when the contract does not say how long the data must last.

    Args:
        evaluate: the evidence of the evaluation.
    """
    evaluated = Evaluated.if_any(evaluate)
    return reuse_counted(candidate, evaluated.uses if evaluated else None)


def reuse_counted(candidate: Candidate, use: CountedUse | None) -> Reuse | None:
    """What a count means for the gates; None when the contract does not say how long the data must last."""
    planned = candidate.contract.parts.data.uses
    if planned is None or use is None:
        return None
    if use.number is None:
        return Reuse(None, planned, reason=use.reason)
    return Reuse(Charge(use.data, use.candidate, use.number, fresh=False), planned)


def uses_spent(contract: ReadContract, repository: Repository) -> int | None:
    """How many candidates were evaluated on the evaluation data; None where the contract does not say how long they must last.

    Raises:
        BrokenEvidence: the ledger lost lines.
        EnvironmentLacks: the remote cannot be reached.
        InvalidInput: the data cannot be read.
    """
    if contract.parts.data.uses is None or contract.data_set("evaluation") is None:
        return None
    return count(repository, _data(contract))


def _data(contract: ReadContract) -> str:
    """Digest of the evaluation data's bytes alone: to rename the file or to slice it otherwise makes no new data."""
    from gradatim.data import data_digest

    chosen = contract.data_set("evaluation")
    assert chosen is not None  # noqa: S101 (the caller looked)
    return data_digest(chosen.path, root=contract.root, format=chosen.format)


def _answers(candidate: Candidate) -> str:
    """Digest of all that its answers come from: model, compression, preprocessing, how they are read and corrupted."""
    parts = candidate.contract.parts
    chosen = candidate.contract.data_set("evaluation")
    return digest_of(
        [
            candidate.forms.original.manifest.digest,
            parts.model.model_dump(mode="json", include={"factory", "inputs", "outputs", "tokenizer"}),
            parts.task.model_dump(mode="json") if parts.task else None,
            chosen.model_dump(mode="json", exclude={"path", "slices"}) if chosen else None,
            *([parts.data.weight] if parts.data.weight else []),
            parts.compress.model_dump(mode="json") if parts.compress else None,
            candidate.digests.data("calibration") if parts.compress else None,
            candidate.digests.code(),
            tries(candidate),
            *([parts.data.covariate.model_dump(mode="json")] if parts.data.covariate else []),
            *(other.manifest.digest for other in candidate.forms.others.values()),
        ]
    )


def tries(candidate: Candidate) -> dict[str, str]:
    """What chooses the items that are corrupted, and how, where candidates are counted: another seed is another try."""
    settings = candidate.contract.parts.test
    counted = candidate.contract.parts.data.uses is not None
    return {"tries": digest_of([settings.seed, settings.items])} if counted else {}


def _known(candidate: Candidate, data: str) -> int:
    """The highest number that an earlier release says it was on these data."""
    releases = [r for r in candidate.registry.model(candidate.name).releases if r.manifest is not None]
    names = [f"{LEDGER}{r.manifest}:{r.version}/{EVIDENCE_FILE}" for r in releases]
    kept = zip(names, candidate.repository.read_objects(names), strict=True)
    found = (
        Evaluated.if_any(statement)
        for name, bundle in kept
        if bundle is not None
        for statement in Bundle.from_bytes(bundle, name).of("evaluate")
    )
    uses = (evaluated.uses for evaluated in found if evaluated and evaluated.uses)
    return max((use.number or 0 for use in uses if use.data == data), default=0)
