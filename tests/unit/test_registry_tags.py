"""The grammar of tags, the order of versions, the next version, the baseline."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_examples import clone, git, new_repository, registry_of, tag

from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.registry import tags
from gradatim.registry.baseline import baseline
from gradatim.registry.git import Repository
from gradatim.registry.history import ModelHistory, Release
from gradatim.registry.sync import sync
from gradatim.registry.tags import SemVer
from gradatim.registry.versions import Change, Level, compare, next_version
from gradatim.signature import Signature, TensorSpec

LADDER = ("alpha", "beta", "production")


def model(*versions: str) -> ModelHistory:
    """A model with these versions released."""
    parsed = sorted(SemVer.parse(version) for version in versions)
    releases = (Release("digits", v, str(v), "0" * 40, "0" * 40, 0) for v in parsed)
    return ModelHistory("digits", tuple(releases), ())


def test_versions_are_ordered_as_semver_orders_them() -> None:
    candidates = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1"
    ordered = [SemVer.parse(version) for version in f"{candidates} 1.0.0 1.0.1 1.10.0".split()]
    assert sorted(ordered, key=str) != ordered
    assert sorted(sorted(ordered, key=str)) == ordered
    assert SemVer.parse("v1.0.0+build.1") == SemVer.parse("1.0.0+build.2")


@given(st.text(alphabet="v1230.-+@#!=abz_/ é", max_size=20))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    found = tags.parse(text)
    if found is not None and found.action == "register" and found.model is None:
        assert str(found.version) == text


@pytest.mark.parametrize(
    ("tag_name", "expected"),
    [
        ("v1.4.0", ("register", None, "v1.4.0", None, 0)),
        ("v1.4.0-beta.2", ("register", None, "v1.4.0-beta.2", None, 0)),
        ("digits@v1.4.0", ("register", "digits", "v1.4.0", None, 0)),
        ("nlp=digits@v1.4.0", ("register", "nlp:digits", "v1.4.0", None, 0)),
        ("digits#production#3", ("assign", "digits", None, "production", 3)),
        ("digits#production", ("assign", "digits", None, "production", 0)),
        ("digits#production!#4", ("unassign", "digits", None, "production", 4)),
        ("digits@v1.4.0!", ("deregister", "digits", "v1.4.0", None, 0)),
        ("digits@deprecated", ("deprecate", "digits", None, None, 0)),
    ],
)
def test_the_grammar_is_that_of_gto_and_bare_versions(tag_name: str, expected: tuple[object, ...]) -> None:
    found = tags.parse(tag_name)
    assert found is not None
    assert (
        found.action,
        found.model,
        found.version and str(found.version),
        found.stage,
        found.counter,
    ) == expected


@pytest.mark.parametrize(
    "name", ["v1.4", "1.4.0", "v01.0.0", "release-7", "digits@1.0.0", "v1.0.0-01", "v1.0.0\n"]
)
def test_other_tags_are_left_alone(name: str) -> None:
    assert tags.parse(name) is None


def test_a_number_that_no_machine_would_count_to_is_no_version_and_no_counter() -> None:
    for name in (f"v{'9' * 5000}.0.0", f"digits@v1.0.{'9' * 5000}", f"digits#production#{'9' * 5000}"):
        assert tags.parse(name) is None
    with pytest.raises(UsageError, match="is not a version"):
        SemVer.parse(f"v1.0.0-beta.{'9' * 5000}")


def test_what_is_written_can_be_read_and_what_git_refuses_is_refused() -> None:
    assert tags.version_tag("nlp:digits", SemVer.parse("1.0.0"), several=True) == "nlp=digits@v1.0.0"
    assert tags.stage_tag("digits", "production", 3, cancel=True) == "digits#production!#3"
    for bad in ("my model", "a//b", "-x", "modèle"):
        with pytest.raises(UsageError, match="cannot stand in a tag"):
            tags.version_tag(bad, SemVer.parse("1.0.0"), several=True)
    with pytest.raises(UsageError, match="cannot stand in a tag"):
        tags.stage_tag("digits", "pro duction", 1)


def signature(**changes: object) -> Signature:
    """Images in, scores out; with changes."""
    image = TensorSpec("image", "float32", ("batch", 1, 8, 8))
    scores = TensorSpec("scores", "float32", ("batch", 10))
    parts = {"inputs": (image,), "outputs": (scores,), **changes}
    return Signature(parts["inputs"], parts["outputs"])  # type: ignore[arg-type]


IMAGE = signature().inputs[0]
SCORES = signature().outputs[0]


@pytest.mark.parametrize(
    ("changes", "level", "reason"),
    [
        ({"inputs": (IMAGE, TensorSpec("mask", "bool", ("batch",)))}, Level.MAJOR, "input `mask` added"),
        (
            {"inputs": (TensorSpec("pixels", "float32", ("batch", 1, 8, 8)),)},
            Level.MAJOR,
            "input `image` removed",
        ),
        ({"inputs": (TensorSpec("image", "int8", ("batch", 1, 8, 8)),)}, Level.MAJOR, "from float32 to int8"),
        ({"inputs": (TensorSpec("image", "float32", ("batch", 1, 9, 8)),)}, Level.MAJOR, "from 8 to 9"),
        ({"inputs": (TensorSpec("image", "float32", (1, 1, 8, 8)),)}, Level.MAJOR, "from dynamic to 1"),
        (
            {"inputs": (TensorSpec("image", "float32", ("batch", 1, "h", 8)),)},
            Level.MINOR,
            "from 8 to dynamic",
        ),
        ({"inputs": (TensorSpec("image", "float32", ("batch", 64)),)}, Level.MAJOR, "from 4 to 2 axes"),
        (
            {"outputs": (TensorSpec("logits", "float32", ("batch", 10)),)},
            Level.MAJOR,
            "output `scores` removed",
        ),
        (
            {"outputs": (SCORES, TensorSpec("embedding", "float32", ("batch", 64)))},
            Level.MINOR,
            "`embedding` added",
        ),
        ({"outputs": (TensorSpec("first", "float32", (1,)), SCORES)}, Level.MAJOR, "another order"),
        ({"inputs": (TensorSpec("image", "float32", ("n", 1, 8, 8)),)}, Level.PATCH, "signature unchanged"),
    ],
)
def test_the_signature_decides_how_much_a_caller_must_do(
    changes: dict[str, object], level: Level, reason: str
) -> None:
    found = compare(signature(), signature(**changes), changed=0, of=597)
    assert found.level is level, found
    assert any(reason in text for text in found.reasons), found


def test_labels_added_at_the_end_are_minor_although_the_output_grows() -> None:
    grown = signature(outputs=(TensorSpec("scores", "float32", ("batch", 11)),))
    digits = [str(digit) for digit in range(10)]
    found = compare(signature(), grown, old_labels=digits, new_labels=[*digits, "none"], changed=0, of=5)
    assert found.level is Level.MINOR
    assert "label `none` added" in found.reasons
    assert compare(signature(), grown, changed=0).level is Level.MAJOR


@pytest.mark.parametrize("new", [["a", "b"], ["a", "b", "d"], ["b", "a", "c"]])
def test_a_label_removed_renamed_or_moved_is_major(new: list[str]) -> None:
    found = compare(signature(), signature(), old_labels=["a", "b", "c"], new_labels=new, changed=0)
    assert found.level is Level.MAJOR


def test_behaviour_decides_between_minor_and_patch() -> None:
    assert compare(signature(), signature(), changed=0, of=597) == Change(
        Level.PATCH, ("same behaviour on all of 597 samples", "signature unchanged")
    )
    changed = compare(signature(), signature(), changed=41, of=597)
    assert changed.level is Level.MINOR
    assert changed.reasons[0] == "behaviour changed on 41 of 597 samples"
    assert compare(signature(), signature()).level is Level.MINOR
    with pytest.raises(UsageError):
        compare(signature(), signature(), changed=5, of=4)


def test_after_a_release_candidate_of_2_0_0_comes_2_0_0() -> None:
    patch = Change(Level.PATCH, ("same",))
    assert str(next_version(model("v1.4.0", "v2.0.0-rc.1"), patch).version) == "v2.0.0"
    assert str(next_version(model("v1.4.0", "v2.0.0-rc.1"), patch, suffix="rc").version) == "v2.0.0-rc.2"
    assert str(next_version(model("v1.4.0", "v1.4.0-rc.1"), patch).version) == "v1.4.1"


def test_the_first_version_is_1_0_0_and_pre_releases_lead_to_it() -> None:
    assert str(next_version(model(), None).version) == "v1.0.0"
    assert str(next_version(model(), None, suffix="alpha").version) == "v1.0.0-alpha.1"
    assert str(next_version(model("v1.0.0-alpha.1"), None, suffix="beta").version) == "v1.0.0-beta.1"
    assert str(next_version(model("v1.0.0-alpha.9"), None, suffix="alpha").version) == "v1.0.0-alpha.10"


def test_a_version_that_is_asked_for_can_only_be_higher() -> None:
    minor = Change(Level.MINOR, ("behaviour changed on 1 of 9 samples",))
    assert str(next_version(model("v1.0.0"), minor, wanted="2.0.0").version) == "v2.0.0"
    assert (
        str(next_version(model("v1.0.0"), minor, wanted="v2.0.0", suffix="beta").version) == "v2.0.0-beta.1"
    )
    assert str(next_version(model("v1.0.0"), minor, wanted="v1.1.0").version) == "v1.1.0"
    for refused in ("v1.0.1", "v1.0.0", "latest"):
        with pytest.raises(UsageError):
            next_version(model("v1.0.0"), minor, wanted=refused)
    with pytest.raises(UsageError, match="exists already"):
        next_version(model("v1.0.0", "v1.1.0-rc.1"), minor, wanted="v1.1.0-rc.1")


def test_a_withdrawn_version_is_not_made_again(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    tag(place, "digits@v1.0.0")
    tag(place, "digits@v1.1.0")
    tag(place, "digits@v1.1.0!")
    found = registry_of(place).model()
    assert str(found.latest) == "v1.0.0"
    assert str(next_version(found, Change(Level.MINOR, ())).version) == "v1.1.1"


def test_the_baseline_is_what_the_next_stage_up_holds(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    tag(place, "v1.0.0")
    tag(place, "digits#production#1")
    git(place, "commit", "-q", "--allow-empty", "-m", "x")
    tag(place, "v1.1.0-beta.1")
    tag(place, "digits#beta#2")
    registry = registry_of(place, "digits")
    found = {stage: baseline(registry, stage, LADDER, model="digits") for stage in LADDER}
    assert {stage: b and (b.label, b.stage) for stage, b in found.items()} == {
        "alpha": ("v1.1.0-beta.1", "beta"),
        "beta": ("v1.0.0", "production"),
        "production": ("v1.0.0", "production"),
    }
    with pytest.raises(UsageError, match="no stage `canary`"):
        baseline(registry, "canary", LADDER)


def test_without_stages_the_baseline_is_the_latest_release(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    for name in ("v1.0.0", "v1.1.0", "v2.0.0-rc.1"):
        tag(place, name)
    found = baseline(registry_of(place), "production", LADDER)
    assert found is not None
    assert (found.label, found.stage) == ("v1.1.0", None)


def test_no_baseline_is_an_answer_only_when_the_registry_proves_it(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    assert baseline(registry_of(place), "alpha", LADDER, sync=sync(Repository.find(place))) is None
    git(place, "commit", "-q", "--allow-empty", "-m", "x")
    git(place, "push", "-q", "origin", "HEAD")
    shallow = clone(tmp_path / "remote.git", tmp_path / "shallow", "--depth", "1")
    with pytest.raises(EnvironmentLacks, match="shallow"):
        baseline(registry_of(shallow), "alpha", LADDER)
    (tmp_path / "remote.git").rename(tmp_path / "gone.git")
    with pytest.raises(EnvironmentLacks, match="did not answer"):
        baseline(registry_of(place), "alpha", LADDER, sync=sync(Repository.find(place)))
