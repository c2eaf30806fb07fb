"""Manifest, statements, bundle, record: strict, canonical, and bound to bytes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_examples import evidence_for

from gradatim.candidate.workspace import Workspace
from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.assembly import assemble
from gradatim.evidence.difference import difference
from gradatim.evidence.manifest import FileEntry, Manifest, refuse_collisions, safe_path
from gradatim.evidence.release_record import ReleaseRecord
from gradatim.evidence.statement import Bundle, Statement
from gradatim.evidence.verify import check_evidence
from gradatim.files import sha256_bytes
from gradatim.gates.verdict import Verdict

A, B, C = "a" * 64, "b" * 64, "c" * 64


def files(folder: Path, **contents: bytes) -> list[Path]:
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


def test_the_identity_is_the_digest_of_the_manifest_file(tmp_path: Path) -> None:
    manifest = Manifest.of("digits", tmp_path, files(tmp_path, b=b"two", a=b"one"))
    assert manifest.digest == sha256_bytes(manifest.to_bytes())
    assert [entry.path for entry in manifest.files] == ["a", "b"]
    assert manifest.files[0] == FileEntry("a", 3, sha256_bytes(b"one"))
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert manifest.size == 6


def test_another_name_or_another_byte_is_another_release(tmp_path: Path) -> None:
    paths = files(tmp_path, a=b"one")
    first = Manifest.of("digits", tmp_path, paths)
    assert Manifest.of("letters", tmp_path, paths).digest != first.digest
    (tmp_path / "a").write_bytes(b"onf")
    assert Manifest.of("digits", tmp_path, paths).digest != first.digest


def test_paths_in_two_unicode_forms_are_one_release(tmp_path: Path) -> None:
    composed, decomposed = tmp_path / "1", tmp_path / "2"
    for folder, name in ((composed, "mod\u00e8le x.onnx"), (decomposed, "mode\u0300le x.onnx")):
        folder.mkdir()
        (folder / name).write_bytes(b"weights")
    one, two = (Manifest.of("m", f, list(f.iterdir())) for f in (composed, decomposed))
    assert one.digest == two.digest


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "a/../b",
        "a//b",
        "./a",
        "a\\b",
        "C:x",
        "a\nb",
        "a/",
        "a\u202exno.b",
        "a\u2028b",
        "a\udcff",
    ],
)
def test_an_unsafe_path_is_refused(path: str) -> None:
    with pytest.raises(BrokenEvidence, match="not safe"):
        safe_path(path)


@pytest.mark.parametrize(
    "paths", [("A.onnx", "a.onnx"), ("\u00e8", "e\u0300"), ("model", "Model/x"), ("stra\u00dfe", "STRASSE")]
)
def test_paths_that_some_file_system_confuses_are_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(BrokenEvidence, match="Rename one"):
        refuse_collisions(paths)


def test_symbolic_links_and_files_from_elsewhere_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    outside = tmp_path / "secret"
    outside.write_bytes(b"x")
    (root / "link").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    for path in (root / "link", root / "folder" / "secret"):
        with pytest.raises(InvalidInput, match="symbolic link"):
            Manifest.of("m", root, [path])
    with pytest.raises(InvalidInput, match="outside"):
        Manifest.of("m", root, [root / ".." / "secret"])
    with pytest.raises(InvalidInput, match="not a file"):
        Manifest.of("m", root, [root / "missing"])


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenEvidence, match="lists no file"):
        Manifest.of("m", tmp_path, [])


GOOD = '{"files":[{"path":"a","sha256":"' + A + '","size":1}],"name":"m"}'


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "null",
        GOOD[:-1],
        GOOD.replace(":1}", ":NaN}"),
        GOOD.replace(":1}", ":1.5}"),
        GOOD.replace(":1}", ":true}"),
        GOOD.replace(":1}", ":-1}"),
        GOOD.replace(":1}", ':1,"size":2}'),
        GOOD.replace(":1}", ':1,"mode":7}'),
        GOOD.replace('"a"', '"../a"'),
        GOOD.replace('"a"', '"mode\u0300le"'),
        GOOD.replace(A, A[:-1]),
        GOOD.replace("{", "{ ", 1),
        GOOD + "\n",
        "\ufeff" + GOOD,
    ],
)
def test_a_manifest_that_is_not_exactly_right_is_broken(data: str) -> None:
    assert Manifest.from_bytes(GOOD.encode()).files[0].size == 1
    with pytest.raises(BrokenEvidence):
        Manifest.from_bytes(data.encode())


def test_a_statement_is_in_totos_and_comes_back_as_it_was() -> None:
    for statement in evidence_for(A).statements:
        record = json.loads(statement.to_bytes())
        assert record["_type"] == "https://in-toto.io/Statement/v1"
        assert record["subject"] == [{"name": "fp32", "digest": {"sha256": A}}]
        assert Statement.from_bytes(statement.to_bytes(), "x") == statement


@pytest.mark.parametrize(
    "damage",
    [
        ('"step":"gate"', '"step":"gate","step":"gate"'),
        ('"step":"gate"', '"step":7'),
        ('"verdict":"PASS"', '"verdict":"FINE"'),
        ('"value":0.97', '"value":NaN'),
        ('"value":0.97', '"value":Infinity'),
        ('"value":0.97', f'"value":{10**400}'),
        ('"value":0.97', '"value":"0.97"'),
        ('"gate":"accuracy"', '"gate":7'),
        ('"details":{}', '"details":[]'),
        ('"details":{}', '"remarks":{}'),
        ('"details":{},', ""),
        (A, A[:-1]),
        ("Statement/v1", "Statement/v2"),
        ("urn:gradatim:evidence:v1", "urn:gradatim:evidence:v9"),
        ('"subject":[{', '"subject":[7,{'),
        ('"inputs":{', '"inputs":{"x":3,'),
        ('"gates":[', '"gates":[7,'),
    ],
)
def test_a_statement_that_is_not_exactly_right_is_broken(damage: tuple[str, str]) -> None:
    (statement,) = evidence_for(A).of("gate")
    text = statement.to_bytes().decode()
    assert damage[0] in text
    with pytest.raises(BrokenEvidence):
        Statement.from_bytes(text.replace(*damage).encode(), "evidence")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_in_a_bundle_is_refused_or_changes_its_digest(data: st.DataObject) -> None:
    original = evidence_for(A).to_bytes()
    place = data.draw(st.integers(0, len(original) * 8 - 1))
    flipped = bytearray(original)
    flipped[place // 8] ^= 1 << place % 8
    assert sha256_bytes(bytes(flipped)) != sha256_bytes(original)
    with contextlib.suppress(BrokenEvidence):  # anything else would be a traceback for a user
        Bundle.from_bytes(bytes(flipped))


def test_a_bundle_has_the_same_bytes_whatever_the_order() -> None:
    statements = evidence_for(A).statements
    assert Bundle(statements[::-1]).to_bytes() == Bundle(statements).to_bytes()
    assert Bundle.from_bytes(Bundle(statements).to_bytes()) == Bundle(statements)
    with pytest.raises(BrokenEvidence, match="cut off"):
        Bundle.from_bytes(Bundle(statements).to_bytes()[:-1])


def test_evidence_that_is_no_json_is_refused_when_it_is_written() -> None:
    with pytest.raises(InvalidInput):
        Statement("test", {"fp32": A}, Verdict.PASS, "0", details={"x": float("nan")}).to_bytes()


def test_evidence_of_another_model_is_foreign_and_that_of_its_origin_is_not() -> None:
    build = Statement("build", {"fp32": A}, Verdict.PASS, "0")
    compress = Statement("compress", {"int8": B}, Verdict.PASS, "0", {"candidate": A})
    baseline = Statement("evaluate", {"fp32": C}, Verdict.PASS, "0")
    judged = Statement("gate", {"int8": B}, Verdict.PASS, "0", {"baseline": C})
    found = check_evidence(Bundle((build, compress, baseline, judged)), B, "int8")
    assert [(finding.problem, finding.where) for finding in found] == [("foreign evidence", "evaluate")]


def test_evidence_without_a_verdict_about_these_bytes_is_missing() -> None:
    found = check_evidence(Bundle((Statement("build", {"fp32": A}, Verdict.PASS, "0"),)), A, "fp32")
    assert [finding.problem for finding in found] == ["missing evidence"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INVALID])
def test_only_pass_releases(verdict: Verdict) -> None:
    found = check_evidence(evidence_for(A, verdict=verdict, accuracy=0.5), A, "fp32")
    assert [finding.problem for finding in found] == ["refused gate"]
    assert verdict.value in found[0].text


def test_a_record_has_no_clock_and_comes_back_as_it_was(tmp_path: Path) -> None:
    manifest = Manifest.of("digits", tmp_path, files(tmp_path, a=b"one"))

    def put_together() -> ReleaseRecord:
        return assemble(
            manifest,
            tmp_path,
            evidence_for(manifest.digest),
            tag="v1.0.0",
            version="v1.0.0",
            stage="production",
            variant="fp32",
            commit="0" * 40,
            previous=None,
            others={"report.html": b"<p>fine</p>"},
        ).record

    record = put_together()
    assert put_together().to_bytes() == record.to_bytes()
    assert ReleaseRecord.from_bytes(record.to_bytes()) == record
    assert f"manifest: sha256:{manifest.digest}\n" in record.tag_message()
    for damage in ((b"production", b"productio\xff"), (b'"previous":null', b'"previous":7'), (b"{", b"{ ")):
        with pytest.raises(BrokenEvidence):
            ReleaseRecord.from_bytes(record.to_bytes().replace(*damage, 1))


def test_a_model_file_cannot_take_the_place_of_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "Release.json").write_bytes(b"{}")
    manifest = Manifest.of("digits", tmp_path, [tmp_path / "Release.json"])
    with pytest.raises(BrokenEvidence, match="Rename one"):
        assemble(
            manifest, tmp_path, evidence_for(A), tag="v1.0.0", version="v1.0.0", stage=None, variant="fp32",
            commit="0" * 40, previous=None,
        )  # fmt: skip


def test_a_difference_tells_files_measurements_and_data() -> None:
    old = Manifest("m", (FileEntry("a", 10, A), FileEntry("b", 1, B)))
    new = Manifest("m", (FileEntry("a", 5, C), FileEntry("b", 1, B)))
    found = difference(
        (old, evidence_for(old.digest, accuracy=0.9)), (new, evidence_for(new.digest, accuracy=0.95))
    )
    assert found.files == (("a", (10, A), (5, C)),)
    assert found.size == (11, 6)
    ((label, before, after),) = found.measurements
    assert label == "accuracy"
    assert before is not None
    assert after is not None
    assert (before.value, after.value) == (0.9, 0.95)
    assert found.inputs == ()


@pytest.mark.parametrize("data", [b"", b'{"_type": "htt', b"{}"])
def test_what_is_left_of_a_steps_evidence_names_the_command_that_makes_it_anew(
    tmp_path: Path, data: bytes
) -> None:
    workspace = Workspace(tmp_path)
    path = workspace.evidence_path("evaluate")
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(BrokenEvidence, match=r"evaluate\.json .*Run: gradatim evaluate$"):
        workspace.statement("evaluate")
