"""Who signs, with what, and what is refused: keys, identities of CI jobs, and the commands that ask for them."""

from __future__ import annotations

import base64
import datetime
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gate_project import lay_down
from registry_examples import IDENTITY, git, registry_of
from signing_examples import write_key
from sigstore.errors import VerificationError
from sigstore.models import Bundle

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.ci.identity import identity_token
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, EnvironmentLacks, GradatimError, UsageError
from gradatim.evidence.authenticity import Trust, identity_policy
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.signature_bundle import read_content
from gradatim.evidence.signatures import check_signature
from gradatim.evidence.signing import KEY_VARIABLE, PASSWORD_VARIABLE, IdentitySigner, KeySigner
from gradatim.pipeline.graph import GRAPH
from gradatim.pipeline.step import run_step
from gradatim.registry.git import Repository
from gradatim.registry.tagging import assign
from gradatim.releasing.signing import signing_for
from gradatim.steps import tag

SIGNATURES = Path(__file__).parent / "signatures"
FILES = [FileEntry("a.onnx", 1, "a" * 64), FileEntry("release.json", 2, "b" * 64)]
GITHUB = "https://token.actions.githubusercontent.com"
CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
gates: {accuracy: {at_least: 60%}}
stages:
  beta: {branch: staging}
  production: {branch: main, signed: true}
publish: [{folder: releases/}]
"""
LABELS = np.arange(240) % 3
PASSWORD = "geheim"  # noqa: S105 (of a key that is made here)
CLAIMS = base64.urlsafe_b64encode(b'{"aud":"sigstore"}').decode().rstrip("=")
TOKEN = f"e30.{CLAIMS}.signature"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    gone = (KEY_VARIABLE, PASSWORD_VARIABLE, "GITHUB_ACTIONS", "GITLAB_CI")
    for name in (
        *gone,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "SIGSTORE_ID_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)


# keys


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_a_key_of_every_curve_signs_from_a_file_or_from_a_secret(
    tmp_path: Path, curve: ec.EllipticCurve, password: str | None
) -> None:
    key = write_key(tmp_path, password=password, curve=curve)
    trust = Trust((key.with_suffix(".pub"),))
    for given in (str(key), key.read_text()):
        signature = KeySigner.load(given, password).sign("small@v1.0.0", FILES)
        found = check_signature(signature, FILES, "small@v1.0.0", trust)
        assert (found.signer, found.problems) == ("release.pub", ())


def test_a_key_that_is_none_or_does_not_open_is_said_plainly_and_never_shown(tmp_path: Path) -> None:
    plain, locked = write_key(tmp_path), write_key(tmp_path, "locked", password=PASSWORD)
    other = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cases = [
        (str(tmp_path / "missing.key"), None, "cannot be read: no such file"),
        (str(tmp_path), None, "cannot be read: is a directory"),
        (str(plain.with_suffix(".pub")), None, "gives no key that signs releases"),
        (other.decode(), None, "P-256, P-384 or P-521"),
        (str(locked), None, f"is encrypted. Set {PASSWORD_VARIABLE}"),
        (str(locked), "falsch", "is not its password"),
        (str(plain), PASSWORD, "Unset it"),
        (plain.read_text()[:60], None, "gives no key that signs releases"),
    ]
    for given, password, text in cases:
        with pytest.raises(EnvironmentLacks) as refused:
            KeySigner.load(given, password)
        assert text in str(refused.value), given
        assert "falsch" not in str(refused.value)
        assert plain.read_text().splitlines()[1][:20] not in str(refused.value)
    assert "PRIVATE" not in repr(KeySigner.load(str(plain)))


def test_signing_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = write_key(tmp_path / "keys")
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    KeySigner.load(key.read_text()).sign("small@v1.0.0", FILES)
    assert list(place.rglob("*")) == []


@pytest.mark.parametrize("written", ["private", "text", "missing"])
def test_a_public_key_that_is_none_is_a_mistake_in_the_contract(tmp_path: Path, written: str) -> None:
    key = write_key(tmp_path)
    wrong = {"private": key, "text": tmp_path / "text.pub", "missing": tmp_path / "missing.pub"}[written]
    if written == "text":
        wrong.write_text("no key")
    signature = KeySigner.load(str(key)).sign("small@v1.0.0", FILES)
    with pytest.raises(UsageError, match="public key"):
        check_signature(signature, FILES, "small@v1.0.0", Trust((wrong,)))


# the contract


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("{}", "name a public `key`, or an `identity`"),
        ("{identity: ada@example.org}", "`identity` and `issuer` belong together"),
        ("{issuer: https://accounts.example.org}", "`identity` and `issuer` belong together"),
        ("{key: /etc/release.pub}", "a path inside the repository is wanted"),
        ("{key: ../release.pub}", "a path inside the repository is wanted"),
        ("{keys: a.pub}", "Did you mean `key`"),
    ],
)
def test_a_signing_section_that_names_nobody_is_refused_at_its_line(
    tmp_path: Path, written: str, text: str
) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(CONTRACT + f"signing: {written}\n")
    with pytest.raises(ContractError) as refused:
        read_contract(path)
    assert text in str(refused.value)
    assert refused.value.problems[0].line == 10


def test_what_cannot_sign_is_told_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "gradatim.yml"
    mine, other = write_key(tmp_path / "keys"), write_key(tmp_path / "keys", "other")
    path.write_text(CONTRACT)
    with pytest.raises(
        EnvironmentLacks, match=r"gradatim.yml:8: production takes signed releases only.*signing: "
    ):
        signing_for(read_contract(path), "production", {KEY_VARIABLE: str(mine)})
    assert signing_for(read_contract(path), "beta", {}).description == "unsigned"
    path.write_text(CONTRACT + "signing: {key: keys/release.pub}\n")
    contract = read_contract(path)
    with pytest.raises(EnvironmentLacks, match=f"nobody can sign here. Set {KEY_VARIABLE} to the path"):
        signing_for(contract, "production", {KEY_VARIABLE: ""})
    with pytest.raises(EnvironmentLacks, match=r"gradatim.yml:10: .* is not the private half of release.pub"):
        signing_for(contract, "beta", {KEY_VARIABLE: str(other)})
    assert "with the key in" in signing_for(contract, "production", {KEY_VARIABLE: str(mine)}).description


# identities


def test_a_signature_made_through_sigstore_holds_offline_for_its_identity_alone() -> None:
    """A real one, with its certificate and its entry in the public log."""
    data = (SIGNATURES / "sigstore.sig").read_bytes()
    content = read_content(data)
    entries = [FileEntry(path, 0, digest) for path, digest in content.files.items()]
    issuer = "https://sigstore.verify.ibm.com/oauth2"

    def check(who: str, issuer: str = issuer, data: bytes = data) -> tuple[str | None, str]:
        found = check_signature(data, entries, content.subject, Trust((), ("bob@x.org", who), issuer))
        return found.signer, " ".join(found.problems)

    assert check("stefanb@us.ibm.com") == ("bob@x.org or stefanb@us.ibm.com", "")
    assert "does not hold as one of bob@x.org or eve@us.ibm.com" in check("eve@us.ibm.com")[1]
    assert "does not hold" in check("stefanb@us.ibm.com", GITHUB)[1]
    bundle = json.loads(data)
    bundle["verificationMaterial"]["tlogEntries"] = []
    assert "does not hold" in check("stefanb@us.ibm.com", data=json.dumps(bundle).encode())[1]
    bundle = json.loads(data)
    sig = bundle["dsseEnvelope"]["signatures"][0]["sig"]
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = sig[:20] + ("A" if sig[20] != "A" else "B") + sig[21:]
    assert "does not hold" in check("stefanb@us.ibm.com", data=json.dumps(bundle).encode())[1]
    key_only = check_signature(data, entries, content.subject, Trust((Path("release.pub"),)))
    assert "only release.pub may sign" in key_only.problems[0]


def test_a_key_does_not_stand_in_for_an_identity(tmp_path: Path) -> None:
    signature = KeySigner.load(str(write_key(tmp_path))).sign("small@v1.0.0", FILES)
    found = check_signature(signature, FILES, "small@v1.0.0", Trust((), ("ada@example.org",), GITHUB))
    assert "another key" in found.problems[0]


def certificate(made_out_to: str, started: str | None) -> x509.Certificate:
    """As Fulcio makes them out to jobs of GitHub Actions, without its signature."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(made_out_to)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    said = {"1.1": GITHUB.encode()}
    if started is not None:
        said["1.18"] = asn1.encode_der(started)
    for number, value in said.items():
        oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.{number}")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return builder.add_extension(uri, critical=True).sign(key, hashes.SHA256())


def test_the_workflow_that_was_started_decides_not_the_shared_one_that_it_called() -> None:
    """A certificate is made out to the kit's own workflow for everybody who calls it."""
    shared = "https://github.com/gradatim/gradatim/.github/workflows/release.yml@refs/tags/v1.0.0"
    mine = "https://github.com/ada/digits/.github/workflows/release.yml@refs/heads/main"
    eve = "https://github.com/eve/digits/.github/workflows/release.yml@refs/heads/main"
    identity_policy(Trust((), (mine,), GITHUB)).verify(certificate(shared, mine))
    identity_policy(Trust((), (mine,), GITHUB)).verify(certificate(mine, None))
    for made_out_to, started in ((shared, eve), (mine, eve), (eve, None)):
        for trusted in ((mine,), (mine, shared)):
            with pytest.raises(VerificationError):
                identity_policy(Trust((), trusted, GITHUB)).verify(certificate(made_out_to, started))
    with pytest.raises(VerificationError):
        identity_policy(Trust((), (mine,), "https://gitlab.com")).verify(certificate(mine, mine))


def test_a_real_certificate_of_github_actions_is_read_so() -> None:
    real = Bundle.from_json((SIGNATURES / "github.sigstore.json").read_text()).signing_certificate
    who = "https://github.com/trailofbits/rfc8785.py/.github/workflows/release.yml@refs/tags/v0.1.2"
    identity_policy(Trust((), (who,), GITHUB)).verify(real)
    with pytest.raises(VerificationError):
        identity_policy(Trust((), (who.replace("v0.1.2", "v0.1.3"),), GITHUB)).verify(real)


@pytest.fixture
def token_server() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """What a job asks for its token, in GitHub's way."""
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"value": TOKEN}).encode())

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token?api-version=2.0", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_github_is_asked_for_a_token_for_sigstore(
    monkeypatch: pytest.MonkeyPatch, token_server: tuple[str, list[tuple[str, str | None]]]
) -> None:
    address, asked = token_server
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(EnvironmentLacks, match="id-token: write"):
        identity_token()
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", address)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
    assert identity_token() == TOKEN
    assert asked == [("/token?api-version=2.0&audience=sigstore", "bearer of-the-job")]


def test_gitlab_hands_its_token_over_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert identity_token() is None, "a laptop has none"
    monkeypatch.setenv("GITLAB_CI", "true")
    with pytest.raises(EnvironmentLacks, match=r"SIGSTORE_ID_TOKEN: \{aud: sigstore\}"):
        identity_token()
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", TOKEN)
    assert identity_token() == TOKEN


def test_an_identity_signs_where_the_job_has_one_and_is_demanded_where_the_stage_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(CONTRACT + f"signing: {{identity: https://github.com/ada/digits, issuer: '{GITHUB}'}}\n")
    contract = read_contract(path)
    assert signing_for(contract, "beta").description == "unsigned"
    with pytest.raises(EnvironmentLacks, match=r"nobody can sign here\. Run this in the CI job"):
        signing_for(contract, "production")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert signing_for(contract, "beta").description == "unsigned"
    with pytest.raises(EnvironmentLacks, match="id-token: write"):
        signing_for(contract, "production")
    monkeypatch.delenv("GITHUB_ACTIONS")
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", TOKEN)
    assert isinstance(signing_for(contract, "production").signer, IdentitySigner)


# the commands


def opened(root: Path) -> Candidate:
    contract = read_contract(root / "gradatim.yml")
    return Candidate(contract, ci.detect(), "beta")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate that passed its gates for beta, committed together with a contract that names a key."""
    folder = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        project = lay_down(folder, LABELS, LABELS, LABELS)
        root = project.root
        write_key(root / "keys")
        (root / "keys" / "release.key").rename(folder / "release.key")
        (root / "gradatim.yml").write_text(CONTRACT + "signing: {key: keys/release.pub}\n")
        git(root, "add", "gradatim.yml", "keys", "model.onnx")
        git(root, "commit", "-q", "-m", "Sign what goes to production")
        git(root, "push", "-q", "origin", "HEAD")
        for step in GRAPH:
            if not step.asked and step.name not in ("tag", "publish"):
                run_step(step.name, opened(root))
    return folder


@pytest.fixture
def root(judged: Path, tmp_path: Path) -> Path:
    place = shutil.copytree(judged, tmp_path / "project")
    git(place / "repo", "remote", "set-url", "origin", str(place / "remote.git"))
    return place / "repo"


def gradatim(root: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command; the door turns a refusal into its code and its text."""
    given = [*arguments, "--contract", str(root / "gradatim.yml")]
    done = CliRunner().invoke(cli, given, standalone_mode=False)
    if isinstance(done.exception, GradatimError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None, done.exception
    return done.return_value, done.output


def test_a_key_signs_from_tag_to_promotion_and_every_command_tells(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(root.parent / "release.key"))
    assert "signed with the key in" in gradatim(root, "tag", "--stage", "beta", "--dry-run")[1]
    assert ", signed," in tag.run(opened(root)).summary
    assert "signed with the key in" in gradatim(root, "promote", "production", "--dry-run")[1]
    code, text = gradatim(root, "promote", "production")
    assert code == 0, text
    monkeypatch.delenv(KEY_VARIABLE)
    state = json.loads(gradatim(root, "status", "--json")[1])["models"][0]["stages"]
    assert {stage["stage"]: stage["signed"] for stage in state} == {"production": True, "beta": True}
    (folder,) = (root / "releases").glob("v*")
    for what in ("production", "beta", str(folder)):
        code, text = gradatim(root, "verify", what)
        assert code == 0, text
        assert "signed by release.pub" in text
    other = write_key(root.parent / "other", "other").with_suffix(".pub")
    code, text = gradatim(root, "verify", str(folder), "--key", str(other))
    assert (code, "another key" in text) == (3, True)
    (folder / "release.sig").unlink()
    code, text = gradatim(root, "verify", str(folder))
    assert (code, "a signature is demanded" in text) == (3, True)


def test_without_a_key_beta_is_unsigned_and_production_is_refused_with_nothing_written(root: Path) -> None:
    assert "signature unsigned" in gradatim(root, "tag", "--stage", "beta", "--dry-run")[1]
    assert ", unsigned," in tag.run(opened(root)).summary
    assert "unsigned" in gradatim(root, "status")[1]
    assert gradatim(root, "verify", "beta")[0] == 0
    assert gradatim(root, "verify", "beta", "--signed")[0] == 3
    before = git(root, "ls-remote", "origin"), git(root, "for-each-ref"), list((root / "releases").iterdir())
    for more in ((), ("--dry-run",)):
        code, text = gradatim(root, "promote", "production", *more)
        assert (code, KEY_VARIABLE in text) == (4, True)
    after = git(root, "ls-remote", "origin"), git(root, "for-each-ref"), list((root / "releases").iterdir())
    assert after == before


def test_a_stage_that_came_to_demand_signatures_takes_its_unsigned_releases_back_no_more(root: Path) -> None:
    tag.run(opened(root))
    contract = root / "gradatim.yml"
    contract.write_text(contract.read_text().replace("signed: true", "signed: false"))
    assert gradatim(root, "promote", "production")[0] == 0
    assert gradatim(root, "verify", "production")[0] == 0
    assign(Repository.find(root), registry_of(root, "small").find("v1.0.0"), "production")
    contract.write_text(contract.read_text().replace("signed: false", "signed: true"))
    for command in (["verify", "v1.0.1"], ["rollback", "production", "--to", "v1.0.1", "--reason", "slow"]):
        code, text = gradatim(root, *command)
        assert (code, "v1.0.1 is unsigned, and a signature is demanded" in text) == (3, True), text
