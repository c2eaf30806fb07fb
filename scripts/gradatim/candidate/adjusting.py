"""The covariate that the contract adjusts gates by: kept beside the answers, and what is known of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.stopping import evaluations
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Evaluated

if TYPE_CHECKING:
    from gradatim.metrics.adjusting import Adjuster

KEPT = "covariate"
"""Where it lies in the workspace, beside the answers."""

_FAR = 5.0
"""So many standard errors chance never shows (one draw in two million)."""


def keep_covariate(candidate: Candidate) -> Adjuster | None:
    """Read the covariate of every row, and keep it; None where the contract names none.

    Raises:
        InvalidInput: rows are too few, it is the same on all, or its mean cannot be that of what the rows were drawn from.
    """
    import numpy as np

    from gradatim.metrics.adjusting import FEW, FEW_GROUPS, Adjuster
    from gradatim.metrics.diagnostics import Covariate
    from gradatim.metrics.predictions import Predictions
    from gradatim.metrics.predictions_writer import PredictionsWriter

    said = candidate.contract.parts.data.covariate
    if said is None:
        return None
    (x, units), *others = candidate.rows.covariate()
    with candidate.contract.blamed("data", "covariate"):
        for values, apart in ((x, units), *others):
            least, what = (FEW, "rows") if apart.codes is None else (FEW_GROUPS, "groups")
            if apart.count < least:
                raise InvalidInput(
                    f"`{said.column}` of {apart.count} {what} tells too little: {least} are the least. Leave `covariate` out."
                )
            if not np.ptp(values) > 1e-12 * max(1.0, float(np.abs(values).max())):
                raise InvalidInput(
                    f"`{said.column}` is the same on all rows, and so tells nothing. Leave `covariate` out."
                )
        mean, error = said.mean or 0.0, 0.0
        for values, apart in others:
            mean, error = float(values.mean()), apart.error(values)
        found = Covariate(said.column, mean, error, float(x.mean()))
        if abs(found.seen - mean) > _FAR * math.hypot(units.error(x), error):
            raise InvalidInput(
                f"The mean of `{said.column}` is {found.seen:.4g} on the evaluation data and {mean:.4g} over all: chance never shows "
                "as much, so these rows were not drawn from what that mean is of. Correct the mean, or leave `covariate` out."
            )
    with PredictionsWriter(candidate.workspace.predictions_folder(KEPT)) as writer:
        writer.extend(Predictions.of({KEPT: x}))
    return Adjuster(found, x)


def with_covariate(candidate: Candidate, adjuster: Adjuster | None, outcome: Outcome) -> Outcome:
    """What an evaluation found, with the covariate, and what it tells of each metric of the preferred form."""
    if adjuster is None or not isinstance(outcome.found, Evaluated):
        return outcome
    from gradatim.metrics.measure import default_metrics

    mine, _ = evaluations(candidate, candidate.forms.all[0].name)
    told = {name: adjuster.told(mine.samples(name)) for name in default_metrics(mine)}
    known = {name: share for name, share in told.items() if share is not None}
    first = next(iter(known), None)
    words = f"; `{adjuster.covariate.column}` tells {100 * known[first]:.0f} % of it" if first else ""
    return replace(
        outcome,
        summary=outcome.summary + words,
        found=replace(outcome.found, covariate=replace(adjuster.covariate, told=known)),
        outputs=(*outcome.outputs, *sorted(candidate.workspace.predictions_folder(KEPT).iterdir())),
    )


def adjuster_of(candidate: Candidate, evaluated: Evaluated | None) -> Adjuster | None:
    """The covariate as the evaluation kept it; None where there was none."""
    if evaluated is None or evaluated.covariate is None:
        return None
    import numpy as np

    from gradatim.metrics.adjusting import Adjuster

    kept = candidate.workspace.predictions(KEPT).outputs[KEPT]
    return Adjuster(evaluated.covariate, np.asarray(kept.values, np.float64).reshape(-1))
