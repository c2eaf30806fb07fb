"""Releases in Subversion: a real ``svnserve`` on loopback, working copies of it, and checkouts of git-svn.

They run where svn is installed (``apt install subversion git-svn``). ``nox -s subversion`` runs all of them, the walk
from a model to a release among them.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from projects.small import write_model
from projects.subversion import APACHE_MODULES, MISSING, Checkout, apache, make_repository, svn, svnserve
from registry_examples import git, registry_of, release_files

from gradatim.candidate.repository import repository_of
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import BrokenEvidence, EnvironmentLacks, GradatimError, UsageError
from gradatim.evidence.verify import Verification
from gradatim.projects.ladder import branches, climb
from gradatim.publishers.folder import FolderPublisher
from gradatim.publishers.retrieval import retrieve
from gradatim.registry.git import PushRejected, RefUpdate
from gradatim.registry.history import LEDGER
from gradatim.registry.ledger import open_ledger
from gradatim.registry.sync import sync
from gradatim.registry.tag_object import tag_object
from gradatim.registry.tagging import Announcement, VersionTaken, announce, assign
from gradatim.registry.uses import charge
from gradatim.releasing.publishing import publish
from gradatim.releasing.verification import verify_version
from gradatim.subversion.checkout import open as open_checkout

pytestmark = pytest.mark.skipif(
    MISSING is not None, reason=f"{MISSING} is not installed: apt install subversion"
)

needs_git_svn = pytest.mark.skipif(
    subprocess.run(["git", "svn", "--version"], capture_output=True, check=False).returncode != 0,
    reason="git-svn is not installed: apt install git-svn",
)


@dataclass(frozen=True)
class Served:
    """A folder of repositories behind one server, among them ``template``, which has a model in its trunk."""

    folder: Path
    url: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("svn")
    make_repository(folder, "template")
    with svnserve(folder) as url:
        made = Checkout(f"{url}/template/trunk", tmp_path_factory.mktemp("template") / "trunk")
        made.write("model/digits.onnx", "weights")
        made.commit()
        yield Served(folder, url)


@pytest.fixture
def repository_folder(served: Served, tmp_path: Path) -> Path:
    """A repository of this test's own: trunk with a model, tags and branches at its top."""
    return Path(shutil.copytree(served.folder / "template", served.folder / tmp_path.name))


@pytest.fixture
def server(served: Served, repository_folder: Path) -> str:
    """The URL of the test's own repository."""
    return f"{served.url}/{repository_folder.name}"


@pytest.fixture
def checkout(server: str, tmp_path: Path) -> Checkout:
    """A working copy of its trunk."""
    return Checkout(f"{server}/trunk", tmp_path / "first")


def released(place: Path, version: str = "v1.0.0", data: bytes = b"weights", **more: str) -> Announcement:
    """Tag a release whose evidence says that all is well."""
    files = release_files(place, version, data, **more)  # type: ignore[arg-type]
    return announce(open_checkout(place), files.record, files.manifest, files.kept)


def verified(place: Path, version: str = "v1.0.0") -> Verification:
    repository = open_checkout(place)
    state = sync(repository, required=True)
    registry = registry_of(place, "digits")
    return verify_version(repository, registry, registry.find(version, "digits"), sync=state)


def problems(found: Verification) -> set[str]:
    return {finding.problem for finding in found.findings}


def tags_of(server: str) -> list[str]:
    return [name.rstrip("/") for name in svn("list", f"{server}/tags").splitlines()]


def newest(server: str) -> str:
    return svn("info", "--show-item", "revision", server)


def race(*work: tuple[Path, str, bytes]) -> list[str]:
    """Release at the same moment from several places; gives ``won`` or the refusal of each."""

    def one(place: Path, version: str, data: bytes) -> str:
        try:
            released(place, version, data)
        except GradatimError as error:
            return f"{type(error).__name__}: {error}"
        return "won"

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(lambda arguments: one(*arguments), work))


@pytest.mark.slow
def test_a_working_copy_is_released_and_the_next_checkout_takes_it_as_its_baseline(
    server: str, tmp_path: Path
) -> None:
    first = Checkout(f"{server}/trunk", tmp_path / "first")
    first.lay_down()
    released_from = newest(server)
    done = first.gradatim("run")
    assert done.code == 0, done.said
    assert f"candidate r{released_from}" in done.err
    assert tags_of(server) == ["small#production#1", "v1.0.0"]
    made = svn("log", "--verbose", "--revision", str(int(released_from) + 1), server)
    for path in (
        f"A /tags/v1.0.0 (from /trunk:{released_from})",
        f"A /tags/small#production#1 (from /trunk:{released_from})",
        "A /gradatim/releases/",
    ):
        assert path in made, "tag, stage and evidence arrive in one commit"
    second = Checkout(f"{server}/trunk", tmp_path / "second")
    assert '"label": "v1.0.0"' in second.gradatim("status", "--json").out
    assert f"r{released_from}" in second.gradatim("history").out
    assert second.gradatim("verify", "production").code == 0
    again = first.gradatim("run")
    assert again.code == 0, again.said
    assert tags_of(server) == ["small#production#1", "v1.0.0"]
    write_model(second.folder / "model/small.onnx", bias=1e-6)
    second.commit("Another model")
    done = second.gradatim("run", "--only", "build", "--only", "evaluate")
    assert done.code == 0, done.said
    assert "production holds v1.0.0" in done.err
    evidence = json.loads((second.folder / ".gradatim/evidence/evaluate.json").read_text())
    assert "baseline" in evidence["predicate"]["details"]["variants"]
    where = evidence["predicate"]["environment"]["subversion"]
    assert (where["url"], where["revision"]) == (f"{server}/trunk", int(newest(server)))


def test_promotion_and_rollback_are_seen_by_every_checkout(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    released(checkout.folder, "v1.0.0", b"one")
    released(checkout.folder, "v1.1.0", b"two")
    other = Checkout(f"{server}/trunk", tmp_path / "second")
    repository = open_checkout(other.folder)
    sync(repository)
    good = registry_of(other.folder, "digits").find("v1.0.0")
    assign(repository, good, "production", reason="misreads eights", withdraw=True)
    sync(open_checkout(checkout.folder))
    held = registry_of(checkout.folder, "digits").model("digits").holder("production")
    assert held is not None
    assert (held.label, held.trailers["reason"]) == ("v1.0.0", "misreads eights")
    assert "digits#production!#3" in tags_of(server)


def test_of_racing_taggers_one_wins_and_the_others_leave_nothing(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    others = [Checkout(f"{server}/trunk", tmp_path / f"other-{number}") for number in range(2)]
    places = [checkout.folder, *(other.folder for other in others)]
    for number in range(2):
        before = int(newest(server))
        outcomes = race(*((place, f"v1.{number}.0", place.name.encode()) for place in places))
        assert sorted(outcome == "won" for outcome in outcomes) == [False, False, True], outcomes
        assert sum("was released already" in outcome for outcome in outcomes) == 2, outcomes
        assert int(newest(server)) == before + 1
    for place in places:
        sync(open_checkout(place))
        repository = open_checkout(place)
        assert repository.local_refs() == {
            ref: r.id for ref, r in repository.remote_refs("Subversion").items()
        }
        assert problems(verified(place, "v1.1.0")) == {"unreachable"}, "it was published nowhere"


def test_the_same_release_from_two_checkouts_is_one_release(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    other = Checkout(f"{server}/trunk", tmp_path / "other")
    assert race((checkout.folder, "v1.0.0", b"same"), (other.folder, "v1.0.0", b"same")) == ["won", "won"]
    assert tags_of(server) == ["digits#production#1", "v1.0.0"]


@pytest.mark.parametrize(
    "change", ["deleted", "committed to", "made again from elsewhere", "property changed"]
)
def test_a_tag_that_somebody_touched_is_noticed(
    server: str, checkout: Checkout, tmp_path: Path, change: str
) -> None:
    released(checkout.folder)
    assert verified(checkout.folder).holds
    url = f"{server}/tags/v1.0.0"
    if change in ("deleted", "made again from elsewhere"):
        svn("rm", "-m", "gone", url)
    if change == "made again from elsewhere":
        svn("copy", "-m", "again", f"{server}/trunk@1", url)
    if change == "committed to":
        svn("mkdir", "-m", "an extra", f"{url}/extra")
    if change == "property changed":
        tag = Checkout(url, tmp_path / "tag")
        tag.svn("propset", "-q", "gradatim:tag", "object of nobody", ".")
        tag.svn("commit", "-q", "-m", "forged")
    assert "moved tag" in problems(verified(checkout.folder))
    fresh = Checkout(f"{server}/trunk", tmp_path / "fresh")
    if change == "deleted":
        with pytest.raises(UsageError, match=r"no version v1\.0\.0"):
            verified(fresh.folder)
    else:
        assert problems(verified(fresh.folder)) == {"unproven tag"}


def test_a_version_whose_folder_is_taken_is_refused_not_nested(server: str, checkout: Checkout) -> None:
    svn("copy", "-m", "by hand", f"{server}/trunk", f"{server}/tags/v1.0.0")
    with pytest.raises(VersionTaken):
        released(checkout.folder)
    assert tags_of(server) == ["v1.0.0"]
    assert "trunk" not in svn("list", f"{server}/tags/v1.0.0")


def test_a_tag_made_by_hand_counts_and_its_model_can_be_had(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    svn("copy", "-m", "by hand", f"{server}/trunk", f"{server}/tags/v0.9.0")
    repository = open_checkout(checkout.folder)
    sync(repository)
    registry = registry_of(checkout.folder, "digits")
    old = registry.find("v0.9.0")
    assert "lightweight" in registry.warnings[0]
    found = retrieve(repository, old.commit, tmp_path / "base", path="model/digits.onnx")
    assert (found.folder / "digits.onnx").read_text() == "weights"


def test_damaged_evidence_is_refused_and_names_the_revision(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    released(checkout.folder)
    kept = Checkout(f"{server}/gradatim/releases", tmp_path / "kept")
    (pack,) = kept.folder.glob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(bytes(data))
    kept.svn("commit", "-q", "-m", "one bit")
    fresh = Checkout(f"{server}/trunk", tmp_path / "fresh")
    with pytest.raises(BrokenEvidence, match=f"revision {newest(server)} changed it"):
        verified(fresh.folder)
    assert verified(checkout.folder).holds, "who has the evidence already still has it"


def test_only_a_working_copy_of_one_unchanged_revision_is_tagged(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    repository = open_checkout(checkout.folder)
    repository.check_taggable()
    assert repository.changed_files(untracked=False) == []
    checkout.write("model/digits.onnx", "changed")
    checkout.write("notes.txt", "new")
    assert repository.changed_files(untracked=False) == ["model/digits.onnx"]
    assert repository.changed_files() == ["model/digits.onnx", "notes.txt"]
    checkout.svn("commit", "-q", "-m", "mixed now")
    with pytest.raises(UsageError, match=r"several revisions \(2:3\).*svn update"):
        repository.check_taggable()
    checkout.svn("update", "-q")
    repository.check_taggable()
    assert repository.short(repository.head()) == "r3"
    svn("copy", "-q", "-m", "b", f"{server}/trunk", f"{server}/branches/beta")
    checkout.svn("update", "-q")
    checkout.svn("switch", "-q", f"{server}/branches/beta/model", "model")
    with pytest.raises(UsageError, match="switched"):
        repository.check_taggable()
    sparse = tmp_path / "sparse"
    svn("checkout", "-q", "--depth", "files", f"{server}/trunk", str(sparse))
    with pytest.raises(UsageError, match="set-depth infinity"):
        open_checkout(sparse).check_taggable()


def test_the_layouts_that_teams_use_are_understood(server: str, tmp_path: Path) -> None:
    svn(
        "mkdir",
        "-q",
        "-m",
        "a",
        "--parents",
        *(f"{server}/my%20tëam/{name}" for name in ("trunk", "tags", "branches")),
    )
    one = Checkout(f"{server}/my%20tëam/trunk", tmp_path / "one")
    one.write("model/digits.onnx", "weights")
    one.commit()
    released(one.folder, "v1.0.0", b"weights")
    svn("copy", "-q", "-m", "b", f"{server}/my%20tëam/trunk", f"{server}/my%20tëam/branches/beta")
    whole = Checkout(server, tmp_path / "whole")
    trunk = open_checkout(whole.folder / "my tëam/trunk/model")
    assert trunk.root == whole.folder / "my tëam/trunk"
    assert trunk.branch() == "trunk"
    beta = open_checkout(whole.folder / "my tëam/branches/beta")
    assert beta.branch() == "beta"
    sync(beta, required=True)
    found = registry_of(beta.root, "digits").find("v1.0.0")
    assert beta.sha256(found.commit, "model/digits.onnx") == trunk.sha256(trunk.head(), "model/digits.onnx")
    assert open_checkout(whole.folder / "my tëam/tags/v1.0.0").branch() is None
    with pytest.raises(EnvironmentLacks, match="usual folders"):
        open_checkout(whole.folder)
    part = Checkout(f"{server}/my%20tëam/trunk/model", tmp_path / "part")
    with pytest.raises(EnvironmentLacks, match="a tag is a copy of all of"):
        open_checkout(part.folder)


def test_names_with_at_and_hash_are_folders_like_any_other(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    files = release_files(checkout.folder, "v1.0.0", named=True)
    announce(open_checkout(checkout.folder), files.record, files.manifest, files.kept, named=True)
    assert tags_of(server) == ["digits#production#1", "digits@v1.0.0"]
    odd = ("tags/release 1", "tags/a..b=digits@v1.0.0", "tags/v1.0.0-rc.lock", "gradatim/releases/notes.pack")
    svn("mkdir", "-q", "-m", "what git could not name", *(f"{server}/{quote(name)}@" for name in odd))
    other = Checkout(f"{server}/trunk", tmp_path / "other")
    assert verified(other.folder, "digits@v1.0.0").holds


def test_the_small_repository_can_be_deleted_at_any_time(server: str, checkout: Checkout) -> None:
    released(checkout.folder)
    shutil.rmtree(checkout.folder / ".gradatim")
    assert verified(checkout.folder).holds
    released(checkout.folder, "v1.1.0", b"next")
    assert "v1.1.0" in tags_of(server)


def test_uses_of_a_test_set_are_counted_across_checkouts(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    other = Checkout(f"{server}/trunk", tmp_path / "other")
    data = "d" * 64
    numbers = [
        charge(open_checkout(place), data, candidate * 64)
        for place, candidate in (
            (checkout.folder, "1"),
            (other.folder, "2"),
            (checkout.folder, "3"),
            (other.folder, "1"),
        )
    ]
    assert [found.number if found else None for found in numbers] == [1, 2, 3, 1]
    repository = open_checkout(other.folder)
    ref = f"refs/gradatim/uses/{data}"
    head = repository.remote_refs("Subversion", ref)[ref].id
    with pytest.raises(PushRejected):
        repository.push("Subversion", [RefUpdate(ref, head, None)])


def test_a_commit_that_the_server_refuses_leaves_nothing_and_says_why(
    server: str, checkout: Checkout, repository_folder: Path
) -> None:
    hook = repository_folder / "hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho 'Releases are frozen until Monday.' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(EnvironmentLacks, match="frozen until Monday"):
        released(checkout.folder)
    assert tags_of(server) == []
    assert open_checkout(checkout.folder).local_refs() == {}


def test_a_server_that_is_down_or_silent_or_wants_a_password_is_an_error_not_an_empty_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "svn").mkdir()
    make_repository(tmp_path / "svn")
    passwords = tmp_path / "passwords"
    passwords.write_text("[users]\nada = secret\n")
    with svnserve(tmp_path / "svn") as url:
        checkout = Checkout(f"{url}/team/trunk", tmp_path / "first")
        checkout.lay_down()
        repository = open_checkout(checkout.folder)
        files = release_files(checkout.folder, "v1.0.0", name="small")
        publish(repository, files, [FolderPublisher(tmp_path / "releases", root=checkout.folder)])
    down = checkout.gradatim("status")
    assert down.code == 4, down.said
    assert f"Subversion ({url}/team) could not be used" in down.err
    offline = checkout.gradatim("verify", "v1.0.0", "--offline")
    assert offline.code == 0, offline.said
    assert "the server, which was not asked" in offline.out
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))), monkeypatch.context() as patience:
        patience.setenv("GRADATIM_PATIENCE", "1")
        with pytest.raises(EnvironmentLacks, match="did not answer `svn`"):
            sync(open_checkout(checkout.folder), required=True)
    with svnserve(tmp_path / "svn", f"anon-access = none\npassword-db = {passwords}\n", like=url):
        locked = checkout.gradatim("status")
    assert locked.code == 4, locked.said
    assert "Let svn ask for your name" in locked.err


@pytest.mark.skipif(
    shutil.which("apache2") is None or not (APACHE_MODULES / "mod_dav_svn.so").exists(),
    reason="Apache with mod_dav_svn is not installed: apt install apache2 libapache2-mod-svn",
)
def test_over_http_one_racer_wins_too_and_every_checkout_sees_one_release(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # for the user that Apache serves as
        make_repository(Path(folder))
        with apache(Path(folder)) as url:
            places = [Checkout(f"{url}/team/trunk", tmp_path / name).folder for name in ("one", "two")]
            for version in ("v1.0.0", "v1.1.0"):
                outcomes = race(*((place, version, f"{place.name} {version}".encode()) for place in places))
                assert sorted(outcome == "won" for outcome in outcomes) == [False, True], outcomes
                assert sum("was released already" in outcome for outcome in outcomes) == 1, outcomes
            for place in places:
                assert problems(verified(place, "v1.1.0")) == {"unreachable"}, "it was published nowhere"
            svn("rm", "-m", "gone", f"{url}/team/tags/v1.1.0")
            assert "moved tag" in problems(verified(places[0], "v1.1.0"))


def test_the_other_commands_know_where_they_are(server: str, checkout: Checkout) -> None:
    svn("copy", "-q", "-m", "a branch", f"{server}/trunk", f"{server}/branches/staging")
    assert climb(branches(checkout.folder)) == (("beta", "staging"), ("production", "trunk"))
    checkout.lay_down()
    found = checkout.gradatim("doctor", "--json")
    assert found.code == 1, found.said
    assert [one["where"] for one in found.record["findings"]] == ["branches/beta"]
    refused = checkout.gradatim("protect")
    assert refused.code == 2, refused.said
    assert "working copy of Subversion" in refused.err


@needs_git_svn
def test_a_git_svn_checkout_tags_in_git_and_copies_in_subversion(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    place = git_svn(server, tmp_path / "git")
    git(place, "init", "-q", "--bare", str(tmp_path / "remote.git"))
    git(place, "remote", "add", "origin", str(tmp_path / "remote.git"))
    done = released(place)
    assert done.remote == "origin"
    assert "refs/tags/v1.0.0" in git(place, "ls-remote", "origin")
    assert tags_of(server) == ["v1.0.0"], "stages are git's alone"
    assert "(from /trunk:2)" in svn("log", "-v", "-r", "3", server)
    repository = open_checkout(place)
    assert repository.revision(repository.head())["subversion"]["url"] == f"{server}/trunk"
    assert repository.revision(repository.head())["subversion"]["revision"] == 2
    assert not released(place).created, "a second run finds all of it"
    svn("copy", "-m", "by hand", f"{server}/trunk", f"{server}/tags/v1.0.1")
    with pytest.raises(UsageError, match="already has"):
        released(place, "v1.0.1", b"another")
    assert "v1.0.1" not in git(place, "ls-remote", "origin")
    git(place, "commit", "-q", "--allow-empty", "-m", "not in Subversion")
    with pytest.raises(UsageError, match="git svn dcommit"):
        repository.check_taggable()
    with pytest.raises(UsageError, match="git svn dcommit"):
        released(place, "v1.1.0", b"next")
    assert "v1.1.0" not in git(place, "ls-remote", "origin")


@needs_git_svn
def test_a_version_that_git_refuses_is_taken_back_from_subversion(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    place = git_svn(server, tmp_path / "git")
    remote = tmp_path / "remote.git"
    git(place, "init", "-q", "--bare", str(remote))
    git(place, "remote", "add", "origin", str(remote))
    files = release_files(place, "v1.0.0")
    repository = open_checkout(place)
    hook = remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(EnvironmentLacks, match="hook declined"):
        released(place)
    assert tags_of(server) == []
    hook.unlink()
    identity = tag_object(repository, "v1.0.0", files.record.commit, files.record.tag_message(), "1 +0000")
    git(place, "push", "-q", "origin", "HEAD:refs/tags/v1.0.0")
    with pytest.raises(PushRejected):
        repository.push("origin", [RefUpdate("refs/tags/v1.0.0", identity)])
    assert tags_of(server) == []


def test_a_git_remote_in_the_contract_of_a_working_copy_is_refused_at_its_line(checkout: Checkout) -> None:
    contract = checkout.folder / "gradatim.yml"
    contract.write_text("model: {name: digits, path: model/digits.onnx}\nregistry: {remote: upstream}\n")
    with pytest.raises(UsageError, match=r"gradatim\.yml:2: .*is no git repository"):
        repository_of(read_contract(contract), Laptop())


@needs_git_svn
def test_without_a_git_remote_git_svn_checkouts_share_the_registry_through_subversion(
    server: str, checkout: Checkout, tmp_path: Path
) -> None:
    places = [git_svn(server, tmp_path / name) for name in ("one", "two")]
    outcomes = race(*((place, "v1.0.0", place.name.encode()) for place in places))
    assert sorted(outcome == "won" for outcome in outcomes) == [False, True], outcomes
    for place in (*places, checkout.folder):
        sync(open_checkout(place), required=True)
        found = registry_of(place, "digits").find("production")
        assert found.manifest is not None
        assert open_ledger(open_checkout(place), found.manifest, fetch=False).head
    assert open_checkout(checkout.folder).has_file(found.commit, "model/digits.onnx")
    assert list(open_checkout(places[0]).local_refs(LEDGER))


def git_svn(server: str, place: Path) -> Path:
    done = subprocess.run(
        ["git", "svn", "clone", "--quiet", "--stdlayout", server, str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    git(place, "config", "user.name", "Ada")
    git(place, "config", "user.email", "ada@example.org")
    return place
