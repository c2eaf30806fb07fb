"""git underneath: found, explained when missing, never half-pushed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from registry_examples import IDENTITY, clone, commit_file, git, new_repository, tag

from gradatim.errors import EnvironmentLacks, InvalidInput, UsageError
from gradatim.registry.git import PushRejected, RefUpdate, Repository
from gradatim.registry.git_process import pushing
from gradatim.registry.reading import read
from gradatim.registry.sync import sync
from gradatim.registry.tag_object import tag_object
from gradatim.subversion import checkout


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)


def test_a_repository_is_found_from_a_folder_and_from_a_file_inside_it(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "Bücher und Modelle")
    commit_file(place, "modèle/poids net.onnx", b"weights")
    repository = Repository.find(place / "modèle" / "poids net.onnx")
    assert repository.root == place
    assert repository.show(repository.head(), "modèle/poids net.onnx") == b"weights"


def test_a_repository_that_lies_among_the_files_of_another_is_refused_before_its_settings_run_anything(
    tmp_path: Path,
) -> None:
    """git takes any folder with these names for a repository, and its settings name programs: a pull request can bring both."""
    root = new_repository(tmp_path / "repo")
    inner = root / "models" / "digits"
    for name in ("objects", "refs", "deeper"):
        (inner / name).mkdir(parents=True)
    (inner / "HEAD").write_text("ref: refs/heads/main\n")
    settings = f"[core]\n repositoryformatversion = 0\n bare = false\n worktree = .\n fsmonitor = touch {tmp_path / 'ran'}\n"
    (inner / "config").write_text(settings)
    for place in (inner, inner / "deeper", inner / "HEAD"):
        with pytest.raises(EnvironmentLacks, match="models/digits looks like a git repository of its own"):
            Repository.find(place).changed_files()
    assert not (tmp_path / "ran").exists()
    git(root, "worktree", "add", "-q", str(root / "tree"), "-b", "tree")
    assert Repository.find(root / "tree").changed_files() == []
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(root), "sub")
    assert Repository.find(root / "sub").changed_files() == []


def test_no_repository_is_explained(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="not in a git repository"):
        Repository.find(tmp_path)


def test_git_that_is_not_installed_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentLacks, match="git is not installed"):
        Repository.find(tmp_path)


def test_a_repository_without_a_commit_is_explained(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(UsageError, match="no commit yet"):
        Repository.find(tmp_path).head()


def test_a_detached_head_has_a_commit_and_no_branch(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    repository = Repository.find(place)
    assert repository.branch() == "main"
    git(place, "checkout", "-q", "--detach")
    assert repository.branch() is None
    assert repository.resolve("HEAD") == repository.head()


def test_changed_renamed_and_untracked_files_are_listed(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    commit_file(place, "old name.txt", b"some lines\n" * 20)
    repository = Repository.find(place)
    assert repository.changed_files() == []
    git(place, "mv", "old name.txt", "neuer Näme.txt")
    (place / "extra.bin").write_bytes(b"x")
    assert repository.changed_files() == ["extra.bin", "neuer Näme.txt"]


def test_a_shallow_clone_never_says_that_something_is_no_ancestor(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    first = git(place, "rev-parse", "HEAD")
    commit_file(place, "a", b"a")
    shallow = clone(tmp_path / "remote.git", tmp_path / "shallow", "--depth", "1")
    repository = Repository.find(shallow)
    assert repository.shallow
    with pytest.raises(EnvironmentLacks):
        repository.is_ancestor(first, repository.head())
    repository.deepen()
    assert repository.is_ancestor(first, repository.head())


def test_a_shallow_clone_that_cannot_be_deepened_is_refused(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    commit_file(place, "a", b"a")
    shallow = clone(tmp_path / "remote.git", tmp_path / "shallow", "--depth", "1")
    (tmp_path / "remote.git").rename(tmp_path / "gone.git")
    with pytest.raises(EnvironmentLacks, match="git fetch --unshallow"):
        sync(Repository.find(shallow))


def test_a_push_of_two_references_is_all_or_nothing(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    repository = Repository.find(place)
    head = repository.head()
    repository.push("origin", [RefUpdate("refs/tags/taken", head)])
    other = commit_file(place, "a", b"a")
    with pytest.raises(PushRejected):
        repository.push("origin", [RefUpdate("refs/tags/new", other), RefUpdate("refs/tags/taken", other)])
    there = repository.remote_refs("origin", "refs/tags/*")
    assert set(there) == {"refs/tags/taken"}
    assert repository.local_refs("refs/tags") == {}


def test_a_push_that_a_hook_declines_is_no_lost_race(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    hook = tmp_path / "remote.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'tags are protected here' >&2\nexit 1\n")
    hook.chmod(0o755)
    repository = Repository.find(place)
    with pytest.raises(EnvironmentLacks, match=r"declined|protected") as caught:
        repository.push("origin", [RefUpdate("refs/tags/new", repository.head())])
    assert not isinstance(caught.value, PushRejected)


def test_what_a_hook_of_the_remote_declines_is_not_said_to_be_a_hook_of_this_clone(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    hook = tmp_path / "remote.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'tags are protected here' >&2\nexit 1\n")
    hook.chmod(0o755)
    repository = Repository.find(place)
    with pytest.raises(
        EnvironmentLacks, match="pre-receive hook declined; remote: tags are protected"
    ) as caught:
        repository.push("origin", [RefUpdate("refs/tags/new", repository.head())])
    assert "The remote origin" in str(caught.value)
    assert "pre-push" not in str(caught.value)


def test_a_remote_that_does_not_answer_is_explained_without_its_password(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    git(place, "remote", "add", "origin", "https://ada:secret@localhost:1/x.git")
    with pytest.raises(EnvironmentLacks) as caught:
        Repository.find(place).remote_refs("origin")
    assert "secret" not in str(caught.value)


def test_whether_a_remote_takes_a_push_is_asked_without_changing_it(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    before = git(place, "ls-remote", "origin")
    Repository.find(place).try_push("origin")
    assert git(place, "ls-remote", "origin") == before
    git(place, "remote", "set-url", "origin", str(tmp_path / "nowhere.git"))
    with pytest.raises(EnvironmentLacks, match="could not be used"):
        Repository.find(place).try_push("origin")


def test_a_tag_object_is_the_same_on_every_run_and_leaves_no_tag(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    repository = Repository.find(place)
    head, date = repository.head(), repository.commit_date("HEAD")
    one = tag_object(repository, "v1.0.0", head, "x\n", date)
    assert tag_object(repository, "v1.0.0", head, "x\n", date) == one
    assert repository.local_refs("refs/tags") == {}
    assert b"tagger Ada <ada@example.org> 1700000000 +0000" in repository.read_object(one, "tag")


def test_a_machine_without_a_git_identity_can_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_repository(tmp_path / "r")
    for key in ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(key)
    repository = Repository.find(place)
    made = tag_object(repository, "v1.0.0", repository.head(), "x\n", "1 +0000")
    assert b"tagger gradatim <gradatim@localhost> 1 +0000" in repository.read_object(made, "tag")


def test_a_signature_that_is_wanted_and_cannot_be_made_is_explained(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    git(place, "config", "tag.gpgSign", "true")
    git(place, "config", "gpg.program", "/nonexistent/gpg")
    repository = Repository.find(place)
    with pytest.raises(EnvironmentLacks, match="could not sign"):
        tag_object(repository, "v1.0.0", repository.head(), "x\n", "1 +0000")
    assert repository.local_refs("refs/tags") == {}


def test_a_signed_tag_is_made_and_holds(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    key = tmp_path / "key"
    made = (
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], capture_output=True, check=False
        )
        if _has("ssh-keygen")
        else None
    )
    if made is None or made.returncode != 0:
        pytest.skip("ssh-keygen is not installed")
    allowed = tmp_path / "allowed"
    allowed.write_text(f"ada@example.org {key.with_suffix('.pub').read_text()}")
    for name, value in {
        "tag.gpgSign": "true",
        "gpg.format": "ssh",
        "user.signingKey": str(key),
        "gpg.ssh.allowedSignersFile": str(allowed),
    }.items():
        git(place, "config", name, value)
    repository = Repository.find(place)
    identity = tag_object(repository, "v1.0.0", repository.head(), "x\n", "1700000000 +0000")
    repository.update_refs([RefUpdate("refs/tags/v1.0.0", identity)])
    assert repository.verify_tag("v1.0.0") is None
    assert read(repository).model().releases[0].git_signed


def _has(program: str) -> bool:
    return any((Path(folder) / program).exists() for folder in os.environ["PATH"].split(os.pathsep))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 7\n"


def test_a_git_lfs_pointer_tells_the_digest_and_names_git_lfs_when_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = new_repository(tmp_path / "r")
    head = commit_file(place, "model.onnx", POINTER % (b"a" * 64))
    repository = Repository.find(place)
    assert repository.sha256(head, "model.onnx") == "a" * 64
    only_git = tmp_path / "bin"
    only_git.mkdir()
    program = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    (only_git / "git").symlink_to(program)
    monkeypatch.setenv("PATH", str(only_git))
    with pytest.raises(EnvironmentLacks, match="git-lfs"):
        repository.show(head, "model.onnx")
    with pytest.raises(EnvironmentLacks, match="git-lfs"):
        repository.export(head, "model.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_broken_git_lfs_pointer_is_invalid(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    head = commit_file(place, "model.onnx", POINTER % b"short")
    with pytest.raises(InvalidInput, match="broken Git LFS pointer"):
        Repository.find(place).show(head, "model.onnx")


def test_a_file_is_exported_as_it_was_at_a_commit(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r")
    old = commit_file(place, "model.onnx", b"old" * 1000)
    commit_file(place, "model.onnx", b"new")
    repository = Repository.find(place)
    repository.export(old, "model.onnx", tmp_path / "out" / "model.onnx")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"old" * 1000
    with pytest.raises(InvalidInput, match="no file other"):
        repository.export(old, "other.onnx", tmp_path / "out" / "other.onnx")
    assert not (tmp_path / "out" / "other.onnx").exists()


def test_syncing_fetches_what_is_missing_and_reports_a_moved_tag_without_taking_it(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    tag(place, "v1.0.0")
    git(place, "push", "-q", "origin", "v1.0.0")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    commit_file(place, "a", b"a")
    tag(place, "v1.1.0")
    git(place, "tag", "-f", "-a", "-m", "moved", "v1.0.0", "HEAD")
    git(place, "push", "-q", "--force", "origin", "v1.0.0", "v1.1.0")
    repository = Repository.find(other)
    before = repository.local_refs("refs/tags/v1.0.0")
    state = sync(repository)
    assert state.reached
    assert state.moved == ("v1.0.0",)
    assert repository.local_refs("refs/tags/v1.0.0") == before
    assert [str(r) for r in read(repository).model().releases] == ["v1.0.0", "v1.1.0"]


def test_a_remote_that_is_gone_does_not_stop_reading(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    (tmp_path / "remote.git").rename(tmp_path / "gone.git")
    state = sync(Repository.find(place))
    assert not state.reached
    assert state.reason
    with pytest.raises(EnvironmentLacks):
        sync(Repository.find(place), required=True)


def test_a_working_copy_of_subversion_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trunk/.svn").mkdir(parents=True)
    (tmp_path / "trunk/model").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentLacks, match="apt install subversion"):
        checkout.open(tmp_path / "trunk/model")


@pytest.mark.parametrize(
    ("address", "pushed"),
    [
        ("https://github.com/o/r.git", "https://x-access-token@github.com/o/r.git"),
        ("https://someone:secret@host/o/r", "https://x-access-token@host/o/r"),
        ("http://host:8080/o/r", "http://x-access-token@host:8080/o/r"),
        ("git@github.com:o/r.git", "https://x-access-token@github.com/o/r.git"),
        ("ssh://git@host:22/o/r.git", "https://x-access-token@host/o/r.git"),
        ("host:o/r.git", None),
        ("/srv/r.git", None),
        ("C:/r.git", None),
    ],
)
def test_a_token_goes_to_the_host_of_the_checkout_and_stands_in_no_address(
    monkeypatch: pytest.MonkeyPatch, address: str, pushed: str | None
) -> None:
    monkeypatch.delenv("GRADATIM_TOKEN", raising=False)
    assert pushing("origin", address) == {}
    monkeypatch.setenv("GRADATIM_TOKEN", "t0ken")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    said = pushing("origin", address)
    assert "t0ken" not in str(said)
    assert "secret" not in str(said)
    assert (said.get("GIT_CONFIG_COUNT"), said.get("GIT_CONFIG_VALUE_2")) == (
        ("5", pushed) if pushed else (None, None)
    )
    assert said.get("GIT_CONFIG_KEY_2") == ("remote.origin.pushurl" if pushed else None)
