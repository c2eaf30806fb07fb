"""From a command line to the release that it speaks of."""

from __future__ import annotations

from pathlib import Path

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.ci.contracts import RELEASED, find_contracts
from gradatim.commands.options import progress
from gradatim.contract.reading import find_contract, read_contract
from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.progress import show_on
from gradatim.subversion import checkout


def open_candidate(contract_path: str | None, stage: str | None = None) -> Candidate:
    """The release of the contract found here.

    Raises:
        UsageError: there is no contract, it is the copy that was published with a release, or it has no such stage.
        ContractError: the contract cannot be used.
    """
    path = find_contract(contract_path)
    if path.with_name(RELEASED).is_file() and path.with_name("manifest.json").is_file():
        raise UsageError(
            f"{path.parent} is a published release, not a project: its contract is a copy of the one that it was judged by. "
            "Run this where the project lies; `gradatim verify FOLDER` says whether the release is what it says."
        )
    contract = read_contract(path)
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
