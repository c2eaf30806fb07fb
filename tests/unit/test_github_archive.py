"""The workspace between CI jobs: nothing altered, foreign or climbing arrives, and nothing travels twice."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.candidate.workspace import Workspace
from gradatim.ci.archive import Places, digests_of, digests_told, pack, unpack
from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.files import sha256_file


def _places(root: Path) -> Places:
    (root / ".gradatim").mkdir(parents=True)
    return Places(root / ".gradatim", root, PurePosixPath("model/digits.onnx"))


def _left(root: Path, **files: str) -> Places:
    places = _places(root)
    for name, text in files.items():
        path = places.workspace / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return places


def _tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for entry, data in entries:
            entry.size = len(data) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(data))
    return sha256_file(path)


def test_a_job_finds_what_the_jobs_before_it_left_and_a_built_model(tmp_path: Path) -> None:
    before = _left(tmp_path / "a", evidence__build="{}", models__int8__m="bytes")
    built = tmp_path / "a/model/digits.onnx"
    built.parent.mkdir()
    built.write_bytes(b"a model")
    digest = pack(before, [built], tmp_path / "down/build.tar")
    after = _places(tmp_path / "b")
    assert unpack(after, tmp_path / "down", {"build": digest}) == 3
    assert (after.workspace / "evidence/build").read_text() == "{}"
    assert (tmp_path / "b/model/digits.onnx").read_bytes() == b"a model"


def test_a_model_that_arrived_is_known_until_something_here_changes_it(tmp_path: Path) -> None:
    before = _left(tmp_path / "a")
    model, path = tmp_path / "a/model/digits.onnx", PurePosixPath("model/digits.onnx")
    model.parent.mkdir()
    model.write_bytes(b"a model")
    digest = pack(before, [model], tmp_path / "down/build.tar")
    after = _places(tmp_path / "b")
    assert not after.has_arrived(path)
    unpack(after, tmp_path / "down", {"build": digest})
    assert after.has_arrived(path)
    assert after.has_arrived(PurePosixPath("model"))
    assert not after.has_arrived(PurePosixPath("model/other.onnx"))
    (tmp_path / "b/model/digits.onnx").write_bytes(b"another")
    assert not after.has_arrived(path)


def test_what_arrived_is_not_sent_on(tmp_path: Path) -> None:
    first = _left(tmp_path / "a", evidence__build="{}")
    digest = pack(first, [], tmp_path / "down/build.tar")
    second = _places(tmp_path / "b")
    unpack(second, tmp_path / "down", {"build": digest})
    (second.workspace / "evidence/inspect").write_text("{}")
    pack(second, [], tmp_path / "inspect.tar")
    with tarfile.open(tmp_path / "inspect.tar") as tar:
        assert tar.getnames() == ["workspace/evidence/inspect"]


def test_the_same_files_are_the_same_archive(tmp_path: Path) -> None:
    places = _left(tmp_path / "a", evidence__build="{}", evidence__inspect="[]")
    assert pack(places, [], tmp_path / "1.tar") == pack(places, [], tmp_path / "2.tar")


def test_an_altered_archive_is_refused(tmp_path: Path) -> None:
    digest = pack(_left(tmp_path / "a", evidence__gate="PASS"), [], tmp_path / "down/gate.tar")
    data = (tmp_path / "down/gate.tar").read_bytes()
    (tmp_path / "down/gate.tar").write_bytes(data.replace(b"PASS", b"FAIL"))
    with pytest.raises(BrokenEvidence, match="`gate`"):
        unpack(_places(tmp_path / "b"), tmp_path / "down", {"gate": digest})


def test_an_archive_that_no_job_vouches_for_is_ignored(tmp_path: Path) -> None:
    _tar(tmp_path / "down/evil.tar", (tarfile.TarInfo("workspace/evidence/gate.json"), b"{}"))
    after = _places(tmp_path / "b")
    assert unpack(after, tmp_path / "down", {}) == 0
    assert not (after.workspace / "evidence").exists()


@pytest.mark.parametrize(
    "name",
    [
        "workspace/../../up", "/workspace/x", "workspace/..", "model/../gradatim.yml", "model/other.onnx", "x/y",
        "model/.git/config", "workspace\\..\\x", "gradatim.yml", "workspace", "workspace/.arrived.json", "model/model/digits.onnx/../x",
        ".github/workflows/x.yml", "workspace//x", "workspace/./x",
    ],
)  # fmt: skip
def test_nothing_lands_outside_of_its_place(tmp_path: Path, name: str) -> None:
    digest = _tar(tmp_path / "down/x.tar", (tarfile.TarInfo(name), b"x"))
    after = _places(tmp_path / "b")
    with pytest.raises(BrokenEvidence):
        unpack(after, tmp_path / "down", {"x": digest})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "down/x.tar"]


@given(name=st.text(min_size=1, max_size=40))
def test_no_name_leads_out_of_the_root(name: str) -> None:
    root = Path("/nowhere/project")
    places = Places(root / ".gradatim", root, PurePosixPath("model"))
    for given_name in (name, f"workspace/{name}", f"model/{name}"):
        try:
            target = places.target(given_name)
        except BrokenEvidence:
            continue
        assert ".." not in target.parts
        assert target.is_relative_to(root / ".gradatim") or target.is_relative_to(root / "model")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("workspace/evidence")
    entry.type, entry.linkname = kind, "/etc"
    digest = _tar(tmp_path / "down/x.tar", (entry, b""))
    with pytest.raises(BrokenEvidence, match="plain file"):
        unpack(_places(tmp_path / "b"), tmp_path / "down", {"x": digest})


def test_a_file_of_few_bytes_that_unpacks_to_a_disk_full_of_nothing_is_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("workspace/evidence/build.json")
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 31),
                         "GNU.sparse.name": entry.name}  # fmt: skip
    digest = _tar(tmp_path / "down/x.tar", (entry, b"0\n".ljust(512, b"\0")))
    with pytest.raises(BrokenEvidence, match="plain file"):
        unpack(_places(tmp_path / "b"), tmp_path / "down", {"x": digest})
    assert not any((tmp_path / "b").rglob("*.json"))


def test_nothing_is_written_through_a_link_that_lies_there(tmp_path: Path) -> None:
    digest = pack(_left(tmp_path / "a", evidence__build="{}"), [], tmp_path / "down/x.tar")
    after = _places(tmp_path / "b")
    (tmp_path / "elsewhere").mkdir()
    (after.workspace / "evidence").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BrokenEvidence, match="symbolic link"):
        unpack(after, tmp_path / "down", {"x": digest})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_two_jobs_that_disagree_about_a_file_are_refused(tmp_path: Path) -> None:
    digests = {
        job: pack(_left(tmp_path / job, evidence__build=text), [], tmp_path / f"down/{job}.tar")
        for job, text in (("one", "{}"), ("other", "[]"))
    }
    with pytest.raises(BrokenEvidence, match="Nothing is overwritten"):
        unpack(_places(tmp_path / "b"), tmp_path / "down", digests)


def test_a_committed_file_is_never_replaced(tmp_path: Path) -> None:
    digest = _tar(tmp_path / "down/x.tar", (tarfile.TarInfo("model/model/digits.onnx"), b"another model"))
    after = _places(tmp_path / "b")
    (tmp_path / "b/model").mkdir()
    (tmp_path / "b/model/digits.onnx").write_bytes(b"the committed model")
    with pytest.raises(BrokenEvidence):
        unpack(after, tmp_path / "down", {"x": digest})
    assert (tmp_path / "b/model/digits.onnx").read_bytes() == b"the committed model"


def test_a_missing_archive_is_told_by_its_job(tmp_path: Path) -> None:
    with pytest.raises(BrokenEvidence, match="Run that job again"):
        unpack(_places(tmp_path / "b"), tmp_path / "nothing", {"compress": "0" * 64})


def test_only_jobs_that_ended_and_left_something_count() -> None:
    needs = {
        "plan": {"result": "success", "outputs": {"kind": "check"}},
        "build": {"result": "success", "outputs": {"workspace": "ab"}},
        "test": {"result": "failure", "outputs": {"workspace": "cd"}},
        "folded": {"result": "skipped", "outputs": {"workspace": "${{ steps.gate.outputs.workspace }}"}},
        "gate": {"result": "success", "outputs": {}},
    }
    assert digests_of(json.dumps(needs)) == {"build": "ab", "test": "cd"}
    for wrong in ("[]", "{", '"x"', "[1]"):
        with pytest.raises(UsageError, match="toJSON"):
            digests_of(wrong)


def test_a_workflow_that_was_called_tells_what_each_of_its_jobs_left_and_its_caller_what_came_before() -> (
    None
):
    left = {
        "build": {"result": "success", "outputs": {"workspace": "ab"}},
        "folded": {"result": "skipped", "outputs": {}},
        "gate": {"result": "failure", "outputs": {"workspace": "cd", "verdict": "FAIL"}},
    }
    needs = {"checks": {"result": "failure", "outputs": {"verdict": "FAIL", "left": json.dumps(left)}}}
    before = {"baseline": {"result": "success", "outputs": {"workspace": "ef"}}}
    assert digests_of(json.dumps(needs)) == {"build": "ab", "gate": "cd"}
    told = digests_told({"NEEDS": json.dumps(needs), "BEFORE": json.dumps(before)})
    assert told == {"baseline": "ef", "build": "ab", "gate": "cd"}
    with pytest.raises(UsageError, match="toJSON"):
        digests_of(json.dumps({"checks": {"outputs": {"left": "no JSON"}}}))
    with pytest.raises(EnvironmentLacks, match="NEEDS"):
        digests_told({"BEFORE": json.dumps(before)})


@pytest.mark.parametrize(
    "name",
    [
        "digits.py",
        "digits.onnx.py",
        "digits.pyc",
        "digits.cpython-311-x86_64-linux-gnu.so",
        "digits.pth",
        "digits.sh",
        "digits.yml",
        "digits.onnx\n.data",
    ],
)
def test_no_code_arrives_beside_a_model(tmp_path: Path, name: str) -> None:
    digest = _tar(tmp_path / "down/x.tar", (tarfile.TarInfo(f"model/model/{name}"), b"raise SystemExit"))
    with pytest.raises(BrokenEvidence, match="digits"):
        unpack(_places(tmp_path / "b"), tmp_path / "down", {"x": digest})
    assert not (tmp_path / "b/model").exists()


def test_no_code_arrives_within_a_models_folder(tmp_path: Path) -> None:
    places = Places(tmp_path / "b/.gradatim", tmp_path / "b", PurePosixPath("numpy"))
    places.workspace.mkdir(parents=True)
    for name in ("__init__.py", "core/x.so", "x.PY"):
        digest = _tar(tmp_path / "down/x.tar", (tarfile.TarInfo(f"model/numpy/{name}"), b"raise SystemExit"))
        with pytest.raises(BrokenEvidence, match="code"):
            unpack(places, tmp_path / "down", {"x": digest})
    assert not (tmp_path / "b/numpy").exists()


@pytest.mark.parametrize(
    "name",
    ["digits.onnx", "digits.onnx.data", "digits.onnx_data", "digits.bin", "digits.weights", "digits.data"],
)
def test_the_data_of_a_model_arrive_beside_it(tmp_path: Path, name: str) -> None:
    digest = _tar(tmp_path / "down/x.tar", (tarfile.TarInfo(f"model/model/{name}"), b"1234"))
    assert unpack(_places(tmp_path / "b"), tmp_path / "down", {"x": digest}) == 1
    assert (tmp_path / "b/model" / name).read_bytes() == b"1234"


@pytest.mark.parametrize("name", ["workspace/evidence/a\nb.json", "workspace/\x1b[31m", "workspace/a\u202eb"])
def test_a_name_that_cannot_be_printed_is_refused_escaped(tmp_path: Path, name: str) -> None:
    digest = _tar(tmp_path / "down/x.tar", (tarfile.TarInfo(name), b"x"))
    with pytest.raises(BrokenEvidence) as refused:
        unpack(_places(tmp_path / "b"), tmp_path / "down", {"x": digest})
    assert str(refused.value).isprintable()


def test_a_workspace_that_is_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    digest = pack(_left(tmp_path / "a", evidence__build="{}"), [], tmp_path / "down/x.tar")
    (tmp_path / "b").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/key").write_text("secret")
    (tmp_path / "b/.gradatim").symlink_to(tmp_path / "home")
    places = Places(tmp_path / "b/.gradatim", tmp_path / "b", PurePosixPath("model/digits.onnx"))
    with pytest.raises(BrokenEvidence, match=r"\.gradatim is a symbolic link"):
        unpack(places, tmp_path / "down", {"x": digest})
    with pytest.raises(BrokenEvidence, match=r"\.gradatim is a symbolic link"):
        pack(places, [], tmp_path / "out.tar")
    with pytest.raises(BrokenEvidence, match=r"\.gradatim is a symbolic link"):
        Workspace(tmp_path / "b").prepare()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["key"]


@pytest.mark.parametrize("record", ["[]", '{"model/a": 1}', '{"a": {}}', '"x"'])
def test_a_record_of_arrivals_that_is_none_is_told_as_such(tmp_path: Path, record: str) -> None:
    places = _places(tmp_path)
    (places.workspace / ".arrived.json").write_text(record)
    with pytest.raises(BrokenEvidence, match=r"\.arrived\.json"):
        pack(places, [], tmp_path / "out.tar")
