"""What will stop a release, found out before any work: the checkout, the remote, the version, who signs, where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradatim.errors import GradatimError, UsageError
from gradatim.registry.tags import SemVer
from gradatim.releasing.signing import signing_for

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate


def obstacles(candidate: Candidate) -> list[GradatimError]:
    """Everything that is known now and would stop the tag or the publication; nothing is written anywhere.

    A tag that somebody pushed is published as it is: only the places that it goes to are asked then.
    """
    asked: list[Callable[[Candidate], None]] = [_publishers]
    if candidate.place.tag is None:
        asked = [refuse_unpinned, refuse_uncommitted, _remote, _version, _signature, _publishers]
    return list(_refusals(candidate, asked))


def refuse_unpinned(candidate: Candidate) -> None:
    """Nothing can be released of which no more is known than where it is asked.

    Raises:
        UsageError: the contract names no weights.
    """
    if candidate.model.unpinned:
        raise UsageError(
            f"{candidate.contract.where('model', 'endpoint')}: the model is unpinned: the contract names the server that answers for "
            "it and not the weights, so that no release could say what it is. It can be judged, never released: name the weights "
            "in `model.path`."
        )


def refuse_uncommitted(candidate: Candidate) -> None:
    """Nothing can be tagged that no commit holds.

    Raises:
        UsageError: files differ from the commit, or the contract is in none.
    """
    repository = candidate.repository
    changed = repository.changed_files(untracked=False)
    if changed:
        files = ", ".join(changed[:5]) + (", ..." if len(changed) > 5 else "")
        raise UsageError(
            f"These files differ from the commit that would be tagged: {files}. Commit them (or put them back), then run again."
        )
    if not repository.tracks(candidate.contract.path):
        raise UsageError(
            f"{candidate.contract.path.name} is not committed, so no tag can vouch for it. Commit it, then run again."
        )
    repository.check_taggable()


def _refusals(candidate: Candidate, asked: list[Callable[[Candidate], None]]) -> Iterator[GradatimError]:
    said: set[str] = set()
    for ask in asked:
        try:
            ask(candidate)
        except GradatimError as error:
            if str(error) not in said:  # a missing repository stops several of them
                said.add(str(error))
                yield error


def _remote(candidate: Candidate) -> None:
    """Whether tags and evidence can be pushed."""
    if (remote := candidate.repository.remote) is not None:
        candidate.repository.try_push(remote)


def _version(candidate: Candidate) -> None:
    """Whether the version that was asked for is still free."""
    if candidate.wanted_version is None:
        return
    wanted = SemVer.parse(candidate.wanted_version)
    if any(release.version == wanted for release in candidate.registry.model(candidate.name).releases):
        raise UsageError(f"The version {wanted} exists already, and a version is never made twice.")


def _signature(candidate: Candidate) -> None:
    signing_for(candidate.contract, candidate.stage)


def _publishers(candidate: Candidate) -> None:
    """Whether each place has what it needs to be written to, as far as this machine knows without asking it."""
    for publisher in candidate.publishers():
        publisher.require_access()
