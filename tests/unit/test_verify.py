"""Tampering: verification names whatever was done to a release."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from registry_examples import (
    act_as_ada,
    clone,
    commit_file,
    evidence_for,
    git,
    new_repository,
    registry_of,
    release_files,
    tag,
)

from gradatim.errors import InvalidInput
from gradatim.evidence.finding import Finding
from gradatim.evidence.release_record import EVIDENCE_FILE, MANIFEST_FILE, RECORD_FILE
from gradatim.evidence.statement import Bundle, Statement
from gradatim.evidence.verify import Signatures, Verification, verify_folder
from gradatim.gates.verdict import Verdict
from gradatim.publishers.folder import FolderPublisher
from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER
from gradatim.registry.ledger import open_ledger
from gradatim.registry.reading import read
from gradatim.registry.sync import sync
from gradatim.releasing.publishing import publish
from gradatim.releasing.verification import releases_with_file, verify_version


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    act_as_ada(monkeypatch)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Two releases, the second committed in git too, published to a folder."""
    place = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    publisher = FolderPublisher(tmp_path / "releases", root=place)
    publish(Repository.find(place), release_files(place, "v1.0.0", b"old weights"), [publisher])
    commit_file(place, "model/digits.onnx", b"new weights")
    publish(
        Repository.find(place), release_files(place, "v1.1.0", b"new weights", previous="v1.0.0"), [publisher]
    )
    return place


def verified(place: Path, version: str = "v1.1.0", **arguments: object) -> Verification:
    repository = Repository.find(place)
    state = sync(repository)
    registry = read(repository, "digits")
    return verify_version(repository, registry, registry.find(version, "digits"), sync=state, **arguments)  # type: ignore[arg-type]


def problems(found: Verification) -> set[str]:
    return {finding.problem for finding in found.findings}


def flip(path: Path, bit: int = 5) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1 << bit
    path.write_bytes(bytes(data))


def rewrite_ledger(place: Path, version: str, path: str, change: Callable[[bytes], bytes]) -> None:
    """What somebody with write access to the evidence could do: another blob in the same place."""
    repository = Repository.find(place)
    release = registry_of(place, "digits").find(version, "digits")
    ledger = open_ledger(repository, release.manifest or "")
    forged = ledger.__class__(
        repository, ledger.digest, None, {k: v for k, v in ledger.blobs.items() if k != path}
    )
    update = forged.adding({path: change(ledger.read(path))}, "1 +0000")
    assert update is not None
    git(place, "update-ref", update.ref, update.new)
    git(place, "push", "-q", "--force", "origin", update.ref)


def test_an_untouched_release_holds_and_says_what_was_compared(repo: Path) -> None:
    found = verified(repo)
    assert found.holds, found.findings
    text = "\n".join(found.checked)
    assert "tag v1.1.0 on origin" in text
    assert "model/digits.onnx at commit" in text
    assert "digits.onnx in /" in text
    assert not found.signed


@pytest.mark.parametrize("name", ["digits.onnx", "report.html", MANIFEST_FILE, RECORD_FILE, EVIDENCE_FILE])
@pytest.mark.parametrize("offline", [True, False])
def test_one_flipped_bit_in_a_published_file_is_named(
    repo: Path, tmp_path: Path, name: str, offline: bool
) -> None:
    folder = tmp_path / "releases" / "v1.1.0"
    flip(folder / name)
    found = verify_folder(folder) if offline else verified(repo)
    assert not found.holds
    assert any(name in finding.text for finding in found.findings), found.findings


def test_extra_and_missing_files_and_links_are_named(repo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "v1.1.0"
    (folder / "extra.pkl").write_bytes(b"x")
    (folder / "report.html").unlink()
    for found in (verify_folder(folder), verified(repo)):
        assert problems(found) == {"extra file", "missing file"}
    (folder / "extra.pkl").unlink()
    (folder / "report.html").symlink_to("/etc/hostname")
    assert not verified(repo).holds
    with pytest.raises(InvalidInput, match="symbolic link"):
        verify_folder(folder)


def test_an_older_release_in_place_of_a_newer_is_named(repo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "v1.1.0"
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "releases" / "v1.0.0", folder)
    assert "other release" in problems(verify_folder(folder))
    found = verified(repo)
    assert any("is that of v1.0.0, not that of v1.1.0" in finding.text for finding in found.findings)


def test_an_older_manifest_beside_newer_files_is_named(repo: Path, tmp_path: Path) -> None:
    shutil.copy(
        tmp_path / "releases" / "v1.0.0" / MANIFEST_FILE, tmp_path / "releases" / "v1.1.0" / MANIFEST_FILE
    )
    assert "other release" in problems(verify_folder(tmp_path / "releases" / "v1.1.0"))
    assert "other release" in problems(verified(repo))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (MANIFEST_FILE, "broken manifest"),
        (f"v1.1.0/{RECORD_FILE}", "broken record"),
        (f"v1.1.0/{EVIDENCE_FILE}", "broken evidence"),
    ],
)
def test_one_flipped_bit_in_what_git_keeps_is_named(repo: Path, path: str, problem: str) -> None:
    def damage(data: bytes) -> bytes:
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        return bytes(flipped)

    rewrite_ledger(repo, "v1.1.0", path, damage)
    assert problem in problems(verified(repo))


def test_evidence_that_is_gone_is_missing(repo: Path) -> None:
    release = registry_of(repo, "digits").find("v1.1.0")
    for place in (repo, Path(git(repo, "remote", "get-url", "origin"))):
        git(place, "update-ref", "-d", f"{LEDGER}{release.manifest}")
    assert problems(verified(repo)) == {"missing evidence"}


def test_evidence_of_another_model_is_named(repo: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.2.0", b"x", evidence=evidence_for("f" * 64)), [])
    assert {"foreign evidence", "missing evidence"} <= problems(verified(repo, "v1.2.0"))


def test_a_refused_gate_behind_a_tag_is_named(repo: Path) -> None:
    release = release_files(repo, "v1.2.0", b"x")
    failed = evidence_for(release.manifest.digest, verdict=Verdict.FAIL, accuracy=0.5)
    publish(Repository.find(repo), release_files(repo, "v1.2.0", b"x", evidence=failed), [])
    found = verified(repo, "v1.2.0")
    assert any(f.problem == "refused gate" and "accuracy was 50.0%" in f.text for f in found.findings)


def move_tag(place: Path, change: Callable[[str], str], commit: str = "v1.1.0^{commit}") -> None:
    message = git(place, "tag", "-l", "--format=%(contents)", "v1.1.0") + "\n"
    target = git(place, "rev-parse", commit)
    git(place, "tag", "-f", "-a", "--cleanup=verbatim", "-m", change(message), "v1.1.0", target)
    git(place, "push", "-q", "--force", "origin", "v1.1.0")


def test_a_moved_tag_is_named_where_the_old_one_was_seen(repo: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    move_tag(repo, lambda message: message, "v1.0.0^{commit}")
    assert "moved tag" in problems(verified(other))
    assert "moved tag" in problems(verified(clone(tmp_path / "remote.git", tmp_path / "new")))


def test_a_deleted_tag_is_named(repo: Path) -> None:
    git(repo, "push", "-q", "--delete", "origin", "v1.1.0")
    assert "moved tag" in problems(verified(repo))


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.replace("for production", "for prodUction"),
        lambda message: message.replace("previous: v1.0.0", "previous: v1.0.1"),
        lambda message: message.replace("manifest: sha256:", "manifest: sha256:0")[:-1],
        lambda message: message[:-2] + ("0" if message[-2] != "0" else "1") + "\n",
    ],
)
def test_an_altered_tag_message_is_named_even_in_a_new_clone(
    repo: Path, tmp_path: Path, change: Callable[[str], str]
) -> None:
    move_tag(repo, change)
    found = verified(clone(tmp_path / "remote.git", tmp_path / "new"))
    assert problems(found) & {"altered tag", "unproven tag", "missing evidence", "broken record"}, (
        found.findings
    )


def test_a_tag_made_by_hand_proves_nothing(repo: Path) -> None:
    tag(repo, "v3.0.0")
    git(repo, "push", "-q", "origin", "v3.0.0")
    assert problems(verified(repo, "v3.0.0")) == {"unproven tag"}


def test_a_stage_that_demands_a_signature_refuses_an_unsigned_release(repo: Path) -> None:
    assert problems(verified(repo, signatures=Signatures(demanded=True))) == {"unsigned"}


def test_a_release_that_cannot_be_reached_anywhere_is_not_believed(repo: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "releases")
    assert verified(repo, "v1.1.0").holds, "its commit still has it"
    assert verified(repo, "v1.1.0").notes
    assert problems(verified(repo, "v1.0.0")) == {"unreachable"}


def test_a_download_is_compared_with_the_tag(repo: Path, tmp_path: Path) -> None:
    download = shutil.copytree(tmp_path / "releases" / "v1.0.0", tmp_path / "download")
    assert verified(repo, "v1.0.0", folders=[download]).holds
    assert "other release" in problems(verified(repo, "v1.1.0", folders=[download]))


def test_a_file_is_traced_to_its_releases(repo: Path, tmp_path: Path) -> None:
    registry = registry_of(repo, "digits")
    (found,) = releases_with_file(
        Repository.find(repo), registry, tmp_path / "releases" / "v1.0.0" / "digits.onnx"
    )
    assert (str(found[0]), found[1].path) == ("v1.0.0", "digits.onnx")
    assert releases_with_file(Repository.find(repo), registry, repo / "README.md") == []


def test_a_folder_that_is_no_release_is_explained(tmp_path: Path) -> None:
    found = verify_folder(tmp_path)
    assert not found.holds
    assert "no complete release" in found.findings[0].text
    with pytest.raises(InvalidInput, match="not a folder"):
        verify_folder(tmp_path / "missing")


def said(*arguments: str, at: Path) -> tuple[int, str]:
    """Exit code and words of ``gradatim verify``, asked from a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", "verify", *arguments],
        cwd=at,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    return done.returncode, done.stdout + done.stderr


def forge(repo: Path, folder: Path, version: str = "v1.1.0") -> None:
    """Another model in a published folder, with every digest and all of the evidence made anew around it."""
    forged = release_files(repo, version, b"trojan weights")
    for path in folder.iterdir():
        path.unlink()
    for entry in forged.entries:
        source = forged.sources[entry.path]
        (folder / entry.path).write_bytes(source if isinstance(source, bytes) else source.read_bytes())


def test_a_forgery_that_agrees_with_itself_is_altered_beside_the_tag_that_refutes_it(
    repo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "releases" / "v1.1.0"
    forge(repo, folder)
    assert verify_folder(folder).answer == "self-consistent"
    for more in ((), ("--self-consistent",)):
        code, text = said(str(folder), *more, at=repo)
        assert (code, "proven" in text) == (3, False), text
        assert "is not the one that the tag v1.1.0 vouches for" in text


def test_a_folder_is_proven_by_its_tag_wherever_one_stands(repo: Path, tmp_path: Path) -> None:
    inside = shutil.copytree(tmp_path / "releases" / "v1.1.0", repo / "releases" / "v1.1.0")
    (tmp_path / "elsewhere").mkdir()
    for folder, at in ((tmp_path / "releases" / "v1.1.0", repo), (inside, tmp_path / "elsewhere")):
        code, text = said(str(folder), at=at)
        assert (code, "complete, proven and untouched" in text) == (0, True), text
        assert "the tag v1.1.0" in text


def test_a_folder_that_nothing_vouches_for_is_not_called_proven(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    download = shutil.copytree(tmp_path / "releases" / "v1.1.0", tmp_path / "elsewhere" / "v1.1.0")
    code, text = said(str(download), at=tmp_path / "elsewhere")
    assert (code, "complete, proven" in text) == (3, False), text
    assert "self-consistent, origin not proven" in text
    assert said(str(download), "--self-consistent", at=tmp_path / "elsewhere")[0] == 0
    _, text = said(str(download), "--json", at=tmp_path / "elsewhere")
    assert json.loads(text)["answer"] == "self-consistent"
    flip(download / "digits.onnx")
    code, text = said(str(download), "--self-consistent", at=tmp_path / "elsewhere")
    assert (code, "is altered" in text) == (3, True), text


def test_a_folder_of_a_version_that_was_never_tagged_is_not_proven_by_the_tags_beside_it(
    repo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "releases" / "v9.0.0"
    folder.mkdir()
    forge(repo, folder, "v9.0.0")
    code, text = said(str(folder), at=repo)
    assert (code, "self-consistent, origin not proven" in text) == (3, True), text


def test_a_release_that_is_altered_and_unsigned_is_called_altered() -> None:
    unsigned, other = (
        Finding("unsigned", "release.sig", "No."),
        Finding("altered file", "a.onnx", "Other bytes."),
    )
    answers = {found: Verification("a", "v1.0.0", "b", ("a.onnx",), findings=found).answer
               for found in ((unsigned,), (other,), (unsigned, other))}  # fmt: skip
    assert list(answers.values()) == ["refused", "altered", "altered"]


def test_a_release_that_no_gate_judged_is_not_called_proven(repo: Path) -> None:
    bare = release_files(repo, "v1.2.0", b"x")
    nothing = Bundle((Statement("gate", {"fp32": bare.manifest.digest}, Verdict.PASS, "0.1.0"),))
    publish(Repository.find(repo), release_files(repo, "v1.2.0", b"x", evidence=nothing), [
        FolderPublisher(repo.parent / "releases", root=repo)
    ])  # fmt: skip
    found = verified(repo, "v1.2.0")
    assert (found.answer, found.holds) == ("no gates", True)
    for what in ("v1.2.0", str(repo.parent / "releases" / "v1.2.0")):
        code, text = said(what, at=repo)
        assert (code, "no gates" in text, "proven" in text) == (0, True, False), text


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "history",
        "diff v1.0.0 v1.1.0",
        "verify v1.1.0",
        "verify v1.1.0 --offline",
    ],
)
def test_the_registry_is_asked_without_what_judges_models(repo: Path, tmp_path: Path, command: str) -> None:
    """A base install has neither SciPy nor scikit-learn: what they take is more than half of it."""
    lacking = "import sys\nfor name in ('scipy', 'sklearn', 'onnx', 'onnxruntime', 'torch'):\n    sys.modules[name] = None\n"
    (tmp_path / "sitecustomize.py").write_text(lacking, encoding="utf-8")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", *command.split()],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def misled(repo: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A clone from before and one from after somebody moved the tag of what production holds to the older release."""
    old = clone(tmp_path / "remote.git", tmp_path / "old")
    message = git(repo, "tag", "-l", "--format=%(contents)", "digits#production#2") + "\n"
    git(
        repo, "tag", "-f", "-a", "--cleanup=verbatim", "-m", message, "digits#production#2", "v1.0.0^{commit}"
    )
    git(repo, "push", "-q", "--force", "origin", "digits#production#2")
    return old, clone(tmp_path / "remote.git", tmp_path / "new")


def call(*arguments: str, at: Path) -> tuple[int, str]:
    """Exit code and words of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments], cwd=at, capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", [["status", "--fetch"], ["verify", "production"], ["history"]])
def test_a_stage_tag_that_was_moved_is_broken_in_a_new_clone(
    misled: tuple[Path, Path], command: list[str]
) -> None:
    code, text = call(*command, at=misled[1])
    assert code == 3, text
    assert "digits#production#2 is broken: its message says v1.1.0" in text
    assert "somebody moved it" in text


@pytest.mark.parametrize("command", [["status", "--fetch"], ["verify", "production"]])
def test_a_stage_tag_that_was_moved_is_broken_in_a_clone_that_knew_it(
    misled: tuple[Path, Path], command: list[str]
) -> None:
    code, text = call(*command, at=misled[0])
    assert (code, "digits#production#2 on the remote is not the one that is here" in text) == (3, True), text


def test_a_stage_tag_that_is_another_tag_under_its_name_is_broken(repo: Path) -> None:
    git(repo, "update-ref", "refs/tags/digits#production#2", "refs/tags/digits#production#1")
    code, text = call("status", at=repo)
    assert (code, "it calls itself digits#production#1" in text) == (3, True), text


def test_nothing_is_released_or_moved_on_a_stage_whose_tag_was_moved(
    misled: tuple[Path, Path],
) -> None:
    for place in misled:
        (place / "gradatim.yml").write_text(
            "model: {name: digits, path: model/digits.onnx}\nstages: {beta: {}, production: {branch: main}}\n"
        )
        for command in (["rollback", "production", "--reason", "x"], ["promote", "production"]):
            code, text = call(*command, at=place)
            assert (code, "somebody moved it. Tags are never moved." in text) == (3, True), text


def test_a_repository_that_came_with_a_download_has_its_tags_read_and_its_settings_run_nothing(
    repo: Path, tmp_path: Path
) -> None:
    """Its settings name programs: one that fetches an object which is missing, one that checks signatures."""
    signature = "-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
    signed = git(repo, "cat-file", "tag", "v1.1.0") + f"\n{signature}"
    write = ["git", "hash-object", "-t", "tag", "-w", "--stdin", "--literally"]
    done = subprocess.run(write, cwd=repo, input=signed, capture_output=True, text=True, check=True)
    download = tmp_path / "download"
    shutil.copytree(tmp_path / "releases", download)
    shutil.copytree(repo / ".git", download / ".git")
    place, ran = str(download / "v1.1.0"), tmp_path / "ran"
    assert "says the tag v1.1.0" in said(place, at=tmp_path)[1], "what it says is heard as before"
    (download / ".git" / "config").write_text(
        f'[core]\n repositoryformatversion = 1\n bare = false\n sshCommand = "touch {ran};false"\n fsmonitor = "touch {ran};false"\n'
        f'[extensions]\n partialClone = origin\n[remote "origin"]\n url = ssh://x/y\n promisor = true\n[gpg]\n program = {ran}.sh\n'
    )
    (tmp_path / "ran.sh").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "ran.sh").chmod(0o755)
    tags = download / ".git" / "refs" / "tags"
    (tags / "v9.0.0").write_text("a" * 40 + "\n")
    said(place, at=tmp_path)
    assert not ran.exists(), "what is missing was fetched"
    (tags / "v9.0.0").unlink()
    (tags / "v1.1.0").write_text(done.stdout)
    said(place, at=tmp_path)
    assert not ran.exists(), "its own program checked the signature"
