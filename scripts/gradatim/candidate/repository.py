"""The repository around a contract, and which of its remotes holds the tags."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.ci import Platform
from gradatim.contract.reading import ReadContract
from gradatim.errors import UsageError
from gradatim.registry.git import Repository
from gradatim.subversion import checkout


def repository_of(contract: ReadContract, platform: Platform) -> Repository:
    """The repository around a contract; it speaks to the remote that the contract names, else to the one that git prefers.

    Whether there is such a remote is asked when it is first spoken to: to read the tags of a clone takes none.

    Raises:
        EnvironmentLacks: there is no git, or no repository.
        UsageError: the contract names a remote, and this is no git repository.
    """
    repository = checkout.open(contract.root)
    wanted = contract.parts.registry.remote
    if wanted is None:
        return repository
    where = contract.where("registry", "remote")
    if repository.central:
        raise UsageError(
            f"{where}: {repository.root} is no git repository and has no remotes. Leave `remote` out."
        )

    def chosen(known: Sequence[str]) -> str:
        for name in (wanted, platform.remote):  # nobody can add a remote to what a CI system checks out
            if name in known:
                return str(name)
        raise UsageError(
            f"{where}: {repository.root} has no git remote `{wanted}`, where the tags are to be. Known: "
            f"{', '.join(known) or 'none'}. Name one that is there, or add it: git remote add {wanted} ADDRESS"
        )

    repository.choose_remote = chosen
    return repository
