"""Which release would a candidate replace?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.registry.history import ModelHistory, Registry, Release
from gradatim.registry.sync import Sync


@dataclass(frozen=True)
class Baseline:
    """The release that a candidate is held against.

    Attributes:
        commit: the commit whose model it is.
        release: its version; None for a commit that a stage holds without any version.
        stage: the stage that holds it; None where no stage holds anything and the highest version stands in.
    """

    commit: str
    release: Release | None
    stage: str | None

    @property
    def label(self) -> str:
        """``v1.0.0``, or ``unregistered commit 9f2c41d``."""
        return str(self.release) if self.release else f"unregistered commit {self.commit[:7]}"


def baseline(
    registry: Registry,
    stage: str,
    ladder: Sequence[str],
    *,
    model: str | None = None,
    candidate: str | None = None,
    sync: Sync | None = None,
) -> Baseline | None:
    """The newest release of the next stage up that holds something, production's own for production.

    Where no stage above holds anything, the stage's own last release, then the highest version at all.

    Args:
        registry: read after ``sync``.
        stage: where the candidate is going.
        ladder: every stage, lowest first.
        model: the model's name.
        candidate: hex manifest digest of the candidate: a release of the same bytes is no baseline for it.
        sync: what the remote said; a remote that was not reached proves nothing.

    Returns:
        None only when the registry proves that nothing was released before.

    Raises:
        UsageError: the stage is not on the ladder.
        EnvironmentLacks: nothing is to be seen, and the clone is shallow or the remote did not answer.
    """
    if stage not in ladder:
        raise UsageError(f"There is no stage `{stage}` in the contract. Known: {', '.join(ladder)}.")
    found = registry.model(model)
    place = list(ladder).index(stage)
    for rung in (*ladder[place + 1 :], *ladder[-1:], stage):
        held = _held(found, rung, candidate)
        if held is not None:
            return held
    others = [r for r in found.releases if r.active and (candidate is None or r.manifest != candidate)]
    newest = next(
        (r for r in reversed(others) if not r.version.is_prerelease), others[-1] if others else None
    )
    if newest is not None:
        return Baseline(newest.commit, newest, None)
    if not registry.complete:
        raise EnvironmentLacks(
            "This is a shallow clone, which does not prove that nothing was released before. "
            "Fetch the rest with `git fetch --unshallow --tags` and run the same command again."
        )
    if sync is not None and sync.remote is not None and not sync.reached:
        raise EnvironmentLacks(
            f"Nothing was released as far as this clone knows, but {sync.remote} did not answer and may "
            "know more. "
            f"{sync.reason or ''}".rstrip()
        )
    return None


def _held(model: ModelHistory, stage: str, candidate: str | None) -> Baseline | None:
    for assignment in reversed(model.held(stage)):
        release = assignment.release
        if release is None or candidate is None or release.manifest != candidate:
            return Baseline(assignment.commit, release, stage)
    return None
