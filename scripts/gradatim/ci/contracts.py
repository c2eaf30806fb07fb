"""Several models in one repository: the contracts that lie in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gradatim.contract.reading import DEFAULT_PATH, ReadContract, read_contract
from gradatim.contract.schema import Contract
from gradatim.errors import ContractError, EnvironmentLacks, GradatimError, Problem, UsageError
from gradatim.files import sha256_file
from gradatim.registry.git import Repository
from gradatim.subversion import checkout

RELEASED = "release.json"
"""What lies beside a contract that was published with a release, as ``evidence.release_record`` names it."""


@dataclass(frozen=True)
class Entry:
    """One contract of a repository.

    Attributes:
        path: where it lies, from the top of the repository.
        read: the contract; None when it cannot be used, which its own job then says.
    """

    path: PurePosixPath
    read: ReadContract | None

    @property
    def folder(self) -> PurePosixPath:
        """The folder that holds it and, by and large, everything of its model."""
        return self.path.parent

    @property
    def name(self) -> str:
        """The model's name; that of the folder while the contract cannot be read."""
        return self.read.parts.model.name if self.read else self.folder.name or "model"


def find_contracts(repository: Repository) -> list[Entry]:
    """Every ``gradatim.yml`` of a repository that git does not ignore, in the order of their paths.

    One that was published with a release is none of the repository's models.

    Raises:
        UsageError: a path is not UTF-8, so that no workflow could name it.
    """
    found = []
    for name in repository.files_named(DEFAULT_PATH):
        try:
            path = PurePosixPath(os.fsencode(name).decode())
        except UnicodeDecodeError as error:
            raise UsageError(f"The path {name!r} of a contract is not UTF-8. Rename it.") from error
        lies = repository.root / path
        if lies.is_file() and not _published(lies):
            found.append(Entry(path, _read(repository.root / path)))
    return found


def _published(contract: Path) -> bool:
    """Whether it is the copy that a release brought: the record beside it lists its bytes."""
    try:
        record = json.loads(contract.with_name(RELEASED).read_bytes())
        files = {entry["path"]: entry["sha256"] for entry in record["files"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
    return files.get(DEFAULT_PATH) == sha256_file(contract)


def every_contract(repository: Repository, own: ReadContract) -> tuple[Contract, ...]:
    """A contract and all others of its repository: what a forge guards belongs to them together.

    Raises:
        ContractError: one of them cannot be used, so what it asks for cannot be told.
    """
    mine = own.path.resolve()
    others = (
        entry for entry in find_contracts(repository) if (repository.root / entry.path).resolve() != mine
    )
    return own.parts, *(_of_another(repository, entry.path) for entry in others)


def _of_another(repository: Repository, path: PurePosixPath) -> Contract:
    try:
        return read_contract(repository.root / path).parts
    except ContractError as error:  # which of them, where all are called alike
        raise ContractError(str(path), error.problems) from error


def beside(contract: Path) -> list[Entry]:
    """The other contracts of the repository that a contract lies in, or will lie in; none outside of git."""
    try:
        repository = checkout.open(contract.parent)
    except EnvironmentLacks:
        return []
    mine = contract.resolve()
    return [entry for entry in find_contracts(repository) if (repository.root / entry.path).resolve() != mine]


def refuse_clashes(entries: Iterable[Entry]) -> None:
    """Several models of one repository need tags that tell them apart.

    Raises:
        ContractError: two models have one name, or the tags of one do not bear its name.
    """
    problem = next(clashes(entries), None)
    if problem is not None:
        raise problem


def clashes(entries: Iterable[Entry]) -> Iterator[ContractError]:
    """What would let the tags of several models be taken for one another."""
    known = [(entry, entry.read) for entry in entries if entry.read is not None]
    seen: dict[str, PurePosixPath] = {}
    for entry, read in known:
        if entry.name in seen:
            text = f"the model `{entry.name}` has another contract, {seen[entry.name]}; give each a name of its own"
            yield _problem(entry, read, text, "model", "name")
        seen.setdefault(entry.name, entry.path)
        if len(known) > 1 and read.parts.registry.tags == "plain":
            text = "this repository holds several models, so tags must bear their names; add `registry: {tags: named}`"
            yield _problem(entry, read, text, "registry")


def _problem(entry: Entry, read: ReadContract, text: str, *place: str) -> ContractError:
    return ContractError(str(entry.path), [Problem(text, *read.source.locate(place, key=True))])


def _read(path: Path) -> ReadContract | None:
    try:
        return read_contract(path)
    except GradatimError:
        return None
