"""Read the tags of a repository, in one ``git for-each-ref``: versions first, then the stages that point at them."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import NamedTuple

from gradatim.errors import printable
from gradatim.registry import tags
from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER, Assignment, ModelHistory, Registry, Release
from gradatim.registry.tags import SemVer

_FIELDS = "%00".join(
    (
        "%(refname)",
        "%(objecttype)",
        "%(objectname)",
        "%(type)",  # what the tag marks, from its own header: `%(*objecttype)` would read the commit too
        "%(object)",
        "%(tag)",  # what the tag calls itself
        "%(creatordate:unix)",
        "%(taggername)",
        "%(contents)",
        "",
    )
)
_WIDTH = 9
_TAG_LINE = "\nrefs/tags/"
_LEDGER_LINE = f"\n{LEDGER}"


def read(repository: Repository, name: str | None = None, *, named: bool = False) -> Registry:
    """Read the tags of a repository, with or without a contract, written by gradatim, gto or by hand.

    Args:
        repository: where the tags are.
        name: the model's name in the contract, which bare tags such as ``v1.0.0`` then belong to.
        named: versions bear the model's name, so that bare tags that name no model are of something else.
    """
    output = repository.run("for-each-ref", f"--format={_FIELDS}", "refs/tags", LEDGER)
    fields = iter(f"\n{output.decode(errors='replace')}".split("\0"))
    rows = zip(*[fields] * _WIDTH, strict=False)  # the last field is the end of the last line
    collecting = gc.isenabled()
    gc.disable()  # a hundred thousand tags make a million objects, none of them garbage
    try:
        return _Reader(repository, name, named).read(rows)
    finally:
        if collecting:
            gc.freeze()  # and none of them in a circle: what is still alive need not be gone through again
            gc.enable()


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
    called: str


class _Reader:
    """Turns git's listing into a registry: versions first, then the stages that point at them."""

    def __init__(self, repository: Repository, name: str | None, named: bool) -> None:
        self.repository = repository
        self.name = name
        self.named = named
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
                if self.named and _said_model(found.message) is None:
                    self.other.append(found.tag)
                    continue
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
        _, kind, identity, target_kind, target, called, date, author, contents = row
        annotated = kind == "tag"
        commit, commit_kind = (target, target_kind) if annotated else (identity, kind)
        if commit_kind == "tag":  # a tag of a tag: rare enough to ask git again
            commit, commit_kind = self.repository.resolve(f"refs/tags/{tag}"), "commit"
        if commit_kind != "commit":
            self.warnings.append(f"The tag {tag} marks a {commit_kind}, not a commit, and does not count.")
            return None
        return _Row(
            tag,
            name,
            annotated,
            identity,
            commit,
            int(date or 0),
            printable(author),
            printable(contents) if annotated else "",
            called,
        )

    def _owner_of_bare_tags(self, rows: Iterable[_Row]) -> str:
        if self.name is not None:
            return self.name
        names = {row.name.model for row in rows} - {None}
        if not names:
            names = {_said_model(row.message) for row in rows} - {None}
        return str(names.pop()) if len(names) == 1 else ""

    def _model(self, model: str, rows: list[_Row]) -> ModelHistory:
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
        return ModelHistory(model or None, ordered, assignments, bool(given_up) and not revived)

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
            release, contradiction = meant.by(row)
            if contradiction:
                self.warnings.append(contradiction)
            found.append(
                Assignment(
                    model,
                    row.name.stage,
                    row.name.counter,
                    row.name.action == "assign",
                    row.commit,
                    release,
                    row.tag,
                    row.date,
                    row.author,
                    row.message,
                    contradiction,
                )
            )
        return tuple(
            sorted(found, key=lambda a: (a.counter, a.release.version.precedence if a.release else ()))
        )


class _Meant:
    """Which version an assignment means: the one that it names, else the highest active one at its commit.

    A tag that was moved still says what it was made for: its own name, and the version in its message.
    """

    def __init__(self, releases: Iterable[Release]) -> None:
        self.by_name: dict[tuple[str, str], Release] = {}
        self.highest: dict[str, Release] = {}
        self.versions: set[str] = set()
        for release in releases:  # lowest first
            self.by_name[release.commit, str(release.version)] = release
            self.versions.add(str(release.version))
            held = self.highest.get(release.commit)
            if held is None or release.active or not held.active:
                self.highest[release.commit] = release

    def by(self, row: _Row) -> tuple[Release | None, str | None]:
        """The version at the commit, and in which way the tag contradicts it."""
        at = self.highest.get(row.commit)
        if row.called != row.tag:
            return at, f"The tag {row.tag} is broken: it calls itself {row.called}, so somebody moved it."
        _, found, rest = row.message.partition("\nversion: ")
        version = rest.partition("\n")[0]
        named = self.by_name.get((row.commit, version)) if found else None
        if not found or named or not (at or version in self.versions):
            return named or at, None
        where = f"{row.commit[:7]}, which is {at}" if at else f"{row.commit[:7]}, which bears no version"
        return (
            at,
            f"The tag {row.tag} is broken: its message says {version} and it marks {where}: somebody moved it.",
        )


def _said_model(message: str) -> str | None:
    """The model that a message's last paragraph names; asked of every bare tag, so without the other lines."""
    if "\nmodel: " not in message:
        return None
    text = message.split("-----BEGIN ", 1)[0].rstrip() if "-----BEGIN " in message else message.rstrip()
    start = text.find("\nmodel: ", text.rfind("\n\n") + 1)
    return text[start + 8 :].partition("\n")[0] if start >= 0 else None
