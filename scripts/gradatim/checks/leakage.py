"""What is told of the evaluation data beside what models answer to them: rows that the model was made with, and what changed."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.evidence.found import Evaluated
from gradatim.files import digest_of
from gradatim.measurement import Measurement
from gradatim.metrics.catalogue import DRIFT, TWINS

if TYPE_CHECKING:
    from gradatim.data import Dataset
    from gradatim.signature import Signature

_CHEAP = 1 << 28
"""Bytes of inputs up to which rows are compared whether a gate asks for it or not: seconds."""


def asked_of_data(candidate: Candidate) -> dict[str, str]:
    """Digests of what gates ask of the data themselves: what takes long is told for them alone."""
    drifts = {"drift": digest_of(True)} if _asks(candidate, DRIFT) else {}
    return {"twins": digest_of(_asks(candidate, *TWINS)), **drifts}


def _asks(candidate: Candidate, *metrics: str) -> bool:
    return any(rule.metric in metrics for rule in candidate.contract.all_rules())


def with_data_told(candidate: Candidate, signature: Signature | None, outcome: Outcome) -> Outcome:
    """What evaluation found, with what is told of the data: twins, how they are spread, and how that changed since the release."""
    among, shared = twins_of(candidate, signature)
    outcome = replace(outcome, summary=outcome.summary + shared, measurements=(*outcome.measurements, *among))
    dataset = candidate.rows.dataset("evaluation", signature)
    if not isinstance(outcome.found, Evaluated) or not (_asks(candidate, DRIFT) or _bytes(dataset) <= _CHEAP):
        return outcome
    from gradatim.checks.distribution import beside_release, in_words

    kept, drift = beside_release(candidate, dataset)
    told = in_words(drift)
    return replace(
        outcome,
        summary=outcome.summary + (f"; {told}" if told else ""),
        found=replace(outcome.found, distribution=kept, drift=drift),
    )


def twins_of(candidate: Candidate, signature: Signature | None) -> tuple[list[Measurement], str]:
    """Rows of the evaluation data that are in the data of training or calibration, for every form; and that in words.

    Counts alone are kept. Nothing where the contract names no such data, or comparing takes long and no gate asks for it.
    """
    from gradatim.data import twins

    asked, forms = _asks(candidate, *TWINS), [form.name for form in candidate.forms.all]
    trained = [] if signature is None else candidate.rows.trained_on(signature)
    taught = candidate.contract.data_set("calibration") is not None
    named = ["training"] * bool(trained) + ["calibration"] * taught
    if not named or signature is None:
        reason = "the contract names neither rows in `data.training` nor `data.calibration` to look into"
        return [Measurement(name, form, None, reason=reason) for name in TWINS for form in forms if asked], ""
    mine = candidate.rows.dataset("evaluation", signature)
    others = [*trained, *([candidate.rows.dataset("calibration", signature)] if taught else [])]
    if not asked and sum(map(_bytes, (mine, *others))) > _CHEAP:
        return [], ""
    size = candidate.contract.parts.data.batch
    with candidate.contract.blamed("data", named[0]):
        found = twins(mine.batches(size), chain.from_iterable(one.batches(size) for one in others))
    unlike = None if found.near is not None else "its rows are few numbers, of unequal shape, or all alike"
    counts: dict[str, tuple[int | None, str | None]] = {
        TWINS[0]: (found.exact, None),
        TWINS[1]: (found.near, unlike),
    }
    told = [
        Measurement(name, form, None if count is None else float(count), n=found.rows, reason=why)
        for name, (count, why) in counts.items()
        for form in forms
        if asked or count is not None
    ]
    return told, _in_words(found.exact, found.near, named)


def _in_words(exact: int, near: int | None, named: list[str]) -> str:
    where = " or ".join(f"data.{which}" for which in named)
    nearly = (near or 0) - exact
    said = [f"{exact} exactly"] * (exact > 0) + [f"{nearly} nearly"] * (nearly > 0)
    return f"; rows that are in {where}, too: {', '.join(said)}" if said else ""


def _bytes(dataset: Dataset) -> int:
    first = dataset.head(1)
    return len(dataset) * sum(getattr(values, "nbytes", 0) for values in first.inputs.values())
