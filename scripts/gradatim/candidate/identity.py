"""Which candidate it is, and where it stands: contract, repository, stage, and what the tags say."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.candidate.repository import repository_of
from gradatim.candidate.workspace import FOLDER
from gradatim.ci import Place, Platform
from gradatim.code.confinement import guard
from gradatim.code.surroundings import is_credential, let_through
from gradatim.contract.reading import ReadContract
from gradatim.errors import EnvironmentLacks, GradatimError, UsageError
from gradatim.registry.git import Repository
from gradatim.registry.history import Registry
from gradatim.registry.ledger import versions_kept
from gradatim.registry.reading import read
from gradatim.registry.sync import Sync, sync
from gradatim.registry.tag_object import identity

if TYPE_CHECKING:
    from gradatim.ci.approval import Approval
    from gradatim.evidence.statement import Statement
    from gradatim.evidence.trend import Version
    from gradatim.publishers.publisher import Publisher

_OF_THE_REGISTRY = ("repository", "place", "sync", "registry")


@dataclass
class Identity:
    """One candidate, seen from the checkout that holds it.

    Attributes:
        contract: what it must prove.
        platform: the CI system, or a laptop.
        wanted_stage: the stage asked for; None takes the one whose branch is checked out.
        wanted_version: the version asked for; None lets the models say.
        step: the step at work, which says where the model runs; None outside of steps.
    """

    contract: ReadContract
    platform: Platform
    wanted_stage: str | None = None
    wanted_version: str | None = None
    step: str | None = None

    def __post_init__(self) -> None:
        if refused := next(filter(is_credential, self.contract.parts.env), None):
            raise UsageError(
                f"{self.contract.where('env')}: `{refused}` is called like a credential, and the code of a repository gets none: "
                "a pull request could print it. Hand over what is no secret, or fetch the data in a job of its own."
            )
        let_through(self.contract.parts.env)
        guard(self.root / FOLDER, self.contract.path)

    @property
    def root(self) -> Path:
        """The folder of the contract."""
        return self.contract.root

    @property
    def machine(self) -> ReadContract:
        """The contract whose device and threads count at the step at work."""
        return self.contract.on(self.device(self.step)) if self.step else self.contract

    @property
    def bare(self) -> bool:
        """Whether a pull request is at work that gets no runner of the contract's choosing."""
        place = self.place_if_any()
        return place.bare or place.fork

    def device(self, step: str) -> str:
        """Where a step runs the model; without a runner of its own on the processor, timing apart."""
        if self.bare and step != "benchmark":
            return "cpu"
        return self.contract.parts.device_of(step, self.stage)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.contract.parts.model.name

    @functools.cached_property
    def repository(self) -> Repository:
        """The git repository around the contract.

        Raises:
            EnvironmentLacks: there is no git, or no repository.
            UsageError: the contract names a remote, and this is no git repository.
        """
        return repository_of(self.contract, self.platform)

    @property
    def top(self) -> Path:
        """The top of the repository around the contract; the contract's folder where there is no repository."""
        try:
            return self.repository.root
        except EnvironmentLacks:
            return self.root

    def from_top(self, path: str) -> str:
        """A path of the contract, relative to the top of the repository."""
        return (self.root.resolve() / path).relative_to(self.repository.root.resolve()).as_posix()

    @functools.cached_property
    def place(self) -> Place:
        """Branch, tag and actor, from the CI system where there is one, else from git."""
        return self.platform.place() or Place(branch=self.repository.branch())

    @functools.cached_property
    def stage(self) -> str | None:
        """The stage that the candidate is meant for; None on a branch that holds none.

        Raises:
            UsageError: the stage that was asked for is not on the ladder.
        """
        stages = self.contract.parts.stages
        if self.wanted_stage is not None:
            if self.wanted_stage not in stages:
                raise UsageError(
                    f"There is no stage `{self.wanted_stage}` in the contract. Known: {', '.join(stages)}."
                )
            return self.wanted_stage
        branch = self.place.target or self.place.branch
        return next((name for name, stage in stages.items() if stage.branch and stage.branch == branch), None)

    @functools.cached_property
    def registry(self) -> Registry:
        """What the tags say, after asking the remote what it knows.

        Raises:
            BrokenEvidence: a stage's tag was moved, so that nothing can be compared with what the stage holds.
        """
        moved = self.sync.moved  # which fetches what is missing here, too
        found = read(self.repository, self.name, named=self.contract.parts.registry.tags == "named")
        found.model(self.name).refuse_contradictions(moved)
        return found

    def versions(self, most: int) -> list[Version]:
        """The evidence of the newest releases, at most so many, oldest first; none where the tags or it cannot be read."""
        try:
            releases = self.registry.model(self.name).releases[-most:]
            return list(versions_kept(self.repository, releases))
        except GradatimError:
            return []

    def versions_of(self, manifest: str) -> list[Sequence[Statement]]:
        """The evidence of the releases of these bytes, the newest first; none where the tags or it cannot be read."""
        try:
            releases = [r for r in self.registry.model(self.name).releases if r.manifest == manifest]
            return [statements for _, _, statements in versions_kept(self.repository, releases[::-1])]
        except GradatimError:
            return []

    @functools.cached_property
    def sync(self) -> Sync:
        """What became of asking the remote."""
        return sync(self.repository)

    def take_registry_of(self, other: Identity) -> None:
        """Believe what another has read of the same tags, instead of asking the remote again."""
        self.__dict__ |= {name: other.__dict__[name] for name in _OF_THE_REGISTRY if name in other.__dict__}

    def place_if_any(self) -> Place:
        """The same as ``place``, empty where there is no repository to ask."""
        try:
            return self.place
        except EnvironmentLacks:
            return Place()

    def commit_if_any(self) -> tuple[str | None, Mapping[str, Mapping[str, str | int]]]:
        """The commit, and where it came from; neither where there is no repository to ask."""
        try:
            commit = self.repository.head()
            return commit, self.repository.revision(commit)
        except (EnvironmentLacks, UsageError):
            return None, {}

    def publishers(self) -> list[Publisher]:
        """The places that the contract publishes to, in its order.

        Raises:
            EnvironmentLacks: the package that one of them needs is not installed.
            UsageError: one is the project of the git remote, and there is no such remote.
        """
        from gradatim.publishers.places import open_publisher

        return [
            open_publisher(place.kind, place.address, root=self.root, repository=self.repository)
            for place in self.contract.parts.publish.to
        ]

    def approval(self, stage: str) -> Approval:
        """Who lets this run into a stage, as the platform tells."""
        person, _ = identity(self.repository)
        environment = self.contract.parts.stages[stage].environment or stage
        return self.platform.approval(self.place.actor or person, environment)
