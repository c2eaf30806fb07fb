"""What a repository's tags come to, to the letter: no version, no stage and no word of the registry changes unseen.

``python tests/unit/test_registry_frozen.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from frozen import attempted, changed, line, told, write
from registry_examples import IDENTITY, commit_file, git, new_repository, tag

from gradatim.registry import baseline, git_process, ledger, lfs, revision, tagging, tags, uses, versions
from gradatim.registry.git import RefUpdate, Repository
from gradatim.registry.history import (
    Assignment,
    ModelHistory,
    Registry,
    Release,
    date_of_next_assignment,
    trailers,
)
from gradatim.registry.object_database import ObjectDatabase
from gradatim.registry.reading import read
from gradatim.registry.state import history, status, unit_of_days, why
from gradatim.registry.sync import Sync, has_evidence, sync, sync_ledger
from gradatim.registry.tags import SemVer
from gradatim.signature import Signature, TensorSpec

GOLDEN = Path(__file__).parent / "golden" / "registry"
A, B, C = "a" * 40, "b" * 40, "c" * 40
VERSIONS = (
    "1.0.0",
    "v1.4.0-beta.2",
    "1.0.0-rc",
    "1.0.0-rc.1.2",
    "1.0.0-1",
    "1.0.0-alpha.beta",
    "2.0.0+b.1",
    "1.0.0-x.10",
    "1.0.0-x.9",
    "10.0.0",
    "9.9.9",
)


def release(version: str, commit: str = A, **more: object) -> Release:
    message = f"digits {version}\n\nmanifest: sha256:{commit[0] * 64}\nstage: beta\n"
    made = Release(
        "digits",
        SemVer.parse(version),
        f"digits@{version}",
        f"{commit[0]}{version}",
        commit,
        100,
        "Ada",
        message=message,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def given(
    stage: str,
    counter: int,
    what: Release | None,
    *,
    taken: bool = False,
    said: str = "",
    contradiction: str | None = None,
) -> Assignment:
    mark = "!" if taken else ""
    commit = what.commit if what else C
    return Assignment("digits", stage, counter, not taken, commit, what, f"digits#{stage}{mark}#{counter}", 100 * counter, "Bob", f"x\n\n{said}", contradiction)  # fmt: skip


R100, R110, R200B, R090 = (
    release("v1.0.0", A),
    release("v1.1.0", B),
    release("v2.0.0-beta.1", C),
    release("v0.9.0", "d" * 40),
)
WALKED = ModelHistory("digits", (R090, R100, R110, R200B), (
    given("beta", 1, R100), given("production", 2, R100, said="approval: Eve\nreason: good\n"), given("beta", 3, R110), given("production", 4, R110),
    given("production", 5, R110, taken=True, said="reason: bad\n"), given("production", 6, R100, said="previous: v1.1.0\n"), given("old", 7, None), given("gone", 8, R090), given("gone", 9, R090, taken=True),
))  # fmt: skip
REGISTRY = Registry(
    {"digits": WALKED, "other": ModelHistory("other", (), ())}, frozenset([B[0] * 64]), (), (), complete=True
)


def names() -> Iterator[str]:
    """The grammar of tags and the order of versions."""
    found = [SemVer.parse(text) for text in VERSIONS]
    for one in sorted(found):
        yield told(
            (
                str(one),
                repr(one),
                one.core,
                one.suffix,
                one.number,
                one.is_prerelease,
                one.build,
                str(one.precedence),
            )
        )
    yield told(
        [
            SemVer(1, 0, 0) == SemVer(1, 0, 0, build="x"),
            SemVer(1, 0, 0) == "v1.0.0",
            SemVer(1, 0, 0) <= SemVer(1, 0, 0),
            hash(found[0]) == hash(SemVer(1, 0, 0)),
        ]
    )
    for name in ("v1.0.0", "1.0.0", "digits@v1.0.0", "digits@v1.0.0!", "digits@v1.0.0#2", "digits@v1.0.0!#3", "digits#production#3", "digits#production!#4", "digits#production",
                 "digits@deprecated", "digits@created", "nlp=digits@v1.4.0-beta.2", "a/b#c/d#1", "-x@v1.0.0", "v1.0", "v01.0.0", "digits@v1.0.0-", "x#y#", "v1.0.0-beta.2"):  # fmt: skip
        yield told((name, tags.parse(name)))
    yield told(
        [
            tags.version_tag("nlp:digits", SemVer(1, 2, 3, "beta.1"), several=several)
            for several in (True, False)
        ]
    )
    yield told(
        [tags.stage_tag("digits", "production", 3), tags.stage_tag("nlp:digits", "beta", 4, cancel=True)]
    )
    for stage, model in (("a b", "x"), ("a", "x y"), ("a", "x//y"), ("a", "x..y"), ("a", "-x")):
        yield attempted(lambda stage=stage, model=model: tags.stage_tag(model, stage, 1))  # type: ignore[misc]
    yield attempted(lambda: SemVer.parse("1.0"))


def tensor(name: str, *shape: object, dtype: str = "float32", optional: str | None = None) -> TensorSpec:
    return TensorSpec(name, dtype, shape or None, optional=optional)  # type: ignore[arg-type]


def changes() -> Iterator[str]:
    """What a candidate asks of callers, and the version that it gets."""
    plain = Signature((tensor("x", "n", 4),), (tensor("y", "n", 3),))
    x, y = tensor("x", "n", 4), tensor("y", "n", 3)
    texts = Signature((x,), (y,), text=tensor("text", "n", dtype="str"))
    for new in (
        plain, Signature((x,), (tensor("y", "n", 4),)), Signature((x,), (y, tensor("z", 1))), Signature((x, tensor("m", 1)), (y,)), Signature((x, tensor("m", 1, optional="default")), (y,)),
        Signature((tensor("m", 1), x), (y,)), Signature((), (y,)), Signature((tensor("x", "n", 4, dtype="int64"),), (y,)), Signature((tensor("x", 8, 4),), (y,)), Signature((tensor("x", "n", "k"),), (y,)),
        Signature((tensor("x", "m", 4),), (tensor("y", 1, 3),)), Signature((x,), (tensor("y", "n", "k"),)), Signature((tensor("x", "n", 4, 1),), (y,)), Signature((tensor("x"),), (y,)),
        Signature((tensor("x", "n", 4, optional="default"),), (y,)), Signature((tensor("x", "n", 4, optional="filled"),), (y,)), Signature((x,), (tensor("z", 2), y)), texts,
    ):  # fmt: skip
        for old, one in ((plain, new), (new, plain)):
            yield line(versions.compare(old, one, changed=0, of=10))
    abc = ["a", "b", "c"]
    for now, renamed in (
        (abc, {}),
        ([*abc, "d"], {}),
        (["d", *abc], {}),
        (["a", "b"], {}),
        (["a", "b", "x"], {"c": "x"}),
        (["a", "b", "x"], {"q": "x"}),
        (["b", "a", "c"], {}),
        (list("abcdefghijk"), {}),
    ):
        yield line(
            versions.compare(
                plain,
                Signature((x,), (tensor("y", "n", len(now)),)),
                old_labels=abc,
                new_labels=now,
                renamed=renamed,
                changed=1,
                of=10,
            )
        )
    yield line(
        versions.compare(
            plain, plain, old_labels=None, new_labels=abc, scores=("logits", "probabilities"), filled={"k": 3}
        )
    )
    yield line(versions.compare(plain, plain, scores=("logits", None), changed=3))
    yield line(
        versions.compare(
            plain,
            plain,
            scores=("logits", "logits"),
            changed=10,
            of=10,
            old_labels=list(range(9)),
            new_labels=list(range(2)),
        )
    )
    for count, of in ((-1, None), (11, 10), (-1, 10)):
        yield attempted(lambda count=count, of=of: versions.compare(plain, plain, changed=count, of=of))  # type: ignore[misc]
    m, z = tensor("m", 1, optional="default"), tensor("z", 2)
    for old, new in (((x, m), (m, x)), ((x, m, z), (m, x)), ((x, z), (z, x, m)), ((x, z), (m, z, x)), ((x, m), (tensor("x", "n", 4, dtype="int64"), m))):  # fmt: skip
        for one in (Signature(old, (y,)), Signature((x,), old)):
            other = Signature(new, (y,)) if one.outputs == (y,) else Signature((x,), new)
            yield line(versions.compare(one, other, changed=0))
    for count in (4, 5, 6, 7):
        some = tuple(tensor(name, 1) for name in "abcdefg"[:count])
        yield line(versions.compare(Signature(some, (y,)), Signature(some[::-1], (y,)), changed=0))
    betas = ModelHistory("digits", (R100, release("v2.0.0-beta"), release("v2.0.0-beta.1"), release("v2.0.0-beta.3"), release("v2.0.0-rc.7")), ())  # fmt: skip
    bare = ModelHistory("digits", (R100, release("v2.0.0-beta")), ())
    for model in (betas, bare):
        for suffix in ("beta", "rc", "x"):
            yield told(line(versions.next_version(model, versions.Change(versions.Level.MAJOR, ("x",)), suffix=suffix)))  # fmt: skip
        for wanted in ("v2.0.0-beta.2", "v2.0.0-alpha", "v2.0.0", "v2.0.1"):
            yield attempted(lambda model=model, wanted=wanted: versions.next_version(model, None, wanted=wanted))  # type: ignore[misc]  # fmt: skip
    empty, rc = ModelHistory("digits", (), ()), ModelHistory("digits", (R100, release("v2.0.0-rc.2")), ())
    gone = ModelHistory(
        "digits", (R100, release("v1.0.1", B, active=False), release("v1.0.2", C, active=False)), ()
    )
    given_up = ModelHistory("digits", (R100, release("v3.0.0-rc.1", B, active=False)), ())
    same = versions.Change(versions.Level.PATCH, ("same",))
    for model in (empty, rc, gone, given_up, WALKED):
        for level in (*versions.Level, None):
            change = None if level is None else versions.Change(level, (f"{level.name} it is",))
            for suffix in (None, "beta", "rc"):
                yield told(line(versions.next_version(model, change, suffix=suffix)))
        for wanted in (
            "v1.0.0",
            "v1.1.0",
            "v2.0.0",
            "v2.0.0-rc.1",
            "v2.0.0-rc.2",
            "v2.0.0-rc.3",
            "v9.0.0",
            "v9.0.0-x.1",
        ):
            suffix = "beta" if wanted == "v9.0.0" else None
            yield attempted(
                lambda model=model, wanted=wanted, suffix=suffix: versions.next_version(
                    model, same, wanted=wanted, suffix=suffix
                )
            )  # type: ignore[misc]


def stages() -> Iterator[str]:
    """Who holds what, and what happened."""
    for stage in ("beta", "production", "old", "gone", "none"):
        back = WALKED.rolled_back(stage)
        yield told(
            (
                stage,
                [one.tag for one in WALKED.held(stage)],
                WALKED.before(stage),
                WALKED.holder(stage) and WALKED.holder(stage).label,
                back and [one.tag for one in back],
            )
        )  # type: ignore[union-attr]
    yield told(
        (
            WALKED.latest,
            WALKED.newest,
            WALKED.stages,
            WALKED.next_counter,
            WALKED.deprecated,
            ModelHistory(None, (), ()).next_counter,
        )
    )
    yield told(
        [
            trailers("x\n\na: 1\nb-c: 2\nD: 3\n"),
            trailers("a: 1\n\nb: 2\n-----BEGIN PGP"),
            trailers(""),
            R100.manifest,
            R100.record,
            R100.stage,
            R100.git_signed,
            replace(R100, message="x\n-----BEGIN x").git_signed,
        ]
    )
    yield told([date_of_next_assignment(WALKED, now) for now in (0, 900, 901, 5000)])
    for model in (None, "digits", "other"):
        for one in status(
            REGISTRY,
            model=model,
            ladder=("beta", "staging", "production"),
            suffixes={"beta": "beta", "staging": "beta", "production": None},
            soak={"beta": 2.0, "staging": 1.0},
            now=86_400.0 * 3,
        ):
            yield told((one.name, one.latest, one.newest, one.deprecated))
            yield from (told([getattr(state, name) for name in ("stage", "label", "since", "author", "reason", "evidence", "signed", "git_signed", "inferred", "soaked", "approval", "broken")]) for state in one.stages)  # fmt: skip
    for model in (None, "digits"):
        for event in history(REGISTRY, model=model):
            yield f"{line(event)} ({why(event, ['production', 'beta'])})"
    yield told([unit_of_days(days) for days in (2.0, 1.0, 0.5, 1 / 24, 1 / 30, 1 / 1440, 1e-4, 1e-9)])
    for text in (
        "latest",
        "digits@latest",
        "production",
        "digits#production",
        "v1.1.0",
        "1.1.0",
        "digits@v1.0.0",
        "beta",
        "old",
        "gone",
        "nothing",
        "v3.0.0",
        "x@v1.0.0",
        "digits#gone",
    ):
        yield attempted(lambda text=text: REGISTRY.find(text, "digits").tag)  # type: ignore[misc]
    yield attempted(lambda: Registry({}, frozenset(), (), (), complete=True).model().name)
    yield attempted(lambda: REGISTRY.model().name)
    yield attempted(lambda: REGISTRY.find("latest", "other").tag)
    yield attempted(lambda: ModelHistory(None, (), ()).release("v1.0.0"))
    yield attempted(lambda: status(REGISTRY, model="none"))
    yield told([one.tag for one in REGISTRY.with_manifest("b" * 64, "digits")])
    for to in (None, "v1.0.0", "v1.1.0", "v0.9.0"):
        yield attempted(lambda to=to: tagging.rollback_target(WALKED, "production", to).tag)  # type: ignore[misc]
    for stage in ("gone", "old", "beta"):
        yield attempted(lambda stage=stage: tagging.rollback_target(WALKED, stage).tag)  # type: ignore[misc]
    ladder = ("beta", "staging", "production")
    for stage in (*ladder, "none"):
        for candidate in (None, "a" * 64, "b" * 64):
            yield attempted(
                lambda stage=stage, candidate=candidate: baseline.baseline(
                    REGISTRY, stage, ladder, model="digits", candidate=candidate
                )
            )  # type: ignore[misc]
    bare = Registry({"digits": ModelHistory("digits", (R100, R200B), ())}, frozenset(), (), (), complete=True)
    for candidate in (None, "a" * 64, "c" * 64):
        yield attempted(
            lambda candidate=candidate: baseline.baseline(bare, "beta", ladder, candidate=candidate)
        )  # type: ignore[misc]
    none = replace(bare, models={})
    for registry, state in (
        (none, None),
        (replace(none, complete=False), None),
        (none, Sync("origin", reached=False, reason="It is away.")),
        (none, Sync("origin", reached=True)),
        (none, Sync(None, reached=False)),
    ):
        yield attempted(
            lambda registry=registry, state=state: baseline.baseline(registry, "beta", ladder, sync=state)
        )  # type: ignore[misc]
    yield told([has_evidence(one, state) for one in (R100, replace(R100, message="")) for state in (Sync("o", reached=False), Sync("o", reached=True), Sync("o", reached=True, refs={f"refs/gradatim/releases/{'a' * 64}": "x"}))])  # fmt: skip
    many = ModelHistory("many", tuple(release(f"v1.{minor}.0", A, date=900, active=minor != 6) for minor in range(7)), (given("old", 1, None), given("beta", 2, R110), given("beta", 3, R110, taken=True), given("production", 4, R100)))  # fmt: skip
    late = Registry({"many": many}, frozenset(), (), (), complete=True)
    yield attempted(lambda: many.release("v9.9.9"))
    for event in history(late, model="many"):
        yield f"{line(event)} ({why(event, ['production', 'beta'])})"
    for now in (399.0, 401.0, 400.0 + 86_400):
        for one in status(late, model="many", ladder=("alpha", "beta", "production"), suffixes={"alpha": None, "beta": None, "production": None}, soak={"production": 1.0, "beta": 1.0}, now=now):  # fmt: skip
            yield from (
                told((state.stage, state.label, state.inferred, state.soaked)) for state in one.stages
            )
    for text in (
        "many@latest",
        "third@latest",
        "third@v1.0.0",
        "digits@latest",
        "many#old",
        "many#production",
    ):
        yield attempted(lambda text=text: late.find(text, "third").tag)  # type: ignore[misc]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SOURCE_DATE_EPOCH", raising=False)
        yield told([date_of_next_assignment(one, 0) for one in (ModelHistory("x", (), ()), many)])
        patch.setenv("SOURCE_DATE_EPOCH", "5000")
        yield told([date_of_next_assignment(one, 0) for one in (ModelHistory("x", (), ()), many)])
    broken = replace(many, assignments=(*many.assignments, given("beta", 5, R110, contradiction="The tag is broken.")))  # fmt: skip
    for text in ("beta", "production", "v1.0.0", "latest"):
        yield attempted(lambda text=text: replace(late, models={"many": broken}).find(text).tag)  # type: ignore[misc]
    wrong = replace(WALKED, assignments=(given("beta", 1, R100, contradiction="The tag is broken."),))
    yield attempted(lambda: wrong.refuse_contradictions())
    yield attempted(lambda: WALKED.refuse_contradictions(["digits#beta#3"]))
    yield attempted(lambda: WALKED.refuse_contradictions(["digits#beta#99"]))
    yield told(
        [
            tagging.uses_names(registry, name)
            for registry in (REGISTRY, bare, none)
            for name in ("digits", "other", "third")
        ]
    )


def words() -> Iterator[str]:
    """What git says, made plain; what is read of texts."""
    for said in (
        b"", b"fatal: no such thing.\n", b"remote: Counting objects: 3\nremote: error: hook says no\n! [remote rejected] x -> x (hook declined)\nerror: failed to push some refs to 'u'\n",
        b"my hook says no\nerror: failed to push some refs to 'https://a:b@host/x'\n", b"one\ntwo\nthree\nfour\n", b"fatal: Could not read from remote repository.\n", b"fatal: bad\nfatal: Could not read from remote repository.\n",
    ):  # fmt: skip
        yield git_process.last_words(said)
    yield told(
        [
            git_process.without_user(text)
            for text in ("https://a:b@c/d", "ssh://git@h/x and http://u@v", "a@b")
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRADATIM_TOKEN", raising=False)
        yield told(git_process.pushing("origin", "https://h/p"))
        patch.setenv("GRADATIM_TOKEN", "secret")
        patch.setenv("GIT_CONFIG_COUNT", "2")
        for url in (
            "https://h/p",
            "http://h:80/p",
            "git@h:p/q",
            "ssh://git@h:22/p",
            "h:p",
            "/folder",
            "https://u:v@h/p.git",
            "ssh://h/p",
        ):
            yield told(git_process.pushing("origin", url))
        patch.setenv("GRADATIM_PATIENCE", "7")
        around = git_process.surroundings({"LC_ALL": "de"})
        yield told(
            [
                around[name]
                for name in (
                    "LC_ALL",
                    "GIT_TERMINAL_PROMPT",
                    "GIT_HTTP_LOW_SPEED_LIMIT",
                    "GIT_HTTP_LOW_SPEED_TIME",
                )
            ]
        )
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"
    yield told(
        [
            lfs.read_pointer(data, "x")
            for data in (
                pointer,
                b"else",
                pointer + b"x" * (1024 - len(pointer)),
                pointer + b"x" * (1023 - len(pointer)),
            )
        ]
    )
    yield attempted(lambda: lfs.read_pointer(pointer.replace(b"size", b"sizes"), "x"))
    found = revision.Revision.of(f"a\n\ngit-svn-id: https://u:p@h/r/tru%20nk@12 {'0' * 36}\n")
    assert found is not None
    yield told(
        (
            line(found),
            found.line,
            found.path("https://u:p@h/r"),
            found.path("https://h"),
            found.told,
            revision.Revision.of("none"),
        )
    )


def repositories() -> Iterator[str]:
    """Real repositories, of every kind of tag, and what git does not do for us."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        root = new_repository(Path(name, "r"), remote=Path(name, "remote.git"))
        for place in range(3):
            commit_file(root, f"m{place}", b"%d" % place)
        commits = git(root, "log", "--format=%H", "--reverse").split()
        full = "digits {0}\n\nmodel: digits\nversion: {0}\n"
        tag(root, "v1.0.0", commit=commits[0], message=full.format("v1.0.0"))
        for made, commit, message in (
            ("digits@v1.1.0", 1, "x"), ("digits@v1.1.0!", 1, "x"), ("digits@v1.1.0#2", 1, "x"), ("digits@v1.2.0", 2, "x"), ("digits@v1.2.0!#1", 2, "x"), ("v0.1.0", 0, "plain"), ("digits@v1.0.0-rc.1", 0, "x"),
            ("digits#beta#1", 1, "x\n\nversion: v1.1.0"), ("digits#beta#2", 2, "x\n\nversion: v1.1.0"), ("digits#production#3", 3, "x\n\nversion: v9.9.9"), ("digits#beta!#4", 0, "x\n\nversion: v1.0.0"),
            ("digits#production#5", 3, "x\n\nversion: v1.1.0"), ("other@v1.0.0", 3, "x"), ("other@deprecated", 3, "x"), ("third@deprecated#1", 3, "x"), ("third#a#2", 3, "x"), ("third@deprecated#3", 3, "x"), ("nightly", 3, "x"), ("v2.0.0", 3, "y\n\nmodel: other"),
        ):  # fmt: skip
            tag(root, made, commit=commits[commit], message=message)
        git(root, "tag", "digits@v1.3.0", commits[3])
        git(root, "tag", "digits#beta#9", commits[3])
        git(root, "tag", "-a", "-m", "x", "digits@v1.4.0", "digits@v1.3.0", date=1_700_000_000)
        git(root, "tag", "-a", "-m", "x", "digits@v1.5.0", f"{commits[3]}^{{tree}}", date=1_700_000_000)
        git(root, "tag", "-a", "-m", "x", "digits@v1.6.0", "digits@v1.4.0", date=1_700_000_000)
        git(root, "update-ref", "refs/tags/digits#moved#7", git(root, "rev-parse", "refs/tags/digits#beta#1"))
        git(root, "update-ref", f"refs/gradatim/releases/{'e' * 64}", commits[0])
        repository = Repository.find(root)

        def plain(text: str) -> str:
            for place, commit in enumerate(commits):
                text = text.replace(commit, f"<{place}>").replace(commit[:7], f"<{place}>")
            return text.replace(name, "TMP")

        for of, named in (("digits", False), (None, False), ("digits", True)):
            found = read(repository, of, named=named)
            yield plain(
                told((sorted(found.models), found.ledgers, found.warnings, found.other_tags, found.complete))
            )
            for model in found.models.values():
                yield plain(
                    told(
                        (
                            model.name,
                            model.deprecated,
                            [
                                (one.tag, one.commit, one.date, one.author, one.annotated, one.active)
                                for one in model.releases
                            ],
                        )
                    )
                )
                yield from (
                    plain(told((one.tag, one.counter, one.assigned, one.label, one.contradiction)))
                    for one in model.assignments
                )
        yield from map(plain, answers(root, repository, commits))


def verbs() -> Iterator[str]:
    """What a promotion, a rollback, a use of the data and more evidence leave in git, here and on the remote."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for key, value in {**IDENTITY, "SOURCE_DATE_EPOCH": "1700000500"}.items():
            patch.setenv(key, value)
        root = new_repository(Path(name, "r"), remote=Path(name, "remote.git"))
        tag(root, "v1.0.0", message="digits v1.0.0\n\nmodel: digits\n")
        commit_file(root, "m", b"2")
        tag(root, "v1.1.0", message="digits v1.1.0\n\nmodel: digits\n")
        git(root, "push", "-q", "origin", "--tags")
        repository = Repository.find(root)
        heard, result = set[tuple[str, bool]](), ObjectDatabase._result

        def listening(self: Any, arguments: Any, **more: Any) -> Any:
            heard.add((arguments[0], more.get("remote", False)))
            return result(self, arguments, **more)

        patch.setattr(ObjectDatabase, "_result", listening)
        first, second = read(repository, "digits").model("digits").releases
        for one, more in (
            (first, {"reason": "good", "told": {"by": "ada"}}),
            (first, {}),
            (second, {"told": {"approval": "eve"}}),
            (first, {"reason": "it is\n bad", "withdraw": True}),
            (second, {"withdraw": True}),
        ):
            yield told(tagging.assign(repository, one, "production", **more))  # type: ignore[arg-type]
        listed = git(
            root, "for-each-ref", "--format=%(refname:short) %(taggerdate:unix) %(contents)", "refs/tags/*#*"
        )
        yield from listed.splitlines()
        yield told(read(repository, "digits").model("digits").rolled_back("production") is not None)
        data, head = "d" * 64, git(root, "rev-parse", "HEAD")
        for candidate, more in (
            ("a", {}),
            ("a", {}),
            ("b", {}),
            ("c", {"may_write": False}),
            ("b", {"may_write": False}),
            ("b", {"known": 2}),
            ("b", {"known": 3}),
        ):
            yield attempted(
                lambda candidate=candidate, more=more: uses.charge(repository, data, candidate * 64, **more)
            )  # type: ignore[misc]
        yield told((uses.count(repository, data), uses.count(repository, "e" * 64)))
        yield git(root, "log", "--format=%an %ae %s %b", f"{uses.USES}{data}")
        yield told(
            [
                ledger.keep(repository, "f" * 64, files, head)
                for files in ({"v1.0.0/a/b": b"1", "c": b"2"}, {"c": b"2"}, {"d": b"3"})
            ]
        )
        yield attempted(lambda: ledger.keep(repository, "f" * 64, {"c": b"other"}, head))
        kept = ledger.open_ledger(repository, "f" * 64)
        yield told(
            (
                kept.paths(),
                kept.paths("v1.0.0/"),
                kept.read("v1.0.0/a/b"),
                attempted(lambda: kept.read("none")),
                git(root, "log", "--format=%an %ae %ct %s", kept.ref).splitlines(),
            )
        )
        git(Path(name), "clone", "-q", str(Path(name, "remote.git")), str(Path(name, "other")))
        other = Repository.find(Path(name, "other"))
        git(other.root, "tag", "-f", "-a", "-m", "moved", "v1.0.0", "HEAD")
        for more in ({"evidence": False}, {}, {"required": True}):
            state = sync(other, **more)  # type: ignore[arg-type]
            yield told(
                (
                    state.remote,
                    state.reached,
                    state.moved,
                    len(state.refs),
                    len(other.local_refs("refs/gradatim")),
                )
            )
        git(other.root, "update-ref", f"refs/gradatim/releases/{'f' * 64}", f"{kept.head}~1")
        sync_ledger(other, state, "f" * 64)
        yield told(ledger.open_ledger(other, "f" * 64).paths())
        git(other.root, "update-ref", f"refs/gradatim/releases/{'f' * 64}", head)
        yield attempted(lambda: sync(other))
        yield attempted(lambda: sync_ledger(other, state, "f" * 64))
        git(other.root, "remote", "set-url", "origin", str(Path(name, "gone.git")))
        yield told((sync(other).reached, attempted(lambda: sync(other, required=True)).partition("(")[0]))
        git(root, "remote", "remove", "origin")
        yield told(
            (sync(Repository.find(root)), tagging.assign(Repository.find(root), second, "beta").remote)
        )
        git(root, "remote", "add", "origin", str(Path(name, "remote.git")))
        git(
            Path(name), "clone", "-q", "--depth", "1", f"file://{name}/remote.git", str(Path(name, "shallow"))
        )
        Repository.find(Path(name, "shallow")).deepen()
        Repository.find(root).try_push("origin")
        yield told(sorted(heard))


def answers(root: Path, repository: Repository, commits: list[str]) -> Iterator[str]:
    """What a repository is asked, and what it says where it cannot."""
    yield told(
        (
            repository.branch(),
            repository.branches(),
            repository.remote,
            repository.remotes(),
            repository.remote_url(),
            repository.short(commits[0]),
            repository.commit_date(commits[0]),
        )
    )
    git(root, "mv", "m0", "renamed")
    (root / "new").mkdir()
    (root / "new" / "m1").write_text("x")
    yield told(
        (
            repository.changed_files(),
            repository.changed_files(untracked=False),
            repository.files_named("m1"),
            repository.tracks(root / "renamed"),
            repository.tracks(root / "new"),
        )
    )
    yield attempted(lambda: repository.resolve("nothing"))
    yield attempted(lambda: repository.is_ancestor(commits[0], commits[1]))
    yield attempted(lambda: repository.is_ancestor(commits[1], commits[0]))
    yield attempted(lambda: repository.is_ancestor("0" * 40, commits[0]))[:60]
    yield attempted(lambda: repository.read_object("0" * 40))[:60]
    yield attempted(lambda: repository.run("nonsense"))[:40]
    yield told(
        [
            repository.has_object(commits[0]),
            repository.has_object("0" * 40),
            repository.has_file(commits[3], "m1"),
            repository.has_file(commits[3], "new"),
        ]
    )
    yield told(
        [
            data and len(data)
            for data in repository.read_objects(
                [f"{commits[3]}:m1", f"{commits[3]}:none", f"{commits[3]}:no ne", f"{commits[3]}:m2"]
            )
        ]
    )
    yield attempted(lambda: repository.update_refs([RefUpdate("refs/tags/v1.0.0", commits[0])]).__class__)
    repository.update_refs(
        [RefUpdate("refs/tags/fresh", commits[0]), RefUpdate("refs/heads/side/of/it", commits[1])]
    )
    yield attempted(
        lambda: repository.update_refs([RefUpdate("refs/tags/fresh", commits[1], commits[2])]).__class__
    )
    yield told(repository.local_refs("refs/heads", "refs/tags/fresh"))
    yield told(
        [
            repository.push("origin", [RefUpdate("refs/tags/fresh", commits[0])]),
            repository.push("origin", [RefUpdate("refs/tags/fresh", commits[0], commits[0])]),
        ]
    )
    yield attempted(lambda: repository.push("origin", [RefUpdate("refs/tags/fresh", commits[1])])).replace(
        "\t", " "
    )
    hook = Path(str(git(root, "remote", "get-url", "origin"))) / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'tags are protected here' >&2\nexit 1\n")
    hook.chmod(0o755)
    for updates in ([RefUpdate("refs/tags/new", commits[0])], [RefUpdate("refs/tags/new", commits[0]), RefUpdate("refs/tags/other", commits[1])]):  # fmt: skip
        yield attempted(lambda updates=updates: repository.push("origin", updates))  # type: ignore[misc]
    hook.unlink()
    git(hook.parents[1], "config", "receive.denyCurrentBranch", "refuse")
    git(hook.parents[1], "config", "transfer.hideRefs", "refs/gradatim")
    yield attempted(lambda: repository.push("origin", [RefUpdate("refs/gradatim/x", commits[0])]))
    git(hook.parents[1], "config", "--unset", "transfer.hideRefs")
    yield told(repository.remote_refs("origin", "refs/tags/*", "refs/heads/*"))
    yield attempted(lambda: repository.fetch("origin", ["refs/tags/none:refs/tags/none"]))
    yield attempted(lambda: repository.fetch("nowhere", []))
    for said in (
        b"fatal: could not read Username for 'https://h'",
        b"error: cannot lock ref 'x': Unable to create '/a/b.lock': File exists.",
        b"ref updates aborted by hook",
        b"hook\nerror: failed to push some refs to 'u'",
        b"! [rejected]\nerror: failed to push some refs to 'u'",
    ):
        yield str(repository._unreachable("origin", said))
    yield told(
        [
            Repository.raced(said)
            for said in ("cannot lock ref 'x'", "x.lock': File exists", "stale info", "no such remote")
        ]
    )
    for own, others in ((None, ["a"]), (None, ["a", "b"]), ("b", ["a", "b"]), (None, ["origin", "b"])):
        for remote in repository.remotes():
            git(root, "remote", "remove", remote)
        for remote in others:
            git(root, "remote", "add", remote, f"https://u:p@{remote}/x")
        git(root, "config", "branch.main.remote", own) if own else None
        one = Repository.find(root)
        yield told((one.remote, one.remote_url(), one.remote_url("b")))
        git(root, "config", "--unset", "branch.main.remote") if own else None
    one = Repository.find(root)
    one.choose_remote = lambda names: sorted(names)[0]
    yield told(one.remote)
    yield told(
        [
            ObjectDatabase(root, root / ".git").text("rev-parse", "--is-bare-repository"),
            os.path.relpath(Repository.find(root / "m1").git_dir, root),
        ]
    )
    git(root, "checkout", "-q", "--detach")
    yield told((one.branch(), attempted(lambda: Repository.find(root.parent))))


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    made.__name__: made for made in (names, changes, stages, words, repositories, verbs)
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_version_no_stage_and_no_word_of_the_registry_changes_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
