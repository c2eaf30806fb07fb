"""Signed releases: what a signature adds to what verification finds, and what it costs a crash or a second run."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from model_signing._cli import main as model_signing
from registry_examples import (
    IDENTITY,
    clone,
    commit_file,
    evidence_for,
    git,
    new_repository,
    registry_of,
    release_files,
)
from signing_examples import demanding, signed_repository, signing_with, write_key

from gradatim.errors import BrokenEvidence, EnvironmentLacks, GradatimError
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.authenticity import Trust
from gradatim.evidence.finding import Verification
from gradatim.evidence.release_record import EVIDENCE_FILE, MANIFEST_FILE, RECORD_FILE, SIGNATURE_FILE
from gradatim.evidence.signatures import Signatures
from gradatim.evidence.verify import verify_folder
from gradatim.publishers.folder import FolderPublisher
from gradatim.registry.git import Repository
from gradatim.registry.ledger import open_ledger
from gradatim.releasing.publishing import as_kept, publish
from gradatim.releasing.verification import verify_version

NEWER, OLDER = "v1.1.0", "v1.0.0"


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    """Both releases, made once; tests get copies."""
    place = tmp_path_factory.mktemp("made")
    signed_repository(place, key)
    return place


@pytest.fixture
def repo(made: Path, tmp_path: Path) -> Path:
    """A copy of the repository, which knows where the releases are published."""
    return shutil.copytree(made / "repo", tmp_path / "repo")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A download of the newer release; the older one is beside it."""
    return shutil.copytree(made / "releases", tmp_path / "downloads") / NEWER


def verified(
    place: Path, signatures: Signatures, version: str = NEWER, *, folder: Path | None = None
) -> Verification:
    """Offline: what the remote says of the tags is tested with releases that nobody signed."""
    repository = Repository.find(place)
    registry = registry_of(place, "digits")
    release = registry.find(version, "digits")
    folders = [folder] if folder else []
    return verify_version(repository, registry, release, folders=folders, signatures=signatures)


def problems(found: Verification) -> set[str]:
    assert not found.holds
    return {finding.problem for finding in found.findings}


def said(found: Verification) -> str:
    return "\n".join(finding.text for finding in found.findings)


def flip(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes()))


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def rewrite_ledger(place: Path, path: str, change: Callable[[bytes], bytes | None]) -> None:
    """What somebody who may push can do to what git keeps: another file in its place, or none."""
    repository = Repository.find(place)
    ledger = open_ledger(repository, registry_of(place, "digits").find(NEWER, "digits").manifest or "")
    others = {name: blob for name, blob in ledger.blobs.items() if name != path}
    changed = change(ledger.read(path)) if path in ledger.blobs else change(b"")
    forged = ledger.__class__(repository, ledger.digest, None, others)
    keep = {path: changed} if changed is not None else {"note": b"nothing"}
    update = forged.adding(keep, "1 +0000")
    assert update is not None
    git(place, "update-ref", update.ref, update.new)


def retag(place: Path, change: Callable[[str], str]) -> None:
    message = git(place, "tag", "-l", "--format=%(contents)", NEWER) + "\n"
    commit = git(place, "rev-parse", f"{NEWER}^{{commit}}")
    git(place, "tag", "-f", "-a", "--cleanup=verbatim", "-m", change(message), NEWER, commit)


def test_a_signed_release_holds_everywhere_and_says_by_whom(repo: Path, folder: Path, key: Path) -> None:
    for found in (
        verified(repo, demanding(key), folder=folder),
        verify_folder(folder, signatures=demanding(key)),
    ):
        assert found.holds, found.findings
        assert found.signed
        assert found.signature == "signed by release.pub"
    assert registry_of(repo, "digits").find(NEWER).signature


def test_model_signing_itself_verifies_what_was_published(folder: Path, key: Path) -> None:
    command = ["verify", "key", str(folder), "--signature", str(folder / SIGNATURE_FILE)]
    command += ["--public_key", str(key.with_suffix(".pub"))]
    assert CliRunner().invoke(model_signing, command).exit_code == 0
    flip(folder / "digits.onnx")
    assert CliRunner().invoke(model_signing, command).exit_code != 0


def test_a_signature_that_nobody_can_check_here_is_shown_as_such(repo: Path, folder: Path) -> None:
    for found in (verified(repo, Signatures()), verify_folder(folder)):
        assert found.holds
        assert not found.signed
        assert "signed, not checked here" in found.signature


@pytest.mark.parametrize(
    "name", ["digits.onnx", "report.html", MANIFEST_FILE, RECORD_FILE, EVIDENCE_FILE, SIGNATURE_FILE]
)
def test_one_flipped_bit_in_any_file_of_a_signed_release_is_named(
    repo: Path, folder: Path, key: Path, name: str
) -> None:
    flip(folder / name)
    for found in (
        verified(repo, demanding(key), folder=folder),
        verify_folder(folder, signatures=demanding(key)),
    ):
        assert name in said(found)
        assert problems(found)


@pytest.mark.parametrize("name", [MANIFEST_FILE, f"{NEWER}/{RECORD_FILE}", f"{NEWER}/{EVIDENCE_FILE}"])
def test_one_flipped_bit_in_what_git_keeps_of_a_signed_release_is_named(
    repo: Path, key: Path, name: str
) -> None:
    rewrite_ledger(repo, name, flipped)
    assert name.rpartition("/")[2] in said(verified(repo, demanding(key)))


def test_a_flipped_bit_in_the_kept_signature_is_named_though_nobody_demands_one(
    repo: Path, key: Path
) -> None:
    rewrite_ledger(repo, f"{NEWER}/{SIGNATURE_FILE}", flipped)
    assert "bad signature" in problems(verified(repo, Signatures(Trust((key.with_suffix(".pub"),)))))
    assert "bad signature" in problems(verified(repo, Signatures()))


def test_a_release_rebuilt_around_another_model_fails_by_its_signature_alone(
    repo: Path, folder: Path, key: Path, tmp_path: Path
) -> None:
    """Every digest fits again, evidence included: only whoever has the key could have signed it."""
    forged = release_files(repo, NEWER, b"trojan weights", previous=OLDER)
    for path in folder.iterdir():
        if path.name != SIGNATURE_FILE:
            path.unlink()
    for entry in forged.entries:
        source = forged.sources[entry.path]
        (folder / entry.path).write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    assert verify_folder(folder, signatures=Signatures()).findings, "it covers other bytes, whoever signed"
    assert problems(verify_folder(folder, signatures=demanding(key))) == {"bad signature"}
    other = write_key(tmp_path / "other", "other")
    signed = signing_with(other)(forged)
    for name, data in {SIGNATURE_FILE: signed.signature or b"", **signed.attested}.items():
        (folder / name).write_bytes(data)
    assert verify_folder(folder).holds, "without a key nobody can tell"
    found = verify_folder(folder, signatures=demanding(key))
    assert problems(found) == {"bad signature"}
    assert "another key" in said(found)


def test_an_older_signed_release_in_place_of_a_newer_is_named(repo: Path, folder: Path, key: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name(OLDER), folder)
    assert "other release" in problems(verify_folder(folder, signatures=demanding(key)))
    found = verified(repo, demanding(key), folder=folder)
    assert any("is that of v1.0.0, not that of v1.1.0" in finding.text for finding in found.findings)


def test_the_valid_signature_of_an_older_release_does_not_serve_a_newer(
    repo: Path, folder: Path, key: Path
) -> None:
    old = (folder.with_name(OLDER) / SIGNATURE_FILE).read_bytes()
    (folder / SIGNATURE_FILE).write_bytes(old)
    found = verify_folder(folder, signatures=demanding(key))
    assert said(found) == "release.sig is the signature of digits@v1.0.0, not of digits@v1.1.0."
    rewrite_ledger(repo, f"{NEWER}/{SIGNATURE_FILE}", lambda _: old)
    assert "bad signature" in problems(verified(repo, demanding(key)))


def test_an_older_signed_manifest_in_place_of_a_newer_is_named(repo: Path, folder: Path, key: Path) -> None:
    shutil.copy(folder.with_name(OLDER) / MANIFEST_FILE, folder / MANIFEST_FILE)
    for found in (
        verified(repo, demanding(key), folder=folder),
        verify_folder(folder, signatures=demanding(key)),
    ):
        assert "other release" in problems(found)


def test_an_extra_file_in_a_signed_release_is_named(repo: Path, folder: Path, key: Path) -> None:
    (folder / "extra.pkl").write_bytes(b"x")
    for found in (
        verified(repo, demanding(key), folder=folder),
        verify_folder(folder, signatures=demanding(key)),
    ):
        assert problems(found) == {"extra file"}


def test_signed_evidence_of_another_model_is_named(repo: Path, key: Path) -> None:
    foreign = release_files(repo, "v1.2.0", b"x", evidence=evidence_for("f" * 64))
    publish(Repository.find(repo), foreign, [], sign=signing_with(key))
    assert {"foreign evidence", "missing evidence"} <= problems(verified(repo, demanding(key), "v1.2.0"))


def test_a_removed_signature_is_named_where_the_tag_or_the_stage_knows_of_one(
    repo: Path, folder: Path, key: Path
) -> None:
    (folder / SIGNATURE_FILE).unlink()
    stage = Signatures(Trust((key.with_suffix(".pub"),)), demanding=frozenset({"production"}))
    assert problems(verify_folder(folder, signatures=stage)) == {"unsigned"}
    assert problems(verified(repo, Signatures(), folder=folder)) == {"missing file"}
    rewrite_ledger(repo, f"{NEWER}/{SIGNATURE_FILE}", lambda _: None)
    assert "missing signature" in problems(verified(repo, Signatures()))


def test_a_downgrade_to_unsigned_is_refused_where_the_stage_demands_a_signature(
    repo: Path, folder: Path, key: Path
) -> None:
    """The signature goes from the tag, from what git keeps and from the download, as if nobody had ever signed."""
    (folder / SIGNATURE_FILE).unlink()
    rewrite_ledger(repo, f"{NEWER}/{SIGNATURE_FILE}", lambda _: None)
    retag(
        repo, lambda message: "".join(line for line in message.splitlines(True) if "signature:" not in line)
    )
    stage = Signatures(Trust((key.with_suffix(".pub"),)), demanding=frozenset({"production"}))
    assert "unsigned" in problems(verified(repo, stage))
    text = (folder / RECORD_FILE).read_text().replace('"stage":"production"', '"stage":"alpha"')
    (folder / RECORD_FILE).write_text(text)
    by_number = Signatures(stage.trust, demanding=stage.demanding, suffixes=frozenset({""}))
    assert "unsigned" in problems(verify_folder(folder, signatures=by_number)), (
        "the version says which stage it is"
    )


def test_a_tag_that_names_another_signature_or_one_too_few_is_named(repo: Path, key: Path) -> None:
    retag(
        repo, lambda message: "".join(line for line in message.splitlines(True) if "signature:" not in line)
    )
    assert "altered tag" in problems(verified(repo, demanding(key)))


def test_a_flipped_bit_in_the_digest_that_the_tag_names_is_named(repo: Path, key: Path) -> None:
    def swap(message: str) -> str:
        return message[:-2] + ("0" if message[-2] != "0" else "1") + "\n"

    retag(repo, swap)
    assert "bad signature" in problems(verified(repo, demanding(key)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"mediaType":1,"mediaType":2}',
        b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{},"dsseEnvelope":{}}',
    ],
)
def test_what_is_no_signature_at_all_is_a_finding_not_a_crash(folder: Path, key: Path, data: bytes) -> None:
    (folder / SIGNATURE_FILE).write_bytes(data)
    assert problems(verify_folder(folder, signatures=demanding(key))) == {"bad signature"}


def test_a_signature_as_large_as_a_disk_is_not_read_whole(folder: Path, key: Path) -> None:
    with (folder / SIGNATURE_FILE).open("r+b") as file:
        file.truncate(1 << 40)
    found = verify_folder(folder, signatures=demanding(key))
    assert problems(found) == {"bad signature"}
    assert "and more" in said(found)


def test_without_the_packages_a_signature_is_shown_as_unchecked_or_demanded_with_what_to_install(
    folder: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    trust = Trust((key.with_suffix(".pub"),))
    found = verify_folder(folder, signatures=Signatures(trust))
    assert found.holds
    assert not found.signed
    assert (
        "signed, not checked here: Checking a signature needs the package `model-signing`" in found.signature
    )
    with pytest.raises(EnvironmentLacks, match=r"\[sign\]"):
        verify_folder(folder, signatures=demanding(key))
    with pytest.raises(EnvironmentLacks, match=r"Signing a release needs .*\[sign\]"):
        signing_with(key)


def test_a_bundle_with_any_part_bent_is_a_finding_not_a_crash(folder: Path, key: Path) -> None:
    whole = json.loads((folder / SIGNATURE_FILE).read_text())
    for path in list(_paths(whole)):
        for value in (None, 7, "", [], {}, "AAAA"):
            bent = json.loads(json.dumps(whole))
            target = bent
            for part in path[:-1]:
                target = target[part]
            if target[path[-1]] == value or path[-1] in ("tlogEntries", "keyid"):
                continue  # neither says anything in a signature by a key
            target[path[-1]] = value
            (folder / SIGNATURE_FILE).write_text(json.dumps(bent))
            found = verify_folder(folder, signatures=demanding(key))
            assert problems(found) == {"bad signature"}, (path, value)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> object:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, child in children:
        yield (*path, name)
        yield from _paths(child, (*path, name))


def test_a_signature_over_a_bent_statement_is_refused_though_the_key_is_right(
    folder: Path, key: Path
) -> None:
    """Whoever holds the key may still not say of one release what is said of another."""
    bundle = json.loads((folder / SIGNATURE_FILE).read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"].pop()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (folder / SIGNATURE_FILE).write_text(json.dumps(bundle))
    text = said(verify_folder(folder, signatures=demanding(key)))
    assert "does not cover" in text
    assert "does not hold" in text


def test_an_old_key_still_verifies_while_the_contract_names_it(repo: Path, key: Path, tmp_path: Path) -> None:
    new = write_key(tmp_path / "keys", "new").with_suffix(".pub")
    both = Signatures(Trust((new, key.with_suffix(".pub"))), demanded=True)
    assert verified(repo, both).signature == "signed by release.pub"
    assert "another key" in said(verified(repo, Signatures(Trust((new,)))))


# a second run, a crash, a race


def test_a_second_run_of_a_signed_release_writes_nothing_with_a_key_or_without(
    tmp_path: Path, key: Path
) -> None:
    repo = signed_repository(tmp_path, key)
    remote, releases = tmp_path / "remote.git", tmp_path / "releases"
    publisher = FolderPublisher(releases, root=repo)

    def seen() -> tuple[str, list[tuple[str, int]]]:
        files = [(str(path), path.stat().st_mtime_ns) for path in sorted(releases.rglob("*"))]
        return git(remote, "for-each-ref"), files

    before = seen()
    for sign in (signing_with(key), None):
        again = release_files(repo, NEWER, b"new weights", previous=OLDER)
        assert not publish(Repository.find(repo), again, [publisher], sign=sign).written
        assert seen() == before
    fresh = clone(remote, tmp_path / "fresh")
    again = release_files(fresh, NEWER, b"new weights", previous=OLDER)
    assert not publish(Repository.find(fresh), again, [publisher], sign=signing_with(key)).written
    assert seen() == before


def test_an_unsigned_release_stays_what_it_is_when_somebody_can_sign_later(tmp_path: Path, key: Path) -> None:
    repo = signed_repository(tmp_path, None)
    publisher = FolderPublisher(tmp_path / "releases", root=repo)
    again = release_files(repo, NEWER, b"new weights", previous=OLDER)
    assert not publish(Repository.find(repo), again, [publisher], sign=signing_with(key)).written
    assert verified(repo, Signatures()).signature == "unsigned"


class _StopsAt(FolderPublisher):
    """A folder whose run dies at its nth call."""

    def __init__(self, folder: Path, *, root: Path, call: int) -> None:
        super().__init__(folder, root=root)
        self.left = call

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def draft(self, release: ReleaseFiles):  # type: ignore[no-untyped-def]
        self._count()
        made = super().draft(release)
        self._count()
        return made

    def publish(self, draft):  # type: ignore[no-untyped-def]
        self._count()
        made = super().publish(draft)
        self._count()
        return made


@pytest.mark.parametrize("call", [2, 3, 5])  # drafted; tagged and signed; drafted with the signature
def test_a_signed_release_that_was_cut_off_anywhere_is_completed_by_the_next_run(
    tmp_path: Path, key: Path, call: int
) -> None:
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    releases = tmp_path / "releases"
    files = release_files(repo, OLDER)
    with pytest.raises(KeyboardInterrupt):
        publish(
            Repository.find(repo), files, [_StopsAt(releases, root=repo, call=call)], sign=signing_with(key)
        )
    fresh = clone(tmp_path / "remote.git", tmp_path / "fresh")
    publish(
        Repository.find(fresh),
        release_files(fresh, OLDER),
        [FolderPublisher(releases, root=fresh)],
        sign=signing_with(key),
    )
    found = verified(fresh, demanding(key), OLDER)
    assert found.holds, found.findings
    assert [path.name for path in releases.iterdir()] == [OLDER], "no draft is left behind"


def test_whoever_loses_a_race_for_the_same_release_takes_the_winners_signature(
    tmp_path: Path, key: Path
) -> None:
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    publishers = {place: FolderPublisher(tmp_path / "releases", root=place) for place in (repo, other)}
    sign = signing_with(key)

    def sign_late(release: ReleaseFiles) -> ReleaseFiles:
        publish(Repository.find(other), release_files(other, OLDER), [publishers[other]], sign=sign)
        return sign(release)

    publish(Repository.find(repo), release_files(repo, OLDER), [publishers[repo]], sign=sign_late)
    for place in (repo, other):
        assert verified(place, demanding(key), OLDER).holds
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [OLDER]


def test_a_signature_that_somebody_left_in_the_ledger_first_does_not_pass(tmp_path: Path, key: Path) -> None:
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    files = release_files(repo, OLDER)
    other = signing_with(write_key(tmp_path / "other", "other"))(files)
    left = {SIGNATURE_FILE: other.signature or b"", **other.attested}
    ledger = open_ledger(Repository.find(repo), files.manifest.digest)
    update = ledger.adding({f"{OLDER}/{name}": data for name, data in left.items()}, "1 +0000")
    assert update is not None
    git(repo, "update-ref", update.ref, update.new)
    with pytest.raises(BrokenEvidence, match="another key"):
        publish(Repository.find(repo), files, [], sign=signing_with(key))
    assert git(repo, "tag") == ""


def test_a_version_that_was_taken_meanwhile_leaves_no_signature(tmp_path: Path, key: Path) -> None:
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    publish(Repository.find(repo), release_files(repo, OLDER), [], sign=signing_with(key))
    commit_file(repo, "x", b"x")
    before = git(repo, "for-each-ref")
    with pytest.raises(GradatimError, match="released already"):
        publish(Repository.find(repo), release_files(repo, OLDER, b"others"), [], sign=signing_with(key))
    assert git(repo, "for-each-ref") == before
    kept = as_kept(Repository.find(repo), release_files(repo, OLDER, b"others"))
    assert kept.signature is None
