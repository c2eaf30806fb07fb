"""How often a test set may be used before passing it means nothing, after ease.ml/ci.

Every verdict on a test set tells the developer one bit about it; after H verdicts up to 2^H models may have
been tried for what those bits rewarded. Testing each at delta / 2^H keeps the chance that any of them passes
wrongly at delta [1]_. The count is kept in an append-only ledger by the test set's digest, and charged before
the evaluation.

.. [1] Renggli et al. (2019), Continuous integration of machine learning models with ease.ml/ci, MLSys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.files import canonical_json, parse_json


def alpha_after(evaluations: int, delta: float = 0.05) -> float:
    """The alpha of each gate on a test set that must last for so many evaluations: .000195313 for 8."""
    if evaluations < 0 or not 0 < delta < 1:
        raise InvalidInput(f"{evaluations} evaluations at a budget of {delta} make no sense.")
    return float(delta / 2**evaluations)


@dataclass(frozen=True)
class Charge:
    """One use of a test set.

    Attributes:
        data: digest of the test set.
        candidate: digest of what was evaluated.
        number: which use this is, from 1.
        fresh: False when the same candidate had been charged before: asking again reveals nothing new.
    """

    data: str
    candidate: str
    number: int
    fresh: bool


@dataclass(frozen=True)
class UseLedger:
    """The append-only record of evaluations by test set, one JSON line each.

    Every line carries the number it must have, so that a line that was taken out is seen.

    Attributes:
        text: the lines.
        name: what errors call it.

    Raises:
        BrokenEvidence: the text is not such a record.
    """

    text: bytes = b""
    name: str = "The ledger"

    def __post_init__(self) -> None:
        self._records()

    def uses(self, data: str) -> int:
        """How many different candidates were evaluated on a test set."""
        return sum(record["data"] == data for record in self._records())

    def find(self, data: str, candidate: str) -> Charge | None:
        """The charge of a candidate that was evaluated before: asking again reveals nothing new."""
        for record in self._records():
            if (record["data"], record["candidate"]) == (data, candidate):
                return Charge(data, candidate, record["number"], fresh=False)
        return None

    def charge(self, data: str, candidate: str) -> tuple[UseLedger, Charge]:
        """The ledger once a candidate is about to be evaluated on a test set, and the candidate's charge.

        Args:
            data: digest of the test set.
            candidate: digest of what is evaluated.
        """
        known = self.find(data, candidate)
        if known is not None:
            return self, known
        number = self.uses(data) + 1
        line = canonical_json({"data": data, "candidate": candidate, "number": number}) + b"\n"
        return replace(self, text=self.text + line), Charge(data, candidate, number, fresh=True)

    def _records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        counts: dict[str, int] = {}
        for place, line in enumerate(self.text.splitlines(), start=1):
            try:
                record = parse_json(line, f"{self.name}, line {place},")
            except InvalidInput as error:
                raise BrokenEvidence(str(error)) from error
            if not isinstance(record, dict) or set(record) != {"data", "candidate", "number"}:
                raise BrokenEvidence(
                    f"{self.name}, line {place}, is not a charge. The ledger may only be appended to."
                )
            counts[record["data"]] = counts.get(record["data"], 0) + 1
            if record["number"] != counts[record["data"]]:
                raise BrokenEvidence(
                    f"{self.name}, line {place}, counts {record['number']} where {counts[record['data']]} was due: a line was removed or changed."
                )
            found.append(record)
        return found


@dataclass(frozen=True)
class Reuse:
    """What the use of a test set does to the gates of a run.

    Attributes:
        charge: this run's entry in the ledger; None when it could not be counted.
        evaluations: for how many evaluations the test set was planned to last.
        delta: the error that may be made over all of them.
        reason: why it could not be counted.
    """

    charge: Charge | None
    evaluations: int
    delta: float = 0.05
    reason: str = ""

    @property
    def alpha(self) -> float:
        """The alpha of every gate on this test set."""
        return alpha_after(self.evaluations, self.delta)

    @property
    def spent(self) -> bool:
        """Whether the test set has been used more often than planned, so that no verdict on it counts."""
        return self.charge is not None and self.charge.number > self.evaluations

    @property
    def refusal(self) -> str | None:
        """Why no verdict on this test set counts; None when they do."""
        if self.charge is None:
            return (
                f"This use of the test set could not be counted: {self.reason} The contract (`data.uses`) counts every "
                "candidate before it is judged, so this verdict proves nothing. Run `gradatim evaluate --force` on this "
                "candidate where the remote may be written to; from then on it is counted everywhere."
            )
        if self.spent:
            return (
                f"The test set was planned for {self.evaluations} candidates (`data.uses`), and this is "
                f"number {self.charge.number}: by now a model may pass because it suits these very samples. "
                "Collect new evaluation data."
            )
        return None
