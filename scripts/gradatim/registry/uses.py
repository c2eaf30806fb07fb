"""How often a test set was used, kept in git: no server, no clock that decides, nothing that a rerun resets.

For each test set one reference ``refs/gradatim/uses/<digest>`` names a chain of commits. Each adds one line to
``uses.jsonl`` and takes none away; it is pushed with a lease before the evaluation, so that two runs at once get two
numbers. Whoever deletes the reference on the remote deletes no clone's copy: the next clone that remembers puts it
back, and the evidence of earlier releases names the numbers that they had.
"""

from __future__ import annotations

import os

from gradatim.errors import BrokenEvidence
from gradatim.gates.reuse import Charge, UseLedger
from gradatim.registry.git import PushRejected, RefUpdate, Repository, pause
from gradatim.registry.tag_object import IDENTITY

USES = "refs/gradatim/uses/"
"""Below it, one reference per test set's digest."""

_FILE = "uses.jsonl"
_ATTEMPTS = 20


def charge(
    repository: Repository, data: str, candidate: str, *, known: int = 0, may_write: bool = True
) -> Charge | None:
    """Count a candidate on a test set, here and on the remote, unless it was counted before.

    Args:
        repository: where, together with its remote if it has one.
        data: hex digest of the test set.
        candidate: hex digest of what is about to be evaluated.
        known: how often the test set was used at least, as other evidence says.
        may_write: False only looks whether it was counted before.

    Returns:
        None when it was not, and may not be now.

    Raises:
        BrokenEvidence: lines were taken out or changed, or the whole ledger was started anew.
        EnvironmentLacks: the remote cannot be reached or does not allow the push.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        here, there = _heads(repository, data)
        head = _newest(repository, data, here, there)
        ledger = _read(repository, data, head)
        if ledger.uses(data) < known:
            raise BrokenEvidence(
                f"The ledger of the test set {data[:12]} counts {ledger.uses(data)} uses, and an earlier release was "
                f"already number {known}: the ledger was deleted or replaced. Push it from a clone that still has it: "
                f"git push {repository.remote or 'REMOTE'} {USES}{data}"
            )
        found = ledger.find(data, candidate)
        if found is None:
            if not may_write:
                return None
            ledger, found = ledger.charge(data, candidate)
            head = _commit(repository, ledger, head, found)
        try:
            _write(repository, data, str(head), here, there, may_write=may_write)
        except PushRejected:
            if attempt == _ATTEMPTS:
                raise
            pause(attempt)
            continue
        return found
    raise AssertionError("the loop ends by return or raise")


def count(repository: Repository, data: str) -> int:
    """How many candidates were evaluated on a test set, as far as this clone and its remote know.

    Raises:
        BrokenEvidence: lines were taken out or changed.
        EnvironmentLacks: the remote cannot be reached.
    """
    here, there = _heads(repository, data)
    return _read(repository, data, _newest(repository, data, here, there)).uses(data)


def _heads(repository: Repository, data: str) -> tuple[str | None, str | None]:
    """The ledger's newest commit here and on the remote."""
    ref = f"{USES}{data}"
    remote = repository.remote
    there = None if remote is None else repository.remote_refs(remote, ref).get(ref)
    return repository.local_refs(ref).get(ref), there.id if there else None


def _newest(repository: Repository, data: str, here: str | None, there: str | None) -> str | None:
    if there is not None and there != here:
        repository.fetch(str(repository.remote), [f"{USES}{data}"])
    if here is None or there is None:
        return here or there
    if here == there or repository.is_ancestor(here, there):
        return there
    if repository.is_ancestor(there, here):
        return here
    raise BrokenEvidence(
        f"The uses of the test set {data[:12]} were counted in two ways, here and on {repository.remote}. If the "
        f"remote is right: git update-ref -d {USES}{data}, then run the same command again."
    )


def _read(repository: Repository, data: str, head: str | None) -> UseLedger:
    """The ledger at a commit, once it is sure that each commit before only added to it."""
    name = f"The ledger of the test set {data[:12]}"
    if head is None:
        return UseLedger(name=name)
    commits = repository.text("rev-list", "--first-parent", head).split("\n")
    texts = repository.read_objects([f"{commit}:{_FILE}" for commit in commits])
    newest, *older = [text or b"" for text in texts]
    following = newest
    for text in older:
        if not following.startswith(text) or len(text) >= len(following):
            raise BrokenEvidence(f"{name} lost lines that it once had: it may only be appended to.")
        following = text
    return UseLedger(newest, name)


def _commit(repository: Repository, ledger: UseLedger, parent: str | None, found: Charge) -> str:
    blob = repository.write_blob(ledger.text)
    tree = os.fsdecode(repository.run("mktree", stdin=f"100644 blob {blob}\t{_FILE}\n".encode())).strip()
    name, email = IDENTITY
    people = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
              (("NAME", name), ("EMAIL", email))}  # fmt: skip
    parents = ["-p", parent] if parent else []
    message = f"Use {found.number} of the test set {found.data[:12]}\n\ncandidate: sha256:{found.candidate}\n"
    made = repository.run("commit-tree", *parents, tree, stdin=message.encode(), environment=people)
    return os.fsdecode(made).strip()


def _write(
    repository: Repository, data: str, head: str, here: str | None, there: str | None, *, may_write: bool
) -> None:
    """Let the remote, then this clone, name the ledger's newest commit."""
    remote = repository.remote
    if remote is not None and there != head and may_write:
        repository.push(remote, [RefUpdate(f"{USES}{data}", head, there)])
    if here != head:
        repository.update_refs([RefUpdate(f"{USES}{data}", head, here)])
