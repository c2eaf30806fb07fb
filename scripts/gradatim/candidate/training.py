"""The lineage of a candidate: where its contract says that training left it, or where the build did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradatim.candidate.candidate import ORIGINAL, Release
from gradatim.code import is_reference
from gradatim.evidence.statement import Statement
from gradatim.files import digest_of
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.lineage.leak import leaks
from gradatim.lineage.reading import Origin, exists, find_beside, fingerprint, read_lineage
from gradatim.lineage.record import Lineage

DETAIL = "lineage"
"""The detail of a statement that holds the lineage: of ``inspect``, and of ``build`` where the build trained."""

NO_LEAK = "no_leak"


def origin_of(release: Release) -> Origin | None:
    """Where the record is: as the contract says, else a ``lineage.json`` beside the model or the contract."""
    named = release.contract.parts.lineage
    if named is None:
        silent = not release.contract.says("lineage")
        return find_beside(release.root, release.contract.parts.model.path) if silent else None
    run, experiment = (named.mlflow.run, named.mlflow.experiment) if named.mlflow else (None, None)
    return Origin(named.kind, str(named.place), run, experiment)


def mark(release: Release) -> str | None:
    """What the record was before a build, to see whether the build writes it; None where there is none yet."""
    origin = origin_of(release)
    return fingerprint(origin, release.root) if origin and exists(origin, release.root) else None


def left_by_build(release: Release, before: str | None) -> dict[str, Any]:
    """The detail of the build's evidence, when the build trained: its record may not be in the next job's checkout."""
    origin = origin_of(release)
    if origin is None or not exists(origin, release.root) or fingerprint(origin, release.root) == before:
        return {}
    return {DETAIL: read_lineage(origin, release.root).to_json()}


def digests(release: Release) -> dict[str, str]:
    """What the lineage in a step's evidence rests on; nothing where there is no lineage."""
    built, origin = _built(release), origin_of(release)
    if built is None and origin is None:
        return {}
    found = {DETAIL: digest_of(built) if built is not None else _fingerprint(origin, release)}
    if _judged_on(release):
        found["evaluation"] = release.data_digest("evaluation")
    return found


def lineage_of(release: Release) -> Lineage | None:
    """What training recorded of the candidate; None where nothing was found and nothing was named.

    Raises:
        InvalidInput: what is named is not there, or it is malformed or damaged.
        EnvironmentLacks: the package that reads it is not installed.
    """
    built, origin = _built(release), origin_of(release)
    if built is not None:
        return Lineage.from_json(built)
    return read_lineage(origin, release.root) if origin else None


def leak_gates(release: Release, lineage: Lineage) -> Iterator[GateResult]:
    """A refusal for every data set of the training that is the evaluation data."""
    path = _judged_on(release)
    if path is None:
        return
    line, _ = release.contract.source.locate(("data", "evaluation"), key=True)
    for name, use in leaks(lineage, sha256=release.bytes_digest("evaluation"), path=path):
        did = "trained on" if use == "training" else "chosen by"
        yield GateResult(
            NO_LEAK, NO_LEAK, Verdict.INVALID, ORIGINAL, "not trained on the evaluation data",
            f"no_leak: by its own lineage ({lineage.source}) the model was {did} the data that it is judged on: `{name}` is "
            f"{path}. Such a score says nothing about new data. Judge it on data that training never saw; or, if training only "
            f"reported on `{name}`, say so there: `use: evaluation`.",
            line=line,
        )  # fmt: skip


def lineage_in(statement: Statement | None) -> Lineage | None:
    """The lineage that a statement holds.

    Raises:
        BrokenEvidence: it is malformed.
    """
    record = statement.details.get(DETAIL) if statement else None
    return None if record is None else Lineage.from_json(record)


def _built(release: Release) -> Any:
    statement = release.workspace.statement("build")
    return statement.details.get(DETAIL) if statement else None


def _fingerprint(origin: Origin | None, release: Release) -> str:
    return fingerprint(origin, release.root) if origin else digest_of(None)


def _judged_on(release: Release) -> str | None:
    """Path of the evaluation data, unless a function makes it."""
    chosen = release.contract.data_set("evaluation")
    return None if chosen is None or is_reference(chosen.path) else chosen.path
