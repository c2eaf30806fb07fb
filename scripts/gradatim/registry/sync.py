"""Learn what the remote knows: its tags and its evidence, and what was moved there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.registry import tags
from gradatim.registry.git import PushRejected, RefUpdate, Repository, pause
from gradatim.registry.history import LEDGER, Release

_ATTEMPTS = 8
"""Steps of one pipeline run side by side and all fetch into the same clone; one of them gets through each time."""


@dataclass(frozen=True)
class Sync:
    """What became of the attempt to learn what the remote knows.

    Attributes:
        remote: the remote that was asked; None when there is none.
        reached: False when it did not answer.
        moved: tags that name something else on the remote than here: somebody moved one.
        reason: why it was not reached.
        refs: object ids of the remote's tags and ledgers, by full reference name.
    """

    remote: str | None
    reached: bool
    moved: tuple[str, ...] = ()
    reason: str | None = None
    refs: Mapping[str, str] = field(default_factory=dict)


def sync(repository: Repository, *, required: bool = False, evidence: bool = True) -> Sync:
    """Fetch the tags and evidence that the remote has and this clone lacks; a moved tag is never taken over.

    Args:
        repository: the clone.
        required: whether a remote that does not answer is an error.
        evidence: whether to fetch that of every release; ``sync_ledger`` fetches one.

    Raises:
        EnvironmentLacks: ``required``, and the remote did not answer; or the clone is shallow and stays so.
        BrokenEvidence: the evidence of one release went two ways, here and on the remote.
    """
    repository.deepen()
    remote = repository.remote
    if remote is None:
        return Sync(None, reached=False, reason="there is no remote")
    try:
        theirs = repository.remote_refs(remote, "refs/tags/*", f"{LEDGER}*")
    except EnvironmentLacks as error:
        if required:
            raise
        return Sync(remote, reached=False, reason=str(error))
    ours = _fetch_missing(repository, remote, (r for r in theirs if evidence or not r.startswith(LEDGER)))
    changed = {ref: there.id for ref, there in theirs.items() if ours.get(ref, there.id) != there.id}
    if evidence:
        _follow(repository, remote, {r: there for r, there in changed.items() if r.startswith(LEDGER)})
    moved = (ref.removeprefix("refs/tags/") for ref in changed if ref.startswith("refs/tags/"))
    return Sync(
        remote,
        reached=True,
        moved=tuple(sorted(tag for tag in moved if tags.parse(tag))),
        refs={ref: there.id for ref, there in theirs.items()},
    )


def has_evidence(release: Release, state: Sync) -> bool:
    """Whether the remote keeps evidence for a release; True where there is no remote, or it was not reached."""
    return not state.reached or release.manifest is None or f"{LEDGER}{release.manifest}" in state.refs


def sync_ledger(repository: Repository, state: Sync, digest: str) -> None:
    """Fetch the evidence of one release, as far as the remote has more of it.

    Raises:
        EnvironmentLacks: the remote did not give it.
        BrokenEvidence: it went two ways, here and on the remote.
    """
    ref = f"{LEDGER}{digest}"
    if state.remote is not None and ref in state.refs:
        _fetch_missing(repository, state.remote, [ref])
        _follow(repository, state.remote, {ref: state.refs[ref]})


def _fetch_missing(repository: Repository, remote: str, theirs: Iterable[str]) -> Mapping[str, str]:
    """Fetch what is not here and return what is; another git may be doing the same at this moment."""
    wanted = tuple(theirs)
    for attempt in range(1, _ATTEMPTS + 1):
        ours = repository.local_refs("refs/tags", LEDGER)
        missing = [f"{ref}:{ref}" for ref in wanted if ref not in ours]
        if not missing:
            break
        try:
            repository.fetch(remote, missing)
        except EnvironmentLacks as error:
            if attempt == _ATTEMPTS or not repository.raced(str(error)):
                raise
            pause(attempt)
    return ours


def _follow(repository: Repository, remote: str, ledgers: Mapping[str, str]) -> None:
    """Let evidence here grow as it did on the remote; another git may be doing the same at this moment."""
    if ledgers:
        repository.fetch(remote, ledgers)
    for ref, theirs in ledgers.items():
        for attempt in range(1, _ATTEMPTS + 1):
            ours = repository.local_refs(ref).get(ref)
            if ours is not None and repository.is_ancestor(theirs, ours):
                break
            if ours is not None and not repository.is_ancestor(ours, theirs):
                raise BrokenEvidence(
                    f"The evidence of {ref.removeprefix(LEDGER)[:12]} differs here and on {remote}. "
                    f"If the remote is right: git update-ref -d {ref}, then run the same command again."
                )
            try:
                repository.update_refs([RefUpdate(ref, theirs, ours)])
            except PushRejected:
                if attempt == _ATTEMPTS:
                    raise
                pause(attempt)
