"""From a command line to the release that it speaks of."""

from __future__ import annotations

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.commands.options import progress
from gradatim.contract.reading import find_contract, read_contract
from gradatim.progress import show_on


def open_candidate(contract_path: str | None, stage: str | None = None) -> Candidate:
    """The release of the contract found here.

    Raises:
        UsageError: there is no contract, or it has no such stage.
        ContractError: the contract cannot be used.
    """
    contract = read_contract(find_contract(contract_path))
    shown = progress()
    show_on(shown)
    candidate = Candidate(contract, ci.detect(), stage, progress=shown)
    if stage is not None:
        _ = candidate.stage  # a stage that does not exist is refused before any work
    return candidate
