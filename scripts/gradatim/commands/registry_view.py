"""The registry as the read-only commands see it: any repository with tags, with or without a contract."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.registry.git import Repository
from gradatim.registry.history import Registry
from gradatim.registry.reading import read
from gradatim.registry.state import ModelState, status
from gradatim.registry.sync import Sync, sync
from gradatim.subversion import checkout

if TYPE_CHECKING:
    from gradatim.contract.reading import ReadContract


@dataclass(frozen=True)
class RegistryView:
    """Tags, and what the contract adds to them when there is one.

    Attributes:
        model: the contract's model, None without a contract.
        ladder: stages, lowest first.
        suffixes: tag suffix by stage, None for full releases.
        soak: days that a release must stay in a stage before it may go up.
        synced: what became of asking the remote; None when it was not asked.
        contract: the contract, where there is one.
    """

    repository: Repository
    registry: Registry
    model: str | None = None
    ladder: tuple[str, ...] = ()
    suffixes: Mapping[str, str | None] = field(default_factory=dict)
    soak: Mapping[str, float] = field(default_factory=dict)
    synced: Sync | None = None
    contract: ReadContract | None = None

    @property
    def checkable(self) -> bool:
        """Whether the contract says whose signatures count."""
        return self.contract is not None and self.contract.parts.signing is not None

    @property
    def approved(self) -> frozenset[str]:
        """Stages that the contract lets nothing into without an approval."""
        stages = self.contract.parts.stages if self.contract else {}
        return frozenset(name for name, stage in stages.items() if stage.approval == "required")

    def states(self, model: str | None) -> list[ModelState]:
        """What every stage holds now, of one model or of all."""
        registry = self.registry
        if model is not None and model == self.model:  # the contract names it, released or not
            registry = replace(registry, models={**registry.models, model: registry.model(model)})
        found = status(
            registry,
            model=model,
            ladder=self.ladder,
            suffixes=self.suffixes,
            soak=self.soak,
            now=time.time(),
        )
        return [self._told(state) for state in found]

    def _told(self, state: ModelState) -> ModelState:
        """The same, with every stage BROKEN whose tag the remote has moved."""
        moved = self.synced.moved if self.synced is not None else ()
        given = self.registry.model(state.name or "").assignments
        wrong = {a.stage: a.tag for a in given if a.tag in moved}
        stages = (
            replace(
                s,
                broken=f"The tag {wrong[s.stage]} on the remote is not the one that is here: somebody moved it.",
            )
            if s.stage in wrong
            else s
            for s in state.stages
        )
        return replace(state, stages=tuple(stages))


def open_registry(contract_path: str | None, *, fetch: bool, offline: bool = False) -> RegistryView:
    """Read the tags of the repository around the contract, or around this folder when there is none.

    Raises:
        EnvironmentLacks: there is no repository; or ``fetch``, or only the remote knows the tags, and it did not
            answer.
        ContractError: there is a contract and it cannot be used.
        UsageError: the remote that the contract names is needed and not there.
    """
    contract = contract_nearby(contract_path)
    repository = _repository(contract)
    fetch = fetch or (repository.central and not offline)
    synced = sync(repository, required=repository.remote is not None) if fetch else None
    if contract is None:
        return RegistryView(repository, read(repository), synced=synced)
    named = contract.parts.registry.tags == "named"
    return view_of(repository, read(repository, contract.parts.model.name, named=named), contract, synced)


def view_of(
    repository: Repository, registry: Registry, contract: ReadContract, synced: Sync | None = None
) -> RegistryView:
    """The tags of a repository in the light of its contract."""
    stages = contract.parts.stages
    last = contract.ladder[-1]
    suffixes = {
        name: stage.tag if stage.tag is not None else None if name == last else name
        for name, stage in stages.items()
    }
    upwards = zip(contract.ladder, contract.ladder[1:], strict=False)
    soak = {below: stages[above].soak for below, above in upwards if stages[above].soak}
    model = contract.parts.model.name
    return RegistryView(repository, registry, model, contract.ladder, suffixes, soak, synced, contract)


def _repository(contract: ReadContract | None) -> Repository:
    """Without a contract git's own configuration says which remote is spoken to: nobody else has said it."""
    if contract is None:
        return checkout.open(Path.cwd())
    from gradatim.candidate.repository import repository_of
    from gradatim.ci import detect

    return repository_of(contract, detect())


def contract_nearby(given: str | None) -> ReadContract | None:
    """The contract that was named, else the one of this folder; None where there is none.

    Raises:
        UsageError: the one that was named is not there.
        ContractError: it cannot be used.
    """
    if given is None and not _near(Path.cwd()):
        return None
    from gradatim.contract.reading import find_contract, read_contract

    try:
        path = find_contract(given)
    except UsageError:
        if given:
            raise
        return None
    return read_contract(path)


def _near(start: Path) -> bool:
    """Whether a contract may be found here or above; looked at before anything heavy is imported."""
    from gradatim.contract.lookup import DEFAULT_PATH, upwards

    names = (DEFAULT_PATH, "pyproject.toml")
    return any((folder / name).exists() for folder in upwards(start) for name in names)
