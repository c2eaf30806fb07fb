"""What is attested of a signed release, read and checked by the tools of others, which know nothing of gradatim."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from registry_examples import act_as_ada, new_repository, release_files
from signing_examples import demanding, signed_repository, signing_with, write_key

from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.attestations import attestations
from gradatim.evidence.release_record import (
    ATTESTATION_FILES,
    EVIDENCE_FILE,
    SIGNATURE_FILE,
)
from gradatim.evidence.statement import Bundle, Statement
from gradatim.evidence.verify import verify_folder
from gradatim.files import sha256_file
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.publishers.folder import FolderPublisher
from gradatim.registry.git import Repository
from gradatim.releasing.publishing import publish

pytest.importorskip("model_signing")
dsse = pytest.importorskip("securesystemslib.dsse")
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


@pytest.fixture(autouse=True)
def _identity(monkeypatch: pytest.MonkeyPatch) -> None:
    act_as_ada(monkeypatch)


def published(folder: Path, key: Path) -> Path:
    """A signed release as its users get it."""
    signed_repository(folder, key)
    return folder / "releases" / "v1.1.0"


def envelope(path: Path) -> Any:
    return json.loads(path.read_bytes())["dsseEnvelope"]


@pytest.mark.parametrize("curve", CURVES)
def test_plain_tools_check_what_is_attested_of_a_release(tmp_path: Path, curve: str) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
    from in_toto_attestation.v1 import statement_pb2
    from securesystemslib.signer import SSlibKey
    from sigstore.dsse import Statement as Checked
    from sigstore_models.bundle.v1 import Bundle as SigstoreBundle

    folder = published(tmp_path, write_key(tmp_path, curve=CURVES[curve]))
    public = SSlibKey.from_crypto(load_pem_public_key((tmp_path / "release.pub").read_bytes()))
    predicates = {"provenance/v1": provenance_pb2.Provenance, "test-result/v0.1": test_result_pb2.TestResult}
    for name, (kind, predicate) in zip(ATTESTATION_FILES, predicates.items(), strict=True):
        bundle = SigstoreBundle.from_json((folder / name).read_bytes())
        assert bundle.dsse_envelope is not None
        opened = dsse.Envelope.from_dict(envelope(folder / name))
        (signature,) = opened.signatures.values()
        signature.keyid = public.keyid  # it looks for its own name of a key, which DSSE leaves open
        if curve != "P-521":  # which securesystemslib does not know
            assert opened.verify([public], 1)
        Checked(opened.payload)  # sigstore's own reader refuses what is none
        statement = json_format.Parse(opened.payload, statement_pb2.Statement())
        assert statement.predicate_type.endswith(kind)
        subjects = {one.name: dict(one.digest) for one in statement.subject}
        assert subjects == {"digits.onnx": {"sha256": sha256_file(folder / "digits.onnx")}}
        json_format.ParseDict(json_format.MessageToDict(statement.predicate), predicate())


VERIFIER = """
const [fs, crypto] = [require('fs'), require('crypto')]
const {bundleFromJSON} = require('@sigstore/bundle')
const {Verifier, toSignedEntity, toTrustMaterial} = require('@sigstore/verify')
const [key, ...files] = process.argv.slice(2)
const publicKey = crypto.createPublicKey(fs.readFileSync(key))
const root = {certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: []}
const trusted = toTrustMaterial(root, () => ({publicKey, validFor: () => true}))
const verifier = new Verifier(trusted, {tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0})
for (const file of files) {
  try { verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(fs.readFileSync(file))))); console.log('holds') }
  catch (error) { console.log(error.code) }
}
"""


@pytest.mark.slow
def test_sigstores_verifier_in_javascript_takes_what_is_signed_and_no_other_byte(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")
    folder = published(tmp_path, write_key(tmp_path))
    tool = tmp_path / "tool"
    tool.mkdir()
    packages = ["@sigstore/verify@4.1.3", "@sigstore/bundle@5.0.1"]
    subprocess.run(["npm", "install", "--silent", "--ignore-scripts", *packages], cwd=tool, check=True)
    (tool / "verify.js").write_text(VERIFIER)
    files = [folder / name for name in (*ATTESTATION_FILES, SIGNATURE_FILE)]
    altered = []
    for file in files:
        bundle = json.loads(file.read_bytes())
        payload = bytearray(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        payload[-3] ^= 1
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        altered.append(tool / file.name)
        altered[-1].write_text(json.dumps(bundle))
    command = ["node", "verify.js", str(tmp_path / "release.pub"), *map(str, [*files, *altered])]
    said = subprocess.run(command, cwd=tool, capture_output=True, text=True, check=True).stdout.split()
    assert said == ["holds"] * len(files) + ["SIGNATURE_ERROR"] * len(altered)


def test_the_tool_of_model_signing_takes_the_folder_with_what_is_attested(tmp_path: Path) -> None:
    folder = published(tmp_path, write_key(tmp_path))
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    options = ["--signature", str(folder / SIGNATURE_FILE), "--public_key", str(tmp_path / "release.pub")]
    assert subprocess.run([*command, *options], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ATTESTATION_FILES)
def test_an_attestation_that_was_altered_taken_out_or_added_is_named(tmp_path: Path, name: str) -> None:
    key = write_key(tmp_path)
    folder = published(tmp_path, key)
    assert verify_folder(folder, signatures=demanding(key)).holds
    data = (folder / name).read_bytes()
    for change in (b"{}", data.replace(b'"payload":"ey', b'"payload":"ez'), None):
        (folder / name).write_bytes(change) if change is not None else (folder / name).unlink()
        for trust in (demanding(key), None):
            found = verify_folder(folder, signatures=trust)
            assert [finding.problem for finding in found.findings] == ["bad signature"]
            assert name in found.findings[0].text
    (folder / SIGNATURE_FILE).unlink()
    (folder / name).write_bytes(data)
    assert "extra file" in {finding.problem for finding in verify_folder(folder).findings}


def test_a_release_of_before_attestations_were_made_holds_as_it_did(tmp_path: Path) -> None:
    key = write_key(tmp_path)
    sign = signing_with(key)
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")

    def sign_as_before(release: ReleaseFiles) -> ReleaseFiles:
        return release.with_signature(sign.signer.sign("digits@v1.0.0", release.signable))

    publisher = FolderPublisher(tmp_path / "releases", root=repo)
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [publisher], sign=sign_as_before)
    assert verify_folder(tmp_path / "releases" / "v1.0.0", signatures=demanding(key)).holds
    again = publish(Repository.find(repo), release_files(repo, "v1.0.0"), [publisher], sign=sign)
    assert not again.written


def test_what_is_attested_says_what_went_in_and_what_passed(tmp_path: Path) -> None:
    release = release_files(new_repository(tmp_path / "repo"), "v1.0.0")
    made = Bundle.from_bytes(release.kept[EVIDENCE_FILE]).statements[0]
    gates = [
        GateResult("accuracy", "accuracy", Verdict.PASS, release.record.variant, "at least 90 %", "", blocking=True),
        GateResult("recall", "recall", Verdict.INCONCLUSIVE, release.record.variant, "at least 80 %", "", blocking=False),
    ]  # fmt: skip
    gate = Statement("gate", made.subjects, Verdict.PASS, made.gradatim, made.inputs, (), tuple(gates))
    evaluate = Statement(
        "evaluate", made.subjects, Verdict.PASS, made.gradatim, {"evaluation": "a" * 64},
        environment={"ci": "github", "run": "https://github.com/a/b/actions/runs/1"},
    )  # fmt: skip
    stated = attestations(release.record, release.manifest, Bundle((evaluate, gate)))
    provenance, tested = (json.loads(data)["predicate"] for data in stated.values())
    assert {"name": "source", "digest": {"gitCommit": release.record.commit}} in provenance[
        "buildDefinition"
    ]["resolvedDependencies"]
    assert provenance["runDetails"]["builder"]["id"] == "urn:gradatim:builder:github"
    assert provenance["runDetails"]["metadata"]["invocationId"].endswith("/runs/1")
    assert tested["result"] == "WARNED"
    assert tested["passedTests"] == ["gate accuracy (at least 90 %)"]
    assert tested["warnedTests"] == ["gate recall (at least 80 %)"]
    assert {"name": "evaluate: evaluation", "digest": {"sha256": "a" * 64}} in tested["configuration"]


def test_what_a_key_attests_is_said_once_whoever_asks(tmp_path: Path) -> None:
    """The envelope holds the statement as it was signed: canonical JSON, so that two releases alike attest alike."""
    release = release_files(new_repository(tmp_path / "repo"), "v1.0.0")
    one, other = (signing_with(write_key(tmp_path / name))(release) for name in ("one", "other"))
    for name in ATTESTATION_FILES:
        said = [json.loads(made.attested[name])["dsseEnvelope"]["payload"] for made in (one, other)]
        assert said[0] == said[1]
        assert base64.b64decode(said[0]).startswith(b'{"_type":"https://in-toto.io/Statement/v1"')
