"""What a repository's tags say: every version, every stage, in the order that they were made.

One ``git for-each-ref`` carries it all. The order is that of counters, then of versions: clocks of
laptops and CI machines disagree, so no date decides anything.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.registry import tags
from gradatim.registry.git import Repository
from gradatim.registry.tags import SemVer

LEDGER = "refs/gradatim/releases/"
"""Below it, one reference per manifest digest holds the evidence of a release."""

_ATTEMPTS = 3
_FIELDS = "%00".join(
    (
        "%(refname)",
        "%(objecttype)",
        "%(objectname)",
        "%(type)",  # what the tag marks, from its own header: `%(*objecttype)` would read the commit too
        "%(object)",
        "%(creatordate:unix)",
        "%(taggername)",
        "%(contents)",
        "",
    )
)
_WIDTH = 8
_TAG_LINE = "\nrefs/tags/"
_LEDGER_LINE = f"\n{LEDGER}"
_TRAILER = re.compile(r"^([a-z][a-z-]*): (.*)$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Release:
    """One version of one model, as its tag says.

    Attributes:
        model: name of the model; None only for a bare ``v1.0.0`` in a repository that names no model.
        version: its number.
        tag: short name of the tag.
        tag_id: id of the tag's own object; the commit's id for a lightweight tag.
        commit: id of the commit that the tag marks.
        date: when it was tagged, seconds since 1970, for people to read; it decides nothing.
        author: name of whoever tagged it; empty for a lightweight tag.
        annotated: False for a lightweight tag.
        active: False once the version was withdrawn (``digits@v1.0.0!``).
        message: the tag's message; empty for a lightweight tag.
    """

    model: str | None
    version: SemVer
    tag: str
    tag_id: str
    commit: str
    date: int
    author: str = ""
    annotated: bool = True
    active: bool = True
    message: str = ""

    def __str__(self) -> str:
        return str(self.version)

    @cached_property
    def trailers(self) -> Mapping[str, str]:
        """Every ``key: value`` line at the end of the tag's message."""
        return trailers(self.message)

    @property
    def manifest(self) -> str | None:
        """Hex SHA-256 of its manifest; None when the tag was not written by gradatim."""
        return _digest(self.trailers.get("manifest"))

    @property
    def record(self) -> str | None:
        """Hex SHA-256 of its ``release.json``."""
        return _digest(self.trailers.get("release"))

    @property
    def stage(self) -> str | None:
        """The stage that it was released to."""
        return self.trailers.get("stage")

    @property
    def signature(self) -> str | None:
        """Hex SHA-256 of the release's signature, which is not checked here; None for an unsigned release."""
        return _digest(self.trailers.get("signature"))

    @property
    def git_signed(self) -> bool:
        """Whether git itself signed the tag (``tag.gpgSign``), which is not checked here."""
        return "\n-----BEGIN " in self.message


@dataclass(frozen=True)
class Assignment:
    """A stage given to a commit, or taken from it.

    Attributes:
        stage: ``production``.
        counter: its place in the model's own order; 0 for a tag without one, which comes first.
        assigned: False for ``digits#production!#4``, which takes the stage back.
        release: the version that was meant; None when the commit bears no version.
        message: the tag's message.
    """

    model: str
    stage: str
    counter: int
    assigned: bool
    commit: str
    release: Release | None
    tag: str
    date: int
    author: str
    message: str = ""

    @cached_property
    def trailers(self) -> Mapping[str, str]:
        """Every ``key: value`` line at the end of the message: ``reason``, ``approval``, ``previous``."""
        return trailers(self.message)

    @property
    def label(self) -> str:
        """``v1.4.0``, or ``unregistered commit 9f2c41d`` where the commit bears no version."""
        return str(self.release) if self.release else f"unregistered commit {self.commit[:7]}"


@dataclass(frozen=True)
class Model:
    """All that is known about one model.

    Attributes:
        name: None where a repository with bare tags names no model.
        releases: every version, withdrawn ones included, lowest first.
        assignments: every stage given or taken, in order.
        deprecated: whether the model as a whole was given up.
    """

    name: str | None
    releases: tuple[Release, ...]
    assignments: tuple[Assignment, ...]
    deprecated: bool = False

    @property
    def latest(self) -> Release | None:
        """The highest version that is no pre-release and was not withdrawn."""
        return next((r for r in reversed(self.releases) if r.active and not r.version.is_prerelease), None)

    @property
    def newest(self) -> Release | None:
        """The highest version that was not withdrawn, pre-releases included."""
        return next((r for r in reversed(self.releases) if r.active), None)

    @property
    def stages(self) -> tuple[str, ...]:
        """Every stage that was ever assigned, sorted by name."""
        return tuple(sorted({a.stage for a in self.assignments}))

    def release(self, version: str | SemVer) -> Release:
        """One version.

        Raises:
            UsageError: there is none of that number.
        """
        wanted = SemVer.parse(version) if isinstance(version, str) else version
        for release in self.releases:
            if release.version == wanted:
                return release
        known = ", ".join(str(r) for r in self.releases[-5:]) or "none yet"
        raise UsageError(
            f"There is no version {wanted} of {self.name or 'this model'}. Known (newest last): {known}."
        )

    def held(self, stage: str) -> tuple[Assignment, ...]:
        """Every version that was given a stage and not taken from it again, the current one last.

        The current one is that of the highest counter, as gto would show it if clocks could be trusted.
        """
        latest: dict[str, Assignment] = {}
        for assignment in self.assignments:
            if assignment.stage == stage:
                key = (
                    assignment.release.tag if assignment.release else assignment.commit
                )  # a tag is no commit's id
                latest.pop(key, None)
                if assignment.assigned:
                    latest[key] = assignment
        return tuple(held for held in latest.values() if held.release is None or held.release.active)

    def before(self, stage: str) -> Release | None:
        """The last good release of a stage: what its holder replaced, never what was rolled back from.

        A version assigned a second time is a return to it: what came in between is no longer good.
        """
        good: list[Release] = []
        for assignment in self.assignments:
            if assignment.stage != stage or assignment.release is None:
                continue
            if assignment.release in good:
                del good[good.index(assignment.release) :]
            if assignment.assigned:
                good.append(assignment.release)
        holder = self.holder(stage)
        current = holder.release if holder else None
        return next((release for release in reversed(good) if release.active and release != current), None)

    def holder(self, stage: str) -> Assignment | None:
        """What a stage holds now; None when it holds nothing."""
        held = self.held(stage)
        return held[-1] if held else None

    @property
    def next_counter(self) -> int:
        """The counter of the next assignment: one sequence for all stages, as gto has it."""
        return 1 + max((assignment.counter for assignment in self.assignments), default=0)


@dataclass(frozen=True)
class Registry:
    """Everything that the tags of a repository say.

    Attributes:
        models: by name; the key is ``""`` for bare tags in a repository that names no model.
        ledgers: hex manifest digests whose evidence is here.
        warnings: one sentence for each tag that does not count, and why.
        other_tags: tags of another grammar.
        complete: False for a shallow clone: what is not seen may still exist.
    """

    models: Mapping[str, Model]
    ledgers: frozenset[str]
    warnings: tuple[str, ...]
    other_tags: tuple[str, ...]
    complete: bool

    def model(self, name: str | None = None) -> Model:
        """One model; without a name, the only one.

        A model that the contract names and that has no tags yet is an empty one.

        Raises:
            UsageError: there are several and none was named.
        """
        if name is not None:
            return self.models.get(name, Model(name, (), ()))
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        if not self.models:
            return Model(None, (), ())
        names = ", ".join(sorted(key for key in self.models if key))
        raise UsageError(f"This repository has several models: {names}. Name one: `name@v1.0.0`.")

    def find(self, text: str, model: str | None = None) -> Release:
        """The release that a person means.

        Args:
            text: ``v1.4.0``, ``1.4.0``, ``digits@v1.4.0``, ``latest``, ``digits@latest``, ``production``
                or ``digits#production``.
            model: the model meant when the text names none.

        Raises:
            UsageError: nothing of that name, or the stage holds nothing or an unregistered commit.
        """
        name, separator, rest = text.partition("#" if "#" in text else "@")
        if separator:
            if name not in self.models and name != model:
                known = ", ".join(sorted(key for key in self.models if key)) or "none"
                raise UsageError(f"There is no model `{name}` in this repository. Known: {known}.")
            model = name
        else:
            rest = text
        found = self.model(model)
        if rest == "latest":
            if found.latest is None:
                raise UsageError(
                    "Nothing was released yet: there is no latest version (pre-releases do not count)."
                )
            return found.latest
        if tags.parse(rest if rest.startswith("v") else f"v{rest}") is not None:
            return found.release(rest)
        if rest not in found.stages:
            known = ", ".join(("latest", *found.stages))
            raise UsageError(
                f"`{text}` is neither a version nor a stage here. Known besides versions: {known}."
            )
        holder = found.holder(rest)
        if holder is None:
            raise UsageError(f"The stage {rest} holds nothing now.")
        if holder.release is None:
            raise UsageError(
                f"The stage {rest} holds an {holder.label}: tag that commit with a version first."
            )
        return holder.release

    def with_manifest(self, digest: str, model: str | None = None) -> list[Release]:
        """Every active release of exactly these bytes, lowest version first."""
        return [r for r in self.model(model).releases if r.manifest == digest and r.active]


def read(repository: Repository, name: str | None = None) -> Registry:
    """Read the tags of a repository, with or without a contract, written by gradatim, gto or by hand.

    Args:
        repository: where the tags are.
        name: the model's name in the contract, which bare tags such as ``v1.0.0`` then belong to.
    """
    output = repository.run("for-each-ref", f"--format={_FIELDS}", "refs/tags", LEDGER)
    fields = iter(f"\n{output.decode(errors='replace')}".split("\0"))
    rows = zip(*[fields] * _WIDTH, strict=False)  # the last field is the end of the last line
    collecting = gc.isenabled()
    gc.disable()  # a hundred thousand tags make a million objects, none of them garbage
    try:
        return _Reader(repository, name).read(rows)
    finally:
        if collecting:
            gc.freeze()  # and none of them in a circle: what is still alive need not be gone through again
            gc.enable()


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


def trailers(message: str) -> dict[str, str]:
    """The ``key: value`` lines in the last paragraph of a message, before any signature."""
    text = message.split("-----BEGIN ", 1)[0].rstrip()
    return dict(_TRAILER.findall(text.rpartition("\n\n")[2]))


def _said_model(message: str) -> str | None:
    """The model that a message's last paragraph names; asked of every bare tag, so without the other lines."""
    if "\nmodel: " not in message:
        return None
    text = message.split("-----BEGIN ", 1)[0].rstrip() if "-----BEGIN " in message else message.rstrip()
    start = text.find("\nmodel: ", text.rfind("\n\n") + 1)
    return text[start + 8 :].partition("\n")[0] if start >= 0 else None


def _digest(text: str | None) -> str | None:
    match = _DIGEST.fullmatch(text or "")
    return match[1] if match else None


class _Row(NamedTuple):
    """One tag as git lists it, its name understood."""

    tag: str
    name: tags.TagName
    annotated: bool
    tag_id: str
    commit: str
    date: int
    author: str
    message: str


class _Reader:
    """Turns git's listing into a registry: versions first, then the stages that point at them."""

    def __init__(self, repository: Repository, name: str | None) -> None:
        self.repository = repository
        self.name = name
        self.warnings: list[str] = []
        self.other: list[str] = []

    def read(self, rows: Iterable[tuple[str, ...]]) -> Registry:
        ledgers: set[str] = set()
        understood: list[_Row] = []
        for row in rows:
            ref = row[0]  # after the end of the line before
            if ref.startswith(_LEDGER_LINE):
                ledgers.add(ref[len(_LEDGER_LINE) :])
                continue
            parsed = self._row(ref[len(_TAG_LINE) :], row)
            if parsed is not None:
                understood.append(parsed)
        by_model: dict[str, list[_Row]] = {}
        owner = self._owner_of_bare_tags(understood)
        for found in understood:
            model = found.name.model
            if model is None:  # a bare tag, which may say in its message whose it is
                model = _said_model(found.message) or owner
            by_model.setdefault(model, []).append(found)
        models = {model: self._model(model, by_model[model]) for model in sorted(by_model)}
        return Registry(
            models, frozenset(ledgers), tuple(self.warnings), tuple(self.other), not self.repository.shallow
        )

    def _row(self, tag: str, row: tuple[str, ...]) -> _Row | None:
        name = tags.parse(tag)
        if name is None:
            self.other.append(tag)
            return None
        _, kind, identity, target_kind, target, date, author, contents = row
        annotated = kind == "tag"
        commit, commit_kind = (target, target_kind) if annotated else (identity, kind)
        if commit_kind == "tag":  # a tag of a tag: rare enough to ask git again
            commit, commit_kind = self.repository.resolve(f"refs/tags/{tag}"), "commit"
        if commit_kind != "commit":
            self.warnings.append(f"The tag {tag} marks a {commit_kind}, not a commit, and does not count.")
            return None
        return _Row(
            tag, name, annotated, identity, commit, int(date or 0), author, contents if annotated else ""
        )

    def _owner_of_bare_tags(self, rows: Iterable[_Row]) -> str:
        if self.name is not None:
            return self.name
        names = {row.name.model for row in rows} - {None}
        if not names:
            names = {_said_model(row.message) for row in rows} - {None}
        return str(names.pop()) if len(names) == 1 else ""

    def _model(self, model: str, rows: list[_Row]) -> Model:
        withdrawn = {
            (row.name.version, row.name.counter): row.tag for row in rows if row.name.action == "deregister"
        }
        last_withdrawal: dict[SemVer | None, int] = {}
        for version, counter in withdrawn:
            last_withdrawal[version] = max(counter, last_withdrawal.get(version, 0))
        releases: dict[SemVer, Release] = {}
        for row in sorted(
            (row for row in rows if row.name.action == "register"), key=lambda row: row.name.counter
        ):
            version = row.name.version
            assert version is not None  # noqa: S101 (the grammar gives every registration a version)
            gone = version in last_withdrawal and last_withdrawal[version] >= row.name.counter
            if not row.annotated:
                self.warnings.append(
                    f"The tag {row.tag} is lightweight: it counts as a version, but carries no evidence "
                    "and gto does not see it. Use `git tag -a`."
                )
            releases[version] = Release(
                model or None,
                version,
                row.tag,
                row.tag_id,
                row.commit,
                row.date,
                row.author,
                row.annotated,
                not gone,
                row.message,
            )
        ordered = tuple(sorted(releases.values(), key=lambda release: release.version.precedence))
        given_up = [row.name.counter for row in rows if row.name.action == "deprecate"]
        assignments = self._assignments(model, rows, ordered)
        revived = bool(given_up) and any(a.counter > max(given_up) > 0 for a in assignments)
        return Model(model or None, ordered, assignments, bool(given_up) and not revived)

    def _assignments(
        self, model: str, rows: Iterable[_Row], releases: tuple[Release, ...]
    ) -> tuple[Assignment, ...]:
        meant = _Meant(releases)
        found = []
        for row in rows:
            if row.name.action not in ("assign", "unassign"):
                continue
            if not row.annotated:
                self.warnings.append(
                    f"The tag {row.tag} is lightweight and does not count: a stage is assigned by an "
                    "annotated tag (`git tag -a`, `gto assign` or `gradatim promote`)."
                )
                continue
            assert row.name.stage is not None  # noqa: S101 (the grammar gives every assignment a stage)
            found.append(
                Assignment(
                    model,
                    row.name.stage,
                    row.name.counter,
                    row.name.action == "assign",
                    row.commit,
                    meant.by(row),
                    row.tag,
                    row.date,
                    row.author,
                    row.message,
                )
            )
        return tuple(
            sorted(found, key=lambda a: (a.counter, a.release.version.precedence if a.release else ()))
        )


class _Meant:
    """Which version an assignment means: the one that it names, else the highest active one at its commit."""

    def __init__(self, releases: Iterable[Release]) -> None:
        self.by_name: dict[tuple[str, str], Release] = {}
        self.highest: dict[str, Release] = {}
        for release in releases:  # lowest first
            self.by_name[release.commit, str(release.version)] = release
            held = self.highest.get(release.commit)
            if held is None or release.active or not held.active:
                self.highest[release.commit] = release

    def by(self, row: _Row) -> Release | None:
        _, found, rest = row.message.partition("\nversion: ")
        named = self.by_name.get((row.commit, rest.partition("\n")[0])) if found else None
        return named or self.highest.get(row.commit)


def date_of_next_assignment(model: Model, now: int) -> int:
    """A date for the next assignment that is later than every earlier one's, whatever the clocks say.

    gto orders by date: this keeps it in agreement with the counters. ``SOURCE_DATE_EPOCH`` sets the clock.
    """
    clock = int(os.environ.get("SOURCE_DATE_EPOCH", now))
    return max(clock, 1 + max((assignment.date for assignment in model.assignments), default=0))
