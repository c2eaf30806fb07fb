"""How often a test set may be used before passing it means nothing, after ease.ml/ci.

Every verdict on a test set tells the developer one bit about it; after H verdicts up to 2^H models may have
been tried for what those bits rewarded. Testing each at delta / 2^H keeps the chance that any of them passes
wrongly at delta [1]_. The count is kept in an append-only ledger by the test set's digest, and charged before
the evaluation.

.. [1] Renggli et al. (2019), Continuous integration of machine learning models with ease.ml/ci, MLSys.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.files import cannot_write, canonical_json, parse_json


def alpha_after(evaluations: int, delta: float = 0.05) -> float:
    """The alpha of each gate on a test set that must last for so many evaluations: .000195313 for 8."""
    if evaluations < 0 or not 0 < delta < 1:
        raise InvalidInput(f"{evaluations} evaluations at a budget of {delta} make no sense.")
    return float(delta / 2**evaluations)


def samples_by_hoeffding(
    tolerance: float,
    delta: float,
    evaluations: int,
    *,
    adaptive: bool = True,
    spread: float = 2.0,
    terms: int = 1,
    coefficient: float = 1.0,
) -> float:
    """Samples so that an estimate stays within ``tolerance`` for every evaluation, by Hoeffding's inequality.

    n = r^2 c^2 ln(r m A / delta) / (2 eps^2) with A = 2^H when every model may depend on the verdicts before
    it (``adaptive``), A = H when none does. Round up.

    Args:
        tolerance: eps.
        delta: the chance that any estimate is further off.
        evaluations: H.
        spread: r, the range of one sample's contribution (2 for a difference of two 0/1 outcomes).
        terms: m, how many estimates one evaluation makes.
        coefficient: c, the factor that an estimate has in the rule.
    """
    logarithm = math.log(spread * terms / delta) + (
        evaluations * math.log(2) if adaptive else math.log(max(1, evaluations))
    )
    return spread**2 * coefficient**2 * logarithm / (2 * tolerance**2)


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


class Ledger:
    """The append-only record of evaluations by test set, one JSON line each, at a path that the caller keeps.

    Lines are only ever added, under an exclusive lock, and synced before ``charge`` returns. Every line
    carries the number it must have, so that a line that was taken out is seen.

    Raises:
        BrokenEvidence: the file is not such a record.
        EnvironmentLacks: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def uses(self, data: str) -> int:
        """How many different candidates were evaluated on a test set."""
        return sum(record["data"] == data for record in self._records(self._text()))

    def charge(self, data: str, candidate: str) -> Charge:
        """Record that a candidate is about to be evaluated on a test set.

        Args:
            data: digest of the test set.
            candidate: digest of the candidate's files.
        """
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                text = file.read()
                known = [record for record in self._records(text) if record["data"] == data]
                for record in known:
                    if record["candidate"] == candidate:
                        return Charge(data, candidate, record["number"], fresh=False)
                entry = {"data": data, "candidate": candidate, "number": len(known) + 1}
                line = canonical_json(entry) + b"\n"
                file.write(line if not text or text.endswith(b"\n") else b"\n" + line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return Charge(data, candidate, len(known) + 1, fresh=True)

    def _text(self) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            return self.path.read_bytes()
        return b""

    def _records(self, text: bytes) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        counts: dict[str, int] = {}
        for place, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            record = parse_json(line, f"{self.path}, line {place},")
            if not isinstance(record, dict) or set(record) != {"data", "candidate", "number"}:
                raise BrokenEvidence(
                    f"{self.path}:{place} is not a charge. The ledger may only be appended to."
                )
            counts[record["data"]] = counts.get(record["data"], 0) + 1
            if record["number"] != counts[record["data"]]:
                raise BrokenEvidence(
                    f"{self.path}:{place} counts {record['number']} where {counts[record['data']]} was due: "
                    "a line was removed or changed. Restore the ledger from git."
                )
            found.append(record)
        return found


@dataclass(frozen=True)
class Reuse:
    """What the use of a test set does to the gates of a run.

    Attributes:
        charge: this run's entry in the ledger.
        evaluations: for how many evaluations the test set was planned to last.
        delta: the error that may be made over all of them.
    """

    charge: Charge
    evaluations: int
    delta: float = 0.05

    @property
    def alpha(self) -> float:
        """The alpha of every gate on this test set."""
        return alpha_after(self.evaluations, self.delta)

    @property
    def spent(self) -> bool:
        """Whether the test set has been used more often than planned, so that no verdict on it counts."""
        return self.charge.number > self.evaluations
