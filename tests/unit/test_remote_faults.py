"""What the registry does where the remote, the network or git itself does not do as it should."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from registry_examples import act_as_ada, clone, commit_file, git, new_repository, registry_of, release_files

from gradatim.errors import EnvironmentLacks
from gradatim.registry import git_process
from gradatim.registry.git import PushRejected, RefsHidden, RefUpdate, Repository
from gradatim.registry.history import LEDGER
from gradatim.registry.ledger import keep
from gradatim.registry.sync import sync
from gradatim.registry.tagging import announce

DROPPING = (
    "#!/bin/sh\ngit for-each-ref --format='%(refname)' refs/gradatim | xargs -r -n1 git update-ref -d\n"
)


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    act_as_ada(monkeypatch)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


def release(place: Path, version: str = "v1.0.0", data: bytes = b"weights") -> str:
    """Tag a release; its manifest digest."""
    files = release_files(place, version, data)
    announce(Repository.find(place), files.record, files.manifest, files.kept)
    return files.manifest.digest


def gradatim(place: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments], cwd=place, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def hook(place: Path, name: str, text: str) -> Path:
    path = place / ("hooks" if place.suffix == ".git" else ".git/hooks") / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_eight_at_once_follow_a_remote_that_has_moved(repo: Path, tmp_path: Path) -> None:
    """Steps that run side by side: `git update-ref` knew nothing of one another and three of four failed."""
    digest = release(repo)
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    sync(Repository.find(other))
    with ThreadPoolExecutor(8) as pool:
        for number in range(6):
            keep(Repository.find(repo), digest, {f"note-{number}": b"x"}, git(repo, "rev-parse", "HEAD"))
            for done in [pool.submit(sync, Repository.find(other), required=True) for _ in range(8)]:
                assert done.result().reached
            assert git(other, "rev-parse", f"{LEDGER}{digest}") == git(repo, "rev-parse", f"{LEDGER}{digest}")


@pytest.mark.parametrize("how", ["hidden", "dropped"])
def test_a_remote_that_shows_no_evidence_took_no_release_and_a_second_run_repairs_it(
    repo: Path, tmp_path: Path, how: str
) -> None:
    remote = tmp_path / "remote.git"
    if how == "hidden":
        git(remote, "config", "uploadpack.hideRefs", "refs/gradatim")
    else:
        dropping = hook(remote, "post-receive", DROPPING)
    with pytest.raises(RefsHidden, match="does not show refs/gradatim/releases/"):
        release(repo)
    with pytest.raises(RefsHidden):
        release(repo)
    if how == "hidden":
        git(remote, "config", "--unset", "uploadpack.hideRefs")
    else:
        dropping.unlink()
    digest = release(repo)
    assert git(remote, "for-each-ref", f"{LEDGER}{digest}")
    assert gradatim(clone(remote, tmp_path / "new"), "verify", "v1.0.0", "--offline")[0] == 3, (
        "not fetched yet"
    )


def test_another_clone_gives_a_tag_back_the_evidence_that_the_remote_has_lost(
    repo: Path, tmp_path: Path
) -> None:
    digest = release(repo)
    git(tmp_path / "remote.git", "update-ref", "-d", f"{LEDGER}{digest}")
    fresh = clone(tmp_path / "remote.git", tmp_path / "fresh")
    assert release(fresh) == digest
    assert git(tmp_path / "remote.git", "for-each-ref", f"{LEDGER}{digest}")


@pytest.mark.parametrize("what", ["verify v1.0.0", "status --fetch"])
def test_a_server_that_says_nothing_is_given_up(
    repo: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(repo)
    monkeypatch.setenv("GRADATIM_PATIENCE", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        git(repo, "remote", "set-url", "origin", f"git://127.0.0.1:{silent.getsockname()[1]}/digits.git")
        started = time.monotonic()
        code, said = gradatim(repo, *what.split())
    assert time.monotonic() - started < 15
    assert "said nothing for 1 seconds" in said
    assert code == (4 if "status" in what else 3), "what no place vouches for is not believed offline either"


def test_a_push_that_a_hook_holds_for_ever_is_given_up(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(tmp_path / "remote.git", "pre-receive", "#!/bin/sh\nsleep 60\n")
    monkeypatch.setenv("GRADATIM_PATIENCE", "1")
    started = time.monotonic()
    with pytest.raises(EnvironmentLacks, match=r"git -C .* said nothing|said nothing for 1 seconds"):
        release(repo)
    assert time.monotonic() - started < 15


def test_a_version_that_is_not_here_is_not_said_to_be_nowhere_while_the_remote_is_silent(repo: Path) -> None:
    git(repo, "remote", "set-url", "origin", str(repo.with_name("gone.git")))
    code, said = gradatim(repo, "verify", "v1.0.0")
    assert code == 4, said
    assert "There is no version v1.0.0" in said
    assert "The remote origin" in said
    assert "could not be used" in said


def test_verifying_one_release_fetches_the_evidence_of_that_one(repo: Path, tmp_path: Path) -> None:
    wanted = [release(repo, f"v1.{n}.0", b"%d" % n) for n in range(4)]
    fresh = clone(tmp_path / "remote.git", tmp_path / "fresh")
    gradatim(fresh, "verify", "v1.2.0")
    kept = git(fresh, "for-each-ref", "--format=%(refname)", "refs/gradatim").splitlines()
    assert kept == [f"{LEDGER}{wanted[2]}"]


def test_what_git_writes_for_us_survives_a_power_cut(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git itself tells what it has flushed: each object and each reference."""
    told = tmp_path / "trace"
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(told))
    repository = Repository.find(repo)
    blob = repository.write_blob(b"evidence")
    repository.update_refs([RefUpdate("refs/gradatim/x", blob)])
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    flushed = [line["sid"] for line in lines if line.get("key") == "fsync/hardware-flush"]
    started = {line["sid"]: line["argv"] for line in lines if line["event"] == "start"}
    commands = " ".join(word for sid in flushed for word in started[sid])
    assert "hash-object" in commands
    assert "update-ref" in commands


# whose fault it is


def test_the_words_of_a_pre_push_hook_are_told(repo: Path) -> None:
    hook(repo, "pre-push", "#!/bin/sh\necho 'no releases on a Friday' >&2\nexit 1\n")
    with pytest.raises(EnvironmentLacks, match=r"A hook .*pre-push.* no releases on a Friday"):
        release(repo)


def test_a_connection_that_broke_is_laid_to_no_hook(repo: Path) -> None:
    """What git says of a connection that was cut in the middle of its answer; a remote that died after byte 569 of it did."""
    said = b"error: error in sideband demultiplexer\nerror: failed to push some refs to 'git://127.0.0.1:1/remote.git'\n"
    found = Repository.find(repo)
    assert "could not be used: error in sideband" in str(found._unreachable("origin", said))


def test_a_hook_of_this_clone_that_refuses_references_is_named(repo: Path, tmp_path: Path) -> None:
    digest = release(repo)
    hook(repo, "reference-transaction", "#!/bin/sh\nexit 1\n")
    with pytest.raises(EnvironmentLacks, match=r"A hook of .*reference-transaction"):
        Repository.find(repo).update_refs([RefUpdate("refs/tags/x", git(repo, "rev-parse", "HEAD"))])
    (repo / ".git/hooks/reference-transaction").unlink()
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    hook(other, "reference-transaction", "#!/bin/sh\nexit 1\n")
    with pytest.raises(EnvironmentLacks, match=r"A hook of .*reference-transaction"):
        sync(Repository.find(other), required=True)
    assert digest


def test_a_lock_that_somebody_left_is_named(repo: Path) -> None:
    commit = git(repo, "rev-parse", "HEAD")
    lock = repo / ".git" / "refs" / "tags" / "x.lock"
    lock.touch()
    with pytest.raises(PushRejected, match=r"refs/tags/x\.lock is in the way: .* delete that file"):
        Repository.find(repo).update_refs([RefUpdate("refs/tags/x", commit)])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is at work")
def test_locks_that_a_killed_git_left_are_taken_away_where_no_git_is_at_work(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_process, "_at_work", lambda: False)  # whatever else this machine does
    commit, there = git(repo, "rev-parse", "HEAD"), Repository.find(repo)
    for name in ("tags/x", "tags/y", "gradatim/z"):
        lock = repo / ".git/refs" / f"{name}.lock"
        lock.parent.mkdir(exist_ok=True)
        lock.write_text(f"{commit}\n")
        os.utime(lock, (time.time() - 60,) * 2)
    there.update_refs([RefUpdate(f"refs/{name}", commit) for name in ("tags/x", "tags/y", "gradatim/z")])
    assert there.local_refs("refs/tags", "refs/gradatim").keys() >= {
        "refs/tags/x",
        "refs/tags/y",
        "refs/gradatim/z",
    }
    assert not list((repo / ".git").rglob("*.lock"))


@pytest.mark.parametrize(("age", "working"), [(0, False), (60, True)])
def test_a_lock_that_a_git_may_hold_stays(
    repo: Path, monkeypatch: pytest.MonkeyPatch, age: float, working: bool
) -> None:
    monkeypatch.setattr(git_process, "_at_work", lambda: working)
    commit = git(repo, "rev-parse", "HEAD")
    lock = repo / ".git/refs/tags/x.lock"
    lock.touch()
    os.utime(lock, (time.time() - age,) * 2)
    with pytest.raises(PushRejected, match=r"refs/tags/x\.lock is in the way"):
        Repository.find(repo).update_refs([RefUpdate("refs/tags/x", commit)])
    assert lock.exists()


@pytest.mark.parametrize("named", [".git/refs/../../poetry.lock", "refs/poetry.lock"])
def test_no_other_file_is_taken_away_whatever_a_hook_or_a_server_says(
    repo: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    """What a server on ssh says arrives as if git had said it."""
    monkeypatch.setattr(git_process, "_at_work", lambda: False)
    (repo / "refs").mkdir()
    lock = repo / named
    lock.write_text("mine")
    os.utime(lock, (time.time() - 60,) * 2)
    hook(repo, "pre-push", f"#!/bin/sh\necho \"error: Unable to create '{lock}': File exists\" >&2\nexit 1\n")
    with pytest.raises((PushRejected, EnvironmentLacks)):
        Repository.find(repo).push("origin", [RefUpdate("refs/tags/x", git(repo, "rev-parse", "HEAD"))])
    assert lock.read_text() == "mine"


def test_a_git_at_work_is_seen(repo: Path) -> None:
    command = ["git", "-C", str(repo), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as git_running:
        assert git_running.stdin
        assert git_running.stdout
        git_running.stdin.write(b"no-such-thing\n")
        assert b"missing" in git_running.stdout.readline()  # its name is told a moment after it began
        assert git_process._at_work()
        git_running.communicate()


def test_a_tag_called_like_the_branch_hides_no_branch(repo: Path) -> None:
    git(repo, "tag", "-a", "-m", "x", "main")
    assert Repository.find(repo).branch() == "main"


def test_a_stage_of_an_unregistered_commit_is_not_found_as_a_release(repo: Path) -> None:
    commit_file(repo, "x", b"x")
    git(repo, "tag", "-a", "-m", "by hand", "digits#production#1")
    with pytest.raises(Exception, match="unregistered commit"):
        registry_of(repo, "digits").find("production", "digits")
    assert os.environ["GIT_AUTHOR_NAME"] == "Ada"
