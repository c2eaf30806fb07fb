"""The lineage of a candidate: where its contract says that training left it, or where the build did."""

from __future__ import annotations

from collections.abc import Iterator

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.code import is_reference
from gradatim.evidence.codec import encode
from gradatim.evidence.found import Built
from gradatim.files import digest_of
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.lineage.leak import leaks
from gradatim.lineage.reading import Origin, exists, find_beside, fingerprint, read_lineage
from gradatim.lineage.record import Lineage

NO_LEAK = "no_leak"


def origin_of(candidate: Candidate) -> Origin | None:
    """Where the record is: as the contract says, else a ``lineage.json`` beside the model or the contract."""
    named = candidate.contract.parts.lineage
    if named is None:
        silent = not candidate.contract.says("lineage")
        return find_beside(candidate.root, candidate.contract.parts.model.path) if silent else None
    run, experiment = (named.mlflow.run, named.mlflow.experiment) if named.mlflow else (None, None)
    return Origin(named.kind, str(named.place), run, experiment)


def mark(candidate: Candidate) -> str | None:
    """What the record was before a build, to see whether the build writes it; None where there is none yet."""
    origin = origin_of(candidate)
    return fingerprint(origin, candidate.root) if origin and exists(origin, candidate.root) else None


def left_by_build(candidate: Candidate, before: str | None) -> Lineage | None:
    """What is kept with the build's evidence, when the build trained: its record may not be in the next job's checkout."""
    origin = origin_of(candidate)
    if origin is None or not exists(origin, candidate.root) or fingerprint(origin, candidate.root) == before:
        return None
    return read_lineage(origin, candidate.root)


def digests(candidate: Candidate) -> dict[str, str]:
    """What the lineage in a step's evidence rests on; nothing where there is no lineage."""
    built, origin = _built(candidate), origin_of(candidate)
    if built is None and origin is None:
        return {}
    found = {"lineage": digest_of(encode(built)) if built is not None else _fingerprint(origin, candidate)}
    if _judged_on(candidate):
        found["evaluation"] = candidate.digests.data("evaluation")
    return found


def lineage_of(candidate: Candidate) -> Lineage | None:
    """What training recorded of the candidate; None where nothing was found and nothing was named.

    Raises:
        InvalidInput: what is named is not there, or it is malformed or damaged.
        EnvironmentLacks: the package that reads it is not installed.
    """
    built, origin = _built(candidate), origin_of(candidate)
    return built or (read_lineage(origin, candidate.root) if origin else None)


def leak_gates(candidate: Candidate, lineage: Lineage) -> Iterator[GateResult]:
    """A refusal for every data set of the training that is the evaluation data."""
    path = _judged_on(candidate)
    if path is None:
        return
    line, _ = candidate.contract.source.locate(("data", "evaluation"), key=True)
    for name, use in leaks(lineage, sha256=candidate.digests.bytes("evaluation"), path=path):
        did = "trained on" if use == "training" else "chosen by"
        yield GateResult(
            NO_LEAK, NO_LEAK, Verdict.INVALID, ORIGINAL, "not trained on the evaluation data",
            f"no_leak: by its own lineage ({lineage.source}) the model was {did} the data that it is judged on: `{name}` is "
            f"{path}. Such a score says nothing about new data. Judge it on data that training never saw; or, if training only "
            f"reported on `{name}`, say so there: `use: evaluation`.",
            line=line,
        )  # fmt: skip


def _built(candidate: Candidate) -> Lineage | None:
    built = Built.if_any(candidate.workspace.statement("build"))
    return built.lineage if built else None


def _fingerprint(origin: Origin | None, candidate: Candidate) -> str:
    return fingerprint(origin, candidate.root) if origin else digest_of(None)


def _judged_on(candidate: Candidate) -> str | None:
    """Path of the evaluation data, unless a function makes it."""
    chosen = candidate.contract.data_set("evaluation")
    return None if chosen is None or is_reference(chosen.path) else chosen.path
