"""Eleven defects of tag registries, each of which gradatim does not have; and agreement with gto."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from registry_examples import (
    IDENTITY,
    clone,
    commit_file,
    git,
    many_tags,
    new_repository,
    registry_of,
    release_files,
    tag,
)

from gradatim.cli import cli
from gradatim.errors import UsageError
from gradatim.registry.git import Repository
from gradatim.registry.history import ModelHistory
from gradatim.registry.reading import read
from gradatim.registry.state import history, status
from gradatim.registry.sync import sync
from gradatim.registry.tagging import VersionTaken, announce, assign, rollback_target
from gradatim.registry.versions import Change, Level, next_version

GTO = Path(sys.executable).with_name("gto")


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


def held_by(place: Path, stage: str, name: str = "digits") -> str:
    holder = registry_of(place, name).model(name).holder(stage)
    return holder.label if holder else "nothing"


def release(place: Path, version: str, **arguments: object) -> None:
    """Tag a release whose bytes are those of its version."""
    files = release_files(place, version, version.encode(), **arguments)  # type: ignore[arg-type]
    announce(Repository.find(place), files.record, files.manifest, files.kept, named="@" in files.tag)


def test_1_a_stage_returns_to_an_earlier_version_without_force(repo: Path) -> None:
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        commit_file(repo, "x", version.encode())
        release(repo, version)
    found = registry_of(repo, "digits").model("digits")
    target = rollback_target(found, "production")
    assert str(target) == "v1.1.0"
    done = assign(Repository.find(repo), target, "production", reason="misreads eights", withdraw=True)
    assert done.tags == ("digits#production!#4", "digits#production#5")
    assert held_by(repo, "production") == "v1.1.0"
    again = registry_of(repo, "digits").model("digits")
    assert str(rollback_target(again, "production")) == "v1.0.0"
    assert str(rollback_target(again, "production", "v1.2.0")) == "v1.2.0"
    assert history(registry_of(repo, "digits"))[-1].reason == "misreads eights"


def test_2_a_release_candidate_and_its_final_version_can_share_a_commit(repo: Path) -> None:
    release(repo, "v2.0.0-rc.1", stage="beta")
    release(repo, "v2.0.0", stage="production")
    assert held_by(repo, "beta") == "v2.0.0-rc.1"
    assert held_by(repo, "production") == "v2.0.0"


def test_3_after_a_release_candidate_comes_its_final_version(repo: Path) -> None:
    for name in ("v1.0.0", "v2.0.0-rc.1"):
        tag(repo, name)
    same = Change(Level.PATCH, ("the same behaviour",))
    assert str(next_version(registry_of(repo).model(), same).version) == "v2.0.0"


def test_4_latest_is_never_a_pre_release(repo: Path) -> None:
    for name in ("v1.0.0", "v2.0.0-rc.1"):
        tag(repo, name)
    registry = registry_of(repo)
    assert str(registry.find("latest")) == "v1.0.0"
    assert str(registry.model().newest) == "v2.0.0-rc.1"


@pytest.mark.parametrize("dates", [(2_000_000_000, 1_000_000_000), (1_700_000_000, 1_700_000_000)])
def test_5_and_6_the_counter_decides_whatever_the_clocks_say(repo: Path, dates: tuple[int, int]) -> None:
    tag(repo, "digits@v1.0.0", date=dates[0])
    tag(repo, "digits#production#1", date=dates[0])
    git(repo, "commit", "-q", "--allow-empty", "-m", "x")
    tag(repo, "digits@v1.1.0", date=dates[1])
    tag(repo, "digits#production#3", date=dates[1])
    assert held_by(repo, "production") == "v1.1.0"


def test_7_a_shallow_clone_is_deepened_before_it_says_anything(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(repo, "v1.0.0")
    commit_file(repo, "x", b"x")
    shallow = clone(tmp_path / "remote.git", tmp_path / "shallow", "--depth", "1")
    assert not registry_of(shallow).complete
    monkeypatch.chdir(shallow)
    warned = CliRunner().invoke(cli, ["status"]).stderr
    assert "this is a shallow clone: older releases may be missing here" in warned
    repository = Repository.find(shallow)
    sync(repository)
    assert read(repository).complete
    assert held_by(shallow, "production") == "v1.0.0"


def test_8_a_lightweight_stage_tag_is_warned_about(repo: Path) -> None:
    tag(repo, "digits@v1.0.0")
    git(repo, "tag", "digits#production#1")
    registry = registry_of(repo)
    assert any("digits#production#1 is lightweight" in warning for warning in registry.warnings)
    assert held_by(repo, "production") == "nothing"


@pytest.mark.parametrize("name", ["v9.9.9", "production", "nonsense", "other@v1.0.0", "latest"])
def test_9_what_does_not_exist_is_an_error(repo: Path, name: str) -> None:
    tag(repo, "digits@v1.0.0-rc.1")
    tag(repo, "digits#beta#1")
    with pytest.raises(UsageError):
        registry_of(repo).find(name)


def test_9_an_empty_stage_says_that_it_holds_nothing(repo: Path) -> None:
    tag(repo, "digits@v1.0.0")
    tag(repo, "digits#production#1")
    tag(repo, "digits#production!#2")
    registry = registry_of(repo)
    with pytest.raises(UsageError, match="holds nothing"):
        registry.find("production")
    (found,) = status(registry, ladder=("alpha", "production"))
    assert [(s.stage, s.label) for s in found.stages] == [("production", "nothing"), ("alpha", "nothing")]


def test_10_a_stage_on_an_unregistered_commit_is_called_that(repo: Path) -> None:
    tag(repo, "digits#production#1")
    commit = git(repo, "rev-parse", "HEAD")
    assert held_by(repo, "production") == f"unregistered commit {commit[:7]}"


def promoted_meanwhile(tmp_path: Path, other: Path, *promotions: tuple[str, str]) -> None:
    """Let the remote take other promotions in while the next push is being received, as in a race."""
    hook = tmp_path / "remote.git" / "hooks" / "pre-receive"
    hook.write_text(
        f'#!/bin/sh\nrm -- "$0"\nunset GIT_DIR GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY '
        f'GIT_ALTERNATE_OBJECT_DIRECTORIES\nexec {sys.executable} -c "\n'
        "from pathlib import Path\nfrom gradatim.registry.git import Repository\n"
        "from gradatim.registry.reading import read\nfrom gradatim.registry.tagging import assign\n"
        f"r = Repository.find(Path('{other}'))\n"
        f"for version, stage in {promotions!r}:\n"
        f"    assign(r, read(r, 'digits').find(version), stage)\n\" >&2\n"
    )
    hook.chmod(0o755)


def test_11_two_promotions_at_once_to_different_stages_both_stand(repo: Path, tmp_path: Path) -> None:
    release(repo, "v1.0.0", stage="alpha")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    promoted_meanwhile(tmp_path, other, ("v1.0.0", "beta"))
    done = assign(Repository.find(repo), registry_of(repo, "digits").find("v1.0.0"), "production")
    assert done.tags == ("digits#production#2",)
    assert (held_by(repo, "production"), held_by(repo, "beta")) == ("v1.0.0", "v1.0.0")
    remote = Repository.find(repo).remote_refs("origin", "refs/tags/*")
    assert set(remote) == set(Repository.find(repo).local_refs("refs/tags"))


def test_11_a_promotion_that_was_overtaken_at_the_same_moment_says_so(repo: Path, tmp_path: Path) -> None:
    for version in ("v1.0.0", "v1.1.0"):
        commit_file(repo, "x", version.encode())
        release(repo, version, stage="alpha")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    promoted_meanwhile(tmp_path, other, ("v1.0.0", "beta"), ("v1.0.0", "production"))
    with pytest.raises(VersionTaken, match=r"it holds v1\.0\.0 now"):
        assign(Repository.find(repo), registry_of(repo, "digits").find("v1.1.0"), "production")


def test_11_a_promotion_that_lost_the_stage_says_so_and_leaves_no_stale_tag(
    repo: Path, tmp_path: Path
) -> None:
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        commit_file(repo, "x", version.encode())
        release(repo, version, stage="alpha")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    promoted_meanwhile(tmp_path, other, ("v1.1.0", "production"))
    with pytest.raises(VersionTaken, match="Somebody else changed production"):
        assign(Repository.find(repo), registry_of(repo, "digits").find("v1.2.0"), "production")
    assert held_by(repo, "production") == "v1.1.0"
    remote = Repository.find(repo).remote_refs("origin", "refs/tags/*production*")
    assert set(remote) == {"refs/tags/digits#production#4"}
    assert set(Repository.find(repo).local_refs("refs/tags")) <= set(
        Repository.find(repo).remote_refs("origin", "refs/tags/*")
    )


def test_bare_versions_belong_to_the_only_model(repo: Path) -> None:
    tag(repo, "v1.0.0")
    tag(repo, "digits#production#1")
    registry = registry_of(repo)
    assert set(registry.models) == {"digits"}
    assert str(registry.find("production")) == "v1.0.0"


def test_a_repository_without_a_contract_and_without_a_name_is_read(repo: Path) -> None:
    tag(repo, "v1.0.0")
    tag(repo, "some-other-tag")
    registry = registry_of(repo)
    assert str(registry.find("1.0.0")) == "v1.0.0"
    assert registry.model().name is None
    assert registry.other_tags == ("some-other-tag",)


def test_several_models_are_told_apart(repo: Path) -> None:
    tag(repo, "digits@v1.0.0")
    tag(repo, "nlp=words@v3.0.0")
    registry = registry_of(repo)
    assert str(registry.find("digits@latest")) == "v1.0.0"
    assert str(registry.find("nlp:words@latest")) == "v3.0.0"
    with pytest.raises(UsageError, match="several models: digits, nlp:words"):
        registry.find("latest")


def test_a_tag_of_a_tag_and_a_tag_of_a_tree_do_no_harm(repo: Path) -> None:
    tag(repo, "v1.0.0")
    tag(repo, "v1.1.0", commit="v1.0.0")
    tag(repo, "v1.2.0", commit="HEAD^{tree}")
    registry = registry_of(repo)
    assert [str(r) for r in registry.model().releases] == ["v1.0.0", "v1.1.0"]
    assert registry.model().releases[1].commit == git(repo, "rev-parse", "HEAD")
    assert any("v1.2.0 marks a tree" in warning for warning in registry.warnings)


def test_status_infers_a_stage_from_the_suffix_where_no_tag_assigns_it(repo: Path) -> None:
    for name in ("v1.0.0", "v1.1.0-beta.1", "v1.1.0-beta.2"):
        tag(repo, name)
    (found,) = status(
        registry_of(repo), ladder=("beta", "production"), suffixes={"beta": "beta", "production": None}
    )
    assert [(s.label, s.inferred) for s in found.stages] == [("v1.0.0", True), ("v1.1.0-beta.2", True)]


def test_status_tells_how_long_a_release_has_soaked(repo: Path) -> None:
    tag(repo, "digits@v1.0.0")
    tag(repo, "digits#beta#1", date=1_700_000_000)
    (found,) = status(registry_of(repo), ladder=("beta",), soak={"beta": 7}, now=1_700_000_000 + 3 * 86_400)
    assert found.stages[0].soaked == (3.0, 7)


# gto is the reference for the grammar: what it shows of our repositories, and we of its, must be the same.


def gto(place: Path, *arguments: str) -> str:
    if not GTO.exists():
        pytest.skip("gto is not installed")
    done = subprocess.run(
        [str(GTO), *arguments, "-r", str(place)], capture_output=True, text=True, check=True
    )
    return done.stdout


def assert_agreement(place: Path, *, versions_of: str | None = None) -> None:
    """gto's picture of a repository is that of ``gradatim status``: versions, the newest, what each stage holds."""
    shown = json.loads(gto(place, "show", "--json"))
    registry = registry_of(place)
    states = {found.name: found for found in status(registry)}
    for name, found in shown.items():
        ours = states[name]
        assert found["version"] == (str(ours.newest) if ours.newest else None)
        held = {stage.stage: _as_gto_says(registry.model(name), stage.stage) for stage in ours.stages}
        assert _some(found["stage"]) == _some(held)
    if versions_of is not None:
        listed = json.loads(gto(place, "show", versions_of, "--json"))
        assert {entry["version"] for entry in listed} == {
            str(r) for r in registry.model(versions_of).releases
        }


def _some(held: dict[str, str | None]) -> dict[str, str]:
    return {stage: label for stage, label in held.items() if label is not None}


def _as_gto_says(model: ModelHistory, stage: str) -> str | None:
    holder = model.holder(stage)
    if holder is None:
        return None
    return str(holder.release) if holder.release else holder.commit


@pytest.mark.parametrize("by", ["gradatim", "gto"])
def test_gto_and_status_agree_on_200_tags(tmp_path: Path, by: str) -> None:
    place = many_tags(tmp_path / "many", 200, by=by)
    assert len(registry_of(place).model("digits").releases) == 96
    assert_agreement(place, versions_of="digits" if by == "gradatim" else None)


def test_gto_reads_what_gradatim_writes(repo: Path) -> None:
    for number, version in enumerate(("v1.0.0-beta.1", "v1.0.0", "v1.1.0")):
        commit_file(repo, "x", version.encode(), date=1_700_000_000 + number)
        release(repo, version, named=True, stage="beta" if "beta" in version else "production")
    assert_agreement(repo)
    model = registry_of(repo).model("digits")
    assign(Repository.find(repo), model.release("v1.0.0"), "production", reason="broken", withdraw=True)
    assert held_by(repo, "production") == "v1.0.0"
    assert_agreement(repo)


def test_gradatim_reads_what_gto_writes(repo: Path) -> None:
    if not GTO.exists():
        pytest.skip("gto is not installed")
    shutil.rmtree(repo / ".gradatim", ignore_errors=True)
    gto(repo, "register", "digits", "--version", "v1.0.0")
    gto(repo, "assign", "digits", "--version", "v1.0.0", "--stage", "production")
    commit_file(repo, "x", b"x", date=1_700_000_100)
    gto(repo, "register", "digits")
    gto(repo, "register", "nlp/words", "--version", "v0.1.0")
    assert_agreement(repo)
    assert held_by(repo, "production") == "v1.0.0"
    assert str(registry_of(repo).find("digits@latest")) == "v1.0.1"


def test_status_of_1500_tags_costs_less_than_a_fifth_of_a_second(tmp_path: Path) -> None:
    place = many_tags(tmp_path / "many", 1500, prefix="")
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from gradatim.registry.git import Repository; from gradatim.registry.reading import read\n"
        "from gradatim.registry.state import status\n"
        f"(found,) = status(read(Repository.find(Path({str(place)!r}))))\n"
        "assert found.stages[0].label == 'v1.143.4-rc.1', found\n"
        "assert not {'numpy', 'pydantic', 'yaml', 'tempfile'} & set(sys.modules), sys.modules\n"
        "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "print(sum(u.ru_utime + u.ru_stime for u in used))\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert min(float(run.stdout) for run in runs) < 0.2


def test_what_a_stranger_wrote_into_a_tag_or_an_answer_steers_no_terminal(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A title, another colour, a line over the one before: who may push a tag could tell whoever looks anything."""
    spell = "\x1b]0;title\x07\x1b[1A\x9b2K\rv9.9.9"
    said = f"digits v1.0.0\n\nreason: {spell}\nprevious: {spell}\napproval: {spell}\nmodel: digits\n"
    for name in ("digits@v1.0.0", "digits#production#1"):
        git(repo, "tag", "-a", name, "--cleanup=verbatim", "-m", said, GIT_COMMITTER_NAME=f"Eve{spell}")
    monkeypatch.chdir(repo)
    for words in (["status"], ["history"], ["verify", "digits@v1.0.0"], ["diff", "digits@v1.0.0", spell]):
        done = subprocess.run([sys.executable, "-m", "gradatim", *words], capture_output=True, check=False)
        told = (done.stdout + done.stderr).decode()
        assert told, words
        assert not {"\x1b", "\x07", "\x9b", "\r"} & set(told), (words, told)
