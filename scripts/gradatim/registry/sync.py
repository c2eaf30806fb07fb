"""Learn what the remote knows: its tags and its evidence, and what was moved there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.registry import tags
from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER

_ATTEMPTS = 3


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


def sync(repository: Repository, *, required: bool = False) -> Sync:
    """Fetch the tags and evidence that the remote has and this clone lacks; a moved tag is never taken over.

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
    ours = _fetch_missing(repository, remote, theirs)
    changed = {ref: there.id for ref, there in theirs.items() if ours.get(ref, there.id) != there.id}
    ledgers = {ref: identity for ref, identity in changed.items() if ref.startswith(LEDGER)}
    _follow(repository, remote, ledgers, ours)
    moved = (ref.removeprefix("refs/tags/") for ref in changed if ref.startswith("refs/tags/"))
    return Sync(
        remote,
        reached=True,
        moved=tuple(sorted(tag for tag in moved if tags.parse(tag))),
        refs={ref: there.id for ref, there in theirs.items()},
    )


def _fetch_missing(repository: Repository, remote: str, theirs: Iterable[str]) -> Mapping[str, str]:
    """Fetch what is not here and return what is; another git may be doing the same at this moment."""
    for attempt in range(1, _ATTEMPTS + 1):
        ours = repository.local_refs("refs/tags", LEDGER)
        missing = [f"{ref}:{ref}" for ref in theirs if ref not in ours]
        if not missing:
            break
        try:
            repository.fetch(remote, missing)
        except EnvironmentLacks:
            if attempt == _ATTEMPTS:
                raise
    return ours


def _follow(repository: Repository, remote: str, ledgers: Mapping[str, str], ours: Mapping[str, str]) -> None:
    for ref, theirs in ledgers.items():
        repository.fetch(remote, [ref])
        if repository.is_ancestor(ours[ref], theirs):
            repository.run("update-ref", ref, theirs, ours[ref])
        elif not repository.is_ancestor(theirs, ours[ref]):
            raise BrokenEvidence(
                f"The evidence of {ref.removeprefix(LEDGER)[:12]} differs here and on {remote}. "
                f"If the remote is right: git update-ref -d {ref}, then run the same command again."
            )
