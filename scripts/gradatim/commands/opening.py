"""From a command line to the release that it speaks of."""

from __future__ import annotations

from pathlib import Path

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.ci.contracts import find_contracts
from gradatim.commands.options import progress
from gradatim.contract.reading import find_contract, read_contract
from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.progress import show_on
from gradatim.subversion import checkout


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


def contracts_here(contract_path: str | None) -> list[str]:
    """The contract that is meant; at the top of a repository of several models, where none is named, all of them.

    Raises:
        UsageError: there is none.
    """
    try:
        return [str(find_contract(contract_path))]
    except UsageError:
        if contract_path is not None:
            raise
        try:
            repository = checkout.open(Path.cwd())
        except EnvironmentLacks:
            repository = None
        found = find_contracts(repository) if repository and repository.root == Path.cwd().resolve() else []
        if not found or repository is None:
            raise
        return [str(repository.root / entry.path) for entry in found]
